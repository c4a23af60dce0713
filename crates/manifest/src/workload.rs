//! What an object scales: the workload a `scaleTargetRef` names, and what its pods have.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};

use crate::load::{Document, Manifests};
use crate::object::Object;

/// A `scaleTargetRef`, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetRef {
    /// Group of the target; `apps` by default for KEDA.
    pub group: String,
    /// Kind; `Deployment` by default for KEDA.
    pub kind: String,
    /// Namespace of whoever refers.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl TargetRef {
    /// A reference with KEDA's defaults.
    #[must_use]
    pub fn new(api_version: Option<&str>, kind: Option<&str>, namespace: &str, name: &str) -> Self {
        let api_version = api_version.filter(|text| !text.is_empty()).unwrap_or("apps/v1");
        let kind = kind.filter(|text| !text.is_empty()).unwrap_or("Deployment");
        TargetRef {
            group: api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// What the object of a document scales; `None` for what scales nothing.
    #[must_use]
    pub fn of(document: &Document) -> Option<Self> {
        let namespace = &document.namespace;
        match &document.object {
            Object::ScaledObject(object) => {
                let target = &object.spec.scale_target_ref;
                Some(TargetRef::new(
                    target.api_version.as_deref(),
                    target.kind.as_deref(),
                    namespace,
                    &target.name,
                ))
            }
            Object::HorizontalPodAutoscaler(object) => {
                let target = &object.spec.as_ref()?.scale_target_ref;
                let api_version = target.api_version.as_deref();
                Some(TargetRef::new(api_version, Some(&target.kind), namespace, &target.name))
            }
            Object::VerticalPodAutoscaler(object) => {
                let target = object.spec.target_ref.as_ref()?;
                let api_version = target.api_version.as_deref();
                Some(TargetRef::new(api_version, Some(&target.kind), namespace, &target.name))
            }
            _ => None,
        }
    }

    /// The target among the objects read.
    #[must_use]
    pub fn find<'a>(&self, manifests: &'a Manifests) -> Option<&'a Document> {
        manifests.documents.iter().find(|document| {
            document.kind == self.kind
                && document.namespace == self.namespace
                && document.name == self.name
                && document.group() == self.group
        })
    }
}

impl Document {
    /// The API group of the object.
    #[must_use]
    pub fn group(&self) -> &str {
        let api_version = self.root.get("apiVersion").and_then(|node| node.as_str()).unwrap_or_default();
        api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }
}

/// The container that `…FromEnv` parameters are resolved in: the named one, or the first.
#[must_use]
pub fn env_container<'a>(template: &'a PodTemplateSpec, name: Option<&str>) -> Option<&'a Container> {
    let containers = &template.spec.as_ref()?.containers;
    match name.filter(|name| !name.is_empty()) {
        Some(name) => containers.iter().find(|container| container.name == name),
        None => containers.first(),
    }
}

/// A container's environment by name; a value that comes from elsewhere is `None`. The whole is `None`
/// when `envFrom` may bring names that are not in the files.
#[must_use]
pub fn environment(container: &Container) -> Option<BTreeMap<String, Option<String>>> {
    if container.env_from.as_ref().is_some_and(|sources| !sources.is_empty()) {
        return None;
    }
    let variables = container.env.as_deref().unwrap_or_default();
    Some(variables.iter().map(|variable| (variable.name.clone(), variable.value.clone())).collect())
}
