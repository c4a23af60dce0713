//! Decisions as they are kept and as they are shown.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_core::scale::{Decision, Step};

/// A decision with its time and what was there before, as the machine gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// When, in Unix seconds.
    pub at_unix_s: f64,
    /// Replicas before it.
    pub from: u32,
    /// What was decided; whoever decided it may go on holding it.
    pub decision: Arc<Decision>,
}

/// A decision for readers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecisionView {
    /// When, in Unix seconds.
    pub at_unix_s: f64,
    /// Replicas before it.
    pub from: u32,
    /// Replicas after it.
    pub to: u32,
    /// The rule that settled it.
    pub rule: String,
    /// Every rule that was asked, in order.
    pub steps: Vec<StepView>,
    /// The sentence that settled it.
    pub text: String,
}

/// One step of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepView {
    /// The rule.
    pub rule: String,
    /// The count it was given.
    pub from: u32,
    /// The count it gave back.
    pub to: u32,
    /// Why.
    pub because: String,
}

impl From<&Made> for DecisionView {
    fn from(made: &Made) -> Self {
        let Made { at_unix_s, from, decision } = made;
        DecisionView {
            at_unix_s: *at_unix_s,
            from: *from,
            to: decision.replicas,
            rule: decision.rule.name().to_owned(),
            steps: decision.steps.iter().map(StepView::from).collect(),
            text: text(decision),
        }
    }
}

impl From<&Step> for StepView {
    fn from(step: &Step) -> Self {
        StepView {
            rule: step.rule.name().to_owned(),
            from: step.from,
            to: step.to,
            because: step.because.to_string(),
        }
    }
}

/// The sentence of the step that settled a decision: the last one of the rule it names. A step of
/// `highest` only says which signal won, so the winner's own sentence is more use where it is the last.
fn text(decision: &Decision) -> String {
    let settled = decision.steps.iter().rev().find(|step| step.rule == decision.rule);
    settled.or(decision.steps.last()).map(|step| step.because.to_string()).unwrap_or_default()
}
