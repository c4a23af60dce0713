//! The fleet at a glance.

use maud::{Markup, html};

use super::parts::{blocks, hue, notes, pill, stat, target_path};
use super::{Parts, decisions, devices, find, format, spark};
use crate::brief::Brief;
use crate::decision::DecisionView;
use crate::history::Sample;
use crate::model::{Fleet, TargetView};
use crate::source::Source;

/// Seconds of history behind a card's lines.
const SPARK_S: f64 = 310.0;

/// Recent changes of all targets together: one screen.
const RECENT_MAX: usize = 12;

/// The parts of the page, in order.
pub(crate) fn fleet_parts(fleet: &Fleet, source: &dyn Source) -> Parts {
    vec![
        ("notes", notes(&fleet.notes)),
        ("summary", summary(fleet)),
        ("find", find::field(fleet)),
        ("devices", devices::strip(fleet)),
        ("targets", targets(fleet, source)),
        ("recent", recent(fleet)),
    ]
}

fn summary(fleet: &Fleet) -> Markup {
    let all = |of: fn(&TargetView) -> u32, rest: fn(&Brief) -> u32| {
        fleet.targets.iter().map(of).chain(fleet.rest.iter().map(rest)).sum::<u32>()
    };
    let (ready, wanted) = (all(|one| one.ready, |one| one.ready), all(|one| one.wanted, |one| one.wanted));
    let in_flight = all(|one| one.in_flight, |one| one.in_flight);
    let waiting = all(|one| one.waiting, |one| one.waiting);
    let free = fleet.gpus.iter().filter(|gpu| gpu.holder.is_none()).count();
    let tokens: f64 = fleet.targets.iter().filter_map(|target| target.tokens_per_s).sum();
    let trouble = fleet.targets.iter().map(|target| &target.trouble);
    let trouble =
        trouble.chain(fleet.rest.iter().map(|brief| &brief.trouble)).filter(|one| one.is_some()).count();
    html! {
        dl class="stats" {
            (stat("Replicas ready", &ready.to_string(), Some(&format!("of {wanted} wanted"))))
            (stat("In flight", &in_flight.to_string(), None))
            (stat("Waiting", &waiting.to_string(), None))
            (stat("Tokens a second", &format::amount(tokens), None))
            @if !fleet.gpus.is_empty() {
                (stat("GPUs free", &free.to_string(), Some(&format!("of {}", fleet.gpus.len()))))
            }
            @if let Some(cost) = fleet.cost_per_hour { (stat("Cost an hour", &format::money(cost), None)) }
            @if trouble > 0 {
                div class="stat bad" { dt { "In trouble" } dd { (trouble) } }
            }
        }
    }
}

fn targets(fleet: &Fleet, source: &dyn Source) -> Markup {
    html! {
        @if fleet.targets.is_empty() {
            section class="panel empty" {
                h2 { "No targets yet" }
                p { "Give Tidegate a manifest: " code { "tidegate up -f FILE" } ", or run " code { "tidegate up" }
                    " alone for a demo fleet." }
            }
        } @else {
            section aria-labelledby="targets-title" {
                h2 id="targets-title" class="section-title" { "Targets" }
                div class="cards" {
                    @for target in &fleet.targets {
                        @let samples = source.history(&target.name, SPARK_S).unwrap_or_default();
                        (card(fleet, target, &samples))
                    }
                }
                @if fleet.hidden > 0 {
                    p class="aside" { (fleet.hidden) " more have no card here. Each is found by its name above; "
                        code { "tidegate why NAMESPACE/NAME" } " tells of it, and its metrics are at " code { "/metrics" } "." }
                }
            }
        }
    }
}

fn card(fleet: &Fleet, target: &TargetView, samples: &[Sample]) -> Markup {
    let (namespace, name) = target.split_name();
    let demand = |sample: &Sample| Some(f64::from(sample.waiting) + f64::from(sample.in_flight));
    html! {
        article class={ "card " (hue(fleet, &target.name)) } {
            header {
                h3 { a href=(target_path(&target.name)) { (name) } }
                (pill(target.state()))
            }
            p class="models" {
                (namespace) @if !target.models.is_empty() { " · " (target.models.join(", ")) }
            }
            div class="card-replicas" {
                (blocks(target))
                span {
                    @if target.wanted + target.ready == 0 { "at zero" }
                    @else { b { (target.ready) } " of " (target.wanted) " wanted" }
                    small { (bounds(target)) }
                }
            }
            div class="card-lines" {
                (row("Demand", spark::spark(samples, "demand", demand),
                    &(target.waiting + target.in_flight).to_string(),
                    &format!("{} waiting", target.waiting)))
                (row("TTFT p95", spark::spark(samples, "ttft", |sample| sample.ttft_p95_s.map(f64::from)),
                    &format::maybe_seconds(target.ttft_s.map(|quantiles| quantiles.p95)),
                    &format!("ITL {}", format::maybe_seconds(target.itl_s.map(|quantiles| quantiles.p95)))))
            }
            @if let Some(trouble) = &target.trouble {
                p class="trouble-line" { (trouble) }
            } @else if let Some(latest) = &target.latest {
                p class="why-line" title=(latest.text) { code { (latest.rule) } " " (latest.text) }
            } @else {
                p class="why-line" { "not decided yet" }
            }
            (foot(target))
        }
    }
}

fn bounds(target: &TargetView) -> String {
    format!("{}–{}", target.min, target.max)
}

fn row(label: &str, line: Markup, value: &str, aside: &str) -> Markup {
    html! {
        div class="line" {
            span class="line-label" { (label) }
            (line)
            span class="line-value" { (value) small { (aside) } }
        }
    }
}

fn foot(target: &TargetView) -> Markup {
    let rate = target.requests_per_s.map_or_else(|| format::NOTHING.to_owned(), format::amount);
    let tokens = target.tokens_per_s.map_or_else(|| format::NOTHING.to_owned(), format::amount);
    html! {
        footer {
            span { b { (rate) } " req/s" }
            span { b { (tokens) } " tok/s" }
            @if target.gpu_per_replica > 0 { span { b { (target.gpus_held()) } " GPU" } }
            @if let Some(cost) = target.cost_per_hour() { span class="cost" { b { (format::money(cost)) } " /h" } }
        }
    }
}

fn recent(fleet: &Fleet) -> Markup {
    let mut changes: Vec<(&str, &DecisionView)> = fleet
        .targets
        .iter()
        .flat_map(|target| target.decisions.iter().map(|decision| (target.name.as_str(), decision)))
        .collect();
    changes.sort_by(|(_, a), (_, b)| b.at_unix_s.total_cmp(&a.at_unix_s));
    html! {
        section class="panel" aria-labelledby="recent-title" {
            header class="panel-head" { h2 id="recent-title" { "Recent decisions" } }
            @if changes.is_empty() {
                p class="empty" { "No requests yet." @if let Some(addr) = &fleet.gateway_addr {
                    " Send one:" (curl(addr, fleet.targets.first()))
                } }
            } @else {
                ol class="decisions" {
                    @for (target, decision) in changes.into_iter().take(RECENT_MAX) {
                        (decisions::one(target, true, decision))
                    }
                }
            }
        }
    }
}

/// A command that asks a target something.
pub(super) fn curl(addr: &str, target: Option<&TargetView>) -> Markup {
    let model = target.and_then(|target| target.models.first()).map_or("MODEL", String::as_str);
    let body = serde_json::json!({ "model": model, "messages": [{ "role": "user", "content": "Hello" }] });
    html! {
        pre class="command" tabindex="0" {
            "curl http://" (addr) "/v1/chat/completions \\\n  -H 'content-type: application/json' \\\n  -d '" (body) "'"
        }
    }
}
