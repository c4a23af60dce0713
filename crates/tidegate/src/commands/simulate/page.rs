//! The page of a simulation: figures, charts, every change of the count with its reason.

use tidegate_report::number::{count, seconds, share};
use tidegate_report::page::{Fact, Page};
use tidegate_report::table::{Align, Table};
use tidegate_sim::fleet::{Outcome, Setup};
use tidegate_sim::plot;

use super::{What, show};

/// The whole document.
pub(crate) fn html(what: &What, setup: &Setup, outcomes: &[Outcome]) -> String {
    let subtitle = format!(
        "{} × {}, {}, starts of {}, first token within {}, seed {}",
        what.name(),
        what.scale,
        setup.profile.name,
        seconds(setup.start.total_s()),
        seconds(setup.slo_ttft.as_secs_f64()),
        setup.seed
    );
    let names: Vec<&str> = outcomes.iter().map(|outcome| outcome.policy.as_str()).collect();
    let mut page = Page::new(&format!("Simulation: {}", names.join(", ")), &subtitle);
    if let [outcome] = outcomes {
        page.facts(&facts(outcome));
    }
    page.table(&show::rows(outcomes.iter()));
    for outcome in outcomes {
        page.heading(&outcome.policy);
        page.charts(&plot::of_run(outcome));
        changes(&mut page, outcome);
    }
    page.heading(if outcomes.len() > 1 { "Side by side" } else { "Latencies" });
    page.charts(&plot::latencies(outcomes));
    if outcomes.len() > 1 {
        let runs: Vec<&Outcome> = outcomes.iter().collect();
        page.charts(&[plot::cost(&runs)]);
    }
    page.html()
}

fn facts(outcome: &Outcome) -> Vec<Fact> {
    let law = if outcome.little.holds() { "Little's law holds" } else { "Little's law does not hold" };
    vec![
        Fact::new("in time", share(outcome.slo_attainment))
            .noted(format!("{} requests, {} unfinished", outcome.requests, outcome.unfinished)),
        Fact::new("TTFT p95", seconds(outcome.ttft_s.p95))
            .noted(format!("p50 {}", seconds(outcome.ttft_s.p50))),
        Fact::new("GPU hours", count(outcome.gpu_hours))
            .noted(format!("{} replicas on average", count(outcome.replicas_mean))),
        Fact::new("changes", outcome.scale_actions)
            .noted(format!("{} starts, {} wasted", outcome.starts, outcome.starts_wasted)),
        Fact::new("events", count(outcome.events as f64)).noted(law),
    ]
}

fn changes(page: &mut Page, outcome: &Outcome) {
    let mut table = Table::new(&[
        ("time", Align::Right),
        ("from", Align::Right),
        ("to", Align::Right),
        ("why", Align::Left),
    ]);
    for change in &outcome.changes {
        let (from, to) = (change.from.to_string(), change.to.to_string());
        table.row([format!("{:.0} s", change.t_s), from, to, change.because.clone()]);
    }
    if !table.is_empty() {
        page.table(&table);
    }
}
