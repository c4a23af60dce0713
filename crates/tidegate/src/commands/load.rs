//! `tidegate load`: open-loop load from a rate plan or a trace.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use tidegate_core::time::Span;
use tidegate_load::options::{Api, IN_FLIGHT_MAX, Slo};
use tidegate_load::schedule::{Arrivals, Tokens, Weighted};
use tidegate_load::{Mix, Options, Plan, Progress, Report, Schedule, Snapshot};
use tidegate_sim::trace::Trace;

use super::tls::TlsArgs;
use crate::args::TextOrJson;
use crate::output;

/// Requests of a trace that are kept, at some 60 bytes: 120 MB. A longer trace is refused without a limit
/// that keeps it below.
const TRACE_REQUESTS_MAX: usize = 2_000_000;
/// Bytes of a file that holds one key.
const KEY_BYTES_MAX: u64 = 4 << 10;

/// Sends requests when a plan or a trace says so, whether or not earlier ones were answered, and
/// reports time to first token (TTFT), time between tokens (ITL), failures and goodput. A plan is a
/// list of points, time:rate, with straight lines between them:
///
///   tidegate load --plan "0s:1rps 30s:20rps 60s:0rps"
///
/// Ends with 0 when every request was answered whole, with 1 when one failed. Ctrl-C ends the run
/// and reports what there is.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    mix: MixArgs,
    #[command(flatten)]
    sending: SendingArgs,
    /// An answer is good when its first token came within this time.
    #[arg(long, value_name = "DURATION", value_parser = length)]
    slo_ttft: Option<Duration>,
    /// And when its later tokens took no longer than this each, on average.
    #[arg(long, value_name = "DURATION", value_parser = length)]
    slo_itl: Option<Duration>,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    format: TextOrJson,
    /// Also write the report as a page with charts.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What is sent when.
#[derive(Debug, Args)]
struct SourceArgs {
    /// A rate over time, such as "0s:1rps 30s:20rps 60s:0rps"; two points at one time are a jump.
    #[arg(long, value_name = "PLAN", value_parser = plan, required_unless_present = "trace", conflicts_with = "trace")]
    plan: Option<Plan>,
    /// A trace: Azure LLM CSV, Mooncake JSON lines, BurstGPT CSV.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// How much faster than recorded a trace is played.
    #[arg(long, value_name = "X", default_value_t = 1.0, conflicts_with = "plan")]
    speed: f64,
    /// Begin a trace again when it ends; with --for or --limit.
    #[arg(long, conflicts_with = "plan")]
    repeat: bool,
    /// How a plan's requests are spread around its rate.
    #[arg(long, value_enum, default_value_t = ArrivalsArg::Poisson, value_name = "HOW", conflicts_with = "trace")]
    arrivals: ArrivalsArg,
    /// Another number, other arrivals and another mix.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Send no longer than this. A plan that is shorter goes on at its last rate.
    #[arg(long = "for", value_name = "DURATION", value_parser = length)]
    lasting: Option<Duration>,
    /// Send no more requests than this.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// What requests are made of.
#[derive(Debug, Args)]
struct MixArgs {
    /// Models to ask for, with weights if there are several: a=2,b=1; all that the server lists by default.
    #[arg(long, value_name = "NAME[=WEIGHT]", value_parser = weighted)]
    model: Vec<Weighted>,
    /// Priorities to send, with weights: high=1,normal=8,low=1.
    #[arg(long, value_name = "NAME[=WEIGHT]", value_parser = weighted)]
    priority: Vec<Weighted>,
    /// Ask for streams only, as is the default.
    #[arg(long, conflicts_with_all = ["no_stream", "stream_share"])]
    stream: bool,
    /// Ask for no stream.
    #[arg(long, conflicts_with = "stream_share")]
    no_stream: bool,
    /// The share of requests that ask for a stream, 0 to 1.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    stream_share: Option<f64>,
    /// Length of a plan's prompts: 128, or 64..512 for any length of these.
    #[arg(long, value_name = "N|A..B", default_value = "128", value_parser = tokens, conflicts_with = "trace")]
    prompt_tokens: Tokens,
    /// Length of a plan's answers.
    #[arg(long, value_name = "N|A..B", default_value = "64", value_parser = tokens, conflicts_with = "trace")]
    output_tokens: Tokens,
}

/// Where to, and how.
#[derive(Debug, Args)]
struct SendingArgs {
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// What to ask for.
    #[arg(long, value_enum, default_value_t = ApiArg::Chat, value_name = "API")]
    api: ApiArg,
    /// Let the engine end an answer early; otherwise it is asked for exactly as many tokens as planned.
    #[arg(long)]
    respect_eos: bool,
    /// A file with the API key.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
    /// A header to send with each request.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// How long one request may take.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = length)]
    timeout: Duration,
    /// Requests in flight at once; one more is not sent, and counts as failed.
    #[arg(long, value_name = "N", default_value_t = IN_FLIGHT_MAX)]
    max_in_flight: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ArrivalsArg {
    /// As independent users come.
    Poisson,
    /// Evenly.
    Uniform,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ApiArg {
    /// /v1/chat/completions
    Chat,
    /// /v1/completions
    Completions,
}

/// Plays the load; 1 when a request failed.
pub(crate) fn run(args: &LoadArgs) -> Result<ExitCode> {
    let options = options(args)?;
    if let Some(files) = tidegate_load::files::raise_open_files()
        && files < options.in_flight_max as u64
    {
        output::complain(&format!(
            "only {files} files may be open at once (ulimit -n), so connections past them will fail"
        ));
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let report = runtime.block_on(play(args, options))?;
    if let Some(path) = &args.html {
        fs::write(path, tidegate_load::page::html(&report))
            .with_context(|| format!("cannot write the page {}", path.display()))?;
    }
    print(&report, args.format)?;
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn play(args: &LoadArgs, options: Options) -> Result<Report> {
    let mix = mix(args, &options).await?;
    let schedule = schedule(&args.source, mix)?;
    let stop = options.stop.clone();
    tokio::spawn(async move {
        // Without a handler for the signal, Ctrl-C ends the program at once: no report, nothing worse.
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    let mut bar = Bar::new(&schedule);
    let report = tidegate_load::run(options, schedule, &mut bar).await;
    bar.0.finish_and_clear();
    Ok(report?)
}

fn options(args: &LoadArgs) -> Result<Options> {
    let sending = &args.sending;
    let mut options = Options::to(&sending.url)?;
    options.api = match sending.api {
        ApiArg::Chat => Api::Chat,
        ApiArg::Completions => Api::Completions,
    };
    options.ignore_eos = !sending.respect_eos;
    options.timeout = sending.timeout;
    options.in_flight_max = sending.max_in_flight;
    options.slo = Slo { ttft: args.slo_ttft, itl: args.slo_itl };
    if sending.url.starts_with("https:") {
        options.tls = sending.tls.config()?;
    }
    for header in &sending.header {
        options.header(header)?;
    }
    if let Some(path) = &sending.api_key_file {
        let context = || format!("cannot read the key file {}", path.display());
        let mut key = String::new();
        let file = File::open(path).with_context(context)?;
        file.take(KEY_BYTES_MAX).read_to_string(&mut key).with_context(context)?;
        options.api_key(&key)?;
    }
    Ok(options)
}

async fn mix(args: &LoadArgs, options: &Options) -> Result<Mix> {
    let asked = &args.mix;
    let mut mix = Mix {
        models: Weighted::default(),
        priorities: Weighted::default(),
        stream_share: if asked.no_stream { 0.0 } else { asked.stream_share.unwrap_or(1.0) },
        prompt_tokens: asked.prompt_tokens,
        output_tokens: asked.output_tokens,
    };
    asked.model.iter().for_each(|models| mix.models.extend(models));
    asked.priority.iter().for_each(|priorities| mix.priorities.extend(priorities));
    if asked.model.is_empty() {
        for model in tidegate_load::models(options).await? {
            mix.models.add(&model, 1.0);
        }
    }
    Ok(mix)
}

fn schedule(args: &SourceArgs, mix: Mix) -> Result<Schedule> {
    let mut schedule = if let Some(path) = &args.trace {
        let schedule = Schedule::from_trace(trace(path, args)?, args.speed, args.seed, mix)?;
        if args.repeat && args.lasting.is_none() && args.limit.is_none() {
            bail!("--repeat has no end; add --for or --limit");
        }
        if args.repeat { schedule.repeated() } else { schedule }
    } else {
        let plan =
            args.plan.clone().context("neither a plan nor a trace; give one with --plan or --trace")?;
        let arrivals = match args.arrivals {
            ArrivalsArg::Poisson => Arrivals::Poisson,
            ArrivalsArg::Uniform => Arrivals::Uniform,
        };
        if plan.length_s() <= 0.0 && args.lasting.is_none() {
            bail!("the plan has no length: say how long with --for, or add a second point");
        }
        Schedule::from_plan(plan, arrivals, args.seed, mix)
    };
    if let Some(lasting) = args.lasting {
        schedule = schedule.lasting(Span::try_from_secs_f64(lasting.as_secs_f64()).unwrap_or(Span::ZERO));
    }
    Ok(match args.limit {
        Some(limit) => schedule.limited(limit),
        None => schedule,
    })
}

/// The requests of a trace, as many as the limits let through.
fn trace(path: &Path, args: &SourceArgs) -> Result<Vec<tidegate_sim::TraceRequest>> {
    let name = || format!("cannot read the trace {}", path.display());
    let most = args.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let until_s = args.lasting.map_or(f64::INFINITY, |lasting| lasting.as_secs_f64() * args.speed);
    let mut requests = Vec::new();
    for request in Trace::open(BufReader::new(File::open(path).with_context(name)?)).with_context(name)? {
        let request = request.with_context(name)?;
        if requests.len() >= most || request.at.as_secs_f64() > until_s {
            break;
        }
        if requests.len() == TRACE_REQUESTS_MAX {
            bail!(
                "the trace has more than {TRACE_REQUESTS_MAX} requests; say how many with --limit or --for"
            );
        }
        requests.push(request);
    }
    Ok(requests)
}

fn print(report: &Report, format: TextOrJson) -> Result<()> {
    let mut out = io::stdout().lock();
    match format {
        TextOrJson::Json => {
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)?;
        }
        TextOrJson::Text => out.write_all(report.text().as_bytes())?,
    }
    Ok(())
}

/// A bar on standard error; invisible where that is no terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new(schedule: &Schedule) -> Bar {
        let (length, _) = schedule.outlook();
        let template = if length.is_some() {
            "{elapsed_precise} {wide_bar} {percent:>3} %  {msg}"
        } else {
            "{elapsed_precise} {spinner} {msg}"
        };
        // A thousand parts of the run's length: finer than any terminal is wide.
        let bar = ProgressBar::new(1_000);
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Bar(bar)
    }
}

impl Progress for Bar {
    fn update(&mut self, now: &Snapshot) {
        match now.length_s {
            Some(length_s) if length_s > 0.0 && !now.sent_all => {
                self.0.set_position((now.elapsed_s / length_s * 1_000.0).min(1_000.0) as u64);
            }
            Some(_) => self.0.set_position(1_000),
            None => self.0.tick(),
        }
        let waiting = if now.sent_all { "waiting for the last, " } else { "" };
        self.0.set_message(format!(
            "{waiting}{} sent, {} in flight, {} ok, {} failed",
            now.requests, now.in_flight, now.ok, now.failed
        ));
    }
}

fn length(text: &str) -> Result<Duration, String> {
    let span = tidegate_manifest::duration::parse(text).map_err(|error| format!("the duration {error}"))?;
    let micros = u64::try_from(span.as_micros()).ok().filter(|micros| *micros > 0);
    micros.map(Duration::from_micros).ok_or_else(|| "the duration must be above zero".to_owned())
}

fn plan(text: &str) -> Result<Plan, String> {
    Plan::parse(text).map_err(|error| error.to_string())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "write a share from 0 to 1, such as 0.5".to_owned())
}

fn weighted(text: &str) -> Result<Weighted, String> {
    Weighted::parse(text).map_err(|error| error.to_string())
}

fn tokens(text: &str) -> Result<Tokens, String> {
    Tokens::parse(text).map_err(|error| error.to_string())
}
