//! What pages and pickers of victims see of a gateway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_core::route::{Demand, EndpointId, EndpointState, EndpointView};

use crate::desk::Held;
use crate::stats::Latency;
use crate::table::Target;
use crate::worker::Shared;

/// Held requests listed for one target; their number is in `demand`.
const HELD_MAX: usize = 100;

/// A replica with its name.
#[derive(Clone, Debug)]
pub struct EndpointViewNamed {
    /// Its number here.
    pub endpoint: EndpointId,
    /// Its name.
    pub replica: Arc<str>,
    /// Its address.
    pub addr: SocketAddr,
    /// It finishes what it has, and leaves.
    pub draining: bool,
    /// What it has to do.
    pub view: EndpointView,
}

/// One target.
#[derive(Clone, Debug)]
pub struct TargetView {
    /// Its name.
    pub name: Arc<str>,
    /// The models it serves.
    pub models: Vec<String>,
    /// What it is asked for now.
    pub demand: Demand,
    /// Its replicas that take requests or drain.
    pub endpoints: Vec<EndpointViewNamed>,
    /// Who waits, the longest first; at most 100.
    pub held: Vec<Held>,
    /// Time to the first token of streams, from arrival: the wait for a replica is in it.
    pub ttft: Latency,
    /// Time between two tokens of streams.
    pub itl: Latency,
    /// Time to the end of whole answers.
    pub e2e: Latency,
    /// Time spent waiting here, of those who waited.
    pub hold: Latency,
    /// Requests by what the client got: an HTTP status; 499 for one that left first, 502 for a broken stream.
    pub requests: BTreeMap<u16, u64>,
    /// Prompt tokens, as engines counted them.
    pub tokens_in: u64,
    /// Tokens written.
    pub tokens_out: u64,
    /// Requests that waited for a first replica.
    pub cold_starts: u64,
    /// Attempts that were repeated elsewhere.
    pub retries: u64,
    /// Streams an engine left unfinished.
    pub broken_streams: u64,
}

pub(crate) fn all(shared: &Shared) -> Vec<TargetView> {
    shared.table.load().targets.iter().map(|target| one(shared, target)).collect()
}

fn one(shared: &Shared, target: &Target) -> TargetView {
    let (desk, stats) = (&shared.desk, &target.stats);
    let endpoints = desk
        .endpoints(target.id)
        .into_iter()
        .map(|(endpoint, state, view)| EndpointViewNamed {
            endpoint: endpoint.id,
            replica: endpoint.replica.clone(),
            addr: endpoint.addr,
            draining: state == EndpointState::Draining,
            view,
        })
        .collect();
    let [ttft, itl, e2e, hold] = stats.latencies();
    TargetView {
        name: target.config.name.clone(),
        models: target.models().map(str::to_owned).collect(),
        demand: desk.demand(target.id),
        endpoints,
        held: desk.held(target.id, HELD_MAX),
        ttft,
        itl,
        e2e,
        hold,
        requests: stats.times().codes.clone(),
        tokens_in: stats.prompt_tokens.load(Ordering::Relaxed),
        tokens_out: stats.output_tokens.load(Ordering::Relaxed),
        cold_starts: stats.cold_starts.load(Ordering::Relaxed),
        retries: stats.retries.load(Ordering::Relaxed),
        broken_streams: stats.broken_streams.load(Ordering::Relaxed),
    }
}
