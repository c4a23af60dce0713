//! Runs as charts.

use tidegate_report::chart::{Axis, Chart, Series, Unit};
use tidegate_report::number::{count, share};

use crate::fleet::{Bin, Outcome};

/// Bins that demand is averaged over: a hundred along the chart, or single requests would be all there is to see.
const DEMAND_BINS: usize = 100;

/// One run over time: demand against capacity, replicas with every change, times to first token, requests.
#[must_use]
pub fn of_run(outcome: &Outcome) -> Vec<Chart> {
    let timeline = &outcome.timeline;
    let end_s = outcome.span_s;
    let time = || Axis::new("time", Unit::Elapsed).until(end_s);
    let points = |of: &dyn Fn(&Bin) -> f64| -> Vec<(f64, f64)> {
        let bins = timeline.bins.iter().enumerate();
        bins.map(|(place, bin)| ((place as i64 * timeline.bin_s) as f64, of(bin))).collect()
    };
    let level = |of: fn(&Bin) -> u32| points(&|bin| f64::from(of(bin)));
    vec![
        demand(outcome),
        Chart::new("Requests at the gateway and at engines", time(), Axis::new("requests", Unit::Count))
            .with(Series::area("at engines", level(|bin| bin.in_flight)))
            .with(Series::steps("waiting at the gateway", level(|bin| bin.waiting))),
        replicas(outcome),
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

/// Latencies as shares of requests, a line a policy.
#[must_use]
pub fn latencies(outcomes: &[Outcome]) -> Vec<Chart> {
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

/// Replicas over time: those asked for and those that were ready.
/// Each change of the count is a dot that tells its reason.
#[must_use]
pub fn replicas(outcome: &Outcome) -> Chart {
    let changes = outcome.changes.iter().map(|change| {
        let said = format!("{} → {}  {}", change.from, change.to, change.because);
        (change.t_s, f64::from(change.to), said)
    });
    let steps = |of: fn(&Bin) -> u32| {
        let bins = outcome.timeline.bins.iter().enumerate();
        bins.map(|(place, bin)| ((place as i64 * outcome.timeline.bin_s) as f64, f64::from(of(bin))))
            .collect()
    };
    let time = Axis::new("time", Unit::Elapsed).until(outcome.span_s);
    Chart::new("Replicas; each dot is a change, with its reason", time, Axis::new("replicas", Unit::Count))
        .with(Series::steps("asked for", steps(|bin| bin.wanted)))
        .with(Series::steps("ready", steps(|bin| bin.ready)))
        .with(Series::marks("changes", changes.collect()))
}

/// Demand against capacity, both in replicas: the work of what arrived at full batches, and what was ready.
#[must_use]
pub fn demand(outcome: &Outcome) -> Chart {
    let timeline = &outcome.timeline;
    let at = |place: usize| (place as i64 * timeline.bin_s) as f64;
    let run = timeline.bins.len().div_ceil(DEMAND_BINS).max(1);
    let demand = timeline.bins.chunks(run).enumerate().map(|(place, bins)| {
        let work_s: f64 = bins.iter().map(|bin| bin.work_s).sum();
        (at(place * run), work_s / (bins.len() as i64 * timeline.bin_s) as f64)
    });
    let ready = timeline.bins.iter().enumerate().map(|(place, bin)| (at(place), f64::from(bin.ready)));
    let time = Axis::new("time", Unit::Elapsed).until(outcome.span_s);
    Chart::new("Demand against capacity, in replicas", time, Axis::new("replicas", Unit::Count))
        .with(Series::area("work that came, at full batches", demand.collect()))
        .with(Series::steps("ready", ready.collect()))
}

/// What policies cost and how many requests were in time under each.
#[must_use]
pub fn cost(outcomes: &[&Outcome]) -> Chart {
    let hours = Axis::new("GPU hours", Unit::Count);
    let mut chart = Chart::new("Cost against objective", hours, Axis::new("in time", Unit::Share).until(1.0));
    for outcome in outcomes {
        let said = format!(
            "{}: {} in time for {} GPU hours",
            outcome.policy,
            share(outcome.slo_attainment),
            count(outcome.gpu_hours)
        );
        let mark = (outcome.gpu_hours, outcome.slo_attainment, said);
        chart = chart.with(Series::marks(&outcome.policy, vec![mark]));
    }
    chart
}

/// A run in one chart: requests a second, replicas asked for and ready, every change with its reason.
#[must_use]
pub fn whole(outcome: &Outcome, title: &str) -> Chart {
    let timeline = &outcome.timeline;
    let at = |place: usize| (place as i64 * timeline.bin_s) as f64;
    let steps = |of: fn(&Bin) -> u32| {
        timeline.bins.iter().enumerate().map(|(place, bin)| (at(place), f64::from(of(bin)))).collect()
    };
    let changes = outcome.changes.iter().map(|change| {
        (change.t_s, f64::from(change.to), format!("{} → {}  {}", change.from, change.to, change.because))
    });
    let run = timeline.bins.len().div_ceil(DEMAND_BINS).max(1);
    let rates = timeline.bins.chunks(run).enumerate().map(|(place, bins)| {
        let arrived: f64 = bins.iter().map(|bin| f64::from(bin.arrived)).sum();
        (at(place * run), arrived / (bins.len() as i64 * timeline.bin_s) as f64)
    });
    let time = Axis::new("time", Unit::Elapsed).until(outcome.span_s);
    Chart::new(title, time, Axis::new("replicas, requests a second", Unit::Count))
        .with(Series::area("requests a second", rates.collect()))
        .with(Series::steps("replicas asked for", steps(|bin| bin.wanted)))
        .with(Series::steps("ready", steps(|bin| bin.ready)))
        .with(Series::marks("changes", changes.collect()))
}
