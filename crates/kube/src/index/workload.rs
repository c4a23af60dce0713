//! Something with `/scale`: how many replicas it has, and who wrote that number.

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_core::scale::Fleet;
use tidegate_manifest::serving::Page;

use super::kept::Text;
use super::pending::{self, Cause};
use super::selector::Selector;
use crate::object::{Id, Kind, Object};

/// A workload, as far as scaling looks at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Where it is.
    pub id: Id,
    /// Tells it from a later one of its name.
    pub uid: Arc<str>,
    /// The version of the object that these numbers are of; a write names it.
    pub resource_version: Arc<str>,
    /// `spec.replicas`, `status.replicas`, and how many of those are ready, as far as the object says:
    /// [`super::Index::fleet`] counts where it does not.
    pub fleet: Fleet,
    /// Whether the ready ones are those of its pods: its kind's status does not count them.
    pub count_ready: bool,
    /// The number of its first pod, where its pods have numbers: `spec.ordinals.start` of a StatefulSet.
    pub first_ordinal: u32,
    /// Its pods.
    pub selector: Option<Selector>,
    /// Its pod template, for variables that triggers name.
    pub template: Option<Text>,
    /// Why its pods are not even made.
    pub refused: Option<Cause>,
    /// Who wrote `spec.replicas` last, by field manager.
    pub writer: Option<Arc<str>>,
}

impl Workload {
    /// Reads what the common workloads have: `spec.replicas` and `status.replicas` are where every kind
    /// with `/scale` that is in use has them. What a kind has elsewhere, its watch puts there. `None` where a
    /// kind's count is not known: a default would be a number that nobody set.
    #[must_use]
    pub fn of(object: &Object) -> Option<Self> {
        // Deployments and StatefulSets have one replica where the field is missing; of others nobody knows.
        let common = matches!(&object.id.kind, Kind::Workload(gvk) if crate::watch::common().contains(gvk));
        let spec = object.count("/spec/replicas").or(common.then_some(1))?;
        let status = object.count("/status/replicas").unwrap_or(0);
        let ready = object.count("/status/readyReplicas");
        // The common kinds leave a zero out. Another kind's controller may not count at all.
        let count_ready = ready.is_none() && !common;
        let ready = ready.unwrap_or(0).min(status);
        let selector = object.json.pointer("/spec/selector").filter(|json| json.is_object());
        let text = object.text("/status/hpaPodSelector").or_else(|| object.text("/status/labelSelector"));
        Some(Workload {
            id: object.id.clone(),
            uid: object.uid().into(),
            resource_version: object.text("/metadata/resourceVersion").unwrap_or_default().into(),
            fleet: Fleet { spec, status, ready, starting: status - ready },
            count_ready,
            first_ordinal: object.count("/spec/ordinals/start").unwrap_or(0),
            selector: selector.map(Selector::of).or_else(|| text.map(Selector::parse)),
            template: object.json.pointer("/spec/template").map(Text::of),
            refused: pending::refused(&object.json),
            writer: writer(&object.json),
        })
    }

    /// Where its pods have their metrics.
    #[must_use]
    pub fn page(&self) -> Option<Page> {
        Page::of(&self.template.as_ref()?.read()?)
    }

    /// The manifest of it that a target's triggers are read with.
    #[must_use]
    pub fn manifest(&self) -> Option<Value> {
        let template = self.template.as_ref()?.open();
        let gvk = self.id.kind.gvk();
        let spec = match &*gvk.kind {
            "LeaderWorkerSet" => json!({"leaderWorkerTemplate": {"workerTemplate": template}}),
            _ => json!({"template": template, "selector": {}}),
        };
        Some(json!({
            "apiVersion": gvk.api_version(), "kind": &*gvk.kind,
            "metadata": {"name": &*self.id.name, "namespace": &*self.id.namespace},
            "spec": spec,
        }))
    }
}

/// The field manager whose entry holds `spec.replicas`; the latest where several do.
fn writer(json: &Value) -> Option<Arc<str>> {
    let entries = json.pointer("/metadata/managedFields")?.as_array()?;
    let holds = |entry: &&Value| entry.pointer("/fieldsV1/f:spec/f:replicas").is_some();
    let time = |entry: &&Value| entry.get("time").and_then(Value::as_str).unwrap_or_default().to_owned();
    let last = entries.iter().filter(holds).max_by_key(time)?;
    last.get("manager")?.as_str().map(Arc::from)
}
