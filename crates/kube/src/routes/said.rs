//! What is written about a target: on its ScaledObject first, then on its pods.

use serde_json::Value;
use tidegate_core::slo::Objective;
use tidegate_core::time::Span;
use tidegate_manifest::duration;

use crate::index::Text;
use crate::index::workload::Workload;
use crate::object::Object;

/// The annotation with model names.
pub const MODEL: &str = "tidegate.dev/model";

/// Models of one target: an engine with more adapters is asked by few.
const MODELS_MAX: usize = 256;

/// Bytes of a model's name.
const MODEL_BYTES_MAX: usize = 256;

/// What is written about one target.
#[derive(Debug)]
pub struct Written<'a> {
    scaler: Option<&'a Object>,
    template: Value,
}

impl<'a> Written<'a> {
    /// Of a workload, and the ScaledObject that scales it.
    #[must_use]
    pub fn of(scaler: Option<&'a Object>, workload: &Workload) -> Self {
        Written { scaler, template: workload.template.as_ref().map(Text::open).unwrap_or_default() }
    }

    /// An annotation of the ScaledObject, or else of the pod template.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        let of_pods = || self.template.pointer("/metadata/annotations")?.get(name)?.as_str();
        self.scaler.and_then(|scaler| scaler.annotation(name)).or_else(of_pods)
    }

    /// The models that somebody wrote: in the annotation, or else in the pods' label `model`.
    #[must_use]
    pub fn models(&self) -> Vec<String> {
        let label = || self.text("/metadata/labels/model");
        names(self.annotation(MODEL).or_else(label).unwrap_or_default().split(','))
    }

    /// What a ScaledObject of policy `slo` promises for a first token; none of another policy.
    #[must_use]
    pub fn ttft(&self) -> Option<Span> {
        let scaler = self.scaler.filter(|scaler| scaler.annotation("tidegate.dev/policy") == Some("slo"))?;
        let said = scaler.annotation("tidegate.dev/slo-ttft").and_then(positive);
        Some(said.unwrap_or(Objective::default().ttft))
    }

    /// The words of all containers' commands and arguments.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let containers = self.template.pointer("/spec/containers").and_then(Value::as_array);
        let words = containers
            .into_iter()
            .flatten()
            .flat_map(|container| ["command", "args"].map(|field| container.get(field)));
        let words = words.flatten().filter_map(Value::as_array).flatten();
        words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    }

    /// The image of the first container.
    #[must_use]
    pub fn image(&self) -> Option<String> {
        self.text("/spec/containers/0/image").map(str::to_owned)
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.template.pointer(pointer).and_then(Value::as_str)
    }
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

/// A duration above zero.
#[must_use]
pub fn positive(text: &str) -> Option<Span> {
    duration::parse(text.trim()).ok().filter(|span| span.as_micros() > 0)
}
