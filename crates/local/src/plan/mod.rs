//! Manifests to units: what of a Deployment or StatefulSet can run as processes, and what cannot.
//!
//! A unit is refused whole, with its place, when it could not do what the manifest says. What merely
//! is otherwise on one machine (volumes, sidecars) is told and left out.
//!
//! | code | says |
//! |---|---|
//! | `TU001` | the workload is not in the files, or is of a kind that is not run here |
//! | `TU002` | there is no command to run |
//! | `TU003` | a variable's source is not there |
//! | `TU004` | a value cannot be used here |
//! | `TU005` | a container or volume is left out |
//! | `TU006` | something is done in another way here |

mod command;
mod environment;
mod probes;
mod workload;

use std::path::Path;

use tidegate_manifest::load::{Document, Manifests};
use tidegate_manifest::lower::Lowered;
use tidegate_manifest::node::Segment;
use tidegate_manifest::object::Object;
use tidegate_manifest::workload::TargetRef;
use tidegate_manifest::{Finding, Severity};

use crate::unit::Unit;

/// What a plan must know of this machine.
pub struct Surroundings<'a> {
    /// Whether a program can be found.
    pub on_path: &'a dyn Fn(&str) -> bool,
    /// Our own environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Surroundings<'_> {
    /// This process's.
    #[must_use]
    pub fn of_this_process() -> Surroundings<'static> {
        Surroundings { on_path: &is_on_path, variable: &|name| std::env::var(name).ok() }
    }
}

/// Whether a program is on `PATH`, or is there by its path.
fn is_on_path(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Units, and what was found on the way.
#[derive(Debug, Default)]
pub struct Plan {
    /// What is to run, by target.
    pub units: Vec<Unit>,
    /// Errors and remarks.
    pub findings: Vec<Finding>,
}

impl Plan {
    /// Whether something could not be planned; then nothing of it should run.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// Plans every target of a load, and every Deployment and StatefulSet that nothing scales.
#[must_use]
pub fn units(manifests: &Manifests, lowered: &Lowered, surroundings: &Surroundings<'_>) -> Plan {
    let mut plan = Plan::default();
    for target in &lowered.targets {
        let scaler = &manifests.documents[target.document];
        let mut remarks = Remarks::new(scaler);
        if matches!(scaler.object, Object::ScaledJob(_)) {
            remarks.warning(
                "TU001",
                &[],
                "a ScaledJob is not run on one machine",
                "its triggers are not read; run it on a cluster",
            );
        } else if let Some(workload) = found(manifests, scaler, &mut remarks) {
            let planner =
                workload::Planner { manifests, surroundings, scaler: Some((scaler, target)), workload };
            plan.take(planner.unit());
        }
        plan.findings.append(&mut remarks.findings);
    }
    // A scaler that could not be lowered still owns its workload: nothing runs it behind its back.
    let scaled: Vec<TargetRef> = manifests
        .documents
        .iter()
        .filter(|one| one.kind != "VerticalPodAutoscaler")
        .filter_map(TargetRef::of)
        .collect();
    for workload in &manifests.documents {
        let runs = matches!(workload.object, Object::Deployment(_) | Object::StatefulSet(_));
        let owned = scaled.iter().any(|target| {
            (target.kind.as_str(), target.name.as_str()) == (workload.kind.as_str(), workload.name.as_str())
                && target.namespace == workload.namespace
                && target.group == workload.group()
        });
        if runs && !owned {
            plan.take(workload::Planner { manifests, surroundings, scaler: None, workload }.unit());
        }
    }
    plan.units.sort_by(|a, b| a.target.cmp(&b.target));
    plan
}

impl Plan {
    fn take(&mut self, (unit, mut findings): (Option<Unit>, Vec<Finding>)) {
        self.units.extend(unit);
        self.findings.append(&mut findings);
    }
}

/// The workload that an object scales, if it is one we can run.
fn found<'a>(manifests: &'a Manifests, scaler: &Document, remarks: &mut Remarks<'_>) -> Option<&'a Document> {
    let path = tidegate_manifest::path!["spec", "scaleTargetRef"];
    let target = TargetRef::of(scaler)?;
    let Some(workload) = target.find(manifests) else {
        remarks.error(
            "TU001",
            path,
            format!("{} {}/{} is not in the files", target.kind, target.namespace, target.name),
            "give its file too: -f takes files and directories",
        );
        return None;
    };
    if !matches!(workload.object, Object::Deployment(_) | Object::StatefulSet(_)) {
        remarks.error(
            "TU001",
            path,
            format!("a {} is not run on one machine", target.kind),
            "scale a Deployment or a StatefulSet",
        );
        return None;
    }
    Some(workload)
}

/// Findings about one document.
pub(crate) struct Remarks<'a> {
    document: &'a Document,
    pub(crate) findings: Vec<Finding>,
}

impl<'a> Remarks<'a> {
    pub(crate) fn new(document: &'a Document) -> Self {
        Remarks { document, findings: Vec::new() }
    }

    fn add(&mut self, code: &'static str, severity: Severity, path: &[Segment], message: String, help: &str) {
        self.findings.push(self.document.finding(code, severity, path, message, help));
    }

    pub(crate) fn error(
        &mut self,
        code: &'static str,
        path: &[Segment],
        message: impl Into<String>,
        help: &str,
    ) {
        self.add(code, Severity::Error, path, message.into(), help);
    }

    pub(crate) fn warning(
        &mut self,
        code: &'static str,
        path: &[Segment],
        message: impl Into<String>,
        help: &str,
    ) {
        self.add(code, Severity::Warning, path, message.into(), help);
    }

    pub(crate) fn info(
        &mut self,
        code: &'static str,
        path: &[Segment],
        message: impl Into<String>,
        help: &str,
    ) {
        self.add(code, Severity::Info, path, message.into(), help);
    }

    fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

#[cfg(test)]
mod tests;
