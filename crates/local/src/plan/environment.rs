//! A container's environment: `env`, `valueFrom`, `envFrom`.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource};
use tidegate_manifest::load::{Document, Manifests};
use tidegate_manifest::object::Object;
use tidegate_manifest::path;

use super::{Remarks, Surroundings};
use crate::unit::{Value, Variable};

/// Looks variables up in the files and around us.
pub(super) struct Sources<'a> {
    pub(super) manifests: &'a Manifests,
    pub(super) surroundings: &'a Surroundings<'a>,
    pub(super) namespace: &'a str,
}

/// A field of the downward API that a process can be told.
const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "status.podIP",
    "status.podIPs",
    "status.hostIP",
    "status.hostIPs",
    "spec.nodeName",
    "spec.serviceAccountName",
];

impl Sources<'_> {
    /// The variables in the order in which they are set: those of `envFrom` first.
    pub(super) fn variables(&self, container: &Container, remarks: &mut Remarks<'_>) -> Vec<Variable> {
        let mut all: Vec<Variable> = Vec::new();
        for source in container.env_from.iter().flatten() {
            let prefix = source.prefix.as_deref().unwrap_or_default();
            let (kind, name, optional) = match (&source.config_map_ref, &source.secret_ref) {
                (Some(map), _) => ("ConfigMap", &map.name, map.optional),
                (None, Some(secret)) => ("Secret", &secret.name, secret.optional),
                (None, None) => continue,
            };
            match self.data(kind, name) {
                Some(data) => all.extend(data.into_iter().map(|(key, value)| Variable {
                    name: format!("{prefix}{key}"),
                    value: Value::Taken(value),
                })),
                None if optional == Some(true) => {}
                None => self.missing(&format!("{kind} {name} of envFrom is not in the files"), remarks),
            }
        }
        for variable in container.env.iter().flatten() {
            if let Some(value) = self.value(variable, remarks) {
                all.retain(|known| known.name != variable.name);
                all.push(Variable { name: variable.name.clone(), value });
            }
        }
        all
    }

    fn missing(&self, message: &str, remarks: &mut Remarks<'_>) {
        remarks.error(
            "TU003",
            path!["spec", "template", "spec", "containers"],
            message,
            "put it into the files, export the variable before the start, or mark it optional",
        );
    }

    fn value(&self, variable: &EnvVar, remarks: &mut Remarks<'_>) -> Option<Value> {
        let Some(source) = &variable.value_from else {
            return Some(Value::Text(variable.value.clone().unwrap_or_default()));
        };
        if let Some(field) = &source.field_ref {
            let known = FIELDS.contains(&field.field_path.as_str())
                || field.field_path.starts_with("metadata.labels['")
                || field.field_path.starts_with("metadata.annotations['");
            if !known {
                let name = &variable.name;
                self.missing(&format!("{name}: a process has no {}", field.field_path), remarks);
            }
            return known.then(|| Value::Field(field.field_path.clone()));
        }
        let (kind, name, key, optional) = key_of(source)?;
        let found = self.data(kind, &name).and_then(|mut data| data.remove(&key));
        // A secret that is not in the files is often exported by whoever tries them.
        let found = found.or_else(|| (self.surroundings.variable)(&variable.name));
        if found.is_none() && !optional {
            let message = format!(
                "{}: key {key} of {kind} {name} is not in the files, and {} is not in our environment",
                variable.name, variable.name
            );
            self.missing(&message, remarks);
        }
        found.map(Value::Taken)
    }

    /// What a ConfigMap or Secret holds.
    fn data(&self, kind: &str, name: &str) -> Option<BTreeMap<String, String>> {
        let document = self.manifests.documents.iter().find(|document| {
            document.kind == kind
                && document.group().is_empty()
                && document.namespace == self.namespace
                && document.name == name
        })?;
        match &document.object {
            Object::ConfigMap(map) => Some(map.data.clone().unwrap_or_default()),
            _ => Some(secret(document)),
        }
    }
}

/// A Secret's texts: `data` in base64, `stringData` as it is, which wins.
fn secret(document: &Document) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let entries = |field: &str| document.root.get(field).map(|node| node.entries()).unwrap_or_default();
    for (key, node) in entries("data") {
        let bytes = serde_json::from_value::<ByteString>(node.to_json()).ok();
        if let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes.0).ok()) {
            all.insert(key.text.clone(), text);
        }
    }
    for (key, node) in entries("stringData") {
        all.extend(node.scalar_text().map(|text| (key.text.clone(), text)));
    }
    all
}

/// Kind, name, key, and whether it may be missing.
fn key_of(source: &EnvVarSource) -> Option<(&'static str, String, String, bool)> {
    if let Some(from) = &source.config_map_key_ref {
        return Some(("ConfigMap", from.name.clone(), from.key.clone(), from.optional.unwrap_or(false)));
    }
    let from = source.secret_key_ref.as_ref()?;
    Some(("Secret", from.name.clone(), from.key.clone(), from.optional.unwrap_or(false)))
}
