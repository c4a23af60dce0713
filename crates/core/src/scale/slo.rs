//! Policy `slo` inside the machine: what it observes, its terms as steps, its count as one proposal.
//!
//! It comes after activation (requests wake a target as ever) and before windows, rates and bounds, which bind it
//! like any proposal. The manifest's triggers are not asked for a count while it is sighted, but for schedules: who
//! writes five replicas from eight to ten wants five, whatever is measured.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::decision::{Because, Rule, Trace};
use super::hpa::{Answer, Proposal, Usage};
use super::observe::Fleet;
use super::spec::{Keda, Kind, Spec};
use crate::slo::{By, Load, Objective, Plan, Planner, Standing};
use crate::time::{Span, Time};
use crate::units::Milli;

fn objective(spec: &Spec) -> Option<&Objective> {
    match &spec.kind {
        Kind::ScaledObject(keda) => keda.slo.as_ref(),
        Kind::Autoscaler | Kind::ScaledJob(_) => None,
    }
}

/// Takes what came and what was done; another policy's target remembers nothing of it.
pub(super) fn observe(spec: &Spec, planner: &mut Option<Box<Planner>>, now: Time, load: &Load) {
    if let Some(objective) = objective(spec) {
        planner.get_or_insert_default().observe(now, load, objective);
    }
}

/// Takes how long a start took.
pub(super) fn started(spec: &Spec, planner: &mut Option<Box<Planner>>, took: Span) {
    if objective(spec).is_some() {
        planner.get_or_insert_default().started(took);
    }
}

/// The plan; `None` for another policy, which also forgets what this one has learned.
pub(super) fn plan(keda: &Keda, planner: &mut Option<Box<Planner>>, fleet: Fleet, now: Time) -> Option<Plan> {
    let Some(objective) = &keda.slo else {
        *planner = None;
        return None;
    };
    let standing = Standing { wanted: fleet.spec, ready: fleet.ready, starting: fleet.starting };
    Some(planner.get_or_insert_default().plan(now, standing, objective))
}

/// Every term as a step.
pub(super) fn explain(plan: &Plan, count: u32, min: u32, trace: &mut Trace) {
    let Some(cost) = plan.cost.filter(|_| plan.is_sighted()) else {
        let deaf = if let By::Deaf(silence) = plan.by { Some(silence) } else { None };
        trace.note(Rule::Unsighted, count, Because::Unsighted { deaf });
        return;
    };
    let (prompt, output) = plan.lengths;
    let Plan { arrivals_per_s, request_s, batch, yields, .. } = *plan;
    trace.note(Rule::Work, count, Because::Work { arrivals_per_s, prompt, output, request_s });
    let (prefill_s, output_s) = (cost.prefill_s, cost.output_s(batch));
    trace.note(Rule::Capacity, count, Because::Capacity { batch, prefill_s, output_s, yields });
    let expected = plan.expected;
    let because = Because::Forecast {
        now: expected.now,
        then: expected.then,
        method: expected.method,
        horizon: plan.horizon,
        starts: plan.starts,
    };
    trace.note(Rule::Forecast, count, because);
    let because = Because::Standby { margin: expected.margin, within: plan.within, late: plan.late };
    trace.note(Rule::Standby, count, because);
    if plan.waiting > 0 {
        let because = Because::Waiting { requests: plan.waiting, replicas: plan.backlog, over: plan.horizon };
        trace.note(Rule::Waiting, count, because);
    }
    if min == 0 && count > 0 {
        trace.note(Rule::KeepWarm, count, Because::KeepWarm { stay: plan.stay });
    }
}

/// The count as an autoscaler's metric; `None` where nothing is known of the work.
pub(super) fn answer(plan: &Plan) -> Option<Answer> {
    if !plan.is_sighted() {
        return None;
    }
    let (up, down) = plan.need;
    let work = plan.expected.then.max(plan.expected.now);
    Some(Answer {
        signal: "slo".into(),
        failed_reason: "FailedGetExternalMetric",
        result: Ok(Proposal {
            replicas: plan.replicas,
            within_tolerance: false,
            usage: Usage::amount(Milli::published(work)),
            because: Because::Need { up, down, by: plan.by },
        }),
    })
}

/// The policy's own answer, and those of schedules: the greatest counts, as among any metrics.
pub(super) fn beside_schedules(own: Answer, all: Vec<Answer>, spec: &Spec) -> Vec<Answer> {
    let scheduled =
        |answer: &Answer| spec.signals.iter().any(|signal| signal.scheduled && signal.name == answer.signal);
    core::iter::once(own).chain(all.into_iter().filter(scheduled)).collect()
}
