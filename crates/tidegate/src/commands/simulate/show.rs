//! Outcomes as a table and as JSON, and the bar while one waits.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tidegate_report::number::{count, seconds, share};
use tidegate_report::table::{Align, Table};
use tidegate_sim::fleet::{Outcome, Progress};

/// One line a policy.
pub(crate) fn table(outcomes: &[(Outcome, f64)]) -> String {
    let mut table = rows(outcomes.iter().map(|(outcome, _)| outcome)).text();
    let (mut events, mut wall_s) = (0, 0.0);
    for (outcome, took_s) in outcomes {
        events += outcome.events;
        wall_s += took_s;
    }
    let pace = if wall_s > 0.0 { events as f64 / wall_s } else { 0.0 };
    table.push_str(&format!(
        "{} events in {}, {} a second\n",
        count(events as f64),
        seconds(wall_s),
        count(pace)
    ));
    table
}

/// The same as rows for a page.
pub(crate) fn rows<'o>(outcomes: impl Iterator<Item = &'o Outcome>) -> Table {
    let right = |name| (name, Align::Right);
    let mut table = Table::new(&[
        ("policy", Align::Left),
        right("requests"),
        right("in time"),
        right("unfinished"),
        right("TTFT p50"),
        right("p95"),
        right("p99"),
        right("ITL p50"),
        right("p95"),
        right("GPU hours"),
        right("replicas"),
        right("most"),
        right("changes"),
        right("starts"),
        right("wasted"),
    ]);
    for outcome in outcomes {
        table.row([
            outcome.policy.clone(),
            count(outcome.requests as f64),
            share(outcome.slo_attainment),
            count(outcome.unfinished as f64),
            seconds(outcome.ttft_s.p50),
            seconds(outcome.ttft_s.p95),
            seconds(outcome.ttft_s.p99),
            seconds(outcome.itl_s.p50),
            seconds(outcome.itl_s.p95),
            count(outcome.gpu_hours),
            count(outcome.replicas_mean),
            outcome.replicas_max.to_string(),
            outcome.scale_actions.to_string(),
            outcome.starts.to_string(),
            outcome.starts_wasted.to_string(),
        ]);
    }
    table
}

/// One object a policy.
pub(crate) fn json(outcome: &Outcome, wall_s: f64) -> Result<Value> {
    let mut value = serde_json::to_value(outcome)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("wall_s".to_owned(), Value::from(wall_s));
    }
    Ok(value)
}

/// A bar on standard error, from the second second on; invisible where that is no terminal.
pub(crate) struct Bar {
    bar: ProgressBar,
    began: std::time::Instant,
}

/// Who waits less wants no bar.
const SHOWN_AFTER_S: f64 = 2.0;

impl Bar {
    pub(crate) fn new(name: &str, length: Option<u64>) -> Bar {
        let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent:>3} %  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(name.to_owned());
        Bar { bar, began: std::time::Instant::now() }
    }

    pub(crate) fn update(&self, progress: Progress, read: &AtomicU64) {
        if self.bar.is_hidden() && self.began.elapsed().as_secs_f64() > SHOWN_AFTER_S {
            self.bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
        self.bar.set_position(read.load(Ordering::Relaxed));
        let at = seconds(progress.at.as_secs_f64());
        self.bar.set_message(format!("{at}, {} requests", count(progress.requests as f64)));
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
