//! `tidegate operator`: pods of a Kubernetes cluster.
//!
//! The loop is [`tidegate_kube::drive`]; here it gets its connection, its journal, its admin listener and
//! its end.

mod gateways;
mod metrics;
mod show;
mod webhook;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use tidegate_dashboard::Board;
use tidegate_decide::Recorder;
use tidegate_kube::admission::Counters;
use tidegate_kube::client::{Connection, Options};
use tidegate_kube::drive;
use tidegate_kube::watch::Sight;
use tidegate_manifest::quantity;
use tidegate_signals::{Clock, Kept};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::Prometheus;
use crate::journals::Directory;
use crate::output;

/// Decides how many replicas the ScaledObjects and ScaledJobs of a cluster
/// should have, and writes that. In a pod it uses the pod's service account, elsewhere a kubeconfig.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct OperatorArgs {
    /// A kubeconfig; without it $KUBECONFIG, ~/.kube/config, then the pod's service account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Decide and report, and write nothing: no count, no status, no event, no lease.
    #[arg(long)]
    advise: bool,
    /// Look at these namespaces only; without it at all.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', env = "WATCH_NAMESPACE")]
    watch_namespace: Vec<String>,
    /// Look only at ScaledObjects and ScaledJobs with these labels: several operators share a cluster so.
    #[arg(long, value_name = "SELECTOR", env = "WATCH_LABEL_SELECTOR")]
    watch_label_selector: Option<String>,
    /// The name of this operator's share: of its lease and of what it remembers. Operators with one name
    /// take turns.
    #[arg(long, value_name = "NAME", default_value = "operator", value_parser = shard)]
    shard: String,
    /// The operator's own namespace: of its lease, its memory, and of what ClusterTriggerAuthentications
    /// refer to; without it the pod's or the kubeconfig's.
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE")]
    namespace: Option<String>,
    /// Where the dashboard, the metrics and the admin API are.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8081")]
    admin_addr: std::net::SocketAddr,
    /// Where prometheus triggers are answered: by the server that each names, or over what the operator
    /// scrapes of the pods itself. The annotation tidegate.dev/prometheus of an object goes before it.
    #[arg(long, value_enum, default_value_t = Prometheus::Remote, value_name = "WHERE")]
    prometheus: Prometheus,
    #[command(flatten)]
    webhook: webhook::WebhookArgs,
    /// Write a journal of every event and decision into this directory, after what is there.
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
    /// How much the journal's directory may hold, as Kubernetes writes quantities: before it is full the
    /// oldest segments go. At least 64Mi.
    #[arg(long, value_name = "SIZE", default_value = "512Mi", value_parser = bytes)]
    journal_size: u64,
    #[command(flatten)]
    demand: gateways::DemandArgs,
}

/// A quantity in bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let quantity = quantity::parse(text).map_err(|error| error.to_string())?;
    u64::try_from(quantity.0 / 1000).map_err(|_| "a size is not negative".to_owned())
}

/// A name that can be part of an object's name and a label's value.
fn shard(text: &str) -> Result<String, String> {
    let good = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let ends = text.starts_with('-') || text.ends_with('-');
    if text.is_empty() || text.len() > 40 || ends || !text.chars().all(good) {
        return Err("up to 40 small letters, digits and dashes".to_owned());
    }
    Ok(text.to_owned())
}

pub(crate) fn run(args: &OperatorArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(operate(args));
    // A name server that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn operate(args: &OperatorArgs) -> Result<ExitCode> {
    let options = Options {
        kubeconfig: args.kubeconfig.clone(),
        context: args.context.clone(),
        read_only: args.advise,
    };
    let connection = Connection::new(&options).await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| connection.namespace.clone());
    let clock = Clock::unix();
    let board = Arc::new(Board::new());
    let reviews = Arc::new(Counters::default());
    let counts = metrics::Counts::new(Arc::clone(&connection.requests), Arc::clone(&reviews));
    let writer = counts.clone();
    board.add_metrics(move |out| writer.write(out));
    let kept = Arc::new(Kept::new(false));
    let told = show::Told::new(Arc::clone(&board), counts);
    let admin = admin(args, board, &kept).await?;
    let stop = CancellationToken::new();
    let listening = args.demand.listen(&connection, &namespace, stop.clone()).await?;
    let demand_addr = listening.as_ref().map(|listening| listening.addr);
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "tidegate".to_owned());
    let config = drive::Config {
        sight: Sight {
            namespaces: args
                .watch_namespace
                .iter()
                .filter(|name| !name.is_empty())
                .map(|name| name.as_str().into())
                .collect(),
            selector: args.watch_label_selector.clone().filter(|text| !text.is_empty()),
        },
        namespace: namespace.clone(),
        shard: args.shard.clone(),
        me: tidegate_kube::lease::identity(&host),
        audience: Box::new(told),
        recorder: recorder(args)?,
        gateways: listening.map(|listening| listening.inbox),
        queries: args.prometheus.into(),
        kept: Arc::clone(&kept),
        connection: connection.clone(),
        clock,
    };
    {
        let mut out = io::stdout().lock();
        if let Some(addr) = demand_addr {
            writeln!(out, "demand {addr}")?;
        }
        writeln!(out, "dashboard http://{}/", admin.addr)?;
        out.flush()?;
    }
    let webhook = args.webhook.start(connection.client, namespace, reviews, &stop).await?;
    let ending = stop.clone();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        output::note("stopping: what is under way may land, then the lease is given up");
        ending.cancel();
    });
    let outcome = drive::run(config, stop.clone()).await;
    stop.cancel();
    if let Some(webhook) = webhook {
        webhook.ended().await;
    }
    outcome?;
    admin.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn recorder(args: &OperatorArgs) -> Result<Option<Box<dyn Recorder + Send>>> {
    let Some(path) = &args.journal else { return Ok(None) };
    Ok(Some(Box::new(Directory::rolling(path, args.journal_size)?)))
}

async fn admin(args: &OperatorArgs, board: Arc<Board>, kept: &Kept) -> Result<tidegate_dashboard::Running> {
    const TOKEN: &str = "TIDEGATE_ADMIN_TOKEN";
    let token = if args.admin_addr.ip().is_loopback() {
        None
    } else {
        let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
        let Some(token) = token else {
            bail!("{} can be reached by others; set {TOKEN} to what they must show", args.admin_addr)
        };
        Some(token)
    };
    let series = Some(Arc::clone(kept.store()));
    let config = tidegate_dashboard::Config { addr: args.admin_addr, token, tls: None, series, push: None };
    Ok(tidegate_dashboard::serve(config, board).await?)
}
