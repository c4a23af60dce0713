//! The command line: the contract users and later work rely on.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidegate_signals::Queries;

/// Keeps exactly enough GPUs behind a language model.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run models on this machine: start them when asked, as many as needed, none when idle.
    Up(Up),
    /// Run the models of a Kubernetes cluster: as many replicas as needed, none when idle.
    Operator(crate::commands::operator::OperatorArgs),
    /// Send requests to the models of a Kubernetes cluster, and hold them while none is ready.
    Gateway(crate::commands::gateway::GatewayArgs),
    /// Take ScaledObjects over from KEDA, or plain HorizontalPodAutoscalers from Kubernetes.
    Adopt(crate::commands::migrate::AdoptArgs),
    /// Give back what was taken over, and leave it alone.
    Release(crate::commands::migrate::ReleaseArgs),
    /// Be an inference server that only pretends: a stand-in for vLLM and its like.
    Engine(crate::commands::engine::EngineArgs),
    /// Send requests by a plan or a trace, and tell what came of them.
    Load(crate::commands::load::LoadArgs),
    /// Tell why a target has the replicas it has.
    Why(crate::commands::why::WhyArgs),
    /// Look for the known failures of a running fleet, each with its evidence and its fix.
    Doctor(crate::commands::doctor::DoctorArgs),
    /// Watch the fleet in the terminal.
    Top(crate::commands::top::TopArgs),
    /// Decide from observations: JSON lines in, explained decisions out.
    Decide(Decide),
    /// Play a trace to a simulated fleet: what a policy costs, and how many users it keeps waiting.
    Simulate(crate::commands::simulate::SimulateArgs),
    /// Simulate several policies or manifests on the same trace and seeds, side by side.
    Compare(crate::commands::compare::CompareArgs),
    /// Search a manifest's thresholds and windows for the least GPU time that holds an objective.
    Tune(crate::commands::tune::TuneArgs),
    /// Find the mistakes in manifests, each with its place, its reason and its fix.
    Lint(Lint),
    /// Run a journal again: the same actions, or the first difference.
    Replay(Replay),
    /// Print the CustomResourceDefinitions of the kinds Tidegate reads.
    Crds,
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print a man page, or write all of them.
    Man(crate::commands::man::ManArgs),
}

/// Reads Deployments and ScaledObjects, runs their replicas as processes of this machine, and serves all
/// models at one OpenAI-compatible address. Without `-f` it runs a demo: three stand-in models, a trace
/// played at them, and a dashboard to watch.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Up {
    /// Manifests: files or directories; they are watched, and a good edit is applied.
    #[arg(short, long = "file", value_name = "FILE|DIR")]
    pub(crate) file: Vec<PathBuf>,
    /// Where requests come in.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) gateway_addr: SocketAddr,
    /// Where the dashboard, the metrics and the admin API are.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8081")]
    pub(crate) admin_addr: SocketAddr,
    /// Keep every series of every replica's metrics for queries, not only those that tell a scaler
    /// something or that a trigger names.
    #[arg(long)]
    pub(crate) store_all: bool,
    /// Journal and logs; `~/.local/state/tidegate` by default, a temporary one for the demo.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// A DCGM exporter, such as `http://127.0.0.1:9400/metrics`: how busy each GPU is, its memory, its MIG
    /// slices and its last error are then shown, and looked at by `doctor`. No count is decided by them.
    #[arg(long, value_name = "URL")]
    pub(crate) dcgm_exporter: Option<http::Uri>,
    /// GPUs to hand out where nvidia-smi is not there to count them.
    #[arg(long, value_name = "N")]
    pub(crate) gpus: Option<u32>,
    /// Let in only who shows one of these keys: a key a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) api_keys: Option<PathBuf>,
    /// Certificate of the gateway, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// What a streaming client gets while it waits for a replica.
    #[arg(long, value_enum, default_value_t = KeepAlive::Comments, value_name = "WHAT")]
    pub(crate) keep_alive: KeepAlive,
    /// Directory of the JSON files that `filePath` of a ClusterTriggerAuthentication names, as KEDA's
    /// operator calls it; watched too.
    #[arg(long, value_name = "DIR", requires = "file")]
    pub(crate) filepath_auth_root_path: Option<PathBuf>,
    /// Where `prometheus` triggers are answered: over what is scraped here, or by the server each names.
    /// `tidegate.dev/prometheus: embedded` or `remote` on a ScaledObject comes first.
    #[arg(long, value_enum, default_value_t = Prometheus::Embedded, value_name = "WHERE")]
    pub(crate) prometheus: Prometheus,
    /// How much faster than recorded the demo plays its trace, and its engines answer.
    #[arg(long, value_name = "X", default_value_t = 3.0, conflicts_with = "file", value_parser = speed)]
    pub(crate) demo_speed: f64,
    /// Run the demo fleet without load.
    #[arg(long, conflicts_with = "file")]
    pub(crate) no_load: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.1..=100.0).contains(&speed) => Ok(speed),
        _ => Err("a speed is a number from 0.1 to 100".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Prometheus {
    /// Over the replicas' own metrics.
    Embedded,
    /// By the server that `serverAddress` names.
    Remote,
}

impl From<Prometheus> for Queries {
    fn from(chosen: Prometheus) -> Self {
        match chosen {
            Prometheus::Embedded => Queries::Embedded,
            Prometheus::Remote => Queries::Remote,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeepAlive {
    /// SSE comments, which every SSE reader skips.
    Comments,
    /// Chunks without content, for what stands between and counts only data.
    Chunks,
}

/// Reads ScaledObjects, ScaledJobs and HorizontalPodAutoscalers, then one JSON object a line:
///
///   {"t": 0, "replicas": {"spec": 1, "ready": 1}, "signals": {"s0-prometheus": 25}}
///
/// and prints one decision a line. Bad lines are reported with their number and do not stop the others.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Decide {
    /// Manifests: files or directories.
    #[arg(short, long = "file", value_name = "FILE|DIR", required = true)]
    pub(crate) file: Vec<PathBuf>,
    /// Observations, one JSON object a line; `-` reads standard input.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) observations: PathBuf,
    /// Write a journal of the run, in segments, into this directory; it must be empty or absent.
    #[arg(long, value_name = "DIR")]
    pub(crate) journal: Option<PathBuf>,
    /// How to print decisions.
    #[arg(long, value_enum, default_value_t = TextOrJson::Json)]
    pub(crate) format: TextOrJson,
}

#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// Manifests: files or directories.
    #[arg(value_name = "PATH", required_unless_present = "explain")]
    pub(crate) paths: Vec<PathBuf>,
    /// How to print findings.
    #[arg(long, value_enum, default_value_t = LintFormat::Text)]
    pub(crate) format: LintFormat,
    /// Print the page of a code instead, such as TG101; `all` lists every code.
    #[arg(long, value_name = "CODE", conflicts_with = "paths")]
    pub(crate) explain: Option<String>,
    /// Also end with 1 for these findings.
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub(crate) deny: Option<Deny>,
    /// Colour, where the terminal has it.
    #[arg(long, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(crate) color: Colour,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// A journal: a segment, or the directory that holds them.
    pub(crate) journal: PathBuf,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub(crate) format: TextOrJson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextOrJson {
    /// For people.
    Text,
    /// For machines.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LintFormat {
    /// The lines with a caret, for people.
    Text,
    /// An array of findings.
    Json,
    /// SARIF 2.1.0, for code hosts.
    Sarif,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Deny {
    /// Warnings count as errors.
    Warnings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// When standard output is a terminal and NO_COLOR is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
