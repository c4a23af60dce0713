//! The same crossing on the real test cluster, as kubectl's watch sees it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_testkit::cluster::{Cluster, Options};

use super::program::{Program, pause, spread};
use super::{Outcome, prometheus};

const CROSSINGS: u32 = 10;
const BAR_MS: f64 = 1200.0;

pub(super) fn measure(program: &Path) -> Outcome<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let Some(cluster) =
        runtime.block_on(Cluster::start_or_say("the bench on a real cluster", Options::default()))
    else {
        return Ok(());
    };
    let crossed = Arc::new(AtomicU64::new(0));
    let known = Arc::clone(&crossed);
    let prometheus = prometheus::start(move |query| {
        let number: u32 = query.trim_start_matches('q').parse().unwrap_or(0);
        if known.load(Ordering::SeqCst) & (1 << number) == 0 { 3.0 } else { 12.0 }
    })?;
    let namespaces = ["bench", "tidegate"]
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string());
    for namespace in &namespaces {
        runtime.block_on(cluster.apply(namespace))?;
    }
    for number in 0..CROSSINGS {
        runtime.block_on(cluster.apply(&objects(number, &prometheus)))?;
    }
    let _operator = Program::operator(program, cluster.kubeconfig(), &[])?;
    let seen = watch(&cluster)?;
    let settled = || {
        let all = runtime.block_on(cluster.get(&["-n", "bench", "scaledobjects"]))?;
        let active = all["items"].as_array().map_or(0, |items| {
            items
                .iter()
                .filter(|item| item["status"]["conditions"].to_string().contains("ScalerActive"))
                .count()
        });
        Ok::<_, Box<dyn std::error::Error>>(active == CROSSINGS as usize)
    };
    while !settled()? {
        pause(200);
    }
    let mut waits = Vec::new();
    for number in 0..CROSSINGS {
        pause(137 * u64::from(number) % 1000);
        let begin = Instant::now();
        crossed.fetch_or(1 << number, Ordering::SeqCst);
        let wanted = format!("model-{number} 3");
        loop {
            let line = seen.recv_timeout(Duration::from_secs(20))?;
            if line == wanted {
                break;
            }
        }
        waits.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    let (median, most) = spread(waits);
    let verdict = if most <= BAR_MS { "held" } else { "missed" };
    println!(
        "the same on a real API server and etcd, {CROSSINGS} crossings, seen by kubectl's watch: median {median:.0} ms, \
         most {most:.0} ms; the bar of {BAR_MS:.0} ms is {verdict}"
    );
    Ok(())
}

fn objects(number: u32, prometheus: &str) -> String {
    let name = format!("model-{number}");
    let labels = json!({"app": name});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "bench", "name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "x"}]}}},
    });
    let metadata = json!({"serverAddress": prometheus, "query": format!("q{number}"), "threshold": "5"});
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"namespace": "bench", "name": name},
        "spec": {"scaleTargetRef": {"name": name}, "minReplicaCount": 1, "triggers": [{"type": "prometheus", "metadata": metadata}]},
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [deployment, object]}).to_string()
}

/// Lines of `NAME REPLICAS` as they change.
fn watch(cluster: &Cluster) -> Outcome<mpsc::Receiver<String>> {
    let columns = "custom-columns=NAME:.metadata.name,REPLICAS:.spec.replicas";
    let mut command = Command::new(cluster.kubectl_program());
    command.args(["-n", "bench", "get", "deployments", "--watch", "--no-headers", "-o", columns]);
    let mut child = command.env("KUBECONFIG", cluster.kubeconfig()).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let (out, seen) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if out.send(words.join(" ")).is_err() {
                break;
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    });
    Ok(seen)
}
