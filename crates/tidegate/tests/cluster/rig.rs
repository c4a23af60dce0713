//! An operator of the real binary, and what it is given to run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testkit::cluster::Cluster;

use super::account;

/// Generous: pods are scheduled by a real scheduler on a machine that may be busy.
const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Runs a command at the cluster.
pub(crate) fn tidegate(cluster: &Cluster, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .output()
        .unwrap()
}

/// `tidegate operator`.
pub(crate) struct Operator {
    child: Child,
    admin: String,
    /// Its kubeconfig is in it.
    _directory: TempDir,
}

impl Operator {
    /// As the chart's account.
    pub(crate) async fn start(cluster: &Cluster) -> Operator {
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = account::kubeconfig(cluster, "tidegate-operator", directory.path()).await;
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["operator", "--admin-addr", "127.0.0.1:0", "--namespace", "tidegate", "--kubeconfig"])
            .arg(kubeconfig)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let admin = line.trim().trim_start_matches("dashboard http://").trim_end_matches('/').to_owned();
        Operator { child, admin, _directory: directory }
    }

    /// What a command that asks the operator prints.
    pub(crate) fn ask(&self, command: &str, target: &str) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args([command, target, "--admin-addr", &self.admin])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn stop(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Where a test has failed before it was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Prometheus that knows one number; it lives as long as the test.
pub(crate) fn prometheus(value: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let result = json!([{"metric": {}, "value": [0, value]}]);
    let body = json!({"status": "success", "data": {"resultType": "vector", "result": result}}).to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { continue };
            let mut head = [0; 4096];
            let _ = socket.read(&mut head);
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = socket.write_all(answer.as_bytes());
        }
    });
    url
}

pub(crate) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// A Deployment with no replica, whose pods take `gpus` each.
pub(crate) fn deployment(name: &str, gpus: u32) -> Value {
    let resources = json!({"limits": {"nvidia.com/gpu": gpus.to_string()}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "prod", "name": name},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "example.com/engine:1", "resources": resources}]},
            },
        },
    })
}

/// A ScaledObject of it, at five a replica.
pub(crate) fn scaled_object(name: &str, prometheus: &str) -> Value {
    let metadata = json!({"serverAddress": prometheus, "query": "sum(waiting)", "threshold": "5"});
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"namespace": "prod", "name": name},
        "spec": {
            "scaleTargetRef": {"name": name}, "minReplicaCount": 0, "maxReplicaCount": 10,
            "triggers": [{"type": "prometheus", "metadata": metadata}],
        },
    })
}
