//! Tables of a target: replicas with their last lines, signals, held requests.

use maud::{Markup, html};

use super::format;
use crate::model::{HeldView, ReplicaState, ReplicaView, SignalState, SignalView, TargetView};

pub(super) fn replicas(target: &TargetView) -> Markup {
    html! {
        @if target.replicas.is_empty() {
            p class="empty" { "Nothing runs. A request for "
                code { (target.models.first().map_or(target.name.as_str(), String::as_str)) } " starts a replica." }
        } @else {
            div class="scroll" {
                table {
                    thead { tr {
                        th scope="col" { "Replica" } th scope="col" { "State" } th scope="col" { "Since" }
                        th scope="col" { "GPUs" } th scope="col" { "Address" }
                        th scope="col" class="number" { "In flight" } th scope="col" class="number" { "KV use" }
                        th scope="col" class="number" { "Restarts" }
                    } }
                    @for replica in &target.replicas { (replica_rows(replica)) }
                }
            }
        }
    }
}

fn replica_rows(replica: &ReplicaView) -> Markup {
    let gpus: Vec<String> = replica.gpus.iter().map(u32::to_string).collect();
    let bad = matches!(replica.state, ReplicaState::BackOff | ReplicaState::Failed);
    html! {
        tbody class="replica" {
            tr {
                th scope="row" { code { (replica.id) } @if let Some(pid) = replica.pid { small { "pid " (pid) } } }
                td { span class={ "pill " (replica.state.name()) } { (replica.state.name()) } }
                td { @if let Some(since) = replica.since_unix_s { (format::time(since, true)) } @else { (format::NOTHING) } }
                td { @if gpus.is_empty() { (format::NOTHING) } @else { (gpus.join(", ")) } }
                td { @if let Some(addr) = &replica.addr { code { (addr) } } @else { (format::NOTHING) } }
                td class="number" { (replica.in_flight) }
                td class="number" { (replica.kv_use.map_or_else(|| format::NOTHING.to_owned(), format::percent)) }
                td class="number" { (replica.restarts) }
            }
            @if replica.why.is_some() || !replica.last_lines.is_empty() {
                tr class="under" { td colspan="8" {
                    @if let Some(why) = &replica.why { p class=[bad.then_some("bad")] { (why) } }
                    @if !replica.last_lines.is_empty() {
                        details data-key={ "log " (replica.id) } open[bad] {
                            summary { "Last log lines" }
                            pre tabindex="0" { @for line in &replica.last_lines { (line) "\n" } }
                        }
                    }
                } }
            }
        }
    }
}

pub(super) fn signals(signals: &[SignalView]) -> Markup {
    html! {
        @if signals.is_empty() {
            p class="empty" { "No triggers: only requests and the bounds decide." }
        } @else {
            div class="scroll" {
                table {
                    thead { tr {
                        th scope="col" { "Signal" } th scope="col" class="number" { "Value" }
                        th scope="col" class="number" { "Target" } th scope="col" { "Reading" }
                    } }
                    tbody { @for signal in signals {
                        tr {
                            th scope="row" { code { (signal.name) } @if !signal.text.is_empty() { small { (signal.text) } } }
                            td class="number" { (number(signal.value)) }
                            td class="number" { (number(signal.target)) }
                            td { span class={ "pill " (signal_class(signal.state)) } { (signal.state.name()) } }
                        }
                    } }
                }
            }
        }
    }
}

fn signal_class(state: SignalState) -> &'static str {
    match state {
        SignalState::Found => "ready",
        SignalState::Absent => "zero",
        SignalState::Stale | SignalState::NotMoving => "starting",
        SignalState::Error => "trouble",
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| format::NOTHING.to_owned(), format::amount)
}

pub(super) fn held(target: &TargetView) -> Markup {
    let beyond = (target.waiting as usize).saturating_sub(target.held.len());
    html! {
        @if target.held.is_empty() {
            p class="empty" { "Nobody waits." }
        } @else {
            div class="scroll" {
                table {
                    thead { tr {
                        th scope="col" class="number" { "#" } th scope="col" class="number" { "Waited" }
                        th scope="col" class="number" { "Expected" } th scope="col" { "Priority" }
                        th scope="col" class="number" { "Prompt tokens" }
                    } }
                    tbody { @for (place, one) in target.held.iter().enumerate() { (held_row(place + 1, one)) } }
                }
            }
            @if beyond > 0 { p class="aside" { "and " (beyond) " more" } }
        }
    }
}

fn held_row(place: usize, held: &HeldView) -> Markup {
    html! {
        tr {
            td class="number" { (place) }
            td class="number" { (format::seconds(held.waited_s)) }
            td class="number" { (format::maybe_seconds(held.expected_s)) }
            td { (held.priority) }
            td class="number" { (format::amount(held.prompt_tokens as f64)) }
        }
    }
}
