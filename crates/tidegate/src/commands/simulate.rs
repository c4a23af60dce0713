//! `tidegate simulate`: a trace through a manifest, in simulated time.

pub(crate) mod input;
pub(crate) mod page;
pub(crate) mod past;
pub(crate) mod show;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use tidegate_sim::fleet::{self, Little, Outcome, Setup};
use tidegate_sim::policy::Choice;

use crate::args::TextOrJson;
use crate::output;
use input::{Requests, Rules};

/// Plays the requests of a trace to a fleet of simulated engines that a policy scales, through the
/// gateway's own routing, and tells what users got and what it cost:
///
///   tidegate simulate -f examples/vllm-queue-depth.yaml --trace azure-conv.csv
///
/// A request counts as good when its first token came in time; one that was never answered does not.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct SimulateArgs {
    /// What says how many replicas there are: keda (the manifest's rules as KEDA and HPA run them), live (as
    /// `tidegate up` runs them), fixed:N, kpa:CONCURRENCY, aibrix:KV_SHARE, kubeai:REQUESTS, ray:REQUESTS, wva.
    #[arg(long, value_name = "NAME", default_value = "keda", value_parser = policy)]
    policy: Choice,
    #[command(flatten)]
    what: What,
    /// Write a page with charts and the journal into this directory; it must be empty or absent.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    format: TextOrJson,
}

/// The world: requests, engines, limits.
#[derive(Clone, Debug, Args)]
pub(crate) struct What {
    /// Manifests: files or directories.
    #[arg(short, long = "file", value_name = "FILE|DIR")]
    pub(crate) file: Vec<PathBuf>,
    /// The target among those of the manifests, as namespace/name, where there are several.
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Option<String>,
    /// A trace: Azure LLM CSV, Mooncake JSON lines, BurstGPT CSV; each also gzipped. Or a directory with
    /// ServeGen's tables (*_clients.csv, *_input_tokens_pdf.csv, *_output_tokens_pdf.csv). Or requests drawn
    /// from the seed: synth:SHAPE with settings behind commas, as in synth:daily,rate=2,high=10,for=48h; shapes
    /// are steady, step, ramp, spike, silence, daily, bursts, and plan with the points of `load --plan`.
    #[arg(
        long,
        value_name = "FILE|DIR|synth:SHAPE",
        required_unless_present = "from_journal",
        conflicts_with = "from_journal"
    )]
    pub(crate) trace: Option<PathBuf>,
    /// Instead of a trace what really happened, from a journal that `up` or a simulation wrote: its demand, its
    /// replicas at the beginning, its starts as measured.
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) from_journal: Option<PathBuf>,
    /// The journal once it is read, for all runs.
    #[arg(skip)]
    pub(crate) past: past::Kept,
    /// Begin at this second of the trace.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = not_negative)]
    pub(crate) from_s: f64,
    /// Play so many seconds of it.
    #[arg(long, value_name = "SECONDS", value_parser = above_zero)]
    pub(crate) for_s: Option<f64>,
    /// So many times the trace's requests, in the same shape.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = above_zero)]
    pub(crate) scale: f64,
    /// The engine's timing: a name such as h100-llama-3.1-8b, or a JSON file with the numbers of the formula or
    /// a table of measured points.
    #[arg(long, value_name = "NAME|FILE", default_value = "h100-llama-3.1-8b")]
    pub(crate) profile: String,
    /// How long a replica's start takes, instead of what the profile says.
    #[arg(long, value_name = "SECONDS", value_parser = not_negative)]
    pub(crate) start_s: Option<f64>,
    /// The objective: the first token within this time.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = above_zero)]
    pub(crate) slo_ttft_s: f64,
    /// And later tokens no further apart than this, on average.
    #[arg(long, value_name = "SECONDS", value_parser = above_zero)]
    pub(crate) slo_itl_s: Option<f64>,
    /// Replicas ready when the trace begins; the manifest's minimum by default.
    #[arg(long, value_name = "N")]
    pub(crate) initial: Option<u32>,
    /// Nodes, spot, crashes, slow replicas: a JSON file; plenty of sound nodes by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) fleet: Option<PathBuf>,
    /// Another number, other luck.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Simulates one policy.
pub(crate) fn run(args: &SimulateArgs) -> Result<ExitCode> {
    let rules = input::rules(&args.what)?;
    let setup = input::setup(&args.what, rules.as_ref())?;
    let journal = args.out.as_ref().map(|out| out.join("journal"));
    let mut policy = match (&journal, &rules) {
        (Some(directory), Some(rules)) => rules.recorded(args.policy, &setup, directory)?,
        _ => args.policy.policy(&setup, rules.as_ref().map(Rules::of_target))?,
    };
    let (outcome, wall_s) = play(&args.what, &setup, &mut *policy)?;
    for remark in &outcome.remarks {
        output::complain(remark);
    }
    if let Some(directory) = &args.out {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join("index.html");
        let html = page::html(&args.what, &setup, std::slice::from_ref(&outcome));
        fs::write(&path, html).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let recorded = past::totals(&args.what, &setup.profile)?;
    let mut out = io::stdout().lock();
    match args.format {
        TextOrJson::Json => {
            let mut value = show::json(&outcome, wall_s)?;
            if let Some(recorded) = &recorded {
                value["recorded"] = serde_json::to_value(recorded)?;
            }
            serde_json::to_writer_pretty(&mut out, &value)?;
            writeln!(out)?;
        }
        TextOrJson::Text => {
            out.write_all(show::table(&[(outcome, wall_s)]).as_bytes())?;
            if let Some(recorded) = &recorded {
                writeln!(out, "{}", past::line(recorded, setup.profile.gpus))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl What {
    /// What is played, in a few words.
    pub(crate) fn name(&self) -> String {
        let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        match (&self.trace, &self.from_journal) {
            (Some(trace), _) if input::synthetic(trace).is_some() => trace.to_string_lossy().into_owned(),
            (Some(trace), _) => last(trace).unwrap_or_default(),
            (None, Some(journal)) => format!("journal {}", journal.display()),
            (None, None) => String::new(),
        }
    }
}

/// One run, with its progress; and how long it took.
pub(crate) fn play(
    what: &What,
    setup: &Setup,
    policy: &mut dyn tidegate_sim::policy::Policy,
) -> Result<(Outcome, f64)> {
    let began = Instant::now();
    let requests = Requests::open(what)?;
    let bar = show::Bar::new(&policy.name(), requests.length());
    let read = requests.read();
    let outcome = fleet::run(setup, requests, policy, &mut |progress| bar.update(progress, &read))
        .with_context(|| format!("cannot simulate {}", what.name()))?;
    bar.clear();
    if !outcome.little.holds() {
        let Little { area_s, sojourn_s } = outcome.little;
        bail!(
            "the run broke Little's law ({area_s} against {sojourn_s} s): its figures are wrong; please report it"
        );
    }
    Ok((outcome, began.elapsed().as_secs_f64()))
}

fn policy(text: &str) -> Result<Choice, String> {
    Choice::parse(text).map_err(|error| error.to_string())
}

pub(crate) fn above_zero(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "write a number above 0".to_owned())
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "write a number from 0 on".to_owned())
}
