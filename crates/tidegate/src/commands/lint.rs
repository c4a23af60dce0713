//! `tidegate lint`: findings with their place, reason and fix.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Result, bail};
use tidegate_manifest::lint::{RULES, lint, rule};
use tidegate_manifest::{Finding, Severity, load};

use crate::args::{Deny, Lint, LintFormat};
use crate::files;
use crate::output::{render, sarif};

pub(crate) fn run(args: &Lint) -> Result<ExitCode> {
    if let Some(code) = &args.explain {
        return explain(code);
    }
    let sources = files::manifests(&args.paths)?;
    let findings = lint(&load(&sources));
    let mut out = io::stdout().lock();
    match args.format {
        LintFormat::Text => out.write_all(render::findings(&findings, &sources, args.color).as_bytes())?,
        LintFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &findings)?;
            writeln!(out)?;
        }
        LintFormat::Sarif => {
            serde_json::to_writer_pretty(&mut out, &sarif::report(&findings))?;
            writeln!(out)?;
        }
    }
    let least = if args.deny == Some(Deny::Warnings) { Severity::Warning } else { Severity::Error };
    Ok(if worst(&findings) >= Some(least) { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn worst(findings: &[Finding]) -> Option<Severity> {
    findings.iter().map(|finding| finding.severity).max()
}

fn explain(code: &str) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    if code.eq_ignore_ascii_case("all") {
        for rule in RULES {
            writeln!(out, "{}  {:<8} {}", rule.code, rule.severity.to_string(), rule.name)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    match rule(code) {
        Some(rule) => out.write_all(rule.page.as_bytes())?,
        None => bail!("there is no code {code}; `tidegate lint --explain all` lists them"),
    }
    Ok(ExitCode::SUCCESS)
}
