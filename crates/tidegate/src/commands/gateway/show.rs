//! What the pages show of a gateway: its targets and their pods, as far as it sees them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use tidegate_dashboard::model::{Fleet, ReplicaState, ReplicaView, TargetView};
use tidegate_gateway::{EndpointViewNamed, Gateway};
use tidegate_kube::demand::client::Links;
use tidegate_kube::routes::{Route, Table};

use super::scrape::Scrapes;
use crate::up::show::{Counted, Notes, count_up, flow};

/// Targets shown on pages; metrics have all.
const SHOWN_MAX: usize = 500;

/// Everything, now.
pub(super) fn fleet(
    gateway: &Gateway,
    scrapes: &Scrapes,
    table: &Table,
    notes: &Notes,
    counted: &mut BTreeMap<Arc<str>, Counted>,
) -> Fleet {
    let now = gateway.clock().now().as_secs_f64();
    counted.retain(|name, _| table.contains_key(name));
    let mut targets = Vec::new();
    let all = gateway.view();
    let hidden = all.len().saturating_sub(SHOWN_MAX) as u32;
    for traffic in all.into_iter().take(SHOWN_MAX) {
        let route = table.get(&traffic.name);
        let count = |draining: bool| {
            let all = traffic.endpoints.iter().filter(|endpoint| endpoint.draining == draining);
            u32::try_from(all.count()).unwrap_or(u32::MAX)
        };
        let mut view = TargetView {
            name: traffic.name.to_string(),
            models: traffic.models.clone(),
            policy: policy(route.map(|route| &**route)).to_owned(),
            // How many there should be is the operator's to say.
            wanted: count(false),
            ready: count(false),
            draining: count(true),
            replicas: traffic.endpoints.iter().map(|one| replica(scrapes, &traffic.name, one)).collect(),
            ..TargetView::default()
        };
        flow(&mut view, &traffic, now);
        let before = counted.get(&traffic.name).copied().unwrap_or_default();
        let after = count_up(before, &view, Some(&traffic), now);
        view.requests_per_s = Some(after.requests_per_s);
        view.tokens_per_s = Some(after.tokens_per_s);
        counted.insert(Arc::clone(&traffic.name), after);
        targets.push(view);
    }
    Fleet {
        at_unix_s: now,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gateway_addr: Some(gateway.addr().to_string()),
        targets,
        hidden,
        notes: notes.list(),
        ..Fleet::default()
    }
}

/// Who says how many there are: a ScaledObject by its triggers or by policy `slo`, or nobody.
fn policy(route: Option<&Route>) -> &'static str {
    match route {
        Some(Route { key: Some(_), ttft: Some(_), .. }) => "slo",
        Some(Route { key: Some(_), .. }) => "keda",
        _ => "fixed",
    }
}

fn replica(scrapes: &Scrapes, target: &Arc<str>, endpoint: &EndpointViewNamed) -> ReplicaView {
    ReplicaView {
        id: endpoint.replica.to_string(),
        state: if endpoint.draining { ReplicaState::Draining } else { ReplicaState::Ready },
        addr: Some(endpoint.addr.to_string()),
        in_flight: endpoint.view.in_flight,
        tokens: endpoint.view.tokens,
        kv_use: scrapes.kv_use(&(Arc::clone(target), Arc::clone(&endpoint.replica))),
        ..ReplicaView::default()
    }
}

/// How the links to operators stand, as metrics.
pub(super) fn links(links: &Links, out: &mut String) {
    let mut one = |name: &str, help: &str, value: usize| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    };
    one("tidegate_gateway_operators_told", "Operators that are told what is asked for", links.up.len());
    one(
        "tidegate_gateway_operators_away",
        "Operators, or their name, that are not reached",
        links.down.len(),
    );
}
