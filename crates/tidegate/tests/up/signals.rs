//! Signals from servers, from pushes and from the process table, as `up` reads them.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use http_body_util::Full;
use tidegate_testkit::ports::free_port;

use crate::fleet::{Model, manifests};
use crate::rig::{PATIENCE, Rig, of};

/// A Redis of its own; it ends with this value.
struct Redis {
    process: Child,
    port: u16,
    password: Option<&'static str>,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Redis {
    fn start(port: u16, password: Option<&'static str>) -> Self {
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        if let Some(password) = password {
            command.args(["--requirepass", password]);
        }
        let process = command.stdout(Stdio::null()).spawn();
        let process =
            process.unwrap_or_else(|error| panic!("redis-server: {error}; apt-get install -y redis-server"));
        let redis = Redis { process, port, password };
        let begin = Instant::now();
        while redis.run(&["PING"]) != "PONG" {
            assert!(begin.elapsed() < PATIENCE, "redis-server does not answer");
        }
        redis
    }

    fn run(&self, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &self.port.to_string()]);
        if let Some(password) = self.password {
            cli.args(["--no-auth-warning", "-a", password]);
        }
        let output = cli.args(command).output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// A model with one trigger of this YAML, and these lines in its ScaledObject's spec.
fn model(trigger: &str, spec: &str) -> String {
    let text = manifests(&[Model::new("tide")]);
    let (head, _) = text.split_once("  triggers:").unwrap();
    format!("{head}{spec}  triggers:\n{trigger}---\n")
}

/// A signal of the target as the dashboard has it.
fn signal<'a>(fleet: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    // Before the first second is shown there is no target.
    let signals = of(fleet, "default/tide")["signals"].as_array();
    signals.into_iter().flatten().find(|signal| signal["name"] == name).unwrap_or(&serde_json::Value::Null)
}

#[tokio::test]
async fn a_queue_scales_and_its_loss_is_told_and_brings_the_fallback_and_its_return_ends_it() {
    let port = free_port();
    let redis = Redis::start(port, None);
    redis.run(&["RPUSH", "jobs", "a", "b"]);
    let trigger = format!(
        "    - {{type: redis, name: queue, metadata: {{address: \"127.0.0.1:{port}\", listName: jobs, \
         listLength: \"1\"}}}}\n"
    );
    let spec = "  pollingInterval: 1\n  fallback: {failureThreshold: 2, replicas: 3}\n";
    let rig = Rig::up(&model(&trigger, spec), &[]);
    rig.until("two jobs have two replicas", |fleet| of(fleet, "default/tide")["wanted"] == 2).await;

    drop(redis);
    let fleet = rig.until("the loss is seen", |fleet| signal(fleet, "queue")["state"] == "error").await;
    assert!(signal(&fleet, "queue")["text"].as_str().unwrap().contains(&port.to_string()), "{fleet:#}");
    rig.until("the fallback acts", |fleet| of(fleet, "default/tide")["wanted"] == 3).await;
    let metrics = rig.get(&format!("{}/metrics", rig.admin)).await.body;
    assert!(metrics.contains("signal=\"queue\",state=\"error\"} 1"), "{metrics}");
    let why = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["why", "tide", "--admin-addr", rig.admin.trim_start_matches("http://")])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(told.contains("queue") && told.contains("error") && told.contains("fallback"), "{told}");
    assert!(rig.talk().contains("signal queue cannot be read"), "{}", rig.talk());

    let redis = Redis::start(port, None);
    redis.run(&["RPUSH", "jobs", "a"]);
    rig.until("one job has one replica", |fleet| {
        signal(fleet, "queue")["state"] == "found" && of(fleet, "default/tide")["wanted"] == 1
    })
    .await;
}

#[tokio::test]
async fn a_rotated_password_in_a_file_is_used_without_a_restart() {
    let port = free_port();
    let redis = Redis::start(port, Some("hunter2"));
    redis.run(&["RPUSH", "jobs", "a"]);
    let auth = "\
apiVersion: keda.sh/v1alpha1
kind: ClusterTriggerAuthentication
metadata: {name: redis}
spec: {filePath: redis.json}
---
";
    let trigger = format!(
        "    - {{type: redis, name: queue, metadata: {{address: \"127.0.0.1:{port}\", listName: jobs}}, \
         authenticationRef: {{name: redis, kind: ClusterTriggerAuthentication}}}}\n"
    );
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("redis.json");
    std::fs::write(&file, r#"{"password": "hunter1"}"#).unwrap();
    let root = secrets.path().to_str().unwrap();
    let rig = Rig::up(&format!("{auth}{}", model(&trigger, "")), &["--filepath-auth-root-path", root]);
    let fleet =
        rig.until("the wrong password is told", |fleet| signal(fleet, "queue")["state"] == "error").await;
    assert!(signal(&fleet, "queue")["text"].as_str().unwrap().contains("password is wrong"), "{fleet:#}");
    let beside = secrets.path().join("new");
    std::fs::write(&beside, r#"{"password": "hunter2"}"#).unwrap();
    std::fs::rename(beside, file).unwrap();
    rig.until("the right one is used", |fleet| signal(fleet, "queue")["state"] == "found").await;
    let (_, talk) = rig.stop();
    assert!(!talk.contains("hunter"), "{talk}");
}

async fn push(rig: &Rig, path: &str, token: &str, body: &str) -> (u16, String) {
    let request = http::Request::post(format!("{}/api/v1/signals/{path}", rig.admin))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::from(body.to_owned()))
        .unwrap();
    let answer = rig.send(request).await;
    (answer.status, answer.body)
}

/// Pushes, and waits for so many replicas. One push is enough, but where the machine stood still until it was stale:
/// then it is pushed again.
async fn pushed_until(rig: &Rig, path: &str, token: &str, body: &str, replicas: u64) {
    let wanted = |fleet: &serde_json::Value| of(fleet, "default/tide")["wanted"] == replicas;
    let stale = |fleet: &serde_json::Value| signal(fleet, "depth")["state"] == "stale";
    for _ in 0..20 {
        assert_eq!(push(rig, path, token, body).await.0, 204);
        rig.until("the push is read", |fleet| wanted(fleet) || !stale(fleet)).await;
        let fleet = rig.until("it scales, or is stale", |fleet| wanted(fleet) || stale(fleet)).await;
        if wanted(&fleet) {
            return;
        }
    }
    panic!("{body} never was {replicas} replicas");
}

#[tokio::test]
async fn a_pushed_signal_scales_at_once_and_goes_stale_when_nobody_pushes() {
    let trigger = "    - {type: external-push, name: depth, metadata: {scalerAddress: \
                   \"tidegate-gateway.tidegate:9090\", signal: queue-depth, targetValue: \"10\", staleAfter: 3s}}\n";
    let rig = Rig::up(&model(trigger, ""), &[]);
    let token = std::fs::read_to_string(rig.state_dir().join("push-token")).unwrap();
    let token = token.trim();
    rig.until("nothing was pushed", |fleet| signal(fleet, "depth")["state"] == "absent").await;
    assert_eq!(push(&rig, "tide/queue-depth", "no token", "25").await.0, 401);
    let (status, body) = push(&rig, "tide/depth", token, "25").await;
    assert!(status == 404 && body.contains("queue-depth"), "{status} {body}");
    assert_eq!(push(&rig, "tide/queue-depth", token, "many").await.0, 400);
    assert_eq!(push(&rig, "tide/queue-depth", token, &" ".repeat(5000)).await.0, 413);
    assert_eq!(of(&rig.fleet().await, "default/tide")["wanted"], 0, "nothing of that counted");

    pushed_until(&rig, "default/tide/queue-depth", token, r#"{"value": 25}"#, 3).await;
    rig.until("nobody pushes", |fleet| signal(fleet, "depth")["state"] == "stale").await;
    pushed_until(&rig, "tide/queue-depth", token, r#"{"value": 5, "active": true}"#, 1).await;
}

#[tokio::test]
async fn a_busy_process_scales_by_its_cpu() {
    let worker = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: tide}
spec:
  selector: {matchLabels: {app: tide}}
  template:
    metadata:
      labels: {app: tide}
      annotations: {tidegate.dev/local-command: "sh -c 'while :; do :; done'"}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: worker, image: worker, resources: {requests: {cpu: 50m}}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: tide}
spec:
  scaleTargetRef: {name: tide}
  minReplicaCount: 1
  maxReplicaCount: 2
  triggers:
  - {type: cpu, name: cpu, metricType: Utilization, metadata: {value: "50"}}
---
"#;
    let rig = Rig::up(worker, &[]);
    let fleet = rig.until("it is busy", |fleet| of(fleet, "default/tide")["wanted"] == 2).await;
    assert_eq!(signal(&fleet, "cpu")["state"], "found", "{fleet:#}");
}
