//! Cold starts, each a bar cut by phase.

use maud::{Markup, html};

use super::format;
use crate::model::StartView;

/// Bars drawn: the newest.
const BARS_MAX: usize = 12;

/// Phases with a colour of their own; others share the last one.
const PHASES: [&str; 5] = ["schedule", "pull", "load", "warm", "other"];

pub(super) fn bars(starts: &[StartView]) -> Markup {
    let shown = &starts[..starts.len().min(BARS_MAX)];
    let longest = shown.iter().fold(0.0_f64, |longest, start| longest.max(start.total_s));
    let seen =
        |phase: &str| shown.iter().flat_map(|start| &start.phases).any(|(name, _)| class(name) == phase);
    html! {
        @if shown.is_empty() {
            p class="empty" { "No start was measured yet. The first one tells how much earlier to decide." }
        } @else {
            p class="legend" aria-hidden="true" {
                @for phase in PHASES { @if seen(phase) { span class={ "key phase-" (phase) } { (phase) } } }
            }
            ol class="starts" { @for start in shown { (bar(start, longest)) } }
        }
    }
}

fn class(phase: &str) -> &'static str {
    PHASES.into_iter().find(|known| *known == phase).unwrap_or("other")
}

fn bar(start: &StartView, longest: f64) -> Markup {
    let share = |length: f64| if longest > 0.0 { length.max(0.0) / longest * 1000.0 } else { 0.0 };
    let said: Vec<String> =
        start.phases.iter().map(|(phase, length)| format!("{phase} {}", format::seconds(*length))).collect();
    let mut x = 0.0;
    let cuts: Vec<(f64, f64, &str)> = start
        .phases
        .iter()
        .map(|(phase, length)| {
            let cut = (x, share(*length), class(phase));
            x += cut.1;
            cut
        })
        .collect();
    html! {
        li title=(said.join(", ")) {
            span class="start-at" { (format::time(start.at_unix_s, false)) }
            svg class="bar" viewBox="0 0 1000 12" preserveAspectRatio="none" role="img" aria-label=(said.join(", ")) {
                @for (x, width, phase) in cuts {
                    rect class={ "phase-" (phase) } x=(format!("{x:.1}")) width=(format!("{width:.1}")) height="12" {}
                }
            }
            span class="start-total" { (format::seconds(start.total_s)) }
        }
    }
}

/// The middle of the totals: what the next start is expected to take.
pub(super) fn median_s(starts: &[StartView]) -> Option<f64> {
    let mut totals: Vec<f64> = starts.iter().map(|start| start.total_s).collect();
    totals.sort_by(f64::total_cmp);
    totals.get(totals.len() / 2).copied()
}
