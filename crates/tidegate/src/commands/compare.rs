//! `tidegate compare`: several policies on the same trace and the same luck.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use tidegate_core::time::Span;
use tidegate_report::number::{count, seconds, share};
use tidegate_report::table::{Align, Table};
use tidegate_sim::fleet::Outcome;
use tidegate_sim::policy::Choice;
use tidegate_sim::recorded::Totals;
use tidegate_sim::score::{self, Bounds, Estimate, estimate};
use tidegate_sim::trace;

use super::simulate::input::{self, Requests, Rules};
use super::simulate::{What, above_zero, page, past, play, show};
use crate::args::TextOrJson;
use crate::output;

/// Seeds at the most: the interval of a hundred is a tenth as wide as one deviation.
const SEEDS_MAX: u64 = 100;
/// Policies at the most: rows that fit on a screen.
const POLICIES_MAX: usize = 50;

/// Plays one trace to several policies, each with the same seeds, so that what differs is the policy:
///
///   tidegate compare -f a.yaml --trace conv.csv --policy keda,live,fixed:4 --policy keda=b.yaml --bounds
///
/// Figures are means over the seeds; ± is half of a 95 % confidence interval. Differences are against the
/// first policy, seed by seed. A row that holds less than the share asked for is marked with an asterisk.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CompareArgs {
    /// The policies, each perhaps with manifests of its own: NAME or NAME=FILE.
    #[arg(long, value_name = "NAME[=FILE]", value_delimiter = ',', required = true, value_parser = entry)]
    policy: Vec<Entry>,
    #[command(flatten)]
    what: What,
    /// Seeds, counted up from --seed.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX))]
    seeds: u64,
    /// Also find what no policy can beat (o1, o2, o3), the best fixed count, and each policy's score: with
    /// the first seed, in a dozen more runs.
    #[arg(long)]
    bounds: bool,
    /// The share of requests that must be in time.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = attainment)]
    attainment: f64,
    /// How often the clairvoyant o2 and o3 may change their count.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = above_zero)]
    window_s: f64,
    /// Write a page with charts into this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    format: TextOrJson,
}

#[derive(Clone, Debug)]
struct Entry {
    choice: Choice,
    file: Option<PathBuf>,
}

/// One policy over all seeds.
#[derive(Debug, Serialize)]
struct Row {
    policy: String,
    seeds: u64,
    requests: u64,
    unfinished: Estimate,
    slo_attainment: Estimate,
    ttft_p50_s: Estimate,
    ttft_p95_s: Estimate,
    itl_p95_s: Estimate,
    gpu_hours: Estimate,
    /// Against the first policy, seed by seed.
    gpu_hours_more: Estimate,
    slo_attainment_more: Estimate,
    replicas_max: u32,
    scale_actions: Estimate,
    starts_wasted: Estimate,
    events: u64,
    wall_s: f64,
    /// Between o3 (0) and the best fixed count (1), in GPU hours; with --bounds.
    score: Option<f64>,
    /// Whether every seed held the share asked for.
    holds: bool,
}

#[derive(Debug, Serialize)]
struct Compared {
    scale: f64,
    slo_ttft_s: f64,
    attainment: f64,
    policies: Vec<Row>,
    bounds: Option<Bounds>,
    /// What the policy did that was in force; with --from-journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<Totals>,
}

/// Simulates all of them.
pub(crate) fn run(args: &CompareArgs) -> Result<ExitCode> {
    if args.policy.len() > POLICIES_MAX {
        bail!("more than {POLICIES_MAX} policies; compare fewer at once");
    }
    let mut all: Vec<Vec<(Outcome, f64)>> = Vec::new();
    let mut firsts = Vec::new();
    for entry in &args.policy {
        let what = entry.what(&args.what);
        let rules = input::rules(&what)?;
        let mut runs = Vec::new();
        for seed in 0..args.seeds {
            let what = What { seed: args.what.seed + seed, ..what.clone() };
            let setup = input::setup(&what, rules.as_ref())?;
            let mut policy = entry.choice.policy(&setup, rules.as_ref().map(Rules::of_target))?;
            let (mut outcome, wall_s) = play(&what, &setup, &mut *policy)?;
            outcome.policy = entry.name();
            if seed == 0 {
                outcome.remarks.iter().for_each(|remark| output::complain(remark));
                firsts.push(outcome.clone());
            }
            runs.push((outcome, wall_s));
        }
        all.push(runs);
    }
    let bounds = if args.bounds { Some(bounds(args)?) } else { None };
    let policies = all.iter().map(|runs| row(runs, &all[0], bounds.as_ref(), args.attainment)).collect();
    let (scale, slo_ttft_s) = (args.what.scale, args.what.slo_ttft_s);
    let setup = input::setup(&args.what, input::rules(&args.what)?.as_ref())?;
    let recorded = past::totals(&args.what, &setup.profile)?;
    let compared = Compared { scale, slo_ttft_s, attainment: args.attainment, policies, bounds, recorded };
    if let Some(directory) = &args.out {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join("index.html");
        let html = page::html(&args.what, &setup, &firsts);
        fs::write(&path, html).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut out = io::stdout().lock();
    match args.format {
        TextOrJson::Json => {
            serde_json::to_writer_pretty(&mut out, &compared)?;
            writeln!(out)?;
        }
        TextOrJson::Text => {
            out.write_all(text(&compared).as_bytes())?;
            if let Some(recorded) = &compared.recorded {
                writeln!(out, "{}", past::line(recorded, setup.profile.gpus))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Entry {
    fn what(&self, what: &What) -> What {
        let file = self.file.as_ref().map_or_else(|| what.file.clone(), |file| vec![file.clone()]);
        What { file, ..what.clone() }
    }

    fn name(&self) -> String {
        match &self.file {
            Some(file) => format!("{} {}", self.choice, file.display()),
            None => self.choice.to_string(),
        }
    }
}

/// The bounds of the trace, in the world of the first seed.
fn bounds(args: &CompareArgs) -> Result<Bounds> {
    let rules = input::rules(&args.what)?;
    let setup = input::setup(&args.what, rules.as_ref())?;
    let open = || -> Result<score::Requests<'_>, trace::Error> {
        let failed = |error: anyhow::Error| trace::Error::Read {
            line: 0,
            source: io::Error::other(format!("{error:#}")),
        };
        Ok(Box::new(Requests::open(&args.what).map_err(failed)?))
    };
    let window = Span::try_from_secs_f64(args.window_s).context("the window is out of range")?;
    let bar = show::Bar::new("bounds", None);
    let unread = std::sync::atomic::AtomicU64::new(0);
    let found = score::bounds(&setup, &open, args.attainment, window, &mut |at| bar.update(at, &unread))?;
    bar.clear();
    Ok(found)
}

fn row(runs: &[(Outcome, f64)], base: &[(Outcome, f64)], bounds: Option<&Bounds>, share: f64) -> Row {
    let over = |of: fn(&Outcome) -> f64| {
        let values: Vec<f64> = runs.iter().map(|(outcome, _)| of(outcome)).collect();
        estimate(&values)
    };
    let more = |of: fn(&Outcome) -> f64| {
        let pairs = runs.iter().zip(base).map(|((mine, _), (first, _))| of(mine) - of(first));
        estimate(&pairs.collect::<Vec<_>>())
    };
    let first = &runs[0].0;
    Row {
        policy: first.policy.clone(),
        seeds: runs.len() as u64,
        requests: first.requests,
        unfinished: over(|outcome| outcome.unfinished as f64),
        slo_attainment: over(|outcome| outcome.slo_attainment),
        ttft_p50_s: over(|outcome| outcome.ttft_s.p50),
        ttft_p95_s: over(|outcome| outcome.ttft_s.p95),
        itl_p95_s: over(|outcome| outcome.itl_s.p95),
        gpu_hours: over(|outcome| outcome.gpu_hours),
        gpu_hours_more: more(|outcome| outcome.gpu_hours),
        slo_attainment_more: more(|outcome| outcome.slo_attainment),
        replicas_max: runs.iter().map(|(outcome, _)| outcome.replicas_max).max().unwrap_or(0),
        scale_actions: over(|outcome| outcome.scale_actions as f64),
        starts_wasted: over(|outcome| outcome.starts_wasted as f64),
        events: runs.iter().map(|(outcome, _)| outcome.events).sum(),
        wall_s: runs.iter().map(|(_, wall_s)| wall_s).sum(),
        score: bounds.and_then(|bounds| bounds.score(over(|outcome| outcome.gpu_hours).mean)),
        holds: runs.iter().all(|(outcome, _)| outcome.slo_attainment >= share),
    }
}

fn text(compared: &Compared) -> String {
    let right = |name| (name, Align::Right);
    let mut table = Table::new(&[
        ("policy", Align::Left),
        right("in time"),
        right("±"),
        right("unfinished"),
        right("TTFT p50"),
        right("p95"),
        right("GPU hours"),
        right("±"),
        right("against first"),
        right("most"),
        right("changes"),
        right("wasted"),
        right("score"),
    ]);
    for row in &compared.policies {
        let mark = if row.holds { "" } else { " *" };
        let more = row.gpu_hours_more;
        table.row([
            row.policy.clone(),
            format!("{}{mark}", share(row.slo_attainment.mean)),
            share(row.slo_attainment.half_width),
            count(row.unfinished.mean),
            seconds(row.ttft_p50_s.mean),
            seconds(row.ttft_p95_s.mean),
            count(row.gpu_hours.mean),
            count(row.gpu_hours.half_width),
            format!(
                "{}{} ± {}",
                if more.mean < 0.0 { "" } else { "+" },
                count(more.mean),
                count(more.half_width)
            ),
            row.replicas_max.to_string(),
            count(row.scale_actions.mean),
            count(row.starts_wasted.mean),
            row.score.map(|score| format!("{score:.2}")).unwrap_or_default(),
        ]);
    }
    if let Some(bounds) = &compared.bounds {
        let figures = [("o1", bounds.o1), ("o2", bounds.o2), ("o3", bounds.o3), ("best fixed", bounds.fixed)];
        for (name, bound) in figures {
            let score = bounds.score(bound.gpu_hours).map(|score| format!("{score:.2}"));
            let mut cells = vec![String::new(); 13];
            cells[0] = name.to_owned();
            cells[1] = bound.slo_attainment.map(share).unwrap_or_default();
            cells[6] = count(bound.gpu_hours);
            cells[9] = bound.replicas_max.map(|most| most.to_string()).unwrap_or_default();
            cells[12] = score.unwrap_or_default();
            table.row(cells);
        }
    }
    table.text()
}

fn entry(text: &str) -> Result<Entry, String> {
    let (name, file) = match text.split_once('=') {
        Some((name, file)) => (name, Some(PathBuf::from(file))),
        None => (text, None),
    };
    Ok(Entry { choice: Choice::parse(name).map_err(|error| error.to_string())?, file })
}

fn attainment(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "write a share from 0 to 1, such as 0.95".to_owned())
}
