//! Plain manifests, rendered from the chart: for who has no Helm, and for the tests.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What is rendered: where to, and with which values beyond those of the chart.
const RENDERED: &[(&str, &[&str])] = &[
    // Nothing of it is drawn by lot, so the token is a Secret that whoever applies it makes.
    ("deploy/manifests/operator.yaml", &["admin.existingSecret=tidegate-admin"]),
    (
        "deploy/manifests/operator-advise.yaml",
        &["admin.existingSecret=tidegate-admin", "operator.advise=true"],
    ),
    (
        "deploy/manifests/complete.yaml",
        &["admin.existingSecret=tidegate-admin", "gateway.enabled=true", "webhook.enabled=true"],
    ),
];

/// Above the objects: what `helm install --create-namespace` would do, and the token.
const HEAD: &str = "\
# Made by `cargo xtask codegen` of deploy/helm/tidegate; edit that instead.
#
#   kubectl apply --server-side -f deploy/crds/
#   kubectl create namespace tidegate
#   kubectl -n tidegate create secret generic tidegate-admin --from-literal=token=$(openssl rand -hex 16)
#   kubectl apply -f THIS
---
apiVersion: v1
kind: Namespace
metadata:
  name: tidegate
  labels:
    pod-security.kubernetes.io/enforce: restricted
";

/// Each file and its text; none where there is no Helm to render them.
pub(crate) fn manifests(root: &Path) -> Result<Vec<(&'static str, String)>> {
    let helm = root.join("target/tools/helm/helm");
    if !helm.is_file() {
        crate::say("*** LEFT OUT: deploy/manifests, for want of Helm: cargo xtask setup ***");
        return Ok(Vec::new());
    }
    RENDERED.iter().map(|(path, values)| Ok((*path, render(root, &helm, values)?))).collect()
}

fn render(root: &Path, helm: &Path, values: &[&str]) -> Result<String> {
    let mut command = Command::new(helm);
    // Without a cluster Helm has to be told of a version; nothing in the chart depends on it.
    command.args(["template", "tidegate", "deploy/helm/tidegate", "--namespace", "tidegate"]);
    command.args(["--skip-crds", "--kube-version", "1.34.0"]).current_dir(root);
    for value in values {
        command.args(["--set", value]);
    }
    let output = command.output().with_context(|| format!("cannot start {}", helm.display()))?;
    if !output.status.success() {
        bail!("helm template failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8(output.stdout).context("Helm rendered what is not UTF-8")?;
    // Who applies it by hand is not Helm; and Helm leaves the template's name above each object.
    let lines = text.lines().filter(|line| !line.starts_with("# Source: "));
    let lines: Vec<String> = lines
        .map(|line| line.replace("managed-by: Helm", "managed-by: manifests").trim_end().to_owned())
        .collect();
    Ok(format!("{HEAD}{}\n", lines.join("\n").trim_end()))
}
