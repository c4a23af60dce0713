//! A real engine: llama.cpp's server with a tiny model, through hold at zero, scale-up, drain, and back to zero.

use std::cell::Cell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::future::join_all;

use crate::gguf;
use crate::rig::{Rig, of};

/// Where `cargo xtask setup` puts it, or wherever it is.
fn llama_server() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/llama/llama-server");
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|directory| directory.join("llama-server"))
            .find(|file| file.is_file())
    };
    tools.canonicalize().ok().or_else(on_path)
}

fn manifests(server: &Path, model: &Path) -> String {
    let (server, model) = (server.display(), model.display());
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: tiny}}
spec:
  selector: {{matchLabels: {{app: tiny}}}}
  template:
    metadata:
      labels: {{app: tiny}}
      annotations:
        tidegate.dev/local-command: {server} -m {model} --alias tiny --metrics --threads 1 --parallel 4 -c 4096 --port $PORT
    spec:
      terminationGracePeriodSeconds: 60
      containers:
        - name: server
          image: ghcr.io/ggml-org/llama.cpp:server
          ports: [{{containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /health, port: 8080}}, periodSeconds: 1}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: tiny
  annotations: {{tidegate.dev/model: tiny}}
spec:
  scaleTargetRef: {{name: tiny}}
  minReplicaCount: 0
  maxReplicaCount: 3
  cooldownPeriod: 3
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown: {{stabilizationWindowSeconds: 2}}
  triggers:
    - type: prometheus
      metadata:
        serverAddress: http://prometheus.monitoring:9090
        query: sum(llamacpp:requests_processing) + sum(llamacpp:requests_deferred)
        threshold: "3"
"#
    )
}

#[tokio::test]
async fn llama_cpp_is_woken_scaled_up_drained_and_sent_to_zero_without_a_broken_stream() {
    let Some(server) = llama_server() else {
        let told = "\n*** LEFT OUT: no llama-server, so no real engine was tested. `cargo xtask setup --real-engine` installs it. ***\n";
        std::io::stderr().write_all(told.as_bytes()).unwrap();
        return;
    };
    let version = Command::new(&server).arg("--version").output().unwrap();
    let said = String::from_utf8_lossy(&version.stderr);
    assert!(version.status.success(), "{} does not run here: {said}", server.display());
    let directory = tempfile::tempdir().unwrap();
    let model = directory.path().join("tiny.gguf");
    gguf::write(&model).unwrap();
    let rig = Rig::up(&manifests(&server, &model), &[]);
    rig.until("at zero", |fleet| of(fleet, "default/tiny")["wanted"] == 0).await;

    let first = rig.chat("tiny", 16, true).await;
    assert_eq!(first.status, 200, "{}", first.body);
    assert_eq!(first.header("x-tidegate-cold-start"), "true");
    assert!(first.body.contains("[DONE]"), "{}", first.body);

    // Eight people who ask again as soon as they are answered, until there are two replicas.
    let grown = Cell::new(false);
    let people = join_all((0..8).map(|_| async {
        let mut answered = 0;
        while !grown.get() {
            let answer = rig.chat("tiny", 200, true).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let whole =
                answer.body.contains("\"finish_reason\":\"length\"") && answer.body.contains("[DONE]");
            assert!(whole, "{}", answer.body);
            answered += 1;
        }
        answered
    }));
    let grows = async {
        rig.until("two or more", |fleet| of(fleet, "default/tiny")["ready"].as_u64() >= Some(2)).await;
        grown.set(true);
    };
    let (answered, ()) = tokio::join!(people, grows);
    assert!(answered.iter().sum::<u32>() >= 8, "{answered:?}");
    rig.until_ready("default/tiny", 0).await;

    // And once more from zero, several at once.
    let answers = join_all((0..6).map(|number| rig.chat("tiny", 8, number % 2 == 0))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
}
