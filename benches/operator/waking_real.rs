//! From the first byte of a request at zero to the count at a real API server and its etcd.
//!
//! The end is the API server's own word: the moment at which it had answered the write, in its audit log, to the
//! microsecond and by the same machine's clock as the beginning.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tidegate_testkit::cluster::Options;

use super::Outcome;
use super::cluster::{Audit, NAMESPACE, Real};
use super::program::{Program, pause, spread};

/// Objects that are woken, each once.
const WAKES: u32 = 30;

/// The bar, in milliseconds.
const BAR_MS: f64 = 50.0;

/// Until a count is missed.
const PATIENCE_S: u64 = 20;

pub(super) fn measure(program: &Path) -> Outcome<()> {
    let Some(real) = Real::start("waking on a real cluster", Options::default())? else { return Ok(()) };
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "tidegate", "name": "tidegate-gateway"}});
    real.apply(&account)?;
    for number in 0..WAKES {
        real.apply(&asleep(number))?;
    }
    let directory = tempfile::tempdir()?;
    let listening = ["--demand-addr", "127.0.0.1:0", "--demand-host", "127.0.0.1"];
    let operator = Program::operator(program, real.cluster.kubeconfig(), &listening)?;
    operator.decided(WAKES, 60)?;
    let gateway = gateway(&real, program, &operator, directory.path())?;
    gateway.until("tidegate_gateway_operators_told", 1.0, 60)?;
    operator.until("tidegate_gateways", 1.0, 60)?;
    let (mut sent, mut answered, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..WAKES {
        // At another moment between two ticks each time.
        pause(300 + 137 * u64::from(number) % 1000);
        let mut audit = real.audit()?;
        let (client, begin) = ask(&gateway.addr, number)?;
        // It is held, or meets a pod that answers nobody.
        held.push(client);
        let entry = written(&mut audit, number)?;
        let since = |stamp: &str| {
            Ok::<_, Box<dyn std::error::Error>>((day_s(&entry[stamp])? - begin).rem_euclid(DAY_S) * 1000.0)
        };
        sent.push(since("requestReceivedTimestamp")?);
        answered.push(since("stageTimestamp")?);
    }
    for number in 0..WAKES {
        let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{}", name(number));
        let replicas = real.get(&path)?["spec"]["replicas"].clone();
        if replicas != 1 {
            return Err(format!("{} is to have {replicas} replicas, not one", name(number)).into());
        }
    }
    let ((median, most), (half, _)) = (spread(answered), spread(sent));
    let verdict = if median <= BAR_MS { "held" } else { "missed" };
    println!(
        "the same on a real API server and etcd, {WAKES} requests, by the audit log: median {median:.1} ms, most \
         {most:.1} ms (the write had arrived at {half:.1} ms in the middle); the bar of {BAR_MS:.0} ms is {verdict}"
    );
    Ok(())
}

fn name(number: u32) -> String {
    format!("model-{number:05}")
}

/// A Deployment at zero, and what wakes it.
fn asleep(number: u32) -> Value {
    let name = name(number);
    let labels = json!({"app": name});
    let container =
        json!({"name": "main", "image": "vllm/vllm-openai:v0.32.0", "ports": [{"containerPort": 8000}]});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [container]}}},
    });
    let metadata = json!({
        "scalerAddress": "tidegate-gateway.tidegate:8081", "metric": "demand", "targetValue": "4",
    });
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"namespace": NAMESPACE, "name": name, "annotations": {"tidegate.dev/model": name}},
        "spec": {"scaleTargetRef": {"name": name}, "minReplicaCount": 0, "maxReplicaCount": 1,
            "triggers": [{"type": "external", "metadata": metadata}]},
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [deployment, object]})
}

/// A gateway that tells the operator its demand, with a token of its account.
fn gateway(real: &Real, program: &Path, operator: &Program, directory: &Path) -> Outcome<Program> {
    let token = ["-n", "tidegate", "create", "token", "tidegate-gateway", "--audience", "tidegate-operator"];
    let (ca, file) = (directory.join("ca.crt"), directory.join("token"));
    fs::write(&file, real.runtime.block_on(real.cluster.succeed(&token, ""))?.trim())?;
    let begin = Instant::now();
    let authority = loop {
        let told = real.get("/api/v1/namespaces/tidegate/configmaps/tidegate-demand-ca");
        match told.ok().and_then(|map| map["data"]["ca.crt"].as_str().map(str::to_owned)) {
            Some(authority) => break authority,
            None if begin.elapsed().as_secs() > PATIENCE_S => return Err("no authority".into()),
            None => pause(100),
        }
    };
    fs::write(&ca, authority)?;
    let mut command = Command::new(program);
    command.args(["gateway", "--gateway-addr", "127.0.0.1:0", "--operator", &operator.addr]);
    command.arg("--operator-ca").arg(&ca).arg("--operator-token").arg(&file);
    command.arg("--kubeconfig").arg(real.cluster.kubeconfig());
    Program::start(command, true)
}

/// A request for a model: its connection, and when its first byte was sent, in seconds of the day.
fn ask(gateway: &str, number: u32) -> Outcome<(TcpStream, f64)> {
    let mut client = TcpStream::connect(gateway)?;
    client.set_nodelay(true)?;
    let body = format!(
        r#"{{"model":"{}","max_tokens":1,"messages":[{{"role":"user","content":"up"}}]}}"#,
        name(number)
    );
    let begin = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64().rem_euclid(DAY_S);
    write!(
        client,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {gateway}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok((client, begin))
}

/// The entry of the write of its count.
fn written(audit: &mut Audit, number: u32) -> Outcome<Value> {
    let (name, begin) = (name(number), Instant::now());
    loop {
        let found = audit.more()?.into_iter().find(|entry| {
            let object = &entry["objectRef"];
            object["subresource"] == "scale"
                && object["name"] == json!(name)
                && entry["responseStatus"]["code"] == 200
        });
        match found {
            Some(entry) => return Ok(entry),
            None if begin.elapsed().as_secs() > PATIENCE_S => {
                return Err(format!("no count of {name} was written").into());
            }
            None => pause(20),
        }
    }
}

const DAY_S: f64 = 86_400.0;

/// Seconds of the day of a time as audit logs have it: `2026-01-01T00:01:02.345678Z`.
fn day_s(stamp: &Value) -> Outcome<f64> {
    let text = stamp.as_str().and_then(|text| text.split_once('T')).ok_or("an entry without its time")?.1;
    let mut seconds = 0.0;
    for part in text.trim_end_matches('Z').split(':') {
        seconds = seconds * 60.0 + part.parse::<f64>()?;
    }
    Ok(seconds)
}
