//! Finds values that a manifest only points to, among the objects given with it.
//!
//! A password in a Secret, an address in the container's environment: on Kubernetes the API server has
//! them, on one machine they have to be among the files. What is not there stays unknown, and the signal
//! says so. Values are handed on and never kept or printed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
use tidegate_manifest::kinds::keda::{AuthenticationKind, ScaleTrigger, TriggerAuthenticationSpec};
use tidegate_manifest::object::{Kind, Object};
use tidegate_manifest::trigger::Origin;
use tidegate_manifest::workload::env_container;
use tidegate_manifest::{Document, Manifests, path};

/// Where one trigger's values may stand.
#[derive(Clone, Copy, Debug)]
pub struct Places<'m> {
    /// All objects at hand.
    pub manifests: &'m Manifests,
    /// The object that has the trigger.
    pub document: &'m Document,
    /// The trigger.
    pub trigger: &'m ScaleTrigger,
    /// The pod template of its target, where it is at hand.
    pub template: Option<&'m PodTemplateSpec>,
    /// The container whose environment counts; `None` for the first.
    pub container: Option<&'m str>,
}

impl Places<'_> {
    /// The value at `origin`.
    #[must_use]
    pub fn value(&self, origin: &Origin) -> Option<String> {
        match origin {
            Origin::Metadata(key) => self.trigger.metadata.get(key).map(|text| text.trim().to_owned()),
            Origin::Environment(name) => self.variable(name, self.container),
            Origin::Authentication(parameter) => self.parameter(parameter),
        }
    }

    fn container(&self, name: Option<&str>) -> Option<&Container> {
        env_container(self.template?, name)
    }

    /// A variable of the container, plain or from a Secret or ConfigMap; then from `envFrom`.
    fn variable(&self, name: &str, container: Option<&str>) -> Option<String> {
        let container = self.container(container)?;
        let namespace = &self.document.namespace;
        let own = container.env.iter().flatten().find(|variable| variable.name == name);
        if let Some(variable) = own {
            if let Some(value) = &variable.value {
                return Some(value.clone());
            }
            let from = variable.value_from.as_ref()?;
            let secret = from.secret_key_ref.as_ref().map(|from| ("Secret", &from.name, &from.key));
            let config = from.config_map_key_ref.as_ref().map(|from| ("ConfigMap", &from.name, &from.key));
            let (kind, object, key) = secret.or(config)?;
            return self.entry(kind, namespace, object, key);
        }
        // The last source that has it wins, as for the container itself.
        container.env_from.iter().flatten().rev().find_map(|source| {
            let key = name.strip_prefix(source.prefix.as_deref().unwrap_or_default())?;
            let secret = source.secret_ref.as_ref().map(|from| ("Secret", &from.name));
            let config = source.config_map_ref.as_ref().map(|from| ("ConfigMap", &from.name));
            let (kind, object) = secret.or(config)?;
            self.entry(kind, namespace, object, key)
        })
    }

    /// A parameter that the trigger's authentication gives.
    fn parameter(&self, parameter: &str) -> Option<String> {
        let reference = self.trigger.authentication_ref.as_ref()?;
        let namespace = &self.document.namespace;
        let cluster = reference.kind() == AuthenticationKind::ClusterTriggerAuthentication;
        let found = if cluster {
            let mut all = self.manifests.of_kind(Kind::ClusterTriggerAuthentication);
            all.find(|document| document.name == reference.name)?
        } else {
            self.manifests.find(Kind::TriggerAuthentication, namespace, &reference.name)?
        };
        let spec: &TriggerAuthenticationSpec = match &found.object {
            Object::TriggerAuthentication(object) => &object.spec,
            Object::ClusterTriggerAuthentication(object) => &object.spec.0,
            _ => return None,
        };
        let from = |kind: &str, sources: &[tidegate_manifest::kinds::keda::AuthTargetRef]| {
            let source = sources.iter().find(|source| source.parameter == parameter)?;
            self.entry(kind, namespace, &source.name, &source.key)
        };
        let variable = spec.env.iter().find(|source| source.parameter == parameter);
        from("Secret", &spec.secret_target_ref)
            .or_else(|| from("ConfigMap", &spec.config_map_target_ref))
            .or_else(|| {
                let source = variable?;
                self.variable(&source.name, source.container_name.as_deref().or(self.container))
            })
    }

    /// One entry of a Secret or ConfigMap. Read from the tree, since a Secret need not be a kind that
    /// anything else reads.
    fn entry(&self, kind: &str, namespace: &str, name: &str, key: &str) -> Option<String> {
        let mut all = self.manifests.documents.iter();
        let object = all.find(|document| {
            document.kind == kind
                && document.name == name
                && document.namespace == namespace
                && document.group().is_empty()
        })?;
        let at = |field: &str| object.root.at(path![field, key])?.scalar_text();
        if kind == "ConfigMap" {
            return at("data");
        }
        at("stringData").or_else(|| {
            let coded: String = at("data")?.split_whitespace().collect();
            String::from_utf8(STANDARD.decode(coded).ok()?).ok()
        })
    }
}
