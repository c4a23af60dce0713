//! What the pages show of a gateway: its targets and their pods, as far as it sees them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use tidegate_dashboard::brief::Brief;
use tidegate_dashboard::model::{Fleet, ReplicaState, ReplicaView, TargetView};
use tidegate_gateway::{EndpointViewNamed, Gateway, TargetView as Traffic};
use tidegate_kube::demand::client::Links;
use tidegate_kube::routes::{Route, Table};

use super::scrape::Scrapes;
use crate::up::show::{Counted, Notes, count_up, flow};

/// Targets with a card on the fleet's page; the others are found by name, and are in the metrics.
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
    let mut all = gateway.view();
    let rest: Arc<[Brief]> = all.drain(SHOWN_MAX.min(all.len())..).map(|traffic| brief(&traffic)).collect();
    for traffic in all {
        let route = table.get(&traffic.name);
        let count = |draining| count(&traffic, draining);
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
        hidden: rest.len() as u32,
        rest,
        notes: notes.list(),
        ..Fleet::default()
    }
}

fn count(traffic: &Traffic, draining: bool) -> u32 {
    let all = traffic.endpoints.iter().filter(|endpoint| endpoint.draining == draining);
    u32::try_from(all.count()).unwrap_or(u32::MAX)
}

/// One without a card.
fn brief(traffic: &Traffic) -> Brief {
    let ready = count(traffic, false);
    let demand = &traffic.demand;
    Brief {
        name: Arc::clone(&traffic.name),
        wanted: ready,
        ready,
        waiting: demand.waiting,
        in_flight: demand.in_flight,
        tokens: demand.waiting_tokens + demand.in_flight_tokens,
        ..Brief::default()
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
