//! The process of the stand-ins: an API server with objects, and a Prometheus whose answers are told.
//!
//! Commands are lines on its stdin, answers lines of JSON on its stdout.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Outcome;
use super::server::Server;

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
        writeln!(self.commands, "{command}")?;
        self.read()
    }

    fn read(&mut self) -> Outcome<Value> {
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
    let (server, prometheus) = runtime.block_on(async {
        let server = Server::start().await;
        let prometheus = prometheus(Arc::clone(&values)).await?;
        Ok::<_, std::io::Error>((server, prometheus))
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
            _ => told(&server),
        };
        println!("{answer}");
    }
    Ok(())
}

async fn prometheus(values: Values) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let values = Arc::clone(&values);
            tokio::spawn(async move {
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let value = value(&values, request.uri().query().unwrap_or_default());
                    async move { Ok::<_, std::convert::Infallible>(answer(value)) }
                });
                let socket = TokioIo::new(socket);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(socket, service).await;
            });
        }
    });
    Ok(format!("http://{addr}"))
}

fn value(values: &Values, query: &str) -> f64 {
    let name = query.split('&').find_map(|pair| pair.strip_prefix("query=")).unwrap_or_default();
    values.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or(3.0)
}

fn answer(value: f64) -> Response<Full<Bytes>> {
    let result = json!([{"metric": {}, "value": [0, value.to_string()]}]);
    let json = json!({"status": "success", "data": {"resultType": "vector", "result": result}});
    let mut answer = Response::new(Full::new(Bytes::from(json.to_string())));
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    answer
}

fn fill(server: &Server, prometheus: &str, objects: u32, queries: u32) -> Value {
    for number in 0..objects {
        let name = format!("model-{number:05}");
        server.put("deployments", json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "prod", "name": name},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "vllm/vllm-openai:v0.32.0"}]}}},
            "status": {"replicas": 1, "readyReplicas": 1},
        }));
        let query = format!("q{}", number % queries);
        server.put("scaledobjects", json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"namespace": "prod", "name": name, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"scaleTargetRef": {"name": name}, "minReplicaCount": 1, "maxReplicaCount": 10, "triggers": [{
                "type": "prometheus",
                "metadata": {"serverAddress": prometheus, "query": query, "threshold": "5"}}]},
        }));
    }
    json!({"objects": objects})
}

/// Sets a value and waits for the count that follows: how long that took.
fn cross(server: &Server, values: &Values, number: u32) -> Value {
    let name = format!("model-{number:05}");
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
