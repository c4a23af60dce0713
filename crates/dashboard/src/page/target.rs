//! One target: what it does, why, and what it did.

use maud::{Markup, html};

use super::fleet::curl;
use super::parts::{blocks, hue, pill, stat};
use super::{Parts, decisions, format, replicas, starts};
use crate::model::{Fleet, TargetView};
use crate::why::Why;

/// Drawn by the browser: what each shows, and its name in `charts.js`.
const CHARTS: [(&str, &str, &str); 5] = [
    ("demand", "Demand", "Requests waiting and in flight"),
    ("replicas", "Replicas", "Replicas by state, the count wanted, and each decision"),
    ("ttft", "Time to first token", "Median and 95th percentile"),
    ("itl", "Time between tokens", "Median and 95th percentile"),
    ("tokens", "Tokens a second", "Tokens written by all replicas"),
];

/// The parts of the page, in order. Charts are a part that never changes: the browser feeds them.
pub(crate) fn target_parts(fleet: &Fleet, target: &TargetView, why: Option<&Why>) -> Parts {
    vec![
        ("title", title(fleet, target)),
        ("answer", answer(target, why)),
        ("numbers", numbers(target)),
        ("charts", charts(&target.name)),
        ("decisions", panel("decided", "Decisions", None, &decisions::list(&target.name, &target.decisions))),
        ("replicas", panel("runs", "Replicas", None, &replicas::replicas(target))),
        ("lower", lower(fleet, target)),
    ]
}

/// What a viewer is sent whose target has gone.
pub(crate) fn gone_parts(name: &str) -> Parts {
    let text = html! {
        div class="note warning" role="alert" { p { code { (name) } " is no longer in the manifests. " a href="/" { "See the fleet" } } }
    };
    vec![("answer", text)]
}

fn panel(id: &str, heading: &str, aside: Option<&str>, body: &Markup) -> Markup {
    html! {
        section class="panel" aria-labelledby=(id) {
            header class="panel-head" {
                h2 id=(id) { (heading) }
                @if let Some(aside) = aside { span class="aside" { (aside) } }
            }
            (body)
        }
    }
}

fn title(fleet: &Fleet, target: &TargetView) -> Markup {
    let (namespace, name) = target.split_name();
    html! {
        div class={ "title " (hue(fleet, &target.name)) } {
            h1 { small { (namespace) "/" } (name) }
            (pill(target.state()))
            p class="models" {
                "serves " @for (place, model) in target.models.iter().enumerate() {
                    @if place > 0 { ", " }
                    code { (model) }
                }
                @if !target.policy.is_empty() { " · policy " code { (target.policy) } }
                " · " (target.min) "–" (target.max) " replicas"
            }
        }
    }
}

/// The one sentence first, then what is behind it.
fn answer(target: &TargetView, why: Option<&Why>) -> Markup {
    html! {
        section class="panel answer" aria-label="Why it has that many replicas" {
            div class="answer-count" {
                (blocks(target))
                p { b { (target.ready) } " ready" @if target.starting > 0 { ", " (target.starting) " starting" }
                    @if target.pending > 0 { ", " (target.pending) " pending" }
                    @if target.draining > 0 { ", " (target.draining) " draining" } }
            }
            @if let Some(trouble) = &target.trouble { p class="trouble-line" { (trouble) } }
            @if let Some(advice) = &target.advice { p class="advice-line" { "Only advice: " (advice) } }
            @match &target.latest {
                Some(latest) => {
                    p class="sentence" { b { (latest.to) } " wanted: " (latest.text) }
                    @if let Some(why) = why { (behind(why)) }
                    details data-key="why" { summary { "Every rule that was asked" } (decisions::steps(latest)) }
                }
                None => p class="sentence" { "Not decided yet: its replicas have not been counted." },
            }
        }
    }
}

/// What holds the count where it is, and what would move it.
fn behind(why: &Why) -> Markup {
    html! {
        div class="behind" {
            @for (heading, sentences) in [("What limits it", &why.limits), ("What would change it", &why.levers)] {
                @if !sentences.is_empty() {
                    div { h3 { (heading) } ul { @for sentence in sentences { li { (sentence) } } } }
                }
            }
        }
    }
}

fn numbers(target: &TargetView) -> Markup {
    let tail = |of: Option<crate::model::Quantiles>| {
        of.map(|quantiles| {
            format!("p50 {} · p99 {}", format::seconds(quantiles.p50), format::seconds(quantiles.p99))
        })
    };
    let rate = target.requests_per_s.map(|rate| format!("{} req/s", format::amount(rate)));
    html! {
        dl class="stats" {
            (stat("Waiting", &target.waiting.to_string(), None))
            (stat("In flight", &target.in_flight.to_string(), rate.as_deref()))
            (stat("Tokens to do", &format::amount(target.tokens as f64), None))
            (stat("TTFT p95", &format::maybe_seconds(target.ttft_s.map(|q| q.p95)), tail(target.ttft_s).as_deref()))
            (stat("ITL p95", &format::maybe_seconds(target.itl_s.map(|q| q.p95)), tail(target.itl_s).as_deref()))
            @if let Some(cost) = target.cost_per_hour() {
                (stat("Cost an hour", &format::money(cost),
                    target.cost_so_far.map(|spent| format!("{} so far", format::money(spent))).as_deref()))
            }
        }
    }
}

fn charts(name: &str) -> Markup {
    html! {
        section class="charts" aria-labelledby="charts-title" data-target=(name) {
            header class="panel-head" {
                h2 id="charts-title" class="section-title" { "The last " span data-span-name { "15 minutes" } }
                div class="spans" role="group" aria-label="Time shown" {
                    @for (span_s, short, long) in [(300, "5 min", "5 minutes"), (900, "15 min", "15 minutes"),
                        (3600, "1 h", "hour"), (21600, "6 h", "6 hours")] {
                        button type="button" data-span=(span_s) data-name=(long) aria-pressed=(span_s == 900) { (short) }
                    }
                }
            }
            div class="chart-grid" {
                @for (id, heading, about) in CHARTS {
                    figure class="panel chart" data-chart=(id) {
                        figcaption { b { (heading) } span { (about) } }
                        div class="plot" role="img" aria-label={ (heading) ": " (about) } {}
                        p class="chart-empty" { "Nothing measured yet" }
                    }
                }
            }
            noscript { p class="empty" { "Charts need JavaScript; everything else here does not." } }
        }
    }
}

fn lower(fleet: &Fleet, target: &TargetView) -> Markup {
    let expected =
        starts::median_s(&target.starts).map(|middle| format!("median {}", format::seconds(middle)));
    let waiting = (target.waiting > 0).then(|| format!("{} waiting", target.waiting));
    html! {
        div class="columns" {
            (panel("starts", "Cold starts", expected.as_deref(), &starts::bars(&target.starts)))
            (panel("signals", "Signals", None, &replicas::signals(&target.signals)))
            (panel("held", "Held requests", waiting.as_deref(), &replicas::held(target)))
            @if let Some(addr) = &fleet.gateway_addr {
                (panel("ask", "Ask it something", None, &curl(addr, Some(target))))
            }
        }
    }
}
