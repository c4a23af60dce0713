//! Pages, written on the server. Everything that is not markup here is escaped by `maud`.
//!
//! No inline script or style: the content security policy forbids both, so lengths are SVG attributes.
//! Each page is a row of parts with an id; [`events`](crate::events) sends those that changed.

mod decisions;
mod devices;
mod find;
mod fleet;
mod format;
mod parts;
mod replicas;
mod spark;
mod starts;
mod target;

use maud::{DOCTYPE, Markup, html};

pub(crate) use find::found;
pub(crate) use fleet::fleet_parts;
pub(crate) use target::{gone_parts, target_parts};

use crate::model::{Fleet, TargetView};
use crate::source::Source;
use crate::why::Why;

/// What a page is made of: an id and its text, in order.
pub(crate) type Parts = Vec<(&'static str, Markup)>;

/// The fleet at a glance.
pub(crate) fn fleet(source: &dyn Source) -> Markup {
    let fleet = source.fleet();
    let body = html! {
        main id="main" {
            h1 class="unseen" { "Fleet" }
            (all(fleet_parts(&fleet, source)))
        }
    };
    frame("Fleet", "fleet", &fleet, false, &body)
}

/// One target.
pub(crate) fn target(fleet: &Fleet, target: &TargetView, why: Option<&Why>) -> Markup {
    let body = html! { main id="main" { (all(target_parts(fleet, target, why))) } };
    frame(target.split_name().1, &target.name, fleet, true, &body)
}

/// A target that is not there (any more).
pub(crate) fn no_target(fleet: &Fleet, name: &str) -> Markup {
    let body = html! {
        main id="main" {
            section class="panel empty" {
                h1 { "No target is called " code { (name) } }
                p { "It may have been taken out of the manifests. " a href="/" { "See the fleet" } "." }
            }
        }
    };
    frame("Not found", "", fleet, false, &body)
}

/// Asks for the token.
pub(crate) fn login(wrong: bool) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head("Sign in", false))
            body {
                main id="main" class="door" {
                    form class="panel" method="post" action="/login" {
                        h1 { (logo()) "tidegate" }
                        p { "This dashboard can be reached from other machines, so it asks for the token that "
                            code { "tidegate up" } " printed when it started." }
                        @if wrong {
                            p class="note error" role="alert" { "That is not the token. A restart makes a new one." }
                        }
                        label for="token" { "Token" }
                        input id="token" name="token" type="password" autocomplete="current-password" required autofocus;
                        button type="submit" { "Look" }
                    }
                }
            }
        }
    }
}

fn all(parts: Parts) -> Markup {
    html! { @for (id, part) in parts { div id=(id) class="part" { (part) } } }
}

fn head(title: &str, charts: bool) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " · Tidegate" }
            link rel="icon" type="image/svg+xml" href="/assets/favicon.svg";
            @if charts { link rel="stylesheet" href="/assets/uplot/uPlot.min.css"; }
            link rel="stylesheet" href="/assets/board.css";
        }
    }
}

/// Everything around a page. `watch` is what its events are of; empty for none.
fn frame(title: &str, watch: &str, fleet: &Fleet, charts: bool, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title, charts))
            body data-page=(watch) data-now=(fleet.at_unix_s) {
                a class="skip" href="#main" { "Skip to content" }
                header class="top" {
                    a class="brand" href="/" aria-label="Tidegate: the fleet" { (logo()) span { "tidegate" } }
                    @if charts {
                        nav aria-label="Place" { a href="/" { "Fleet" } span aria-hidden="true" { "/" } span { (title) } }
                    }
                    div class="top-right" {
                        @if let Some(addr) = &fleet.gateway_addr {
                            span class="gateway" title="where requests go" { "gateway " code { (addr) } }
                        }
                        span id="live" class="live" role="status" data-state="off" { "not live" }
                    }
                }
                (body)
                footer class="foot" {
                    span { "Tidegate " (fleet.version) }
                    nav aria-label="Data" {
                        a href="/api/fleet" { "JSON" }
                        a href="/metrics" { "Metrics" }
                    }
                }
                script src="/assets/board.js" defer {}
                @if charts {
                    script src="/assets/uplot/uPlot.iife.min.js" defer {}
                    script src="/assets/charts.js" defer {}
                }
            }
        }
    }
}

fn logo() -> Markup {
    html! {
        svg class="logo" viewBox="0 0 32 32" width="22" height="22" aria-hidden="true" {
            rect x="1" y="1" width="30" height="30" rx="8" class="logo-ground" {}
            path class="logo-wave" d="M5 20c2.8 0 2.8-3 5.5-3s2.8 3 5.5 3 2.8-3 5.5-3 2.8 3 5.5 3" {}
            path class="logo-gate" d="M10.5 12.5v-4M16 14.5v-7M21.5 12.5v-4" {}
        }
    }
}
