//! Signals that say nothing about how full an engine is: cpu, memory, GPU utilisation.

use tidegate_metrics::dialect::{Engine, Metric, Signal, lookup};

use super::facts::{Facts, Pods, gpus};
use super::prometheus::{Asked, gpu_by_name};
use crate::finding::{Finding, Severity};
use crate::load::Document;
use crate::node::Segment;
use crate::object::Object;
use crate::path;

const INSTEAD: &str = "scale on the requests that wait and run (vllm:num_requests_waiting, \
                       sglang:num_queue_reqs, tgi_queue_size, llamacpp:requests_deferred)";

/// TG111: cpu, memory or GPU utilisation as a reason to add a GPU.
pub(super) fn resource_signal_on_gpu(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for document in &facts.manifests.documents {
        match &document.object {
            Object::ScaledObject(object) => {
                for (index, trigger) in object.spec.triggers.iter().enumerate() {
                    if matches!(trigger.type_.as_str(), "cpu" | "memory") {
                        let container = trigger.metadata.get("containerName").map(String::as_str);
                        let at = path!["spec", "triggers", index, "type"].to_vec();
                        of_resource(facts, document, &trigger.type_, container, &at, findings);
                    }
                }
            }
            Object::HorizontalPodAutoscaler(_) => of_autoscaler(facts, document, findings),
            _ => {}
        }
    }
    for asked in &facts.asked {
        of_query(asked, findings);
    }
}

fn of_resource(
    facts: &Facts<'_>,
    document: &Document,
    resource: &str,
    container: Option<&str>,
    at: &[Segment],
    findings: &mut Vec<Finding>,
) {
    let Some(pods) = facts.pods_of(document) else { return };
    // A sidecar that was named is watched on purpose.
    let watches_gpu = |name: &str| pods.containers().any(|(_, found)| found.name == name && gpus(found) > 0);
    if pods.gpus() == 0 || container.is_some_and(|name| !name.is_empty() && !watches_gpu(name)) {
        return;
    }
    let why = match resource {
        "cpu" => "an engine keeps its cores busy whether its batch holds one request or a hundred",
        _ => "an engine takes its memory when it starts and keeps it, whatever the load",
    };
    let message = format!("{resource} decides how many GPU pods run ({}): {why}", held(&pods));
    findings.push(document.finding("TG111", Severity::Warning, at, message, INSTEAD));
}

fn held(pods: &Pods<'_>) -> String {
    match pods.gpus() {
        1 => "1 GPU each".to_owned(),
        gpus => format!("{gpus} GPUs each"),
    }
}

fn of_autoscaler(facts: &Facts<'_>, document: &Document, findings: &mut Vec<Finding>) {
    let Object::HorizontalPodAutoscaler(object) = &document.object else { return };
    for (index, metric) in object.spec.iter().flat_map(|spec| spec.metrics.iter().flatten()).enumerate() {
        let at = |rest: &[Segment]| [path!["spec", "metrics", index], rest].concat();
        if let Some(source) = &metric.resource {
            let at = at(path!["resource", "name"]);
            of_resource(facts, document, &source.name, None, &at, findings);
        }
        if let Some(source) = &metric.container_resource {
            let at = at(path!["containerResource", "name"]);
            of_resource(facts, document, &source.name, Some(&source.container), &at, findings);
        }
        let named = [
            ("pods", metric.pods.as_ref().map(|source| &source.metric.name)),
            ("object", metric.object.as_ref().map(|source| &source.metric.name)),
            ("external", metric.external.as_ref().map(|source| &source.metric.name)),
        ];
        for (kind, name) in named {
            if let Some(name) = name.filter(|name| of_gpu(name)) {
                let at = at(path![kind, "metric", "name"]);
                findings.push(document.finding("TG111", Severity::Warning, &at, about(name), INSTEAD));
            }
        }
    }
}

fn of_query(asked: &Asked<'_>, findings: &mut Vec<Finding>) {
    let Ok(query) = &asked.query else { return };
    if let Some(name) = query.metric_names().into_iter().find(|name| of_gpu(name)) {
        findings.push(asked.finding("TG111", Severity::Warning, about(name), INSTEAD));
    }
}

fn about(name: &str) -> String {
    let name_lower = name.to_ascii_lowercase();
    if ["mem", "fb_"].iter().any(|part| name_lower.contains(part)) && !name_lower.contains("mem_copy") {
        format!(
            "{name} is flat: an engine takes its GPU memory when it starts and keeps it, whatever the load"
        )
    } else {
        format!(
            "{name} says that a kernel ran, not how full the batch is: one request alone shows nearly 100 %"
        )
    }
}

/// Whether a metric is a GPU's activity or memory. Tensor and memory-bandwidth activity do follow the load.
fn of_gpu(name: &str) -> bool {
    const FOLLOWS_LOAD: &[&str] = &["PIPE_", "SM_ACTIVE", "SM_OCCUPANCY", "DRAM_ACTIVE"];
    let useless = |metric: &Metric| {
        matches!(metric.signal, Some(Signal::GpuUse | Signal::GpuMemory))
            && metric.engine != Engine::Sglang
            && !FOLLOWS_LOAD.iter().any(|part| metric.name.contains(part))
    };
    match lookup(name) {
        Some(metric) => useless(metric),
        None => Engine::of_metric(name).is_none() && gpu_by_name(name),
    }
}
