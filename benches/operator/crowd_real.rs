//! Ten thousand objects at a real API server and its etcd, which share two cores with the operator.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_testkit::cluster::Options;

use super::cluster::{Audit, NAMESPACE, Real};
use super::program::{Program, pause};
use super::{Outcome, prometheus};

/// How many questions they ask: as behind one Prometheus.
const QUERIES: u32 = 100;

/// Until everything was decided, and until everything is written. Some 30,000 writes, of which a server on two cores
/// takes 200 a second.
const DECIDED_S: u64 = 600;
const WRITTEN_S: u64 = 900;

/// Nothing more is written when nothing was for so long. What is remembered is written each 30 s at the most.
const QUIET: Duration = Duration::from_secs(35);

pub(super) fn measure(program: &Path, objects: u32, seconds: u32) -> Outcome<()> {
    // Nobody acts on Deployments at zero; controllers would only take part of the two cores.
    let options = Options { bare: true, ..Options::default() };
    let Some(real) = Real::start("a crowd on a real API server", options)? else { return Ok(()) };
    let prometheus = prometheus::start(|_| 0.0)?;
    let made_s = fill(&real, &prometheus, objects)?;
    println!(
        "{objects} ScaledObjects and Deployments at zero at a real API server and etcd, made in {made_s:.0} s:"
    );
    let (begin, mut audit) = (Instant::now(), real.audit()?);
    let operator = Program::operator(program, real.cluster.kubeconfig(), &[])?;
    operator.decided(objects, DECIDED_S)?;
    println!("  start → all decided {:.1} s", begin.elapsed().as_secs_f64());
    let (written, quiet_s) = until_quiet(&operator, &mut audit, begin)?;
    println!(
        "  start → the last write {quiet_s:.0} s: {written} writes, {:.0} s of CPU for the operator, {:.0} s for API server \
         and etcd since they began",
        operator.cpu_s()?,
        real.cpu_s()?
    );
    watch(&real, &operator, &mut audit, seconds)
}

fn fill(real: &Real, prometheus: &str, objects: u32) -> Outcome<f64> {
    let made = (0..objects).flat_map(|number| {
        let name = format!("model-{number:05}");
        let labels = json!({"app": name});
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "vllm/vllm-openai:v0.32.0",
                    "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}},
        });
        let metadata =
            json!({"serverAddress": prometheus, "query": format!("q{}", number % QUERIES), "threshold": "5"});
        let object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name},
            "spec": {"scaleTargetRef": {"name": name}, "maxReplicaCount": 10,
                "triggers": [{"type": "prometheus", "metadata": metadata}]},
        });
        let of = |group: &str, plural: &str| format!("/apis/{group}/namespaces/{NAMESPACE}/{plural}");
        [(of("apps/v1", "deployments"), deployment), (of("keda.sh/v1alpha1", "scaledobjects"), object)]
    });
    real.create(made.collect::<Vec<(String, Value)>>())
}

/// Waits until nothing is left to write: how much was, and when the last of it came.
fn until_quiet(operator: &Program, audit: &mut Audit, begin: Instant) -> Outcome<(usize, f64)> {
    let (mut written, mut last) = (0, Instant::now());
    while last.elapsed() < QUIET || operator.metric("tidegate_writes_waiting")? > 0.0 {
        if begin.elapsed().as_secs() > WRITTEN_S {
            return Err(format!("after {WRITTEN_S} s it still writes: {written} writes").into());
        }
        pause(1000);
        let more = audit.operators()?;
        if more > 0 {
            (written, last) = (written + more, Instant::now());
        }
    }
    Ok((written, (last - begin).as_secs_f64()))
}

/// What it costs where nothing changes.
fn watch(real: &Real, operator: &Program, audit: &mut Audit, seconds: u32) -> Outcome<()> {
    let (cpu, others) = (operator.cpu_s()?, real.cpu_s()?);
    let (ticks, late) = (operator.metric("tidegate_ticks")?, operator.metric("tidegate_ticks_late")?);
    audit.more()?;
    let looked = Instant::now();
    while looked.elapsed() < Duration::from_secs(u64::from(seconds)) {
        pause(1000);
    }
    let elapsed = looked.elapsed().as_secs_f64();
    let cores = (operator.cpu_s()? - cpu) / elapsed;
    let others = (real.cpu_s()? - others) / elapsed;
    let ticked = operator.metric("tidegate_ticks")? - ticks;
    let all_late = operator.metric("tidegate_ticks_late")?;
    let (now_mib, most_mib) = operator.memory_mib()?;
    let writes = audit.operators()?;
    println!(
        "  once quiet: {cores:.2} cores, {now_mib:.0} MiB, at most {most_mib:.0}; API server and etcd {others:.2} cores"
    );
    println!(
        "  {ticked:.0} ticks in {elapsed:.0} s, {:.0} later than 1 s ({late:.0} until then), {writes} writes but for the lease",
        all_late - late
    );
    Ok(())
}
