//! Where pods listen: EndpointSlices, read to one address a pod.
//!
//! Several Services may hold a pod, and a Service may have several ports. The port that is named as one that
//! serves wins, then a Service's only one, then any that is not named as one of metrics; among equals the
//! first Service by name.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde_json::Value;

use super::Endpoint;
use crate::object::Object;

/// Names of ports that take requests.
const SERVING: [&str; 6] = ["http", "api", "openai", "serving", "web", "http1"];

/// What names of other ports hold.
const OTHER: [&str; 5] = ["metric", "prom", "grpc", "health", "admin"];

/// By pod, where it listens and whether it takes anything new.
pub fn endpoints<'a>(slices: impl Iterator<Item = &'a Object>) -> BTreeMap<Arc<str>, Endpoint> {
    let mut best: BTreeMap<Arc<str>, (u8, &str, Endpoint)> = BTreeMap::new();
    for slice in slices {
        let service = slice.text("/metadata/labels/kubernetes.io~1service-name").unwrap_or_default();
        let Some((rank, port)) = port(slice) else { continue };
        let list = slice.json.get("endpoints").and_then(Value::as_array);
        for endpoint in list.into_iter().flatten() {
            let Some((pod, endpoint)) = read(endpoint, port) else { continue };
            let better = |known: &(u8, &str, Endpoint)| (rank, service) < (known.0, known.1);
            if best.get(&pod).is_none_or(better) {
                best.insert(pod, (rank, service, endpoint));
            }
        }
    }
    best.into_iter().map(|(pod, (_, _, endpoint))| (pod, endpoint)).collect()
}

/// The port of a slice that takes requests, and how sure that is: the less the better.
fn port(slice: &Object) -> Option<(u8, u16)> {
    let all = slice.json.get("ports").and_then(Value::as_array)?;
    let rank = |port: &Value| {
        if port.get("protocol").and_then(Value::as_str).is_some_and(|protocol| protocol != "TCP") {
            return None;
        }
        let number = u16::try_from(port.get("port")?.as_u64()?).ok().filter(|number| *number > 0)?;
        let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
        let rank = match () {
            () if SERVING.contains(&name) => 0,
            () if all.len() == 1 => 1,
            () if !OTHER.iter().any(|other| name.contains(other)) => 2,
            () => 3,
        };
        Some((rank, number))
    };
    // The first as listed among equals.
    all.iter().filter_map(rank).min_by_key(|(rank, _)| *rank)
}

/// The pod of an endpoint, and where it is; `None` for what is no pod's, or neither ready nor leaving.
fn read(endpoint: &Value, port: u16) -> Option<(Arc<str>, Endpoint)> {
    let reference = endpoint.get("targetRef")?;
    if reference.get("kind").and_then(Value::as_str) != Some("Pod") {
        return None;
    }
    let pod = reference.get("name")?.as_str()?;
    // All addresses of an endpoint are of one kind, and only the first means anything; a name is none.
    let addr: IpAddr = endpoint.pointer("/addresses/0")?.as_str()?.parse().ok()?;
    let condition = |name: &str| endpoint.get("conditions").and_then(|all| all.get(name)?.as_bool());
    // What is not said of readiness is to be taken for ready.
    let ready = condition("ready").unwrap_or(true);
    let draining = condition("terminating").unwrap_or(false);
    (ready || draining)
        .then(|| (pod.into(), Endpoint { addr: SocketAddr::new(addr, port), draining, metrics: None }))
}
