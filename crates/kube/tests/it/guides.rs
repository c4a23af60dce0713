//! What public guides tell people to apply, applied: taken or refused as it should be, scaled as it says.
//!
//! The manifests and where they come from are in `crates/manifest/tests/data/guides`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::real::{Real, named};
use super::rig::{Prometheus, Setup, condition, decisions, deployment, until};

/// Each file, and what an API server with our definitions alone says of its objects: nothing where it takes
/// them, else a part of the refusal.
const FILES: &[(&str, &[&str])] = &[
    ("s001-tgi-scaledobject.yaml", &[]),
    // Its ServiceMonitor is the Prometheus Operator's; the others are taken.
    ("s002-deployment.yaml", &["no matches for kind \"ServiceMonitor\""]),
    ("s002-hpa.yaml", &[]),
    ("s002-multimodel.yaml", &[]),
    ("s002-redis-scaledobject.yaml", &[]),
    ("s002-vpa.yaml", &["no matches for kind \"VerticalPodAutoscaler\""]),
    ("s004-scaledjob.yaml", &[]),
    ("s004-spot.yaml", &[]),
    ("s004-vllm.yaml", &[]),
];

fn guide(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifest/tests/data/guides").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A real Redis on loopback.
struct Redis {
    child: Child,
    addr: SocketAddr,
}

impl Redis {
    async fn start() -> Redis {
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &addr.port().to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        let child =
            command.stdout(Stdio::null()).spawn().expect("redis-server: apt-get install redis-server");
        let redis = Redis { child, addr };
        until("Redis answers", || redis.ask("PING\r\n").is_ok_and(|answer| answer.starts_with("+PONG")))
            .await;
        redis
    }

    fn ask(&self, command: &str) -> std::io::Result<String> {
        let mut socket = TcpStream::connect(self.addr)?;
        socket.write_all(command.as_bytes())?;
        let mut answer = [0; 64];
        let count = socket.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..count]).into_owned())
    }

    fn push(&self, list: &str, count: usize) {
        let answer = self.ask(&format!("RPUSH {list} {}\r\n", vec!["x"; count].join(" "))).unwrap();
        assert!(answer.starts_with(':'), "{answer}");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Namespaces that the guides name, and a node of the kind they ask for.
async fn surroundings(real: &Real) {
    for namespace in ["inference-prod", "ml-workloads"] {
        real.cluster.apply(&named("Namespace", namespace).to_string()).await.unwrap();
    }
    let label = ["label", "node", "--all", "cloud.google.com/gke-accelerator=nvidia-tesla-t4", "--overwrite"];
    real.cluster.succeed(&label, "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_guide_is_taken_or_refused_as_it_should_be() {
    let Some(real) = Real::turn("guides-taken").await else { return };
    surroundings(&real).await;
    for (file, refusals) in FILES {
        let arguments = ["-n", real.namespace, "apply", "--dry-run=server", "-f", "-"];
        // Namespaces in the file go before the test's.
        let text = guide(file);
        let arguments = if text.contains("\n  namespace: ") {
            [&["apply", "--dry-run=server", "-f", "-"][..]].concat()
        } else {
            arguments.to_vec()
        };
        let output = real.cluster.kubectl(&arguments, &text).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), refusals.is_empty(), "{file}: {said}");
        for refusal in *refusals {
            assert!(said.contains(refusal), "{file}: {said}");
        }
        let taken = String::from_utf8_lossy(&output.stdout);
        let objects = text.split("\n---").filter(|document| document.contains("kind:")).count();
        assert_eq!(taken.lines().count(), objects - refusals.len(), "{file}: {taken}");
    }
    // And what is wrong is refused by the definitions, with the field.
    let wrong = guide("s001-tgi-scaledobject.yaml").replace("maxReplicaCount: 10", "maxReplicaCount: 0");
    let output = real.cluster.kubectl(&["apply", "--dry-run=server", "-f", "-"], &wrong).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("spec.maxReplicaCount"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn guides_with_a_prometheus_scale_as_they_say() {
    let Some(real) = Real::turn("guides").await else { return };
    surroundings(&real).await;
    // 12 waiting: at 5 a replica three, at 10 two. 3: at 0.8 four.
    let (twelve, three) = (Prometheus::start(12.0).await, Prometheus::start(3.0).await);
    let tgi = guide("s001-tgi-scaledobject.yaml")
        .replace("namespace: inference-prod", "namespace: guides")
        .replace("http://prometheus-service.monitoring.svc.cluster.local", &twelve.url);
    let models = guide("s002-multimodel.yaml").replace("http://prometheus:9090", &twelve.url);
    let vllm = guide("s004-vllm.yaml").replace("http://prometheus-server.monitoring:9090", &three.url);
    for (name, replicas) in
        [("llama3-inference-service", 0), ("llama-13b-inference", 1), ("llama-70b-inference", 0)]
    {
        real.put(deployment(name, replicas)).await;
    }
    for text in [&tgi, &models, &vllm] {
        assert!(!text.contains("prometheus:9090") && !text.contains("monitoring"), "{text}");
        real.cluster.succeed(&["-n", real.namespace, "apply", "-f", "-"], text).await.unwrap();
    }
    let operator = real.operator().await;
    for (name, count) in [
        ("llama3-inference-service", 3),
        ("llama-13b-inference", 2),
        ("llama-70b-inference", 3),
        ("vllm-llama-8b", 4),
    ] {
        real.replicas("deployment", name, count).await;
    }
    let table = real.kubectl(&["get", "so"]).await;
    let head = table.lines().next().unwrap();
    for column in [
        "SCALETARGETKIND",
        "SCALETARGETNAME",
        "MIN",
        "MAX",
        "READY",
        "ACTIVE",
        "FALLBACK",
        "PAUSED",
        "TRIGGERS",
        "AGE",
    ] {
        assert!(head.contains(column), "no {column} in {head}");
    }
    let row = |table: &str| table.lines().find(|line| line.starts_with("llm-gpu-scaler")).unwrap().to_owned();
    let shown = row(&real.kubectl(&["get", "so"]).await);
    let cells: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(
        cells[1..7],
        ["apps/v1.Deployment", "llama3-inference-service", "0", "10", "True", "True"],
        "{shown}"
    );
    let described = real.kubectl(&["describe", "so", "llama-70b-scaler"]).await;
    for told in
        ["KEDAScaleTargetActivated", "from 0 to 1, triggered by s0-prometheus", "New size: 3; reason:"]
    {
        assert!(described.contains(told), "no {told} in\n{described}");
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_with_two_autoscalers_is_left_alone_until_one_is_gone_and_then_follows_its_queue() {
    let Some(real) = Real::turn("guides-redis").await else { return };
    surroundings(&real).await;
    let (redis, prometheus) = (Redis::start().await, Prometheus::start(12.0).await);
    redis.push("inference_queue", 12);
    let here = |file: &str| {
        guide(file)
            .replace("namespace: ml-workloads", "namespace: guides-redis")
            .replace("redis:6379", &redis.addr.to_string())
            .replace("http://prometheus:9090", &prometheus.url)
    };
    // Its ServiceMonitor alone is refused.
    let _ = real.cluster.kubectl(&["apply", "-f", "-"], &here("s002-deployment.yaml")).await.unwrap();
    for file in ["s002-hpa.yaml", "s002-redis-scaledobject.yaml"] {
        real.cluster.apply(&here(file)).await.unwrap();
    }
    let namespaces = vec![real.namespace];
    let operator = real.operator_of(Setup { namespaces, ..Setup::default() }).await;
    let not_ready = |object: &Value| condition(object, "Ready").is_some_and(|(status, _)| status == "False");
    let object = real.until("it is not Ready", "scaledobject", "llm-inference-scaler", not_ready).await;
    assert!(
        object["status"]["conditions"].to_string().contains("HorizontalPodAutoscaler llm-inference-hpa"),
        "{object}"
    );
    assert_eq!(real.get("deployment", "llm-inference").await["spec"]["replicas"], json!(2));
    real.kubectl(&["delete", "hpa", "llm-inference-hpa"]).await;
    // 12 in the list at 5 a replica; 12 % of the GPUs' memory asks for one.
    real.replicas("deployment", "llm-inference", 3).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_with_a_scaled_job_makes_a_job_for_each_five_of_its_list() {
    let Some(real) = Real::turn("guides-jobs").await else { return };
    let redis = Redis::start().await;
    redis.push("inference-jobs", 12);
    let text = guide("s004-scaledjob.yaml").replace("redis:6379", &redis.addr.to_string());
    real.cluster.succeed(&["-n", real.namespace, "apply", "-f", "-"], &text).await.unwrap();
    let operator = real.operator().await;
    let jobs = || async {
        let chosen = ["-n", real.namespace, "jobs", "-l", "scaledjob.keda.sh/name=llm-batch-inference"];
        let jobs = real.cluster.get(&chosen).await.unwrap();
        jobs["items"].as_array().unwrap().len()
    };
    super::rig::within("three jobs", async {
        while jobs().await != 3 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    let table = real.kubectl(&["get", "sj"]).await;
    assert!(table.contains("redis") && table.contains("MAX"), "{table}");
    redis.ask("DEL inference-jobs\r\n").unwrap();
    decisions(&operator, 2).await;
    operator.stop().await;
}
