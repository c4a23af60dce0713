//! Why a target has the replicas it has, what limits it, and what would change it.
//!
//! The three answers are read off one decision: what its steps say, which of them held the count back,
//! and for each rule that spoke what would have to be otherwise. Nothing here is asked again.

use serde::{Deserialize, Serialize};
use tidegate_core::scale::{Because, Decision, Rule};

use crate::decision::{DecisionView, Made};
use crate::model::{SignalView, TargetView};

/// One screen about one target at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Why {
    /// `namespace/name`.
    pub target: String,
    /// The time asked about, in Unix seconds.
    pub at_unix_s: f64,
    /// Where the answer is from: `memory` or `journal`.
    pub from: String,
    /// The decision in force then.
    pub decision: DecisionView,
    /// The change that brought this count, where it is still known.
    pub changed: Option<DecisionView>,
    /// What held the count back, one sentence each.
    pub limits: Vec<String>,
    /// What would change it, one sentence each.
    pub levers: Vec<String>,
    /// Why the replicas decided do not run; only for the present.
    pub trouble: Option<String>,
    /// What would be written and is not, because this is only advice; only for the present.
    pub advice: Option<String>,
    /// Replicas ready, starting, draining and pending; only for the present.
    pub replicas: Option<Counts>,
    /// Its signals and whether each can be trusted; only for the present.
    pub signals: Vec<SignalView>,
}

/// Replicas by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// They serve.
    pub ready: u32,
    /// On their way.
    pub starting: u32,
    /// They finish what they have.
    pub draining: u32,
    /// They cannot start yet.
    pub pending: u32,
}

impl From<&TargetView> for Counts {
    fn from(target: &TargetView) -> Self {
        let &TargetView { ready, starting, draining, pending, .. } = target;
        Counts { ready, starting, draining, pending }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// No such target.
    #[error("no target is called {target}; there are: {known}")]
    UnknownTarget {
        /// What was asked for.
        target: String,
        /// The names there are.
        known: String,
    },
    /// It was never decided.
    #[error("{target} has not been decided yet: its replicas were not counted so far; ask again in a second")]
    Undecided {
        /// The target.
        target: String,
    },
    /// It is too long ago.
    #[error("memory of {target} begins later than that: read the journal of the time")]
    Forgotten {
        /// The target.
        target: String,
    },
}

/// Reads the answer off a decision. `changed` is the change that brought its count.
#[must_use]
pub fn explain(made: &Made, changed: Option<&Made>, at_unix_s: f64, from: &str) -> Why {
    Why {
        target: made.decision.target.to_string(),
        at_unix_s,
        from: from.to_owned(),
        decision: DecisionView::from(made),
        changed: changed.map(DecisionView::from),
        limits: limits(&made.decision),
        levers: levers(&made.decision),
        trouble: None,
        advice: None,
        replicas: None,
        signals: Vec::new(),
    }
}

/// The sentences of the steps that held the count back.
#[must_use]
pub fn limits(decision: &Decision) -> Vec<String> {
    let limiting = |rule: Rule| {
        use Rule as R;
        matches!(
            rule,
            R::Paused
                | R::SignalLost
                | R::Fallback
                | R::Cooldown
                | R::Yield
                | R::Idle
                | R::Hold
                | R::StabiliseUp
                | R::StabiliseDown
                | R::Ladder
                | R::PolicyUp
                | R::PolicyDown
                | R::PausedScaleOut
                | R::PausedScaleIn
                | R::Min
                | R::Max
        )
    };
    let steps = decision.steps.iter().filter(|step| limiting(step.rule));
    steps.map(|step| format!("{}: {}", step.rule, step.because)).collect()
}

/// What would have to be otherwise for the count to be otherwise.
#[must_use]
pub fn levers(decision: &Decision) -> Vec<String> {
    let count = f64::from(decision.replicas);
    let mut levers: Vec<String> = Vec::new();
    for lever in decision.steps.iter().flat_map(|step| lever(&step.because, count)) {
        if !levers.contains(&lever) {
            levers.push(lever);
        }
    }
    if levers.is_empty() {
        levers.push("a signal, a request or an edit that asks for another count".to_owned());
    }
    levers
}

/// What one reason says of the other counts: sentences that begin with the direction.
fn lever(because: &Because, count: f64) -> Vec<String> {
    use Because as B;
    match because {
        B::AverageValue { signal, total, target } => {
            // ceil(total ÷ target) replicas: 14 at 5 each are 3, one more above 15, one less at 10.
            let per_replica = target.as_f64();
            let mut both = vec![format!("more: {signal} above {} in all (now {total})", count * per_replica)];
            if count >= 1.0 {
                both.push(format!("fewer: {signal} at {} in all or less", (count - 1.0) * per_replica));
            }
            both
        }
        B::Value { signal, value, target, .. } => vec![
            format!("more: {signal} further above {target} (now {value})"),
            format!("fewer: {signal} further below {target}"),
        ],
        B::Utilization { signal, percent, target, .. } => vec![
            format!("more: {signal} above {target} % (now {percent} %)"),
            format!("fewer: {signal} below {target} %"),
        ],
        B::PerPod { signal, average, target, .. } => vec![
            format!("more: {signal} above {target} a replica (now {average})"),
            format!("fewer: {signal} below {target} a replica"),
        ],
        B::Within { signal, ratio, down, up } => vec![
            format!("more: {signal} above {:.2} of its target (now {ratio:.2})", 1.0 + up),
            format!("fewer: {signal} below {:.2} of its target", 1.0 - down),
        ],
        other => one_lever(other).into_iter().collect(),
    }
}

fn one_lever(because: &Because) -> Option<String> {
    use Because as B;
    Some(match because {
        B::Paused | B::PausedAt(_) => "any change: take the paused annotation away".to_owned(),
        B::PausedDirection { up: true } => "more: take the paused-scale-out annotation away".to_owned(),
        B::PausedDirection { up: false } => "fewer: take the paused-scale-in annotation away".to_owned(),
        B::DisabledDirection { up: true } => "more: another selectPolicy for scale-up".to_owned(),
        B::DisabledDirection { up: false } => "fewer: another selectPolicy for scale-down".to_owned(),
        B::Lost { signal, .. } => format!("any change: {signal} has to be readable"),
        B::Fallback { signal, .. } => format!("any change: {signal} readable again ends the fallback"),
        B::FormulaError { .. } => "any change: mend the formula".to_owned(),
        B::FormulaValue { value } => format!("more or fewer: the formula's value (now {value})"),
        B::Inactive { .. } | B::NothingRuns => "more: a request, or a signal above its activation".to_owned(),
        B::Requests { waiting_or_running } => {
            format!("fewer: no request waiting or served (now {waiting_or_running})")
        }
        B::YieldsTo { .. } => "more: a request of its own, when a GPU is free".to_owned(),
        B::CoolingDown { left, .. } | B::NeverActive { left } => {
            format!("fewer: nothing to do for another {left}")
        }
        B::WindowGreatest { greatest, window } => {
            format!("fewer: a whole {window} in which less than {greatest} was asked for")
        }
        B::WindowLeast { least, window } => {
            format!("more: a whole {window} in which more than {least} was asked for")
        }
        B::LadderRung { period, .. } => format!("more: the next rung, within {period}"),
        B::RateUp { period, .. } => format!("more: the policy permits it again within {period}"),
        B::RateDown { period, .. } => format!("fewer: the policy permits it again within {period}"),
        B::BelowMin { min } => format!("fewer: a minimum below {min}"),
        B::AboveMax { max } => format!("more: a maximum above {max}"),
        B::IdleStays { idle } => format!("fewer: an idleReplicaCount below {idle}"),
        _ => return None,
    })
}
