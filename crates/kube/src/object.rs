//! Objects as they come from the API server: which kinds are looked at, and what is kept of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

/// A kind that is watched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// KEDA's ScaledObject.
    ScaledObject,
    /// KEDA's ScaledJob.
    ScaledJob,
    /// KEDA's TriggerAuthentication.
    TriggerAuthentication,
    /// KEDA's ClusterTriggerAuthentication.
    ClusterTriggerAuthentication,
    /// The autoscaler of Kubernetes: to run those that ask for it, and to know of the others.
    HorizontalPodAutoscaler,
    /// Jobs, those of ScaledJobs.
    Job,
    /// Pods.
    Pod,
    /// Where a Service's pods listen.
    EndpointSlice,
    /// One Secret that somebody refers to.
    Secret,
    /// An Event that says why pods of a StatefulSet are not made.
    Event,
    /// The Lease of another operator.
    Lease,
    /// One ConfigMap that somebody refers to.
    ConfigMap,
    /// A token of a ServiceAccount that somebody refers to.
    Token,
    /// Something with replicas: a Deployment, a StatefulSet, or whatever else has `/scale`.
    Workload(Gvk),
}

/// Group, version and kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gvk {
    /// Group; empty for the core one.
    pub group: Arc<str>,
    /// Version.
    pub version: Arc<str>,
    /// Kind.
    pub kind: Arc<str>,
}

impl Gvk {
    /// From an `apiVersion` and a kind; KEDA's defaults for what is missing.
    #[must_use]
    pub fn of(api_version: Option<&str>, kind: Option<&str>) -> Self {
        let api_version = api_version.filter(|text| !text.is_empty()).unwrap_or("apps/v1");
        let kind = kind.filter(|text| !text.is_empty()).unwrap_or("Deployment");
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        Gvk { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// `apps/v1`, or `v1` of the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `apps/v1.Deployment`, as KEDA's status and events write it.
    #[must_use]
    pub fn keda(&self) -> String {
        format!("{}.{}", self.api_version(), self.kind)
    }
}

impl Kind {
    /// Its group, version and kind.
    #[must_use]
    pub fn gvk(&self) -> Gvk {
        let (api_version, kind) = match self {
            Kind::ScaledObject => ("keda.sh/v1alpha1", "ScaledObject"),
            Kind::ScaledJob => ("keda.sh/v1alpha1", "ScaledJob"),
            Kind::TriggerAuthentication => ("keda.sh/v1alpha1", "TriggerAuthentication"),
            Kind::ClusterTriggerAuthentication => ("keda.sh/v1alpha1", "ClusterTriggerAuthentication"),
            Kind::HorizontalPodAutoscaler => ("autoscaling/v2", "HorizontalPodAutoscaler"),
            Kind::Job => ("batch/v1", "Job"),
            Kind::Pod => ("v1", "Pod"),
            Kind::EndpointSlice => ("discovery.k8s.io/v1", "EndpointSlice"),
            Kind::Lease => ("coordination.k8s.io/v1", "Lease"),
            Kind::Event => ("v1", "Event"),
            Kind::Secret => ("v1", "Secret"),
            Kind::ConfigMap => ("v1", "ConfigMap"),
            Kind::Token => ("authentication.k8s.io/v1", "TokenRequest"),
            Kind::Workload(gvk) => return gvk.clone(),
        };
        Gvk::of(Some(api_version), Some(kind))
    }
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// What it is.
    pub kind: Kind,
    /// Its namespace; empty for objects of the whole cluster.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl Id {
    /// An id.
    #[must_use]
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Id { kind, namespace: namespace.into(), name: name.into() }
    }
}

/// An object, whole, as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Where it is.
    pub id: Id,
    /// All of it, with `apiVersion` and `kind`.
    pub json: Value,
}

impl Object {
    /// The object `json` is; `None` without a name.
    #[must_use]
    pub fn new(kind: Kind, mut json: Value) -> Option<Self> {
        let gvk = kind.gvk();
        let fields = json.as_object_mut()?;
        // Items of a list come without these two.
        fields.insert("apiVersion".to_owned(), json!(gvk.api_version()));
        fields.insert("kind".to_owned(), json!(&*gvk.kind));
        let text = |at: &str| json.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        if name.is_empty() {
            return None;
        }
        Some(Object { id: Id::new(kind, namespace, name), json })
    }

    /// Text at a JSON pointer.
    #[must_use]
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.json.pointer(pointer).and_then(Value::as_str)
    }

    /// A count at a JSON pointer; what is negative or none is `None`.
    #[must_use]
    pub fn count(&self, pointer: &str) -> Option<u32> {
        self.json.pointer(pointer).and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok())
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.json.pointer("/metadata/annotations")?.get(name)?.as_str()
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.json.pointer("/metadata/labels").and_then(Value::as_object);
        let labels = labels.into_iter().flatten();
        labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// Whether it is being deleted.
    #[must_use]
    pub fn deleting(&self) -> bool {
        self.json.pointer("/metadata/deletionTimestamp").is_some()
    }

    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.text("/metadata/uid").unwrap_or_default()
    }

    /// `metadata.generation`.
    #[must_use]
    pub fn generation(&self) -> Option<i64> {
        self.json.pointer("/metadata/generation").and_then(Value::as_i64)
    }
}

/// What a watch saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A list of all objects of a scope begins again: what it does not bring is gone.
    Listing(Scope),
    /// An object is there or has changed.
    Applied(Box<Object>),
    /// An object is gone.
    Gone(Id),
    /// The list is complete.
    Listed(Scope),
}

/// What one watch looks at: a kind, in one namespace or all, perhaps one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// The kind.
    pub kind: Kind,
    /// The namespace; `None` for all.
    pub namespace: Option<Arc<str>>,
    /// The one name; `None` for all.
    pub name: Option<Arc<str>>,
}

impl Scope {
    /// Whether an object is within it.
    #[must_use]
    pub fn holds(&self, id: &Id) -> bool {
        self.kind == id.kind
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == id.namespace)
            && self.name.as_ref().is_none_or(|name| *name == id.name)
    }
}
