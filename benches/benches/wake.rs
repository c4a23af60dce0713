//! From the first byte of a request at zero to a process of its replica: what waking costs.
//!
//! `cargo bench -p tidegate-benches --bench wake` builds the program, runs `up` with a target at zero, sends it a
//! request, lets it go back to zero, and so on. The replica is a shell that writes down the time first of
//! all, so the time measured also has the shell's own start in it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Wakes measured; each takes about three seconds, most of them the way back to zero.
const WAKES: usize = 20;

/// The bar, in milliseconds.
const BAR_MS: f64 = 20.0;

const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: wake}
spec:
  selector: {matchLabels: {app: wake}}
  template:
    metadata:
      labels: {app: wake}
      annotations:
        tidegate.dev/local-command: sh -c 'date +%s%N >> DIR/spawned; exec TIDEGATE engine --port $PORT --model wake --profile instant'
    spec:
      containers:
        - name: server
          image: vllm/vllm-openai:v0.32.0
          ports: [{containerPort: 8000}]
          readinessProbe: {httpGet: {path: /health, port: 8000}, periodSeconds: 1}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: wake
  annotations: {tidegate.dev/model: wake}
spec:
  scaleTargetRef: {name: wake}
  minReplicaCount: 0
  maxReplicaCount: 1
  cooldownPeriod: 1
  triggers:
    - type: external-push
      metadata: {scalerAddress: "tidegate-gateway.tidegate:9090", metric: demand, targetValue: "100"}
"#;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    // `cargo test` calls benches with --test: nothing is measured then.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let program = build()?;
    let directory = tempfile::tempdir()?;
    let spawned = directory.path().join("spawned");
    let mut up = start(&program, directory.path())?;
    let outcome = measure(&mut up, &spawned);
    up.child.kill()?;
    up.child.wait()?;
    let mut waits = outcome?;
    waits.sort_by(f64::total_cmp);
    let (median, most) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    let verdict = if median <= BAR_MS { "held" } else { "missed" };
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "first byte of a request at zero → process spawned, {WAKES} wakes: median {median:.1} ms, most {most:.1} ms; \
         the bar of {BAR_MS} ms is {verdict}"
    )?;
    Ok(())
}

fn build() -> Outcome<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    let built = build.args(["build", "--release", "-p", "tidegate"]).current_dir(&root).status()?;
    if !built.success() {
        return Err("the program does not build".into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release/tidegate").canonicalize()?)
}

struct Up {
    child: Child,
    gateway: String,
    admin: String,
}

fn start(program: &Path, directory: &Path) -> Outcome<Up> {
    let manifest = MANIFEST
        .replace("DIR", &directory.display().to_string())
        .replace("TIDEGATE", &program.display().to_string());
    let file = directory.join("wake.yaml");
    fs::write(&file, manifest)?;
    let mut child = Command::new(program)
        .args(["up", "--gateway-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--state-dir"])
        .arg(directory.join("state"))
        .arg("-f")
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let mut address = || -> Outcome<String> {
        let line = lines.next().ok_or("it ended before it listened")??;
        Ok(line.rsplit("//").next().unwrap_or_default().trim_end_matches('/').to_owned())
    };
    Ok(Up { gateway: address()?, admin: address()?, child })
}

fn measure(up: &mut Up, spawned: &Path) -> Outcome<Vec<f64>> {
    let body = r#"{"model":"wake","max_tokens":1,"messages":[{"role":"user","content":"up"}]}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        up.gateway,
        body.len()
    );
    let mut waits = Vec::with_capacity(WAKES);
    while waits.len() < WAKES {
        until_at_zero(&up.admin)?;
        let mut stream = TcpStream::connect(&up.gateway)?;
        let sent = SystemTime::now().duration_since(UNIX_EPOCH)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.1 200") {
            return Err(format!("not answered: {answer}").into());
        }
        let last =
            fs::read_to_string(spawned)?.lines().last().ok_or("nothing was spawned")?.parse::<u64>()?;
        waits.push((Duration::from_nanos(last).as_secs_f64() - sent.as_secs_f64()) * 1000.0);
    }
    Ok(waits)
}

/// Reads the listener's news until no replica is left.
fn until_at_zero(admin: &str) -> Outcome<()> {
    let stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(&stream, "GET /events HTTP/1.1\r\nhost: {admin}\r\n\r\n")?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let Some(data) = line.strip_prefix("data:") else { continue };
        let Ok(fleet) = serde_json::from_str::<serde_json::Value>(data) else { continue };
        let target = &fleet["targets"][0];
        let replicas = target["replicas"].as_array().map_or(usize::MAX, Vec::len);
        if target["wanted"] == 0 && replicas == 0 {
            return Ok(());
        }
    }
    Err("the listener went away".into())
}
