//! The simulator against what it simulates: one trace through `tidegate up` with stand-in engines, and through
//! `tidegate simulate`.
//!
//! `cargo bench -p tidegate-benches --bench live` builds the program (or takes the one that TIDEGATE names), plays
//! five minutes of requests in real time, then the same file in simulated time, and prints both: times to the first
//! token at the middle and at 95 in a hundred, and the curve of ready replicas, compared second by second. Bar: within
//! 10 %.
//!
//! What differs by nature: HTTP and processes take time here and none there, and a start has the time that a process
//! and its probes take. The simulation is told the starts that were measured, as a user would tell it.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// How far apart the two may be.
const BAR: f64 = 0.10;
/// The load: 2 requests a second, then 6, then 2.
const PHASES: [(u32, u32); 3] = [(60, 2), (120, 6), (120, 2)];
const PROMPT_TOKENS: u32 = 800;
const OUTPUT_TOKENS: u32 = 60;

const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: live}
spec:
  selector: {matchLabels: {app: live}}
  template:
    metadata:
      labels: {app: live}
      annotations:
        tidegate.dev/local-command: TIDEGATE engine --port $PORT --model live --profile demo
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
  name: live
  annotations: {tidegate.dev/model: live}
spec:
  scaleTargetRef: {name: live}
  minReplicaCount: 1
  maxReplicaCount: 6
  advanced:
    horizontalPodAutoscalerConfig:
      behavior: {scaleDown: {stabilizationWindowSeconds: 30}}
  triggers:
    - type: external-push
      metadata: {scalerAddress: "tidegate-gateway.tidegate:9090", metric: demand, targetValue: "4"}
"#;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    // `cargo test` calls benches with --test: nothing is measured then.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let program = program()?;
    let directory = tempfile::tempdir()?;
    let at = directory.path();
    let manifest = MANIFEST.replace("TIDEGATE", &program.display().to_string());
    fs::write(at.join("live.yaml"), manifest)?;
    fs::write(at.join("trace.csv"), trace()?)?;
    let (mut up, gateway) = start(&program, at)?;
    let loaded = load(&program, at, &gateway);
    let stopped = stop(&mut up);
    let loaded = loaded?;
    stopped?;
    let lived = curve(&at.join("state/journal"))?;
    let recorded = recorded(&program, at)?;
    let start_s = recorded["start_p50_s"].as_f64().ok_or("no start was measured")?;
    let simulated = simulate(&program, at, start_s)?;
    let played = curve(&at.join("out/journal"))?;
    print(&loaded, &simulated, &lived, &played, start_s)
}

fn program() -> Outcome<PathBuf> {
    if let Some(program) = std::env::var_os("TIDEGATE") {
        return Ok(PathBuf::from(program));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built =
        Command::new(cargo).args(["build", "--release", "-p", "tidegate"]).current_dir(&root).status()?;
    if !built.success() {
        return Err("the program does not build".into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release/tidegate").canonicalize()?)
}

/// Arrivals a little off their beat, so that no two seconds are alike: the n-th comes by the golden ratio's fraction
/// of a gap late.
fn trace() -> Outcome<String> {
    let mut text = "TIMESTAMP,ContextTokens,GeneratedTokens\n".to_owned();
    let (mut begins_s, mut number) = (0.0, 0_u32);
    for (for_s, rate) in PHASES {
        for place in 0..for_s * rate {
            let late = (f64::from(number) * 0.618_034).fract();
            let at_s = begins_s + (f64::from(place) + late) / f64::from(rate);
            number += 1;
            let (minute, second) = ((at_s / 60.0) as u32, at_s % 60.0);
            writeln!(text, "2026-01-01 00:{minute:02}:{second:09.6},{PROMPT_TOKENS},{OUTPUT_TOKENS}")?;
        }
        begins_s += f64::from(for_s);
    }
    Ok(text)
}

fn start(program: &Path, at: &Path) -> Outcome<(Child, String)> {
    let mut child = Command::new(program)
        .args(["up", "--gateway-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--state-dir"])
        .arg(at.join("state"))
        .arg("-f")
        .arg(at.join("live.yaml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let line = lines.next().ok_or("it ended before it listened")??;
    let gateway = line.rsplit("//").next().unwrap_or_default().trim_end_matches('/').to_owned();
    Ok((child, gateway))
}

/// Waits for the first replica with one request, then plays the trace.
fn load(program: &Path, at: &Path, gateway: &str) -> Outcome<Value> {
    let url = format!("http://{gateway}");
    let common = ["load", "--url", &url, "--model", "live", "--format", "json"];
    let first =
        Command::new(program).args(common).args(["--plan", "0s:1rps 1s:1rps", "--limit", "1"]).output()?;
    if !first.status.success() {
        return Err(format!("no replica answers: {}", String::from_utf8_lossy(&first.stderr)).into());
    }
    let played = Command::new(program).args(common).arg("--trace").arg(at.join("trace.csv")).output()?;
    if !played.status.success() {
        return Err(format!("the load failed: {}", String::from_utf8_lossy(&played.stderr)).into());
    }
    Ok(serde_json::from_slice(&played.stdout)?)
}

/// Ends it as a user does, so that its journal is whole.
fn stop(up: &mut Child) -> Outcome<()> {
    let pid = up.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status()?;
    up.wait()?;
    Ok(())
}

fn recorded(program: &Path, at: &Path) -> Outcome<Value> {
    let told = Command::new(program)
        .args(["simulate", "--policy", "fixed:1", "--profile", "demo", "--format", "json", "--from-journal"])
        .arg(at.join("state"))
        .output()?;
    let mut told: Value = serde_json::from_slice(&told.stdout)
        .map_err(|_| format!("the journal: {}", String::from_utf8_lossy(&told.stderr)))?;
    Ok(told["recorded"].take())
}

fn simulate(program: &Path, at: &Path, start_s: f64) -> Outcome<Value> {
    let told = Command::new(program)
        .args(["simulate", "--policy", "live", "--profile", "demo", "--format", "json", "--start-s"])
        .arg(start_s.to_string())
        .arg("-f")
        .arg(at.join("live.yaml"))
        .arg("--trace")
        .arg(at.join("trace.csv"))
        .arg("--out")
        .arg(at.join("out"))
        .output()?;
    serde_json::from_slice(&told.stdout)
        .map_err(|_| format!("the simulation: {}", String::from_utf8_lossy(&told.stderr)).into())
}

/// Ready replicas at each second from the first demand of the trace on: when two requests were there at once, for the
/// one that woke the fleet was alone.
fn curve(journal: &Path) -> Outcome<Vec<f64>> {
    let mut changes: Vec<(f64, f64)> = Vec::new();
    let mut begin_s = None;
    let mut segments: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(journal)? {
        segments.push(entry?.path());
    }
    segments.sort();
    for segment in segments {
        for line in fs::read_to_string(segment)?.lines() {
            let entry: Value = serde_json::from_str(line)?;
            let Some(t_us) = entry["t"].as_f64() else { continue };
            let ready = entry["event"]["fleet"]["ready"].as_f64();
            if let Some(ready) = ready {
                changes.push((t_us / 1e6, ready));
            }
            let reading = &entry["event"]["reading"];
            let demand = reading["reading"]["value"]["value"].as_f64().unwrap_or(0.0);
            if demand >= 2.0 {
                begin_s.get_or_insert(t_us / 1e6);
            }
        }
    }
    let begin_s = begin_s.ok_or("the journal has no demand of two")?;
    let seconds: u32 = PHASES.iter().map(|(for_s, _)| for_s).sum();
    let at = |second: u32| {
        let when_s = begin_s + f64::from(second);
        changes.iter().take_while(|(at_s, _)| *at_s <= when_s).last().map_or(0.0, |(_, ready)| *ready)
    };
    Ok((0..seconds - 5).map(at).collect())
}

fn print(loaded: &Value, simulated: &Value, lived: &[f64], played: &[f64], start_s: f64) -> Outcome<()> {
    let mut out = io::stdout().lock();
    let requests: u32 = PHASES.iter().map(|(for_s, rate)| for_s * rate).sum();
    writeln!(out, "{requests} requests, starts of {start_s:.2} s as measured; live, simulated, difference")?;
    let mut within = true;
    let mut row = |name: &str, live: f64, simulated: f64, apart: f64| -> io::Result<()> {
        within &= apart.abs() <= BAR;
        writeln!(out, "{name:<28} {live:>9.3} {simulated:>9.3} {:>8.1} %", apart * 100.0)
    };
    for name in ["p50", "p95"] {
        let of = |value: &Value| value["ttft_s"][name].as_f64().ok_or(format!("no {name} of ttft_s"));
        let (live, simulated) = (of(loaded)?, of(simulated)?);
        row(&format!("TTFT {name}, s"), live, simulated, simulated / live - 1.0)?;
    }
    let mean = |curve: &[f64]| curve.iter().sum::<f64>() / curve.len().max(1) as f64;
    let (live, simulated) = (mean(lived), mean(played));
    row("replicas, mean", live, simulated, simulated / live - 1.0)?;
    let apart = lived.iter().zip(played).map(|(one, other)| (one - other).abs()).sum::<f64>();
    row("curves apart, mean a second", 0.0, apart / lived.len() as f64, apart / lived.len() as f64 / live)?;
    writeln!(out, "the bar of {:.0} % is {}", BAR * 100.0, if within { "held" } else { "missed" })?;
    Ok(())
}
