//! `tidegate engine`: the stand-in inference server.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use tidegate_engine::{Dialect, Fault, Options};
use tidegate_sim::Profile;
use tokio::signal::unix::{SignalKind, signal};

/// Where engines listen by custom.
const PORT: u16 = 8000;

/// Stands for an inference server in tests and demonstrations: OpenAI's API, an engine's metrics, its cold
/// start and its limits, without a GPU. On SIGTERM it lets running streams end, then ends with 0.
#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// Port to listen on; 0 takes a free one and prints it. Without it $PORT counts, then 8000.
    #[arg(long)]
    port: Option<u16>,
    /// Address to listen on.
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Names the model answers to; the first is the one in metrics.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "demo")]
    model: Vec<String>,
    /// Whose manners and metrics to take on: vllm, sglang, tgi or llamacpp.
    #[arg(long, default_value = "vllm")]
    dialect: Dialect,
    /// Speed, memory and cold start: a name such as demo, instant or h100-llama-3.1-8b, or a JSON file.
    #[arg(long, value_name = "NAME|FILE", default_value = "demo")]
    profile: String,
    /// Length of the cold start; without it the profile's.
    #[arg(long, value_name = "SECONDS")]
    start_s: Option<f64>,
    /// Compresses all time, the start's included, by this factor.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    speed: f64,
    /// Sequences in a batch at most; without it the profile's.
    #[arg(long, value_name = "N")]
    max_num_seqs: Option<u32>,
    /// Tokens the KV cache holds; without it the profile's.
    #[arg(long, value_name = "N")]
    kv_tokens: Option<u64>,
    /// On SIGTERM end running streams at once, as vLLM and llama.cpp do by default.
    #[arg(long)]
    abort_on_sigterm: bool,
    /// Ask requests for this bearer token.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Misbehave: garbage, hang, trickle or crash-after=N.
    #[arg(long, value_name = "FAULT")]
    fault: Option<Fault>,
    /// Write a line for each request, in the order they came.
    #[arg(long)]
    enable_log_requests: bool,
}

pub(crate) fn run(args: EngineArgs) -> Result<ExitCode> {
    let options = Options {
        host: args.host,
        port: port(args.port)?,
        models: args.model,
        dialect: args.dialect,
        profile: profile(&args.profile)?,
        start_s: args.start_s,
        speed: args.speed,
        max_num_seqs: args.max_num_seqs,
        kv_tokens: args.kv_tokens,
        abort_on_sigterm: args.abort_on_sigterm,
        fault: args.fault,
        api_key: args.api_key,
        log: true,
        log_requests: args.enable_log_requests,
    };
    let runtime = tokio::runtime::Runtime::new().context("cannot start the threads of the server")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let shutdown = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        tidegate_engine::run(options, shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}

fn port(given: Option<u16>) -> Result<u16> {
    match (given, std::env::var("PORT")) {
        (Some(port), _) => Ok(port),
        (None, Ok(text)) => {
            text.parse().with_context(|| format!("$PORT is {text}; it must be a port number"))
        }
        (None, Err(_)) => Ok(PORT),
    }
}

fn profile(given: &str) -> Result<Profile> {
    let path = Path::new(given);
    if !path.is_file() {
        return Ok(Profile::named(given)?);
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the profile {given}"))?;
    Profile::parse(&text).with_context(|| given.to_owned())
}
