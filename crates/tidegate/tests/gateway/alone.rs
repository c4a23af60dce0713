//! Programs before an API server that only pretends: how they begin, what probes are told, and how a gateway leaves.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::program::Program;
use super::server::Server;

const PATIENCE: Duration = Duration::from_secs(120);

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

/// An engine that answers at once, but for whoever asks for many tokens: their stream ends when the test lets it.
struct Engine {
    port: u16,
    go_on: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

/// As many tokens as make a stream wait.
const MANY: u32 = 1000;

impl Engine {
    async fn start() -> Engine {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (go_on, may) = watch::channel(false);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let may = may.clone();
                open.spawn(async move { Engine::serve(socket, may).await });
            }
        });
        Engine { port, go_on, _serving: serving }
    }

    async fn serve(mut socket: TcpStream, mut may: watch::Receiver<bool>) -> Option<()> {
        let mut asked = Vec::new();
        // The last of its fields, in the order of their names.
        while !asked.ends_with(b"\"stream\":true}") {
            if socket.read_buf(&mut asked).await.ok()? == 0 {
                return None;
            }
        }
        let event = |text: &str, finish: Option<&str>| {
            let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": finish});
            format!("data: {}\n\n", json!({"choices": [choice]}))
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        socket.write_all(format!("{head}{}", event("The", None)).as_bytes()).await.ok()?;
        if String::from_utf8_lossy(&asked).contains(&format!("\"max_tokens\":{MANY}")) {
            may.wait_for(|may| *may).await.ok()?;
        }
        socket.write_all(format!("{}data: [DONE]\n\n", event(" tide", Some("stop"))).as_bytes()).await.ok()
    }
}

/// A gateway with an engine for `demo`, and none yet for `later`.
struct Alone {
    gateway: Program,
    at: String,
    admin: String,
    engine: Engine,
    server: Server,
    _directory: TempDir,
}

impl Alone {
    async fn lingering(seconds: &str) -> Alone {
        let (server, directory) = (Server::start().await, tempfile::tempdir().unwrap());
        let engine = Engine::start().await;
        target(&server, "demo");
        pod(&server, "demo", engine.port);
        target(&server, "later");
        let config = kubeconfig(&server, &directory);
        let arguments = ["gateway", "--kubeconfig", &config, "--gateway-addr", "127.0.0.1:0"];
        let more = ["--admin-addr", "127.0.0.1:0", "--linger", seconds, "--drain", "300"];
        let arguments: Vec<&str> = arguments.into_iter().chain(more).collect();
        let (gateway, [at, admin]) = Program::listening(&arguments, ["gateway ", "dashboard "]);
        until("it is ready", async || (get(&admin, "/readyz").await == Some(200)).then_some(())).await;
        Alone { gateway, at, admin, engine, server, _directory: directory }
    }

    /// Sends a chat, and waits until the gateway counts it for its model as `counted`.
    async fn under_way(&self, model: &'static str, max_tokens: u32, counted: &str) -> Answering {
        let at = self.at.clone();
        let answering = tokio::spawn(async move { chat(&at, model, max_tokens).await });
        until(&format!("{model} is {counted}"), async || {
            let request = "GET /metrics HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n";
            let (_, text) = send(&self.at, request).await?;
            let of = |line: &&str| line.starts_with(&format!("tidegate_requests_{counted}{{"));
            text.lines().filter(of).find(|line| line.contains(model) && line.ends_with(" 1")).map(|_| ())
        })
        .await;
        answering
    }

    /// Waits until nobody listens at its port any more.
    async fn is_closed(&self) {
        let addr = self.at.trim_start_matches("http://");
        until("it takes no connection", async || TcpStream::connect(addr).await.is_err().then_some(())).await;
    }
}

type Answering = tokio::task::JoinHandle<Option<(u16, String)>>;

/// Waits for an answer, which has to be whole.
async fn whole(what: &str, answering: Answering) -> String {
    let (status, text) = tokio::time::timeout(PATIENCE, answering).await.unwrap().unwrap().expect(what);
    assert!(status == 200 && text.contains("data: [DONE]") && !text.contains("\"error\""), "{what}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_leaves_takes_requests_for_a_little() {
    // For longer than the test waits for anything.
    let alone = Alone::lingering("600").await;
    alone.gateway.terminate();
    until("it is not ready", async || (get(&alone.admin, "/readyz").await == Some(503)).then_some(())).await;
    assert_eq!(get(&alone.at, "/readyz").await, Some(503));
    assert_eq!(get(&alone.admin, "/healthz").await, Some(200), "what leaves is alive");
    let (status, text) = chat(&alone.at, "demo", 2).await.expect("a new connection is taken");
    assert!(status == 200 && text.contains("data: [DONE]"), "{text}");
    assert!(text.to_ascii_lowercase().contains("connection: close"), "{text}");
    let held = alone.under_way("later", 2, "waiting").await;
    // A pod that comes only now is seen all the same.
    pod(&alone.server, "later", alone.engine.port);
    whole("the one that waited", held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_has_lingered_ends_what_runs_and_then_itself() {
    let mut alone = Alone::lingering("1").await;
    let long = alone.under_way("demo", MANY, "in_flight").await;
    let held = alone.under_way("later", 2, "waiting").await;
    alone.gateway.terminate();
    alone.is_closed().await;
    assert!(!long.is_finished() && !held.is_finished(), "{}", alone.gateway.talk());
    pod(&alone.server, "later", alone.engine.port);
    whole("the one that waited", held).await;
    assert!(!long.is_finished(), "{}", alone.gateway.talk());
    alone.engine.go_on.send_replace(true);
    whole("the long stream", long).await;
    assert_eq!(alone.gateway.ended().await, Some(0), "at once, and long before the drain is over");
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
