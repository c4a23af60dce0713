//! `tidegate adopt` and `tidegate release`: to us from KEDA, and back.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use tidegate_kube::client::{Connection, Options};
use tidegate_kube::migrate::{self, Asked, Outcome};

/// Which cluster.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ClusterArgs {
    /// A kubeconfig; without it $KUBECONFIG, ~/.kube/config, then the pod's service account.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The namespace; without it the context's.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

impl ClusterArgs {
    /// A connection that can write, or not.
    pub(crate) async fn connect(&self, read_only: bool) -> Result<Connection> {
        let (kubeconfig, context) = (self.kubeconfig.clone(), self.context.clone());
        Ok(Connection::new(&Options { kubeconfig, context, read_only }).await?)
    }
}

/// Which objects, and how patiently.
#[derive(Debug, Args)]
struct TargetArgs {
    /// `NAME` or `so/NAME` of a ScaledObject, `sj/NAME` of a ScaledJob, `hpa/NAME` of a plain
    /// HorizontalPodAutoscaler.
    #[arg(value_name = "TARGET", required_unless_present = "all")]
    targets: Vec<String>,
    /// Every ScaledObject and ScaledJob of the namespace (`release`: and every autoscaler that was taken over).
    #[arg(long, conflicts_with = "targets")]
    all: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Say what would be done, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Seconds that the operator may take; what it has not done by then it does later.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Keda {
    /// It must not run.
    Stopped,
    /// It stays for other objects: these are paused for it, by its own annotation.
    Pause,
}

/// Asks the operator to take objects over. It decides them beside their owner first, and takes over once its
/// decision is the count that is there: then KEDA's autoscaler is removed, or the controller manager's part of a
/// plain one is disabled. Every step is said, and doing it again does nothing more.
///
/// Ends with 0 when all are taken over, with 1 when some wait or nothing was done.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct AdoptArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// What is done about a KEDA that runs.
    #[arg(long, value_enum, default_value_t = Keda::Stopped)]
    keda: Keda,
    /// Take over at once, whatever is decided.
    #[arg(long)]
    confirm: bool,
}

/// Asks the operator to give objects back as they were, and to leave them alone.
///
/// Ends with 0 when all are given back, with 1 when some are not.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// Give them back without an operator, where none runs any more.
    #[arg(long)]
    force: bool,
}

pub(crate) fn adopt(args: &AdoptArgs) -> Result<ExitCode> {
    let keda = match args.keda {
        Keda::Stopped => migrate::Keda::Stopped,
        Keda::Pause => migrate::Keda::Pause,
    };
    run(&args.targets, keda, args.confirm, true)
}

pub(crate) fn release(args: &ReleaseArgs) -> Result<ExitCode> {
    run(&args.targets, migrate::Keda::Stopped, args.force, false)
}

fn run(args: &TargetArgs, keda: migrate::Keda, at_once: bool, adopting: bool) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start a client")?;
    let outcome = runtime.block_on(async {
        let connection = args.cluster.connect(args.dry_run).await?;
        let asked = Asked {
            targets: args.targets.clone(),
            all: args.all,
            namespace: args.cluster.namespace.clone().unwrap_or_else(|| connection.namespace.clone()),
            keda,
            at_once,
            dry_run: args.dry_run,
            patience: Duration::from_secs(args.timeout),
        };
        let mut say = |line: &str| {
            // Who reads may have gone; what was begun is still done.
            let _ = writeln!(io::stdout(), "{line}");
        };
        let client = &connection.client;
        if adopting {
            anyhow::Ok(migrate::adopt(client, &asked, &mut say).await?)
        } else {
            Ok(migrate::release(client, &asked, &mut say).await?)
        }
    })?;
    let Outcome { done, waiting } = outcome;
    let what = if adopting { "taken over" } else { "given back" };
    writeln!(io::stdout(), "{done} {what}, {waiting} not yet")?;
    Ok(if waiting == 0 || args.dry_run { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
