//! Targets by name, where there are more than a page has room for.

use maud::{Markup, html};

use super::frame;
use super::parts::{pill, target_path};
use crate::model::{Fleet, TargetView};

/// How many targets there are, and a field to find one by its name. A part of its own: it changes only with the count, so
/// nobody's typing is taken away by the next second.
pub(super) fn field(fleet: &Fleet) -> Markup {
    html! {
        @if fleet.hidden > 0 { (form(&format!("{} targets, {} on this page", fleet.count(), fleet.targets.len()), "")) }
    }
}

fn form(aside: &str, words: &str) -> Markup {
    html! {
        form class="find" method="get" action="/" role="search" {
            label for="find-name" { (aside) }
            input id="find-name" name="find" type="search" maxlength="317" value=(words) placeholder="namespace/name" required;
            button type="submit" { "Find" }
        }
    }
}

/// What a search has found.
pub(crate) fn found(fleet: &Fleet, words: &str) -> Markup {
    let matches = fleet.search(words);
    let more = matches.count - matches.shown.len();
    let body = html! {
        main id="main" {
            h1 class="unseen" { "Found" }
            (form(&format!("{} of {} targets", matches.count, fleet.count()), words))
            section class="panel" aria-labelledby="found-title" {
                header class="panel-head" { h2 id="found-title" { "Targets" } a class="aside" href="/" { "See the fleet" } }
                @if matches.shown.is_empty() {
                    p class="empty" { "No target has this in its name." }
                } @else {
                    table class="found" {
                        thead { tr { th scope="col" { "Target" } th scope="col" { "State" }
                            th scope="col" { "Ready" } th scope="col" { "Wanted" } th scope="col" { "Waiting" } } }
                        tbody { @for target in &matches.shown { (row(target)) } }
                    }
                    @if more > 0 { p class="aside" { (more) " more: write more of the name." } }
                }
            }
        }
    };
    frame("Found", "", fleet, false, &body)
}

fn row(target: &TargetView) -> Markup {
    html! {
        tr {
            td { a href=(target_path(&target.name)) { (target.name) } }
            td { (pill(target.state())) }
            td { (target.ready) }
            td { (target.wanted) }
            td { (target.waiting) }
        }
    }
}
