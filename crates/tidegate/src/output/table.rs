//! Decisions as a table a person can follow.

use tidegate_decide::Decided;

/// Prints decisions one after another, with a heading before the first.
#[derive(Debug, Default)]
pub(crate) struct DecisionTable {
    begun: bool,
}

impl DecisionTable {
    /// The rows of one decision: what it came to, then every step.
    pub(crate) fn rows(&mut self, decided: &Decided) -> String {
        let mut text = String::new();
        if !self.begun {
            self.begun = true;
            text.push_str(&format!("{:>12}  {:<11} {:<16} {}\n", "t", "replicas", "rule", "because"));
        }
        let decision = &decided.decision;
        let change = change(decided.found, decision.replicas);
        let t = decided.t.to_string();
        text.push_str(&format!("{t:>12}  {change:<11} {:<16} {}\n", decision.rule, decision.target));
        for step in &decision.steps {
            let change = self::change(step.from, step.to);
            text.push_str(&format!("{:>12}  {change:<11} {:<16} {}\n", "", step.rule, step.because));
        }
        text
    }
}

/// `1 → 4`, or `4` where nothing changes.
fn change(from: u32, to: u32) -> String {
    if from == to { to.to_string() } else { format!("{from} → {to}") }
}
