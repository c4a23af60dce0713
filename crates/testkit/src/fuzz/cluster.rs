//! What an API server, its metrics and gateways send.

use prost::Message as _;
use serde_json::Value;
use tidegate_kube::demand::{Report, proto};
use tidegate_kube::index::target::{self, Key};
use tidegate_kube::index::{Index, single};
use tidegate_kube::object::{Change, Gvk, Kind, Object};
use tidegate_kube::routes::Routes;
use tidegate_kube::usage::parse;

/// What pods use: a list that is taken has each container's sample once for each resource.
pub fn usage(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for one in parse(text).unwrap_or_default() {
        let [cpu, memory] = ["cpu", "memory"].map(|resource| one.sample(resource));
        assert!(cpu.containers.keys().eq(memory.containers.keys()), "{one:?}");
    }
}

/// A gateway's report: one that is taken says no more than it may.
pub fn gateway_report(data: &[u8]) {
    let Ok(message) = proto::Report::decode(data) else { return };
    let (gateway, targets) = (message.gateway.clone(), message.targets.len());
    let Ok(report) = Report::read(message, None) else { return };
    assert_eq!(*report.gateway, *gateway);
    assert!(report.targets.len() <= targets);
    for (key, told) in &report.targets {
        assert!(!key.namespace.is_empty() && !key.name.is_empty());
        assert!(told.pods.len() <= 5000);
    }
}

/// Objects of a cluster, one JSON object a line: they are taken, read as targets and routed, and when they are gone
/// nothing of them is left.
pub fn objects(data: &[u8]) {
    let (mut index, mut routes) = (Index::compact(), Routes::default());
    let mut known = Vec::new();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let Ok(json) = serde_json::from_slice::<Value>(line) else { continue };
        let Some(object) = kind(&json).and_then(|kind| Object::new(kind, json)) else { continue };
        known.push(object.id.clone());
        routes.apply(Change::Applied(Box::new(object.clone())));
        let touched = index.apply(Change::Applied(Box::new(object)));
        for key in &touched.read {
            let _ = target::read(&mut index, key, "tidegate");
            assert!(index.needs(key).iter().all(|scope| scope.name.is_some()));
        }
    }
    let _ = routes.turn();
    for id in known {
        let _ = (index.apply(Change::Gone(id.clone())), routes.apply(Change::Gone(id.clone())));
        assert!(index.object(&id).is_none() && index.workload(&id).is_none() && !index.has_pod(&id));
        if let Some(key) = Key::of(&id) {
            assert!(target::read(&mut index, &key, "tidegate").is_none());
        }
    }
    assert!(index.wanted().filter_map(single).next().is_none(), "something is still watched");
    assert!(routes.turn().is_none_or(|table| table.is_empty()));
}

/// A kind by what an object calls itself.
fn kind(json: &Value) -> Option<Kind> {
    let text = |field: &str| json.get(field).and_then(Value::as_str);
    let kind = text("kind")?;
    let all = [
        Kind::ScaledObject,
        Kind::ScaledJob,
        Kind::TriggerAuthentication,
        Kind::ClusterTriggerAuthentication,
        Kind::HorizontalPodAutoscaler,
        Kind::Job,
        Kind::Pod,
        Kind::EndpointSlice,
        Kind::Secret,
        Kind::ConfigMap,
        Kind::Token,
    ];
    let common = all.into_iter().find(|one| *one.gvk().kind == *kind);
    Some(common.unwrap_or_else(|| Kind::Workload(Gvk::of(text("apiVersion"), Some(kind)))))
}
