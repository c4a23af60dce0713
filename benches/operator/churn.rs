//! Ten thousand pods of a real cluster that come and go, by the operator's own word.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_testkit::cluster::Options;

use super::cluster::{NAMESPACE, Real};
use super::program::{Program, pause};
use super::{Outcome, prometheus};

/// Pods that a node takes: forty times what a kubelet does, since nobody runs them.
const PODS_A_NODE: u32 = 5000;

/// Until all pods are there, or gone. A cluster on two cores makes some 60 a second.
const PATIENCE_S: u64 = 900;

pub(super) fn measure(program: &Path, pods: u32) -> Outcome<()> {
    let Some(real) = Real::start("churn on a real cluster", Options::default())? else { return Ok(()) };
    let wanted = Arc::new(AtomicU32::new(0));
    let shown = Arc::clone(&wanted);
    let prometheus = prometheus::start(move |_| f64::from(shown.load(Ordering::SeqCst)))?;
    for number in 0..pods.div_ceil(PODS_A_NODE) {
        real.apply(&node(number))?;
    }
    real.apply(&object(&prometheus, pods))?;
    let operator = Program::operator(program, real.cluster.kubeconfig(), &[])?;
    operator.decided(1, 60)?;
    println!("{pods} pods of one Deployment on a real cluster:");
    for (count, what) in [(pods, "all ready"), (0, "all gone")] {
        let (begin, mut audit) = (Instant::now(), real.audit()?);
        let (cpu, others) = (operator.cpu_s()?, real.cpu_s()?);
        let (ticks, late) = (operator.metric("tidegate_ticks")?, operator.metric("tidegate_ticks_late")?);
        wanted.store(count, Ordering::SeqCst);
        let asked_s = until(&real, begin, |deployment| deployment["spec"]["replicas"] == count)?;
        let done_s = until(&real, begin, |deployment| {
            let of = |field: &str| deployment["status"][field].as_u64().unwrap_or(0);
            let settled = deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"];
            settled && of("readyReplicas") == u64::from(count) && of("replicas") == u64::from(count)
        })?;
        // What came last is seen before it is counted.
        pause(2000);
        let (now_mib, most_mib) = operator.memory_mib()?;
        let elapsed = begin.elapsed().as_secs_f64();
        println!(
            "  {count}: asked for after {asked_s:.1} s, {what} after {done_s:.0} s; operator {:.1} s of CPU ({:.2} cores), \
             {now_mib:.0} MiB, at most {most_mib:.0}; the cluster {:.2} cores",
            operator.cpu_s()? - cpu,
            (operator.cpu_s()? - cpu) / elapsed,
            (real.cpu_s()? - others) / elapsed
        );
        println!(
            "  {:.0} ticks, {:.0} later than 1 s, {} writes of the operator but for the lease",
            operator.metric("tidegate_ticks")? - ticks,
            operator.metric("tidegate_ticks_late")? - late,
            audit.operators()?
        );
    }
    Ok(())
}

/// A node that KWOK keeps alive.
fn node(number: u32) -> Value {
    let name = format!("churn-{number}");
    let room = json!({"cpu": "10000", "memory": "10000Gi", "pods": PODS_A_NODE.to_string()});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": {"kubernetes.io/hostname": name}},
        "status": {"capacity": room, "allocatable": room},
    })
}

/// A Deployment at zero that goes to any count and back at once.
fn object(prometheus: &str, pods: u32) -> Value {
    let labels = json!({"app": "churn"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": NAMESPACE, "name": "churn"},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "x"}]}}},
    });
    let at_once = json!({"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": pods, "periodSeconds": 1}]});
    let behavior = json!({"scaleUp": at_once, "scaleDown": at_once});
    let metadata = json!({"serverAddress": prometheus, "query": "q", "threshold": "1"});
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"namespace": NAMESPACE, "name": "churn"},
        "spec": {"scaleTargetRef": {"name": "churn"}, "minReplicaCount": 0, "maxReplicaCount": pods, "cooldownPeriod": 1,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
            "triggers": [{"type": "prometheus", "metadata": metadata}]},
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [deployment, object]})
}

/// Waits until the Deployment is as described: how many seconds after `begin`.
fn until(real: &Real, begin: Instant, is: impl Fn(&Value) -> bool) -> Outcome<f64> {
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/churn");
    while !is(&real.get(&path)?) {
        if begin.elapsed() > Duration::from_secs(PATIENCE_S) {
            return Err(format!("not in {PATIENCE_S} s").into());
        }
        pause(200);
    }
    Ok(begin.elapsed().as_secs_f64())
}
