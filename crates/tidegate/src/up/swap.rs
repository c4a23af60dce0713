//! Model swap: who gives up its GPUs to whom.

use std::sync::Arc;

use tidegate_core::route::Demand;
use tidegate_core::time::{Span, Time};
use tidegate_local::status::{State, Status};
use tidegate_local::swap::{Candidate, choose};
use tidegate_local::unit::Unit;

use super::fleet::requests;

/// What is known of a target's use.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    pub(crate) unit: Unit,
    pub(crate) demand: Demand,
    pub(crate) min: u32,
    /// When it last had anything in flight or waiting.
    pub(crate) last_used: Time,
}

/// One target is to give up replicas to another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Handover {
    pub(crate) from: Arc<str>,
    pub(crate) to: Arc<str>,
    pub(crate) replicas: u32,
    pub(crate) idle: Span,
}

/// What is to be handed over, and who waits in vain, with the reason.
#[derive(Debug, Default)]
pub(crate) struct Handovers {
    pub(crate) now: Vec<Handover>,
    pub(crate) refused: Vec<(Arc<str>, String)>,
}

/// The handovers that let a target run whose requests wait for a GPU; none while one is under way, because
/// what it frees may be enough.
pub(crate) fn handovers(now: Time, uses: &[Use], status: &Status) -> Handovers {
    let mut found = Handovers::default();
    let replicas = || status.targets.iter().flat_map(|target| &target.replicas);
    let under_way = replicas().any(|replica| replica.state.is_leaving() && !replica.gpus.is_empty());
    if under_way {
        return found;
    }
    let free = status.gpus.iter().filter(|gpu| gpu.holder.is_none()).count() as u32;
    for wanting in uses.iter().filter(|used| used.demand.waiting > 0) {
        let Some(target) = status.target(&wanting.unit.target) else { continue };
        // One that runs or starts will answer; a second is no reason to take another model's only one.
        let served = target.replicas.iter().any(|replica| replica.state.runs());
        let stuck = target.replicas.iter().any(|replica| matches!(replica.state, State::Pending { .. }));
        let missing = wanting.unit.template.gpus.saturating_sub(free);
        if served || !stuck || missing == 0 {
            continue;
        }
        let others = uses.iter().filter(|other| other.unit.target != wanting.unit.target);
        let candidates: Vec<Candidate> = others.filter_map(|other| candidate(other, status)).collect();
        match choose(now, missing, &candidates) {
            Ok(chosen) => {
                found.now = chosen
                    .into_iter()
                    .map(|one| Handover {
                        idle: idle(now, uses, &one.target),
                        from: one.target,
                        to: Arc::clone(&wanting.unit.target),
                        replicas: one.replicas,
                    })
                    .collect();
                return found;
            }
            Err(refusal) => found.refused.push((Arc::clone(&wanting.unit.target), refusal.to_string())),
        }
    }
    found
}

fn idle(now: Time, uses: &[Use], target: &Arc<str>) -> Span {
    let used = uses.iter().find(|used| used.unit.target == *target);
    used.map_or(Span::ZERO, |used| now.since(used.last_used))
}

fn candidate(used: &Use, status: &Status) -> Option<Candidate> {
    let target = status.target(&used.unit.target)?;
    let residence = i64::try_from(used.unit.min_residence.as_micros()).unwrap_or(i64::MAX);
    Some(Candidate {
        target: Arc::clone(&used.unit.target),
        idle_since: (requests(used.demand) == 0).then_some(used.last_used),
        replicas: target.replicas.iter().filter(|replica| !replica.gpus.is_empty()).count() as u32,
        min: used.min,
        preemptible: used.unit.preemptible,
        min_residence: Span::from_micros(residence),
        resident_since: target.resident_since?,
        gpus_per_replica: used.unit.template.gpus,
    })
}
