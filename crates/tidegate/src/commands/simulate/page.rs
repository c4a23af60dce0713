//! The page of a simulation: figures, charts, every change of the count with its reason.

use tidegate_report::chart::{Axis, Chart, Series, Unit};
use tidegate_report::number::{count, seconds, share};
use tidegate_report::page::{Fact, Page};
use tidegate_report::table::{Align, Table};
use tidegate_sim::fleet::{Bin, Outcome, Setup};

use super::{What, show};

/// The whole document.
pub(crate) fn html(what: &What, setup: &Setup, outcomes: &[Outcome]) -> String {
    let trace = what.trace.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let subtitle = format!(
        "{trace} × {}, {}, starts of {}, first token within {}, seed {}",
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
        page.charts(&of_run(outcome));
        changes(&mut page, outcome);
    }
    page.heading("Latencies");
    page.charts(&latencies(outcomes));
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

fn of_run(outcome: &Outcome) -> Vec<Chart> {
    let timeline = &outcome.timeline;
    let end_s = outcome.span_s;
    let time = || Axis::new("time", Unit::Elapsed).until(end_s);
    let points = |of: &dyn Fn(&Bin) -> f64| -> Vec<(f64, f64)> {
        let bins = timeline.bins.iter().enumerate();
        bins.map(|(place, bin)| ((place as i64 * timeline.bin_s) as f64, of(bin))).collect()
    };
    let level = |of: fn(&Bin) -> u32| points(&|bin| f64::from(of(bin)));
    let changes: Vec<(f64, f64, String)> = outcome
        .changes
        .iter()
        .map(|change| {
            let said = format!("{} → {}  {}", change.from, change.to, change.because);
            (change.t_s, f64::from(change.to), said)
        })
        .collect();
    vec![
        Chart::new("Requests at the gateway and at engines", time(), Axis::new("requests", Unit::Count))
            .with(Series::area("at engines", level(|bin| bin.in_flight)))
            .with(Series::steps("waiting at the gateway", level(|bin| bin.waiting))),
        Chart::new(
            "Replicas; each dot is a change, with its reason",
            time(),
            Axis::new("replicas", Unit::Count),
        )
        .with(Series::steps("asked for", level(|bin| bin.wanted)))
        .with(Series::steps("ready", level(|bin| bin.ready)))
        .with(Series::marks("changes", changes)),
        Chart::new("Time to first token", time(), Axis::new("seconds", Unit::Seconds).log())
            .with(Series::line("p95", points(&|bin| bin.ttft_s(0.95).unwrap_or(f64::NAN))))
            .with(Series::line("p50", points(&|bin| bin.ttft_s(0.5).unwrap_or(f64::NAN)))),
        Chart::new(
            "Requests a second, and those that missed the objective",
            time(),
            Axis::new("a second", Unit::Count),
        )
        .with(Series::line("arrived", points(&|bin| f64::from(bin.arrived) / timeline.bin_s as f64)))
        .with(Series::line("missed", points(&|bin| f64::from(bin.missed) / timeline.bin_s as f64))),
    ]
}

fn latencies(outcomes: &[Outcome]) -> Vec<Chart> {
    let axis = || Axis::new("seconds", Unit::Seconds).log();
    let share = || Axis::new("share of requests", Unit::Share).until(1.0);
    let mut ttft = Chart::new("Time to first token", axis(), share());
    let mut itl = Chart::new("Time between tokens", axis(), share());
    for outcome in outcomes {
        ttft = ttft.with(Series::line(&outcome.policy, outcome.ttft_cdf.clone()));
        itl = itl.with(Series::line(&outcome.policy, outcome.itl_cdf.clone()));
    }
    vec![ttft, itl]
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
