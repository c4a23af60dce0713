//! `tidegate tune`: the settings of a manifest that hold an objective at the least cost.

mod write;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use tidegate_report::number::{count, share};
use tidegate_report::table::{Align, Table};
use tidegate_sim::policy::Choice;
use tidegate_sim::tune::{Setting, Tried, best, front};

use super::simulate::input::{self, Rules};
use super::simulate::{What, play};
use crate::args::TextOrJson;

/// Plays a trace to the manifest with other thresholds and scale-down windows: a grid first, then around the
/// best. Shows the settings to which nothing is better in both cost and share in time (the Pareto front), and
/// writes the manifest with the cheapest that holds the share asked for:
///
///   tidegate tune -f vllm.yaml --trace conv.csv --scale 8 --write tuned.yaml
///
/// Only prometheus triggers' thresholds and a formula's target are searched; `minReplicaCount` is yours.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct TuneArgs {
    /// On which beat the rules run.
    #[arg(long, value_enum, default_value_t = Beat::Keda, value_name = "NAME")]
    policy: Beat,
    #[command(flatten)]
    what: What,
    /// Seeds each setting is played with, counted up from --seed; what counts is their mean.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// The share of requests that must be in time.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    attainment: f64,
    /// Write the manifest with the best setting here; comments are not kept.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// How to print the front.
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    format: TextOrJson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Beat {
    /// As KEDA, HPA and Prometheus run them.
    Keda,
    /// As `tidegate up` runs them.
    Live,
}

/// Searches, shows and writes.
pub(crate) fn run(args: &TuneArgs) -> Result<ExitCode> {
    let Some(rules) = input::rules(&args.what)? else {
        bail!("there is nothing to tune; give a manifest with -f")
    };
    let mut tried = Vec::new();
    for setting in Setting::grid() {
        tried.push(try_it(args, &rules, setting)?);
    }
    for _ in 0..2 {
        let Some(found) = best(&tried, args.attainment) else { break };
        for setting in found.setting.around() {
            if tried.iter().all(|one| one.setting != setting) {
                tried.push(try_it(args, &rules, setting)?);
            }
        }
    }
    let Some(found) = best(&tried, args.attainment) else { bail!("nothing was tried") };
    if let Some(path) = &args.write {
        let text = write::manifest(&rules, &found.setting)?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    print(&front(&tried), &found, args)?;
    let holds = found.slo_attainment >= args.attainment;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn try_it(args: &TuneArgs, rules: &Rules, setting: Setting) -> Result<Tried> {
    let target = setting.applied(&rules.target);
    let choice = match args.policy {
        Beat::Keda => Choice::Keda,
        Beat::Live => Choice::Live,
    };
    let (mut slo_attainment, mut gpu_hours) = (0.0, 0.0);
    for seed in 0..args.seeds {
        let what = What { seed: args.what.seed + seed, ..args.what.clone() };
        let setup = input::setup(&what, Some(rules))?;
        let mut policy = choice.policy(&setup, Some((&target, &rules.manifests)))?;
        let (outcome, _) = play(&what, &setup, &mut *policy)?;
        slo_attainment += outcome.slo_attainment / args.seeds as f64;
        gpu_hours += outcome.gpu_hours / args.seeds as f64;
    }
    Ok(Tried { setting, slo_attainment, gpu_hours })
}

fn print(front: &[Tried], found: &Tried, args: &TuneArgs) -> Result<()> {
    let mut out = io::stdout().lock();
    let value = |one: &Tried| {
        json!({
            "threshold_factor": one.setting.threshold,
            "down_window_s": one.setting.down_window.as_secs_f64(),
            "slo_attainment": one.slo_attainment,
            "gpu_hours": one.gpu_hours,
            "holds": one.slo_attainment >= args.attainment,
        })
    };
    if args.format == TextOrJson::Json {
        let front: Vec<_> = front.iter().map(value).collect();
        serde_json::to_writer_pretty(&mut out, &json!({"front": front, "best": value(found)}))?;
        writeln!(out)?;
        return Ok(());
    }
    let right = |name| (name, Align::Right);
    let mut table = Table::new(&[
        ("", Align::Left),
        right("thresholds ×"),
        right("down window"),
        right("in time"),
        right("GPU hours"),
    ]);
    for one in front {
        let mark = if one.setting == found.setting { "best" } else { "" };
        table.row([
            mark.to_owned(),
            count(one.setting.threshold),
            format!("{} s", count(one.setting.down_window.as_secs_f64())),
            share(one.slo_attainment),
            count(one.gpu_hours),
        ]);
    }
    out.write_all(table.text().as_bytes())?;
    Ok(())
}
