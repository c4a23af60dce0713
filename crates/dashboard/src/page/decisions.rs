//! Decisions in order of time, each with its steps behind a click.

use maud::{Markup, html};

use super::format;
use super::parts::target_path;
use crate::decision::DecisionView;

/// Shown of one target: two screens. The API has the rest.
const SHOWN_MAX: usize = 40;

/// Changes of one target, newest first.
pub(super) fn list(target: &str, decisions: &[DecisionView]) -> Markup {
    let left_out = decisions.len().saturating_sub(SHOWN_MAX);
    html! {
        @if decisions.is_empty() {
            p class="empty" { "Nothing was changed yet. The first decision appears here with its reasons." }
        } @else {
            ol class="decisions long" tabindex="0" aria-label="Changes, newest first" {
                @for decision in decisions.iter().take(SHOWN_MAX) { (one(target, false, decision)) }
            }
            @if left_out > 0 {
                p class="aside" {
                    (format::count(left_out as u64, "earlier change")) " in the "
                    a href={ "/api" (target_path(target)) } { "JSON" } "."
                }
            }
        }
    }
}

/// One change; `named` says whose it is.
pub(super) fn one(target: &str, named: bool, decision: &DecisionView) -> Markup {
    let direction = match decision.to.cmp(&decision.from) {
        std::cmp::Ordering::Greater => "up",
        std::cmp::Ordering::Less => "down",
        std::cmp::Ordering::Equal => "same",
    };
    html! {
        li class={ "decision " (direction) } data-decision-at=(decision.at_unix_s) {
            details data-key={ (target) "@" (decision.at_unix_s) } {
                summary {
                    span class="change" {
                        (decision.from) span aria-hidden="true" { " → " } span class="unseen" { " to " } (decision.to)
                    }
                    span class="reason" {
                        @if named { strong { (target.rsplit('/').next().unwrap_or(target)) } " " }
                        (decision.text)
                    }
                    span class="rule" { (decision.rule) }
                    (format::time(decision.at_unix_s, named))
                }
                (steps(decision))
            }
        }
    }
}

/// Every rule that was asked, and what it made of the count.
pub(super) fn steps(decision: &DecisionView) -> Markup {
    html! {
        div class="scroll" {
            table class="steps" {
                thead { tr { th scope="col" { "Rule" } th scope="col" class="number" { "Count" } th scope="col" { "Because" } } }
                tbody {
                    @for step in &decision.steps {
                        tr class=[(step.rule == decision.rule).then_some("settled")] {
                            td { code { (step.rule) } }
                            td class="number" {
                                @if step.from == step.to { (step.to) } @else { (step.from) " → " (step.to) }
                            }
                            td { (step.because) }
                        }
                    }
                }
            }
        }
    }
}
