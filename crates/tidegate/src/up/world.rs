//! What the files ask for: read whole, or refused whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use tidegate_core::scale::spec::Signal;
use tidegate_journal::manifest_hash;
use tidegate_local::Unit;
use tidegate_local::plan::{self, Surroundings};
use tidegate_manifest::{Finding, Manifests, Severity, Source, Target, load, lower};

use super::auth::AuthFiles;
use crate::files;

/// Everything that is to run.
#[derive(Debug)]
pub(crate) struct World {
    /// The objects.
    pub(crate) manifests: Manifests,
    /// What decides, each with the gateway's requests among its signals where it has a gateway.
    pub(crate) targets: Vec<Target>,
    /// What runs.
    pub(crate) units: Vec<Unit>,
    /// What somebody should know about the files: what is left out on this machine.
    pub(crate) remarks: Vec<String>,
    /// Credentials that manifests name by file. No part of the hash: that goes into the journal.
    pub(crate) auth: AuthFiles,
    /// Tells this set of files from any other.
    pub(crate) hash: String,
}

/// Files that cannot be run, and why.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Where and what.
    pub(crate) findings: Vec<Finding>,
    /// The files, to show the lines.
    pub(crate) sources: Vec<Source>,
}

impl Refused {
    /// The first reason, on one line.
    pub(crate) fn first(&self) -> String {
        let Some(finding) = self.findings.first() else { return "nothing to run".to_owned() };
        let more = self.findings.len() - 1;
        let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        format!("{}{more}", sentence(finding))
    }
}

/// Reads files and directories.
pub(crate) fn read(paths: &[PathBuf], auth_root: Option<&Path>) -> Result<Result<World, Refused>> {
    Ok(understand(files::manifests(paths)?, AuthFiles::read(auth_root)?))
}

/// Makes a world of files.
pub(crate) fn understand(sources: Vec<Source>, auth: AuthFiles) -> Result<World, Refused> {
    let manifests = load(&sources);
    let lowered = lower(&manifests);
    let planned = plan::units(&manifests, &lowered, &surroundings());
    let mut findings: Vec<Finding> = manifests.findings.iter().chain(&lowered.findings).cloned().collect();
    findings.extend(planned.findings.iter().cloned());
    findings.retain(|finding| finding.severity == Severity::Error);
    if !findings.is_empty() {
        findings.sort_by(|a, b| a.order().cmp(&b.order()));
        return Err(Refused { findings, sources });
    }
    let hash = manifest_hash(sources.iter().map(|source| source.bytes.as_slice()));
    let mut units = planned.units;
    units.iter_mut().for_each(own_program);
    let remarks = planned.findings.iter().map(sentence).collect();
    let mut targets = lowered.targets;
    // What has no workload here (a ScaledJob, an HPA of something else) is decided nowhere: nothing would obey.
    targets.retain(|target| units.iter().any(|unit| unit.scaled && unit.target == target.spec.target));
    for target in &mut targets {
        target.spec.signals.push(Signal::demand());
    }
    Ok(World { manifests, targets, units, remarks, auth, hash })
}

/// This machine, on which `tidegate` is always to be found.
fn surroundings() -> Surroundings<'static> {
    let of_this_process = Surroundings::of_this_process();
    Surroundings { on_path: &|program| program == OWN || is_on_path(program), ..of_this_process }
}

fn is_on_path(program: &str) -> bool {
    (Surroundings::of_this_process().on_path)(program)
}

/// What manifests call this program.
const OWN: &str = "tidegate";

/// A command that names this program means this very file, whether or not it is installed.
fn own_program(unit: &mut Unit) {
    let Ok(program) = std::env::current_exe() else { return };
    if unit.template.command.first().is_some_and(|name| name == OWN) {
        let template = Arc::make_mut(&mut unit.template);
        template.command[0] = program.display().to_string();
    }
}

fn sentence(finding: &Finding) -> String {
    let Finding { file, line, object, message, help, .. } = finding;
    format!("{file}:{line} {object}: {message}; {help}")
}
