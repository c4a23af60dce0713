//! `tidegate doctor`: the known failures of a running fleet, of a cluster, and of the files they run.

mod cluster;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use tidegate_dashboard::model::{
    Fleet, ReplicaState, ReplicaView, Severity as Noted, SignalState, TargetView,
};
use tidegate_doctor::evidence::{Gpu, Life, Machine, Replica, Signal, Start, State, Target};
use tidegate_doctor::{Evidence, Finding, RULES, examine};
use tidegate_manifest::{Severity, lint, load};

use super::admin::{Admin, AdminArgs, Answer};
use super::migrate::ClusterArgs;
use crate::args::{Deny, TextOrJson};
use crate::files;

/// Looks for the known failures of a running fleet: targets that cannot run, starts that are stuck, signals that
/// are not to be trusted, requests that wait for nothing. Each has its evidence and what mends it. With `-f` also
/// what `lint` finds in the files.
///
/// With `--cluster`, a kubeconfig, a context or a namespace it looks at a Kubernetes cluster instead: what lint finds in
/// the objects as they are, pods that wait and why, two owners, quotas, probes, triggers without data, full node pools.
/// It only reads.
///
/// Ends with 0 when there is no error, with 1 when there is one or nobody answers.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct DoctorArgs {
    /// Manifests to look at as well: files or directories.
    #[arg(short, long = "file", value_name = "FILE|DIR")]
    file: Vec<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Look at the cluster of the current context.
    #[arg(long)]
    cluster: bool,
    #[command(flatten)]
    of: ClusterArgs,
    /// Count warnings as errors in the exit code.
    #[arg(long, value_enum)]
    deny: Option<Deny>,
    /// List everything that is looked for.
    #[arg(long)]
    rules: bool,
    /// How to print what is found.
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    format: TextOrJson,
}

/// What was found, live and in files.
#[derive(Serialize)]
struct Report {
    live: Vec<Finding>,
    files: Vec<tidegate_manifest::Finding>,
}

impl Report {
    /// Errors, warnings, and what is worth knowing.
    fn count(&self) -> [usize; 3] {
        let live = self.live.iter().map(|finding| finding.severity);
        let all: Vec<Severity> = live.chain(self.files.iter().map(|finding| finding.severity)).collect();
        [Severity::Error, Severity::Warning, Severity::Info]
            .map(|severity| all.iter().filter(|found| **found == severity).count())
    }
}

pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    if args.rules {
        for rule in RULES {
            writeln!(out, "{}  {:<8} {}", rule.code, rule.severity, rule.name)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let files = match args.file.as_slice() {
        [] => Vec::new(),
        paths => lint::lint(&load(&files::manifests(paths)?)),
    };
    let clustered = args.cluster
        || args.of.kubeconfig.is_some()
        || args.of.context.is_some()
        || args.of.namespace.is_some();
    let Examined { live, targets } = if clustered { cluster::look(&args.of)? } else { running(args)? };
    let report = Report { live, files };
    match args.format {
        TextOrJson::Json => {
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        }
        TextOrJson::Text => out.write_all(text(&report, targets).as_bytes())?,
    }
    let [errors, warnings, _] = report.count();
    let bad = errors > 0 || (args.deny == Some(Deny::Warnings) && warnings > 0);
    Ok(if bad { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// What a look has found, and at how many targets.
struct Examined {
    live: Vec<Finding>,
    targets: usize,
}

/// The Tidegate that runs here.
fn running(args: &DoctorArgs) -> Result<Examined> {
    let admin = Admin::new(&args.admin)?;
    let fleet: Fleet = match admin.get("/api/fleet") {
        Answer::Found(body) => serde_json::from_slice(&body).context("no answer this version can read")?,
        Answer::Refused(_, sentence) => bail!(sentence),
        Answer::Nobody(error) => {
            let addr = admin.addr();
            return Err(
                error.context(format!("nobody answers at {addr}; start it with `tidegate up -f FILE`"))
            );
        }
    };
    Ok(Examined { live: examine(&evidence(&fleet)), targets: fleet.targets.len() })
}

fn text(report: &Report, targets: usize) -> String {
    let mut text = String::new();
    for finding in &report.live {
        let Finding { code, severity, subject, message, evidence, fix } = finding;
        let _ = writeln!(text, "{severity} {code}  {subject}: {message}");
        for line in evidence {
            let _ = writeln!(text, "    {line}");
        }
        let _ = writeln!(text, "  → {fix}\n");
    }
    for finding in &report.files {
        let tidegate_manifest::Finding { code, severity, file, line, column, message, help, .. } = finding;
        let _ = writeln!(text, "{severity} {code}  {file}:{line}:{column}: {message}\n  → {help}\n");
    }
    let [errors, warnings, infos] = report.count();
    let _ = writeln!(
        text,
        "{targets} targets and {} rules: {errors} errors, {warnings} warnings, {infos} remarks",
        RULES.len()
    );
    text
}

/// What the pages show, as the doctor looks at it.
fn evidence(fleet: &Fleet) -> Evidence {
    let machine = fleet.machine.as_ref().map(|machine| Machine {
        open_files_max: machine.open_files_max,
        open_files: machine.open_files,
        state_dir_free: machine.state_dir_free_bytes.map(|free| (machine.state_dir.clone(), free)),
    });
    let gpu = |gpu: &tidegate_dashboard::model::GpuView| Gpu {
        index: gpu.index,
        holder: gpu.holder.clone(),
        memory_mib: gpu.memory_mib.zip(gpu.used_mib),
        active: gpu.active,
        last_xid: gpu.last_xid,
    };
    let errors = fleet.notes.iter().filter(|note| note.severity == Noted::Error);
    Evidence {
        targets: fleet.targets.iter().map(|one| target(one, fleet.at_unix_s)).collect(),
        gpus: fleet.gpus.iter().map(gpu).collect(),
        remarks: errors.map(|note| note.text.clone()).collect(),
        versions: Some((fleet.version.clone(), env!("CARGO_PKG_VERSION").to_owned())),
        machine,
        cluster: None,
    }
}

fn target(view: &TargetView, now_unix_s: f64) -> Target {
    let signal = |signal: &tidegate_dashboard::model::SignalView| Signal {
        name: signal.name.clone(),
        life: match signal.state {
            SignalState::Found => Life::Found,
            SignalState::Absent => Life::Absent,
            SignalState::Stale => Life::Stale,
            SignalState::Error => Life::Failing,
            SignalState::NotMoving => Life::NotMoving,
        },
        text: signal.text.clone(),
    };
    let longest = view.held.iter().max_by(|a, b| a.waited_s.total_cmp(&b.waited_s));
    Target {
        name: view.name.clone(),
        max: view.max,
        wanted: view.wanted,
        ready: view.ready,
        waiting: view.waiting,
        in_flight: view.in_flight,
        longest_wait_s: longest.map(|held| (held.waited_s, held.expected_s)),
        gpus_per_replica: view.gpu_per_replica,
        trouble: view.trouble.clone(),
        signals: view.signals.iter().map(signal).collect(),
        replicas: view.replicas.iter().map(|one| replica(one, now_unix_s)).collect(),
        starts: view
            .starts
            .iter()
            .map(|start| Start { phases: start.phases.clone(), total_s: start.total_s })
            .collect(),
        changes: view
            .decisions
            .iter()
            .map(|made| (now_unix_s - made.at_unix_s, made.from, made.to))
            .collect(),
    }
}

fn replica(view: &ReplicaView, now_unix_s: f64) -> Replica {
    Replica {
        name: view.id.clone(),
        state: match view.state {
            ReplicaState::Pending => State::Pending,
            ReplicaState::Starting => State::Starting,
            ReplicaState::Ready => State::Ready,
            ReplicaState::Draining | ReplicaState::Stopping => State::Leaving,
            ReplicaState::BackOff | ReplicaState::Failed => State::Failed,
        },
        for_s: view.since_unix_s.map(|since| now_unix_s - since),
        restarts: view.restarts,
        why: view.why.clone(),
        last_lines: view.last_lines.clone(),
        kv_use: view.kv_use,
    }
}
