//! The process of the stand-ins: an API server with objects, and a Prometheus whose answers are told.
//!
//! Commands are lines on its stdin, answers lines of JSON on its stdout.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::server::Server;
use super::{Outcome, prometheus};

/// Says that this is the process of the stand-ins.
pub(super) const FLAG: &str = "--as-world";

/// What queries are answered with, by their text; the rest with 3.
type Values = Arc<Mutex<BTreeMap<String, f64>>>;

/// The process, from outside.
pub(super) struct World {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Where the API server is.
    pub(super) server: String,
    /// Where the Prometheus is.
    pub(super) prometheus: String,
}

impl World {
    pub(super) fn start() -> Outcome<World> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg(FLAG).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let commands = child.stdin.take().ok_or("no stdin")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut world = World { child, commands, answers, server: String::new(), prometheus: String::new() };
        let hello = world.read()?;
        world.server = hello["server"].as_str().unwrap_or_default().to_owned();
        world.prometheus = hello["prometheus"].as_str().unwrap_or_default().to_owned();
        Ok(world)
    }

    pub(super) fn tell(&mut self, command: &str) -> Outcome<Value> {
        self.ask(command)?;
        self.read()
    }

    /// Gives a command; its answer is to be read.
    pub(super) fn ask(&mut self, command: &str) -> Outcome<()> {
        Ok(writeln!(self.commands, "{command}")?)
    }

    /// CPU time of the stand-ins so far, in seconds.
    pub(super) fn cpu_s(&self) -> Outcome<f64> {
        super::program::cpu_s(self.child.id())
    }

    pub(super) fn read(&mut self) -> Outcome<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process, from inside.
pub(super) fn serve() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let values = Values::default();
    let server = runtime.block_on(Server::start());
    let known = Arc::clone(&values);
    let prometheus = prometheus::start(move |query| {
        known.lock().unwrap_or_else(PoisonError::into_inner).get(query).copied().unwrap_or(3.0)
    })?;
    println!("{}", json!({"server": server.addr.to_string(), "prometheus": prometheus}));
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let count = |at: usize| words.get(at).and_then(|word| word.parse::<u32>().ok()).unwrap_or(0);
        let answer = match words.first().copied().unwrap_or_default() {
            // fill OBJECTS QUERIES
            "fill" => fill(&server, &prometheus, count(1), count(2).max(1)),
            // cross OBJECT: its value goes from 3 to 12
            "cross" => cross(&server, &values, count(1)),
            // sleep OBJECTS: as many at zero, each with a model that a gateway routes
            "sleep" => sleep(&server, count(1)),
            // woken OBJECT: waits until it has a replica
            "woken" => woken(&server, count(1)),
            "authority" => server.get("configmaps", "tidegate", "tidegate-demand-ca").unwrap_or_default(),
            _ => told(&server),
        };
        println!("{answer}");
    }
    Ok(())
}

fn name(number: u32) -> String {
    format!("model-{number:05}")
}

/// A Deployment, and a pod of it if it has a replica.
fn deploy(server: &Server, name: &str, replicas: u32) {
    let labels = json!({"app": name, "app.kubernetes.io/part-of": "bench"});
    let containers = json!([{"name": "main", "image": "vllm/vllm-openai:v0.32.0",
        "resources": {"limits": {"nvidia.com/gpu": "1"}}}]);
    server.put("deployments", json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "prod", "name": name, "uid": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": containers}}},
        "status": {"replicas": replicas, "readyReplicas": replicas},
    }));
    if replicas == 0 {
        return;
    }
    // Without an address, so that nobody asks it for its page.
    let condition =
        |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"});
    server.put("pods", json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "prod", "name": format!("{name}-7d4b9c6f5-x2x7k"), "labels": labels,
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "node", "containers": containers},
        "status": {"phase": "Running", "conditions": [condition("PodScheduled"), condition("Initialized"), condition("Ready")]},
    }));
}

fn scale(server: &Server, name: &str, annotations: &Value, spec: &Value) {
    server.put(
        "scaledobjects",
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"namespace": "prod", "name": name, "uid": name, "generation": 1,
                "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": annotations},
            "spec": spec,
        }),
    );
}

fn fill(server: &Server, prometheus: &str, objects: u32, queries: u32) -> Value {
    for number in 0..objects {
        let name = name(number);
        deploy(server, &name, 1);
        let query = format!("q{}", number % queries);
        let metadata = json!({"serverAddress": prometheus, "query": query, "threshold": "5"});
        scale(
            server,
            &name,
            &json!({}),
            &json!({
                "scaleTargetRef": {"name": name}, "minReplicaCount": 1, "maxReplicaCount": 10,
                "triggers": [{"type": "prometheus", "metadata": metadata}],
            }),
        );
    }
    json!({"objects": objects})
}

fn sleep(server: &Server, objects: u32) -> Value {
    for number in 0..objects {
        let name = name(number);
        deploy(server, &name, 0);
        let metadata = json!({
            "scalerAddress": "tidegate-gateway.tidegate:8081", "metric": "demand", "targetValue": "4",
        });
        scale(
            server,
            &name,
            &json!({"tidegate.dev/model": name}),
            &json!({
                "scaleTargetRef": {"name": name}, "minReplicaCount": 0, "maxReplicaCount": 1,
                "triggers": [{"type": "external", "metadata": metadata}],
            }),
        );
    }
    json!({"objects": objects})
}

/// Waits for a replica: when the count was in the object, in seconds since 1970.
fn woken(server: &Server, number: u32) -> Value {
    let (name, begin) = (name(number), Instant::now());
    while server.replicas(&name) == 0 {
        if begin.elapsed() > Duration::from_secs(10) {
            return json!({"error": "no count was written in ten seconds"});
        }
        std::thread::park_timeout(Duration::from_micros(200));
    }
    json!({"unix_s": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())})
}

/// Sets a value and waits for the count that follows: how long that took.
fn cross(server: &Server, values: &Values, number: u32) -> Value {
    let name = name(number);
    let before = server.replicas(&name);
    let begin = Instant::now();
    values.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("q{number}"), 12.0);
    while server.replicas(&name) == before {
        if begin.elapsed() > Duration::from_secs(10) {
            return json!({"error": "no count was written in ten seconds"});
        }
        std::thread::park_timeout(Duration::from_micros(500));
    }
    json!({"ms": begin.elapsed().as_secs_f64() * 1000.0, "replicas": server.replicas(&name)})
}

fn told(server: &Server) -> Value {
    let written = server.written();
    let scaled = written.iter().filter(|written| written.path.ends_with("/scale")).count();
    json!({"written": written.len(), "scaled": scaled, "gets": server.asked("GET")})
}
