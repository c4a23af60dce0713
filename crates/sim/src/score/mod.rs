//! How good a policy is: between what nobody can beat and what anybody can do.
//!
//! Four figures of one trace and one objective:
//! - **O1**, fluid: the GPU time the work takes at the best batch there can be, without whole replicas,
//!   without starts. Nothing can be below it.
//! - **O2**, clairvoyant without lead time: whole replicas, a new count every window, chosen with the trace
//!   in hand and checked by the simulator. Not a strict bound: the windows share one rule (see `plan`).
//! - **O3**, clairvoyant with the lead time of a start: O2's replicas, each paid from the moment its start
//!   begins, and kept over a gap that is shorter than a start.
//! - **S**: the least count that, fixed, meets the objective.
//!
//! `score = (policy − O3) / (S − O3)` in GPU hours: 0 is as good as knowing the future, 1 no better than
//! standing still. It compares only policies that meet the objective.

mod fluid;
mod plan;
mod student;

pub use fluid::{Fluid, best_batch};
pub use plan::{Plan, with_lead_time};
pub use student::{Estimate, estimate};

use serde::Serialize;
use tidegate_core::time::{Span, Time};

use crate::cold_start::ColdStart;
use crate::fleet::{self, Outcome, Setup};
use crate::policy::{Fixed, Policy};
use crate::trace::{self, TraceRequest};

/// The requests of a trace, from the beginning.
pub type Requests<'a> = Box<dyn Iterator<Item = Result<TraceRequest, trace::Error>> + 'a>;

/// Opens a trace, as often as it is played.
pub type Open<'a> = dyn Fn() -> Result<Requests<'a>, trace::Error> + 'a;

/// Bounds that could not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A run failed.
    #[error(transparent)]
    Run(#[from] fleet::Error),
    /// The trace is damaged.
    #[error("the trace: {0}")]
    Trace(#[from] trace::Error),
    /// No length of a start was asked about.
    #[error("bounds were asked for no start at all; name at least one")]
    NoStart,
    /// Not even the most replicas meet the objective.
    #[error(
        "{replicas} replicas answer only {percent:.1} % in time, so nothing holds {wanted:.1} %; allow more \
         replicas, scale the trace down or take a longer objective"
    )]
    OutOfReach {
        /// The most allowed.
        replicas: u32,
        /// What they reach, in per cent.
        percent: f64,
        /// What was wanted, in per cent.
        wanted: f64,
    },
}

/// One of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// GPU hours.
    pub gpu_hours: f64,
    /// The share in time, where a run was made.
    pub slo_attainment: Option<f64>,
    /// The most replicas.
    pub replicas_max: Option<u32>,
}

/// The figures of one trace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bounds {
    /// Fluid.
    pub o1: Bound,
    /// Clairvoyant, no lead time.
    pub o2: Bound,
    /// Clairvoyant, with the lead time.
    pub o3: Bound,
    /// The best fixed count.
    pub fixed: Bound,
}

impl Bounds {
    /// The score of a policy's GPU hours; `None` where standing still costs no more than O3.
    #[must_use]
    pub fn score(&self, gpu_hours: f64) -> Option<f64> {
        let room = self.fixed.gpu_hours - self.o3.gpu_hours;
        (room > 1e-9).then(|| (gpu_hours - self.o3.gpu_hours) / room)
    }
}

/// How finely O2's one setting is searched: 2^-8 of its range, so to less than a hundredth of a replica's time.
const HALVINGS: u32 = 8;

/// Finds the figures: `attainment` is the share that must be in time, `window` how often O2 may change its
/// count. Plays the trace a dozen times or two.
///
/// # Errors
/// See [`Error`].
pub fn bounds(
    setup: &Setup,
    open: &Open<'_>,
    attainment: f64,
    window: Span,
    progress: &mut dyn FnMut(fleet::Progress),
) -> Result<Bounds, Error> {
    let found = bounds_at(setup, open, attainment, &[window], &[setup.start], progress)?;
    found.into_iter().next().ok_or(Error::NoStart)
}

/// The same for several lengths of a start, which only O3 depends on, and several windows, of which O2 and O3 each have
/// the one that serves them best: where requests are of uneven length, a count that follows ten seconds of them
/// chases noise.
///
/// # Errors
/// See [`Error`].
pub fn bounds_at(
    setup: &Setup,
    open: &Open<'_>,
    attainment: f64,
    windows: &[Span],
    starts: &[ColdStart],
    progress: &mut dyn FnMut(fleet::Progress),
) -> Result<Vec<Bounds>, Error> {
    let mut run = |setup: &Setup, policy: &mut dyn Policy| -> Result<Outcome, Error> {
        Ok(fleet::run(setup, open()?, policy, progress)?)
    };
    let (fixed, best) = least_fixed(setup, attainment, &mut run)?;
    // Replicas appear where they are wanted, at once: that is what O2 means.
    let at_once = Setup { start: ColdStart::NONE, start_spread: 0.0, initial: best, ..setup.clone() };
    let gpus = f64::from(setup.profile.gpus);
    let mut o1 = Bound { gpu_hours: 0.0, slo_attainment: None, replicas_max: None };
    let mut found: Vec<(Outcome, Plan, Time)> = Vec::new();
    for window in windows {
        let fluid = Fluid::of(&setup.profile, open, *window)?;
        o1.gpu_hours = fluid.replica_s * gpus / 3_600.0;
        let clairvoyant = clairvoyant(&at_once, &fluid, attainment, &mut run)?;
        found.extend(clairvoyant.map(|(outcome, plan)| (outcome, plan, Time::ORIGIN + fluid.span)));
    }
    let bound = |outcome: &Outcome| Bound {
        gpu_hours: outcome.gpu_hours,
        slo_attainment: Some(outcome.slo_attainment),
        replicas_max: Some(outcome.replicas_max),
    };
    let fixed = bound(&fixed);
    // Where no plan is good enough or cheaper, the fixed count is the best that is known.
    let least = |bounds: Vec<Bound>| {
        let best = bounds.into_iter().min_by(|a, b| a.gpu_hours.total_cmp(&b.gpu_hours));
        best.filter(|best| best.gpu_hours < fixed.gpu_hours).unwrap_or(fixed)
    };
    let o2 = least(found.iter().map(|(outcome, ..)| bound(outcome)).collect());
    let at = |start: &ColdStart| {
        let lead = Span::try_from_secs_f64(start.total_s()).unwrap_or(Span::ZERO);
        let with_lead = found.iter().map(|(outcome, plan, end)| {
            // What leads and bridges cost beyond what O2 pays; its drains are in O2's own figure.
            let more_s =
                with_lead_time(plan.steps(), *end, lead) - with_lead_time(plan.steps(), *end, Span::ZERO);
            Bound { gpu_hours: outcome.gpu_hours + more_s * gpus / 3_600.0, ..bound(outcome) }
        });
        Bounds { o1, o2, o3: least(with_lead.collect()), fixed }
    };
    Ok(starts.iter().map(at).collect())
}

/// The plan that uses replicas the most and still meets the objective; `None` where the least use does not.
fn clairvoyant(
    at_once: &Setup,
    fluid: &Fluid,
    attainment: f64,
    run: &mut Run<'_>,
) -> Result<Option<(Outcome, Plan)>, Error> {
    let (mut low, mut high) = (0.02, 1.5);
    let mut found = None;
    for _ in 0..HALVINGS {
        let use_of_it = (low + high) / 2.0;
        let plan = Plan::of(fluid, use_of_it, at_once.max);
        let setup = Setup { initial: plan.first(), ..at_once.clone() };
        let outcome = run(&setup, &mut plan.clone())?;
        if outcome.slo_attainment >= attainment {
            low = use_of_it;
            found = Some((outcome, plan));
        } else {
            high = use_of_it;
        }
    }
    Ok(found)
}

type Run<'r> = dyn FnMut(&Setup, &mut dyn Policy) -> Result<Outcome, Error> + 'r;

/// The least count that, fixed, meets the objective: doubled until it does, then halved.
fn least_fixed(setup: &Setup, attainment: f64, run: &mut Run<'_>) -> Result<(Outcome, u32), Error> {
    let mut try_it = |replicas: u32| {
        let setup = Setup { initial: replicas, ..setup.clone() };
        run(&setup, &mut Fixed::new(replicas))
    };
    let (mut bad, mut good) = (0, 1);
    let mut best = loop {
        let outcome = try_it(good)?;
        if outcome.slo_attainment >= attainment {
            break outcome;
        }
        if good == setup.max {
            let (percent, wanted) = (outcome.slo_attainment * 100.0, attainment * 100.0);
            return Err(Error::OutOfReach { replicas: good, percent, wanted });
        }
        bad = good;
        good = (good * 2).min(setup.max);
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        let outcome = try_it(middle)?;
        if outcome.slo_attainment >= attainment {
            (good, best) = (middle, outcome);
        } else {
            bad = middle;
        }
    }
    Ok((best, good))
}
