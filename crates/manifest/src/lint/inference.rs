//! Whether a target serves a model.

use super::facts::{Facts, Pods, engine};
use super::prometheus::Asked;
use crate::load::Document;

/// What is known of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serves {
    /// Its pods run an engine or ask for a GPU, or what scales it says so.
    Model,
    /// Its pods are in the files and do neither.
    Other,
    /// Its pods are not in the files.
    Unknown,
}

/// What an autoscaler's target serves, by its pods or, without them, by what is asked about it.
pub(super) fn serves(facts: &Facts<'_>, scaler: &Document) -> Serves {
    let said = scaler.annotation("tidegate.dev/model").is_some()
        || facts.asked_of(scaler).iter().any(Asked::reads_engine);
    match facts.pods_of(scaler) {
        _ if said => Serves::Model,
        None => Serves::Unknown,
        Some(pods) if is_server(&pods) => Serves::Model,
        Some(_) => Serves::Other,
    }
}

fn is_server(pods: &Pods<'_>) -> bool {
    pods.gpus() > 0 || pods.containers().any(|(_, container)| engine(container).is_some())
}
