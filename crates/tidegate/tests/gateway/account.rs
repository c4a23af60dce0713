//! Tidegate installed as the chart has it, but for its pods: the tests run the programs themselves, as its accounts.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testkit::cluster::Cluster;

/// The accounts of a whole installation.
const ACCOUNTS: [&str; 2] = ["tidegate-operator", "tidegate-gateway"];

/// Applies what the chart renders with gateway and webhook. The webhook's configuration is left out: the API server of
/// the tests reaches no Service.
pub(crate) async fn install(cluster: &Cluster) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/manifests/complete.yaml");
    let manifests = std::fs::read_to_string(file).unwrap();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tidegate"}});
    cluster.apply(&namespace.to_string()).await.unwrap();
    cluster.apply(&manifests).await.unwrap();
    cluster.succeed(&["delete", "validatingwebhookconfiguration", "tidegate"], "").await.unwrap();
    for name in ACCOUNTS {
        let deployment = format!("deployment/{name}");
        cluster.succeed(&["-n", "tidegate", "scale", &deployment, "--replicas=0"], "").await.unwrap();
        // Who authorises has a look of its own at roles, a moment later.
        let who = format!("--as=system:serviceaccount:tidegate:{name}");
        let can = ["auth", "can-i", "watch", "scaledobjects.keda.sh", "-A", &who];
        while !cluster.kubectl(&can, "").await.unwrap().status.success() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A kubeconfig of one of the accounts, as a pod of it would be connected.
pub(crate) async fn kubeconfig(cluster: &Cluster, name: &str, directory: &Path) -> String {
    let token = ["-n", "tidegate", "create", "token", name, "--duration=1h"];
    let token = cluster.succeed(&token, "").await.unwrap();
    let view = cluster.succeed(&["config", "view", "--raw", "-o", "json"], "").await.unwrap();
    let mut config: Value = serde_json::from_str(&view).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    config["contexts"][0]["context"]["namespace"] = json!("tidegate");
    let file = directory.join(format!("{name}.kubeconfig"));
    std::fs::write(&file, config.to_string()).unwrap();
    file.display().to_string()
}

/// What the API server refused the accounts, by its audit log.
pub(crate) fn refused(cluster: &Cluster) -> Vec<String> {
    let Some(log) = cluster.audit_log() else { return Vec::new() };
    let log = std::fs::read_to_string(log).unwrap();
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = |entry: &Value| {
        let user = entry["user"]["username"].as_str().unwrap_or_default();
        ACCOUNTS.iter().any(|name| user == format!("system:serviceaccount:tidegate:{name}"))
    };
    entries
        .filter(|entry| ours(entry) && entry["responseStatus"]["code"] == 403)
        .map(|entry| format!("{} {}", entry["verb"], entry["requestURI"]))
        .collect()
}
