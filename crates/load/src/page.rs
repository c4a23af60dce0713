//! The report as a page with charts.

use tidegate_report::chart::{Axis, Chart, Series, Unit};
use tidegate_report::page::Page;

use crate::report::{Bin, Report};

/// One HTML file that needs no network.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut page = Page::new("Load report", &format!("against {}", report.url));
    page.facts(&report.facts());
    page.heading("Times");
    page.table(&report.times_table());
    page.paragraph(
        "Only whole answers are timed. “Since due” counts from when the schedule wanted a request to leave; \
         where it is much more than the row without, this generator was the bottleneck.",
    );
    if let Some(errors) = report.errors_table() {
        page.heading("Failures");
        page.table(&errors);
    }
    if let Some(groups) = report.groups_table() {
        page.heading("Models and priorities");
        page.table(&groups);
    }
    page.heading("Over time");
    page.charts(&[rates(report), in_flight(report), ttft_over_time(report)]);
    page.heading("Distributions");
    let curves = [
        ("Time to first token", &report.curves.ttft),
        ("Time between tokens", &report.curves.itl),
        ("End to end", &report.curves.e2e),
    ];
    let charts = curves.map(|(title, curve)| {
        let x = Axis::new("at most this long", Unit::Seconds).log();
        let chart = Chart::new(title, x, Axis::new("share of all", Unit::Share));
        chart.with(Series::steps(title, curve.clone()))
    });
    page.charts(&charts);
    page.html()
}

fn rates(report: &Report) -> Chart {
    let rate = |of: fn(&Bin) -> u64| steps(report, |bin| of(bin) as f64 / bin.seconds as f64);
    let chart = Chart::new("Requests a second", time(report), Axis::new("requests/s", Unit::Count))
        .with(Series::steps("due", rate(|bin| bin.due)))
        .with(Series::steps("answered", rate(|bin| bin.ok)));
    if report.failed == 0 { chart } else { chart.with(Series::steps("failed", rate(|bin| bin.failed))) }
}

fn in_flight(report: &Report) -> Chart {
    let points = steps(report, |bin| bin.in_flight_max as f64);
    Chart::new("Requests in flight", time(report), Axis::new("most at one moment", Unit::Count))
        .with(Series::area("in flight", points))
}

fn ttft_over_time(report: &Report) -> Chart {
    // The middle of a stretch stands for all of it; one without a first token leaves a gap.
    let points = |of: fn(&Bin) -> Option<f64>| {
        let middle = |bin: &Bin| bin.at_s as f64 + bin.seconds as f64 / 2.0;
        report.timeline.iter().map(|bin| (middle(bin), of(bin).unwrap_or(f64::NAN))).collect()
    };
    Chart::new("Time to first token, by when sent", time(report), Axis::new("TTFT", Unit::Seconds))
        .with(Series::line("median", points(|bin| bin.ttft_p50_s)))
        .with(Series::line("95th percentile", points(|bin| bin.ttft_p95_s)))
}

fn time(report: &Report) -> Axis {
    Axis::new("since the start", Unit::Elapsed).until(report.seconds)
}

/// A value a stretch, and the last one again at the end of its stretch.
fn steps(report: &Report, of: impl Fn(&Bin) -> f64) -> Vec<(f64, f64)> {
    let mut points: Vec<_> = report.timeline.iter().map(|bin| (bin.at_s as f64, of(bin))).collect();
    if let Some(last) = report.timeline.last() {
        points.push(((last.at_s + last.seconds) as f64, of(last)));
    }
    points
}
