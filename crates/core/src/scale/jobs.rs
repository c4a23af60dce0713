//! How many jobs a ScaledJob creates.
//!
//! Follows KEDA 2.20 `pkg/scaling/scaledjob/metrics.go` and `pkg/scaling/executor/scale_jobs.go`. A job
//! is created for work and ends by itself, so there is no descent, no window and no rate: only how much
//! of the backlog the jobs that run already account for, which is what the four strategies differ in.
//!
//! One difference, on purpose. When the running jobs cannot be counted KEDA takes them for none and may
//! create too many; here nothing is created before the first count, and what was created counts until the
//! next.
//!
//! A tick is one poll, as KEDA's: the arithmetic has no memory of its own. A job that has just started
//! has not taken its work yet, and every strategy but the default one would ask for the same backlog again
//! at the next tick, so a driver ticks a ScaledJob once a `pollingInterval` and not each second.

use alloc::string::String;
use alloc::vec::Vec;

use super::decision::{Because, Conditions, Rule, Status, Trace};
use super::observe::{Fleet, Job, Phase};
use super::signals::{Amount, Resolved};
use super::spec::{Combine, Goal, Jobs, Metric, Spec, Strategy};
use crate::units::ceil_replicas;

/// One trigger's backlog.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Queue {
    /// Whether the trigger is active.
    pub active: bool,
    /// What waits.
    pub length: f64,
    /// How much of it one job takes.
    pub per_job: f64,
}

/// Several triggers as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backlog {
    /// Whether there is work.
    pub active: bool,
    /// What waits, rounded up.
    pub queue: u32,
    /// Jobs it asks for, no more than there is room for.
    pub jobs: u32,
}

/// Jobs that exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not finished.
    pub running: u32,
    /// Of those, not started.
    pub pending: u32,
}

/// Counts jobs. A job is pending until a pod of it runs (or has succeeded); with `conditions`, until
/// some pod of it has all of them.
#[must_use]
pub fn count(jobs: &[Job], conditions: &[String]) -> Counts {
    let unfinished: Vec<&Job> = jobs.iter().filter(|job| !job.finished).collect();
    let started = |job: &&&Job| {
        job.pods.iter().any(|pod| {
            if conditions.is_empty() {
                matches!(pod.phase, Phase::Running | Phase::Succeeded)
            } else {
                conditions.iter().all(|wanted| pod.conditions.contains(wanted))
            }
        })
    };
    let pending = unfinished.iter().filter(|job| !started(job)).count() as u32;
    Counts { running: unfinished.len() as u32, pending }
}

/// Room above the minimum: what the backlog may ask for.
#[must_use]
pub fn room(min: u32, max: u32) -> u32 {
    if min > max { max } else { max - min }
}

/// Several triggers as one; only active ones count.
#[must_use]
pub fn combine(queues: &[Queue], how: Combine, min: u32, max: u32) -> Backlog {
    let room = room(min, max);
    let jobs_of = |queue: &Queue| {
        let jobs = if queue.per_job == 0.0 { 0.0 } else { queue.length / queue.per_job };
        if jobs < f64::from(room) { jobs } else { f64::from(room) }
    };
    let active: Vec<&Queue> = queues.iter().filter(|queue| queue.active).collect();
    let (mut length, mut jobs, mut any) = (0.0_f64, 0.0_f64, !active.is_empty());
    match how {
        Combine::Max => {
            for queue in &active {
                if queue.length > length {
                    (length, jobs) = (queue.length, jobs_of(queue));
                }
            }
            any = length > 0.0;
        }
        Combine::Min => {
            for queue in &active {
                if length == 0.0 || queue.length < length {
                    (length, jobs) = (queue.length, jobs_of(queue));
                }
            }
        }
        Combine::Avg | Combine::Sum => {
            for queue in &active {
                length += queue.length;
                jobs += jobs_of(queue);
            }
            if how == Combine::Avg && !active.is_empty() {
                length /= active.len() as f64;
                jobs /= active.len() as f64;
            }
        }
    }
    let jobs = if jobs < f64::from(room) { jobs } else { f64::from(room) };
    Backlog { active: any || min > 0, queue: ceil_replicas(length), jobs: ceil_replicas(jobs) }
}

/// What a strategy permits and what it aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permitted {
    /// New jobs at the most; may be negative.
    pub jobs: i64,
    /// New jobs aimed at.
    pub aim: i64,
}

/// New jobs by strategy. `running` is what runs above the minimum, `room` the most above it.
#[must_use]
pub fn permit(strategy: Strategy, jobs: u32, running: i64, pending: u32, room: u32, aim: u32) -> Permitted {
    let (jobs, pending, room, aim) = (i64::from(jobs), i64::from(pending), i64::from(room), i64::from(aim));
    match strategy {
        Strategy::Default => Permitted { jobs: jobs - running, aim },
        Strategy::Custom { deduction, running_fraction } => {
            let covered = libm::trunc(running as f64 * running_fraction) as i64;
            Permitted { jobs: (jobs - i64::from(deduction) - covered).min(room), aim }
        }
        Strategy::Accurate if jobs + running - pending > room => Permitted { jobs: room - running, aim },
        Strategy::Accurate => Permitted { jobs: jobs - pending, aim },
        Strategy::Eager => Permitted { jobs: (room - running - pending).min(jobs), aim: room },
    }
}

impl Strategy {
    /// As the manifest spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Strategy::Default => "default",
            Strategy::Custom { .. } => "custom",
            Strategy::Accurate => "accurate",
            Strategy::Eager => "eager",
        }
    }
}

impl Combine {
    /// As the manifest spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Combine::Max => "max",
            Combine::Min => "min",
            Combine::Avg => "avg",
            Combine::Sum => "sum",
        }
    }
}

/// Jobs to create now, whether there is work, and what is to be said of both.
pub(crate) fn decide(
    spec: &Spec,
    how: &Jobs,
    resolved: &Resolved,
    fleet: Fleet,
    trace: &mut Trace,
    conditions: &mut Conditions,
) -> (u32, bool) {
    // A trigger that cannot be read is left out, as upstream: the others' backlog is real.
    let queues: Vec<Queue> = spec
        .signals
        .iter()
        .zip(&resolved.amounts)
        .filter_map(|(signal, amount)| match (amount, &signal.metric) {
            (
                Amount::Read { published, active, .. },
                Metric::External(Goal::AverageValue(target) | Goal::Value(target)),
            ) => Some(Queue { active: *active, length: published.as_f64(), per_job: target.as_f64() }),
            _ => None,
        })
        .collect();
    let (created, active) = create(how, (spec.min, spec.max), &queues, fleet, trace);
    conditions.active = Some(match active {
        true => (Status::True, "ScalerActive"),
        false => (Status::False, "ScalerNotActive"),
    });
    conditions.paused = Some(match how.paused {
        true => (Status::True, "ScaledJobPaused"),
        false => (Status::False, "ScaledJobUnpaused"),
    });
    conditions.ready = Some(match (resolved.failed && !how.paused, active) {
        (false, _) => (Status::True, "ScaledJobReady"),
        (true, true) => (Status::Unknown, "PartialTriggerError"),
        (true, false) => (Status::False, "TriggerError"),
    });
    (created, active)
}

/// Jobs to create now. `fleet.spec` is what runs, `fleet.starting` what is pending of it.
pub(crate) fn create(
    spec: &Jobs,
    (min, max): (u32, u32),
    queues: &[Queue],
    fleet: Fleet,
    trace: &mut Trace,
) -> (u32, bool) {
    let (running, pending) = (fleet.spec, fleet.starting);
    // `min` above `max` counts as `max`, as upstream.
    let floor = min.min(max);
    if spec.paused {
        trace.settle(Rule::Paused, running, running, Because::Paused);
        return (0, false);
    }
    let backlog = combine(queues, spec.combine, min, max);
    let signals = queues.iter().filter(|queue| queue.active).count() as u32;
    let because = Because::Backlog {
        queue: f64::from(backlog.queue),
        per_job: f64::from(backlog.jobs),
        combine: spec.combine.name(),
        signals,
    };
    trace.propose(Rule::Backlog, running, backlog.jobs, because);
    if !backlog.active {
        return (0, false);
    }
    if running < floor {
        let created = floor - running;
        trace.settle(Rule::Min, running, floor, Because::JobsBelowMin { min: floor, running });
        return (created, true);
    }
    let above = i64::from(running) - i64::from(floor);
    let permitted = permit(spec.strategy, backlog.jobs, above, pending, room(min, max), backlog.queue);
    let created = permitted.jobs.max(0).min(permitted.aim).clamp(0, i64::from(u32::MAX)) as u32;
    let to = running.saturating_add(created);
    let because = Because::JobsCreated {
        strategy: spec.strategy.name(),
        wanted: permitted.jobs,
        running,
        pending,
        created,
    };
    if created > 0 {
        trace.settle(Rule::Strategy, running, to, because);
    } else {
        trace.note(Rule::Strategy, running, because);
    }
    (created, true)
}
