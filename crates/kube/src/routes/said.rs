//! What is written about a target: on its ScaledObject first, then on its pods.

use serde_json::Value;
use tidegate_core::slo::Objective;
use tidegate_core::time::Span;
use tidegate_manifest::duration;

use super::text;
use crate::index::workload::Workload;
use crate::object::Object;

/// The annotation with model names.
pub const MODEL: &str = "tidegate.dev/model";

/// Models of one target: an engine with more adapters is asked by few.
const MODELS_MAX: usize = 256;

/// Bytes of a model's name.
const MODEL_BYTES_MAX: usize = 256;

/// An annotation of the ScaledObject, or else of the pod template.
#[must_use]
pub fn annotation<'a>(scaler: Option<&'a Object>, workload: &'a Workload, name: &str) -> Option<&'a str> {
    let of_pods = || workload.template.as_ref()?.pointer("/metadata/annotations")?.get(name)?.as_str();
    scaler.and_then(|scaler| scaler.annotation(name)).or_else(of_pods)
}

/// The models that somebody wrote: in the annotation, or else in the pods' label `model`.
#[must_use]
pub fn models(scaler: Option<&Object>, workload: &Workload) -> Vec<String> {
    let label = || text(workload.template.as_ref()?, "/metadata/labels/model");
    let written = annotation(scaler, workload, MODEL).or_else(label).unwrap_or_default();
    names(written.split(','))
}

/// Model names without blanks, doubles, and what no client would ask for.
pub fn names<'a>(all: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in all.map(str::trim).filter(|name| !name.is_empty() && name.len() <= MODEL_BYTES_MAX) {
        if names.len() < MODELS_MAX && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// What a ScaledObject of policy `slo` promises for a first token; none of another policy.
#[must_use]
pub fn ttft(scaler: &Object) -> Option<Span> {
    let slo = scaler.annotation("tidegate.dev/policy") == Some("slo");
    let said = || scaler.annotation("tidegate.dev/slo-ttft").and_then(positive);
    slo.then(|| said().unwrap_or(Objective::default().ttft))
}

/// A duration above zero.
#[must_use]
pub fn positive(text: &str) -> Option<Span> {
    duration::parse(text.trim()).ok().filter(|span| span.as_micros() > 0)
}

/// The words of all containers' commands and arguments.
#[must_use]
pub fn command(workload: &Workload) -> Vec<String> {
    let containers = workload.template.as_ref().and_then(|template| template.pointer("/spec/containers"));
    let containers = containers.and_then(Value::as_array).into_iter().flatten();
    let words = containers.flat_map(|container| ["command", "args"].map(|field| container.get(field)));
    let words = words.flatten().filter_map(Value::as_array).flatten();
    words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

/// The image of the first container.
#[must_use]
pub fn image(workload: &Workload) -> Option<String> {
    text(workload.template.as_ref()?, "/spec/containers/0/image").map(str::to_owned)
}
