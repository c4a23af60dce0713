//! What pods use, as `metrics.k8s.io` tells it: the numbers of `cpu` and `memory` triggers.

use std::collections::BTreeMap;

use http::Request;
use kube::Client;
use serde::Deserialize;
use tidegate_core::scale::Sample;
use tidegate_core::time::{Span, Time};
use tidegate_core::units::Milli;
use tidegate_manifest::{duration, quantity};

use crate::client::ANSWER;
use crate::index::pods::time;
use crate::watch::said;

/// Pods taken of one namespace's list: as many as the index has room for.
const PODS_MAX: usize = 250_000;

/// Containers taken of one pod; Kubernetes' own limits end far below.
const CONTAINERS_MAX: usize = 1000;

/// The window of a sample that does not say its own: the metrics server's.
const WINDOW: Span = Span::from_secs(60);

/// What one pod used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The pod.
    pub pod: String,
    /// When it was measured.
    pub at: Time,
    /// The time that cpu is a mean over.
    pub window: Span,
    /// For each container cpu and memory; `None` where it reports without one.
    containers: BTreeMap<String, [Option<Milli>; 2]>,
}

impl Usage {
    /// The sample of a resource; one that is not measured is missing in every container.
    #[must_use]
    pub fn sample(&self, resource: &str) -> Sample {
        let of = |both: &[Option<Milli>; 2]| match resource {
            "cpu" => both[0],
            "memory" => both[1],
            _ => None,
        };
        Sample {
            pod: self.pod.clone(),
            containers: self.containers.iter().map(|(name, both)| (name.clone(), of(both))).collect(),
            at: self.at,
            window: self.window,
        }
    }
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
    #[serde(default)]
    timestamp: String,
    #[serde(default)]
    window: String,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
struct Container {
    name: String,
    #[serde(default)]
    usage: BTreeMap<String, String>,
}

/// Reads a list of PodMetrics. A pod whose time makes no sense is left out: it counts as one without a
/// sample.
///
/// # Errors
/// When it is no such list.
pub fn parse(text: &str) -> Result<Vec<Usage>, String> {
    let list: List = serde_json::from_str(text)
        .map_err(|error| format!("metrics.k8s.io answers with no list: {error}"))?;
    let usage = list.items.into_iter().take(PODS_MAX).filter_map(|item| {
        let containers = item.containers.into_iter().take(CONTAINERS_MAX).map(|container| {
            let of = |resource: &str| quantity::parse(container.usage.get(resource)?).ok();
            let both = ["cpu", "memory"].map(of);
            (container.name, both)
        });
        Some(Usage {
            at: time(&item.timestamp)?,
            window: duration::parse(&item.window)
                .ok()
                .filter(|window| *window >= Span::ZERO)
                .unwrap_or(WINDOW),
            containers: containers.collect(),
            pod: item.metadata.name,
        })
    });
    Ok(usage.collect())
}

/// What the pods of a namespace use.
///
/// # Errors
/// When nobody serves it, or not now.
pub async fn read(client: &Client, namespace: &str) -> Result<Vec<Usage>, String> {
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
    let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    // While one is awaited the namespace is not asked again.
    let Ok(answer) = tokio::time::timeout(ANSWER, client.request_text(request)).await else {
        return Err(format!("metrics.k8s.io does not answer within {} s", ANSWER.as_secs()));
    };
    match answer {
        Ok(text) => parse(&text),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Err("nobody serves metrics.k8s.io; install metrics-server, or use a prometheus trigger"
                .to_owned())
        }
        Err(kube::Error::Api(status)) if status.code == 403 => Err(format!(
            "metrics.k8s.io may not be read: {}; let the operator list pods of that group",
            status.message
        )),
        Err(error) => Err(format!("metrics.k8s.io does not answer: {}", said(&error))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIST: &str = r#"{"kind": "PodMetricsList", "items": [
        {"metadata": {"name": "a-1", "namespace": "prod"}, "timestamp": "2026-01-01T00:00:10Z", "window": "15.5s",
         "containers": [{"name": "main", "usage": {"cpu": "1500000001n", "memory": "2Ki"}},
                        {"name": "side", "usage": {"cpu": "5m"}}]},
        {"metadata": {"name": "a-2"}, "timestamp": "yesterday", "window": "1s", "containers": []}]}"#;

    #[test]
    fn each_container_has_its_cpu_and_memory_in_thousandths() {
        let usage = parse(LIST).unwrap();
        assert_eq!(usage.len(), 1, "what was measured at no time is left out");
        assert_eq!((usage[0].pod.as_str(), usage[0].window), ("a-1", Span::from_micros(15_500_000)));
        let cpu = usage[0].sample("cpu");
        // Nanocores are rounded up, as Kubernetes does.
        assert_eq!(cpu.containers["main"], Some(Milli(1501)));
        assert_eq!(cpu.containers["side"], Some(Milli(5)));
        let memory = usage[0].sample("memory");
        assert_eq!((memory.containers["main"], memory.containers["side"]), (Some(Milli(2_048_000)), None));
    }

    proptest! {
        #[test]
        fn a_list_with_damage_is_refused_or_read_in_part(at in 0..LIST.len(), letter in any::<char>()) {
            let at = (0..=at).rev().find(|at| LIST.is_char_boundary(*at)).unwrap();
            let damaged = format!("{}{letter}{}", &LIST[..at], &LIST[at..]);
            prop_assert!(parse(&damaged).map_or(0, |usage| usage.len()) <= 2);
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "{\"items\": 3}", "{\"items\": [{}]}", "no json"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("{}"), Ok(Vec::new()));
    }
}
