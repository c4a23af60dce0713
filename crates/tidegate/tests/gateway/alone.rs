//! Programs before an API server that only pretends: how they begin, what probes are told, and how a gateway leaves.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::kubelet::engine;
use super::program::Program;
use super::server::Server;
use super::stage::SLOW;

const PATIENCE: Duration = Duration::from_secs(120);

/// How long the gateway of the test lingers: a few looks and a request must fit on a busy machine.
const LINGER: &str = "10";

async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One request on a connection of its own: status, head and body; `None` where nobody takes it.
async fn send(addr: &str, request: &str) -> Option<(u16, String)> {
    let addr = addr.trim_start_matches("http://");
    let mut socket = TcpStream::connect(addr).await.ok()?;
    socket.write_all(request.replace("HOST", addr).as_bytes()).await.ok()?;
    let mut text = Vec::new();
    socket.read_to_end(&mut text).await.ok()?;
    let text = String::from_utf8(text).ok()?;
    Some((text.split(' ').nth(1)?.parse().ok()?, text))
}

async fn get(addr: &str, path: &str) -> Option<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n");
    send(addr, &request).await.map(|(status, _)| status)
}

/// A chat that does not ask for the connection to be closed.
async fn chat(addr: &str, model: &str, max_tokens: u32) -> Option<(u16, String)> {
    let body = json!({
        "model": model, "max_tokens": max_tokens, "ignore_eos": true, "stream": true,
        "messages": [{"role": "user", "content": "Tell me of the tides."}],
    });
    let body = body.to_string();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: HOST\r\ncontent-type: application/json";
    send(addr, &format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await
}

fn kubeconfig(server: &Server, directory: &TempDir) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", server.addr)}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "tidegate"}}],
    });
    let file = directory.path().join("kubeconfig");
    std::fs::write(&file, config.to_string()).unwrap();
    file.display().to_string()
}

/// A Deployment that says its model, and no pod yet.
fn target(server: &Server, name: &str) {
    let labels = json!({"app": name});
    server.put(
        "deployments",
        json!({
            "metadata": {"namespace": "prod", "name": name},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels, "annotations": {"tidegate.dev/model": name}},
                    "spec": {"containers": [{"name": "main", "image": "example.com/engine:1"}]},
                },
            },
        }),
    );
}

/// Its pod, which listens.
fn pod(server: &Server, name: &str, port: u16) {
    server.put(
        "pods",
        json!({
            "metadata": {"namespace": "prod", "name": format!("{name}-1"), "labels": {"app": name}},
            "status": {"phase": "Running", "podIP": "127.0.0.1",
                       "conditions": [{"type": "Ready", "status": "True"}]},
        }),
    );
    let reference = json!({"kind": "Pod", "namespace": "prod", "name": format!("{name}-1")});
    server.put(
        "endpointslices",
        json!({
            "metadata": {"namespace": "prod", "name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}, "targetRef": reference}],
        }),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_leaves_takes_requests_for_a_little_and_ends_what_runs() {
    let (server, directory) = (Server::start().await, tempfile::tempdir().unwrap());
    let profile = directory.path().join("slow.json");
    std::fs::write(&profile, SLOW).unwrap();
    let (_engine, port) = engine([127, 0, 0, 1].into(), "demo", &profile.display().to_string()).await;
    let (_other, other) = engine([127, 0, 0, 1].into(), "later", &profile.display().to_string()).await;
    target(&server, "demo");
    pod(&server, "demo", port);
    target(&server, "later");
    let config = kubeconfig(&server, &directory);
    let arguments = ["gateway", "--kubeconfig", &config, "--gateway-addr", "127.0.0.1:0"];
    let more = ["--admin-addr", "127.0.0.1:0", "--linger", LINGER, "--drain", "300"];
    let arguments: Vec<&str> = arguments.into_iter().chain(more).collect();
    let (mut gateway, [at, admin]) = Program::listening(&arguments, ["gateway ", "dashboard "]);
    until("it is ready", async || (get(&admin, "/readyz").await == Some(200)).then_some(())).await;

    // Twenty seconds of tokens: longer than it lingers.
    let long = tokio::spawn({
        let at = at.clone();
        async move { chat(&at, "demo", 1000).await }
    });
    until("the stream runs", async || {
        let request = "GET /metrics HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n";
        let (_, text) = send(&at, request).await?;
        let line = text.lines().find(|line| line.starts_with("tidegate_requests_in_flight{"))?;
        line.ends_with(" 1").then_some(())
    })
    .await;
    gateway.terminate();
    until("it is not ready", async || (get(&admin, "/readyz").await == Some(503)).then_some(())).await;
    assert_eq!(get(&at, "/readyz").await, Some(503));
    assert_eq!(get(&admin, "/healthz").await, Some(200), "what leaves is alive");
    let (status, text) = chat(&at, "demo", 2).await.expect("a new connection is taken");
    assert!(status == 200 && text.contains("data: [DONE]"), "{text}");
    assert!(text.to_ascii_lowercase().contains("connection: close"), "{text}");
    let held = tokio::spawn({
        let at = at.clone();
        async move { chat(&at, "later", 2).await }
    });

    let addr = at.trim_start_matches("http://").to_owned();
    until("it takes no connection", async || TcpStream::connect(&addr).await.is_err().then_some(())).await;
    assert!(!long.is_finished() && !held.is_finished(), "{}", gateway.talk());
    // A pod that comes only now is seen all the same.
    pod(&server, "later", other);
    for (what, answer) in [("the one that waited", held), ("the long stream", long)] {
        let (status, text) = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap().expect(what);
        assert!(
            status == 200 && text.contains("data: [DONE]") && !text.contains("\"error\""),
            "{what}: {text}"
        );
    }
    assert_eq!(gateway.ended().await, Some(0), "at once, and long before the drain is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_an_api_server_is_alive_and_not_ready() {
    let (mut server, directory) = (Server::start().await, tempfile::tempdir().unwrap());
    let config = kubeconfig(&server, &directory);
    server.pause();
    let addresses = ["--gateway-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"];
    let arguments: Vec<&str> = ["gateway", "--kubeconfig", &config].into_iter().chain(addresses).collect();
    let (gateway, [admin]) = Program::listening(&arguments, ["dashboard "]);
    until("it says what it waits for", async || gateway.talk().contains("cannot be seen").then_some(()))
        .await;
    assert_eq!((get(&admin, "/healthz").await, get(&admin, "/readyz").await), (Some(200), Some(503)));
    server.resume().await;
    until("it is ready", async || (get(&admin, "/readyz").await == Some(200)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_ready_when_it_has_listed_everything_also_when_another_leads() {
    let (mut server, directory) = (Server::start().await, tempfile::tempdir().unwrap());
    let config = kubeconfig(&server, &directory);
    server.pause();
    let arguments = ["operator", "--kubeconfig", &config, "--admin-addr", "127.0.0.1:0"];
    let (first, [admin]) = Program::listening(&arguments, ["dashboard "]);
    until("it says that there is none", async || first.talk().contains("no API server").then_some(())).await;
    assert_eq!((get(&admin, "/healthz").await, get(&admin, "/readyz").await), (Some(200), Some(503)));
    server.resume().await;
    until("it is ready", async || (get(&admin, "/readyz").await == Some(200)).then_some(())).await;
    until("it leads", async || {
        let lease: Value = server.get("leases", "tidegate", "tidegate-operator")?;
        lease["spec"]["holderIdentity"].is_string().then_some(())
    })
    .await;
    let (second, [standby]) = Program::listening(&arguments, ["dashboard "]);
    until("the second is ready", async || (get(&standby, "/readyz").await == Some(200)).then_some(())).await;
    assert!(!second.talk().contains("deciding"), "{}", second.talk());
    assert_eq!(get(&standby, "/healthz").await, Some(200));
}
