//! The chart and the manifests made of it, as an API server takes them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use super::real::{Real, deploy};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Helm, of `cargo xtask setup`; told where it is not.
pub(crate) fn helm() -> Option<PathBuf> {
    let helm = root().join("target/tools/helm/helm");
    if helm.is_file() {
        return Some(helm);
    }
    let told = "\n*** LEFT OUT: the chart, for want of Helm: cargo xtask setup ***\n";
    std::io::stderr().write_all(told.as_bytes()).unwrap();
    None
}

/// Helm on the test's cluster, whatever it answers.
async fn run(real: &Real, helm: &Path, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(helm);
    command.args(arguments).current_dir(root()).env("KUBECONFIG", real.cluster.kubeconfig());
    command.output().await.unwrap()
}

pub(crate) async fn succeed(real: &Real, helm: &Path, arguments: &[&str]) -> String {
    let output = run(real, helm, arguments).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "helm {}: {said}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything the chart can make that an API server without other people's definitions knows.
const EVERYTHING: &str = "operator.watchNamespaces={helm},operator.secretNames={login},\
    operator.journalSize=2Gi,operator.watchLabelSelector=team=a,dashboard.enabled=true,\
    image.pullSecrets={registry},webhook.enabled=true,gateway.enabled=true";

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_are_taken_and_their_pods_are_admitted_where_only_restricted_ones_are() {
    let Some(real) = Real::turn("install").await else { return };
    for file in ["operator.yaml", "operator-advise.yaml", "complete.yaml"] {
        let arguments = ["apply", "--dry-run=server", "-f", "-"];
        real.cluster.succeed(&arguments, &deploy(&format!("manifests/{file}"))).await.unwrap();
    }
    // What a pod of the Deployment would be, in the namespace that enforces the restricted standard.
    let deployment = real.cluster.get(&["-n", "tidegate", "deployment", "tidegate-operator"]).await.unwrap();
    let mut pod = deployment["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("probe");
    pod["metadata"]["namespace"] = json!("tidegate");
    let admitted = real.cluster.kubectl(&["create", "--dry-run=server", "-f", "-"], &pod.to_string()).await;
    let admitted = admitted.unwrap();
    assert!(admitted.status.success(), "{}", String::from_utf8_lossy(&admitted.stderr));
    // Not vacuous: the same with root is refused.
    pod["spec"]["securityContext"]["runAsNonRoot"] = json!(false);
    let root =
        real.cluster.kubectl(&["create", "--dry-run=server", "-f", "-"], &pod.to_string()).await.unwrap();
    assert!(String::from_utf8_lossy(&root.stderr).contains("runAsNonRoot"), "{root:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_installs_upgrades_and_removes_it_and_the_token_stays_the_same() {
    let Some(real) = Real::turn("helm").await else { return };
    let Some(helm) = helm() else { return };
    let chart = "deploy/helm/tidegate";
    let install = ["install", "other", chart, "-n", "helm", "--set", "operator.replicas=0"];
    succeed(&real, &helm, &install).await;
    let token = real.get("secret", "other-admin").await["data"]["token"].clone();
    assert!(token.as_str().is_some_and(|token| token.len() >= 40), "{token}");
    let all = [
        "upgrade",
        "other",
        chart,
        "-n",
        "helm",
        "--set",
        EVERYTHING,
        "--set",
        "operator.replicas=0,gateway.replicas=0",
    ];
    succeed(&real, &helm, &all).await;
    assert_eq!(real.get("secret", "other-admin").await["data"]["token"], token);
    let bound = real.get("rolebinding", "other-operator-scales").await;
    assert_eq!(bound["roleRef"]["name"], "other-operator", "{bound}");
    let everywhere =
        real.cluster.get(&["clusterrolebindings", "-l", "app.kubernetes.io/instance=other"]).await.unwrap();
    assert_eq!(everywhere["items"].as_array().unwrap().len(), 1, "only that of what has no namespace");
    succeed(&real, &helm, &["uninstall", "other", "-n", "helm"]).await;
    assert_eq!(real.get("deployment", "other-operator").await, Value::Null);
    let definitions = real.cluster.get(&["crd", "scaledobjects.keda.sh"]).await.unwrap();
    assert_eq!(definitions["kind"], "CustomResourceDefinition", "whoever removes Tidegate keeps the objects");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_mean_nothing_are_refused_by_the_schema() {
    let Some(real) = Real::turn("values").await else { return };
    let Some(helm) = helm() else { return };
    for wrong in ["operator.replica=2", "operator.shard=Not_A_Name", "admin.port=80", "image.digest=sha256:1"]
    {
        let output =
            run(&real, &helm, &["template", "deploy/helm/tidegate", "--kube-version=1.34.0", "--set", wrong])
                .await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("values don't meet"), "{wrong}: {said}");
    }
    let both = "webhook.enabled=true,operator.advise=true";
    let arguments = ["template", "deploy/helm/tidegate", "--kube-version=1.34.0", "--set", both];
    let output = run(&real, &helm, &arguments).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("false where operator.advise is true"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_advises_beside_a_gateway_may_make_no_certificate() {
    let Some(real) = Real::turn("advice").await else { return };
    let Some(helm) = helm() else { return };
    let template = async |set: &str| {
        let arguments = ["template", "t", "deploy/helm/tidegate", "--kube-version=1.34.0", "--set", set];
        succeed(&real, &helm, &arguments).await
    };
    let verbs = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("verbs: ").map(str::to_owned));
        lines.filter(|verbs| !verbs.contains("list")).collect()
    };
    let advises = template("gateway.enabled=true,operator.advise=true").await;
    // Reviews of gateways' tokens change nothing; the rest reads what is there.
    assert_eq!(verbs(&advises), ["[get]", "[create]", "[get]", "[get]", "[get]", "[get]"], "{advises}");
    assert!(verbs(&template("gateway.enabled=true").await).contains(&"[get, update]".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_pod_may_take_as_long_as_the_program_lingers_and_drains() {
    let Some(real) = Real::turn("drains").await else { return };
    let Some(helm) = helm() else { return };
    let set = "gateway.enabled=true,gateway.drainSeconds=600,gateway.lingerSeconds=20";
    let arguments = ["template", "t", "deploy/helm/tidegate", "--kube-version=1.34.0", "--set", set];
    let rendered = succeed(&real, &helm, &arguments).await;
    for line in ["terminationGracePeriodSeconds: 630", "- --linger=20", "- --drain=600", "path: /readyz"] {
        assert!(rendered.contains(line), "no {line} in\n{rendered}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_the_prometheus_operator_are_rendered_when_they_are_asked_for() {
    let Some(real) = Real::turn("monitoring").await else { return };
    let Some(helm) = helm() else { return };
    let set = "serviceMonitor.enabled=true,prometheusRule.enabled=true";
    let rendered = succeed(
        &real,
        &helm,
        &["template", "t", "deploy/helm/tidegate", "--kube-version=1.34.0", "--set", set],
    )
    .await;
    for kind in
        ["kind: ServiceMonitor", "kind: PrometheusRule", "alert: TidegateNobodyLeads", "name: t-admin"]
    {
        assert!(rendered.contains(kind), "no {kind}");
    }
}
