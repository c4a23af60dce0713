//! A real `tidegate up` on free ports in a directory of its own, and a client for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, BodyStream, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tempfile::TempDir;

/// A wait that takes longer than this has failed; on a busy machine most take a few seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A running `tidegate up`.
pub(crate) struct Rig {
    child: Child,
    /// `http://127.0.0.1:PORT` of the gateway.
    pub(crate) gateway: String,
    /// The same of the admin listener.
    pub(crate) admin: String,
    pub(crate) directory: Arc<TempDir>,
    talk: Arc<Mutex<String>>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Rig {
    /// Starts with these manifests.
    pub(crate) fn up(manifests: &str, more: &[&str]) -> Rig {
        let directory = Arc::new(tempfile::tempdir().expect("a directory"));
        std::fs::write(directory.path().join("slow.json"), SLOW).expect("a file");
        std::fs::write(directory.path().join("fleet.yaml"), placed(manifests, &directory)).expect("a file");
        Rig::again(directory, more)
    }

    /// Starts in a directory where one has run before.
    pub(crate) fn again(directory: Arc<TempDir>, more: &[&str]) -> Rig {
        let file = directory.path().join("fleet.yaml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["up", "-f"]).arg(file);
        Rig::start(command, directory, more)
    }

    /// Starts the demo.
    pub(crate) fn demo(more: &[&str]) -> Rig {
        let directory = Arc::new(tempfile::tempdir().expect("a directory"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("up");
        Rig::start(command, directory, more)
    }

    fn start(mut command: Command, directory: Arc<TempDir>, more: &[&str]) -> Rig {
        for listener in ["--gateway-addr", "--admin-addr"] {
            if !more.contains(&listener) {
                command.args([listener, "127.0.0.1:0"]);
            }
        }
        command
            .arg("--state-dir")
            .arg(directory.path().join("state"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let talk = Arc::new(Mutex::new(String::new()));
        let mut errors = child.stderr.take().expect("a pipe");
        let kept = Arc::clone(&talk);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = errors.read(&mut buffer) {
                kept.lock().expect("a lock").push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (mut gateway, mut admin) = (String::new(), String::new());
        while admin.is_empty() {
            let mut line = String::new();
            let read = out.read_line(&mut line).expect("a line");
            assert!(read > 0, "it ended before it listened:\n{}", talk.lock().expect("a lock"));
            if let Some(url) = line.strip_prefix("gateway ") {
                gateway = url.trim().to_owned();
            } else if let Some(url) = line.strip_prefix("dashboard ") {
                admin = url.trim().trim_end_matches('/').to_owned();
            }
        }
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Rig { child, gateway, admin, directory, talk, client }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory it has in use now.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// Memory it has had in use at the most.
    pub(crate) fn most_resident_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.trim_end_matches("kB").trim().parse().expect("a number")
    }

    /// What it said on standard error.
    pub(crate) fn talk(&self) -> String {
        self.talk.lock().expect("a lock").clone()
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Puts other manifests in the place of those it runs.
    pub(crate) fn edit(&self, manifests: &str) {
        // As editors do it: written beside and moved over, so that nobody reads half a file.
        let beside = self.directory.path().join(".fleet.yaml.new");
        std::fs::write(&beside, placed(manifests, &self.directory)).expect("a file");
        std::fs::rename(beside, self.directory.path().join("fleet.yaml")).expect("a rename");
    }

    pub(crate) async fn get(&self, url: &str) -> Answer {
        self.send(http::Request::get(url).body(Full::default()).expect("a request")).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = http::Request::post(format!("{}{path}", self.gateway))
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .expect("a request");
        self.send(request).await
    }

    /// One chat completion.
    pub(crate) async fn chat(&self, model: &str, max_tokens: u32, stream: bool) -> Answer {
        self.post("/v1/chat/completions", &chat(model, max_tokens, stream)).await
    }

    /// A chat completion under a name of its own.
    pub(crate) fn request(&self, id: &str, body: &Value) -> http::Request<Full<Bytes>> {
        http::Request::post(format!("{}/v1/chat/completions", self.gateway))
            .header("content-type", "application/json")
            .header("x-request-id", id)
            .body(Full::from(body.to_string()))
            .expect("a request")
    }

    pub(crate) async fn send(&self, request: http::Request<Full<Bytes>>) -> Answer {
        self.rest(self.head(request).await).await
    }

    /// Sends, and waits for the head of the answer.
    pub(crate) async fn head(&self, request: http::Request<Full<Bytes>>) -> http::Response<Incoming> {
        self.in_time(async { self.client.request(request).await.expect("an answer") }).await
    }

    /// Reads the rest of an answer.
    pub(crate) async fn rest(&self, response: http::Response<Incoming>) -> Answer {
        let (parts, body) = response.into_parts();
        let body = self.in_time(async { body.collect().await.expect("a whole body").to_bytes() }).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn in_time<T>(&self, answer: impl Future<Output = T>) -> T {
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                panic!("no answer in {PATIENCE:?}; the fleet: {}\nit said:\n{}", self.last(), self.talk())
            }
        }
    }

    /// What the pages show, asked on a connection of its own, for whoever wonders why nothing happens.
    fn last(&self) -> String {
        let addr = self.admin.trim_start_matches("http://");
        let asked = std::net::TcpStream::connect(addr).and_then(|mut socket| {
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(socket, "GET /api/fleet HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
            let mut said = String::new();
            socket.read_to_string(&mut said).map(|_| said)
        });
        asked.unwrap_or_else(|error| format!("not told ({error})"))
    }

    /// The fleet as the dashboard has it.
    pub(crate) async fn fleet(&self) -> Value {
        self.get(&format!("{}/api/fleet", self.admin)).await.json()
    }

    /// Waits until the fleet is as wanted: looks at once, and then whenever the listener tells of news.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let waiting = tokio::time::timeout(PATIENCE, async {
            let request = http::Request::get(format!("{}/events", self.admin)).body(Full::default());
            let events = self.client.request(request.expect("a request")).await.expect("events");
            let mut news = BodyStream::new(events.into_body());
            loop {
                let fleet = self.fleet().await;
                if wanted(&fleet) {
                    return fleet;
                }
                news.next().await.expect("the listener is there").expect("news");
            }
        });
        match waiting.await {
            Ok(fleet) => fleet,
            Err(_) => {
                let fleet = self.fleet().await;
                panic!("never {what}: {fleet:#}\nit said:\n{}", self.talk())
            }
        }
    }

    /// Waits until a target has so many replicas ready, and none on the way in or out.
    pub(crate) async fn until_ready(&self, target: &str, replicas: u64) -> Value {
        self.until(&format!("{replicas} ready of {target}"), |fleet| {
            let target = of(fleet, target);
            target["ready"] == replicas
                && ["starting", "draining", "pending"].iter().all(|state| target[*state] == 0)
        })
        .await
    }

    /// Ends it as a person does, and waits for the end.
    pub(crate) fn stop(mut self) -> (bool, String) {
        signal(self.pid(), "TERM");
        let status = self.child.wait().expect("an end");
        (status.success(), self.talk())
    }

    /// Ends it as nobody should.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a kill");
        self.child.wait().expect("an end");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            signal(self.pid(), "TERM");
            let _ = self.child.wait();
        }
    }
}

/// Manifests name files beside them with `DIR`.
fn placed(manifests: &str, directory: &TempDir) -> String {
    manifests.replace("DIR", &directory.path().display().to_string())
}

/// The timing of `DIR/slow.json`: a token every tenth of a second, however many streams there are.
const SLOW: &str = r#"{
    "name": "slow", "decode_base_ms": 100, "decode_per_seq_ms": 0, "decode_per_context_token_us": 0,
    "prefill_base_ms": 1, "prefill_per_token_us": 0, "prefill_quadratic_ns": 0,
    "kv_tokens": 1000000, "block_tokens": 16, "max_num_seqs": 1024, "max_batched_tokens": 8192,
    "max_model_len": 32768, "prefix_caching": false,
    "cold_start": {"init_s": 0.1, "load_s": 0.1, "compile_s": 0.1, "warm_s": 0.1}
}"#;

/// The part of the fleet that is one target.
pub(crate) fn of<'a>(fleet: &'a Value, target: &str) -> &'a Value {
    let targets = fleet["targets"].as_array().expect("targets");
    targets.iter().find(|known| known["name"] == target).unwrap_or(&Value::Null)
}

/// A chat completion that asks for exactly so many tokens.
pub(crate) fn chat(model: &str, max_tokens: u32, stream: bool) -> Value {
    let mut body = serde_json::json!({
        "model": model, "max_tokens": max_tokens, "ignore_eos": true,
        "messages": [{"role": "user", "content": "Tell me of the tides."}],
    });
    if stream {
        body["stream"] = true.into();
        body["stream_options"] = serde_json::json!({"include_usage": true});
    }
    body
}

pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    sent.expect("kill runs");
}

/// Processes whose command line has this text, by id.
pub(crate) fn processes(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = std::fs::read(Path::new("/proc").join(entry.file_name()).join("cmdline"));
        if line.is_ok_and(|line| String::from_utf8_lossy(&line).replace('\0', " ").contains(text)) {
            found.push(pid);
        }
    }
    found
}
