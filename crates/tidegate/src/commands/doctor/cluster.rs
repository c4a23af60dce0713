//! The doctor's look at a cluster.

use anyhow::{Context, Result};
use tidegate_doctor::{Evidence, Finding, examine};
use tidegate_kube::survey::survey;
use tidegate_signals::Clock;

use super::Examined;
use crate::commands::migrate::ClusterArgs;

/// What is found live, the objects' own mistakes among it. Only reads: the client refuses everything else.
pub(super) fn look(args: &ClusterArgs) -> Result<Examined> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start a client")?;
    let seen = runtime.block_on(async {
        let connection = args.connect(true).await?;
        anyhow::Ok(survey(&connection.client, args.namespace.as_deref(), Clock::unix().now()).await)
    })?;
    let targets = seen.cluster.scalers.len();
    let mut live = examine(&Evidence { cluster: Some(seen.cluster), ..Evidence::default() });
    // Objects of a cluster have no file and no line: what is wrong with them stands beside what is seen.
    live.extend(seen.findings.into_iter().map(|finding| Finding {
        code: finding.code,
        severity: finding.severity,
        subject: finding.file.to_string(),
        message: finding.message,
        evidence: Vec::new(),
        fix: finding.help,
    }));
    live.sort_by(|a, b| (b.severity, a.code, &a.subject).cmp(&(a.severity, b.code, &b.subject)));
    Ok(Examined { live, targets })
}
