//! Each rule on what it is for, and on what is right.

use crate::cluster::{
    Cause, Cluster, EXTERNAL, METRICS, Operators, Pod, Pool, Quota, Scaler, USAGE, Workload,
};
use crate::evidence::Evidence;
use crate::finding::Finding;
use crate::rules::examine;

/// A cluster with which all is well: one object, its workload, an operator.
fn well() -> Cluster {
    let scaler = Scaler {
        kind: "ScaledObject".to_owned(),
        namespace: "prod".to_owned(),
        name: "llama".to_owned(),
        workload: Some(TITLE.to_owned()),
        conditions: vec![condition("Ready", "True", "ScaledObjectReady", "")],
        ..Scaler::default()
    };
    Cluster {
        scalers: vec![scaler],
        workloads: vec![Workload { wanted: 2, ready: 2, ..workload() }],
        operators: Operators { tidegate: Some(vec!["tidegate/tidegate-operator".to_owned()]), keda: None },
        served: Some(METRICS.into()),
        ..Cluster::default()
    }
}

const TITLE: &str = "Deployment prod/llama";

fn workload() -> Workload {
    Workload { title: TITLE.to_owned(), namespace: "prod".to_owned(), ..Workload::default() }
}

fn condition(type_: &str, status: &str, reason: &str, said: &str) -> [String; 4] {
    [type_, status, reason, said].map(str::to_owned)
}

fn pod(name: &str) -> Pod {
    Pod { name: format!("prod/{name}"), workload: Some(TITLE.to_owned()), grace_s: 30, ..Pod::default() }
}

fn of(cluster: Cluster) -> Vec<Finding> {
    examine(&Evidence { cluster: Some(cluster), ..Evidence::default() })
}

fn codes(cluster: Cluster) -> Vec<&'static str> {
    of(cluster).iter().map(|finding| finding.code).collect()
}

#[test]
fn a_cluster_that_is_well_has_no_finding() {
    assert_eq!(of(well()), []);
}

#[test]
fn pods_that_wait_are_told_by_cause_with_the_schedulers_words() {
    let mut cluster = well();
    let waits = |age_s, cause| Pod { age_s, waits: Some((cause, "0/2 nodes".to_owned())), ..pod("a") };
    cluster.pods =
        vec![waits(400.0, Cause::Gpu), Pod { name: "prod/b".to_owned(), ..waits(500.0, Cause::Gpu) }];
    let found = of(cluster.clone());
    assert_eq!((found[0].code, found.len()), ("TD501", 1));
    assert!(found[0].message.starts_with("2 of its pods wait: no node has a device left"));
    assert_eq!(found[0].evidence[0], "prod/a for 400 s: 0/2 nodes");
    // A node may be on its way; an image that is not there is not.
    cluster.pods = vec![waits(200.0, Cause::Gpu)];
    assert_eq!(codes(cluster.clone()), [""; 0]);
    cluster.pods = vec![waits(2.0, Cause::Image)];
    assert_eq!(codes(cluster.clone()), ["TD501"]);
    cluster.pods = vec![waits(9e9, Cause::Gated)];
    assert_eq!(codes(cluster), [""; 0]);
}

#[test]
fn two_that_scale_one_workload_are_told_and_kedas_own_hand_is_not_while_it_runs() {
    let mut cluster = well();
    let hpa = Scaler {
        kind: "HorizontalPodAutoscaler".to_owned(),
        name: "keda-hpa-llama".to_owned(),
        owner: Some("llama".to_owned()),
        ..cluster.scalers[0].clone()
    };
    cluster.scalers.push(hpa);
    let found = of(cluster.clone());
    assert_eq!(
        (found[0].code, &*found[0].fix),
        ("TD502", "take it over from KEDA: `tidegate adopt -n prod llama`")
    );
    cluster.operators.keda = Some("Deployment keda/keda-operator".to_owned());
    assert_eq!(codes(cluster.clone()), [""; 0]);
    cluster.scalers[1].owner = None;
    assert_eq!(codes(cluster.clone()), ["TD502"]);
    cluster.scalers[1].idle = true;
    assert_eq!(codes(cluster), [""; 0]);
}

#[test]
fn a_full_quota_is_told_once_somebody_wants_more() {
    let mut cluster = well();
    cluster.quotas = vec![Quota {
        name: "prod/gpus".to_owned(),
        namespace: "prod".to_owned(),
        resource: "requests.nvidia.com/gpu".to_owned(),
        used: "2".to_owned(),
        hard: "2".to_owned(),
        full: true,
    }];
    assert_eq!(codes(cluster.clone()), [""; 0]);
    cluster.workloads[0] =
        Workload { wanted: 3, ready: 2, refused: Some("exceeded quota".to_owned()), ..workload() };
    let found = of(cluster.clone());
    assert_eq!((found[0].code, &*found[0].evidence[0]), ("TD503", "2 of 2 requests.nvidia.com/gpu"));
    cluster.workloads[0].namespace = "other".to_owned();
    assert_eq!(codes(cluster), [""; 0]);
}

#[test]
fn triggers_that_cannot_be_read_are_told_with_what_was_said() {
    let mut cluster = well();
    cluster.scalers[0].conditions = vec![condition("Ready", "False", "TriggerError", "no data")];
    cluster.scalers[0].failing = vec![("s0-prometheus".to_owned(), 7)];
    let found = of(cluster.clone());
    assert_eq!(found[0].code, "TD504");
    assert_eq!(found[0].evidence, ["TriggerError: no data", "s0-prometheus failed 7 times"]);
    cluster.scalers[0].failing.clear();
    // One of two fails: nothing is scaled down for it, and no more is said in the object.
    cluster.scalers[0].conditions = vec![condition("Ready", "Unknown", "PartialTriggerError", "one of two")];
    let found = of(cluster.clone());
    assert_eq!((found[0].code, found[0].message.contains("some of its triggers")), ("TD504", true));
    cluster.scalers[0].conditions =
        vec![condition("Ready", "False", "ScaledObjectCheckFailed", "no Deployment")];
    assert_eq!(codes(cluster.clone()), ["TD512"]);
    cluster.scalers[0].conditions = vec![condition("Fallback", "True", "FallbackExists", "")];
    assert_eq!(codes(cluster.clone()), ["TD504"]);
    let empty = condition("NoData", "True", "EmptyResult", "no data from s0-prometheus");
    cluster.scalers[0].conditions = vec![condition("Ready", "True", "ScaledObjectReady", ""), empty];
    let found = of(cluster.clone());
    assert_eq!((found[0].code, &*found[0].evidence[0]), ("TD504", "EmptyResult: no data from s0-prometheus"));
    cluster.scalers[0].conditions = vec![condition("NoData", "False", "DataRead", "")];
    assert_eq!(codes(cluster), [""; 0]);
}

#[test]
fn containers_that_are_ended_are_told_with_who_ended_them() {
    let mut cluster = well();
    cluster.pods = vec![Pod { restarts: 4, probe: Some("Startup probe failed".to_owned()), ..pod("a") }];
    assert_eq!(codes(cluster.clone()), ["TD505"]);
    cluster.pods = vec![Pod { restarts: 1, ended: Some(("OOMKilled".to_owned(), 137)), ..pod("a") }];
    assert_eq!(codes(cluster.clone()), ["TD507"]);
    cluster.pods = vec![Pod { overdue_s: Some(120.0), ..pod("a") }];
    assert_eq!(codes(cluster.clone()), ["TD506"]);
    cluster.pods = vec![Pod { overdue_s: Some(10.0), ended: Some(("Completed".to_owned(), 0)), ..pod("a") }];
    assert_eq!(codes(cluster), [""; 0]);
}

#[test]
fn a_start_that_does_not_end_is_told() {
    let mut cluster = well();
    cluster.pods = vec![Pod { starting_s: Some(901.0), ..pod("a") }];
    let found = of(cluster.clone());
    assert_eq!(found[0].code, "TD510");
    assert!(found[0].fix.contains("kubectl -n prod logs a"), "{}", found[0].fix);
    cluster.pods = vec![Pod { starting_s: Some(899.0), ..pod("a") }];
    assert_eq!(codes(cluster), [""; 0]);
}

#[test]
fn a_pool_is_told_when_it_is_full_and_somebody_waits_for_it() {
    let mut cluster = well();
    let pool = |taken| Pool {
        name: "a100".to_owned(),
        device: "nvidia.com/gpu".to_owned(),
        nodes: 2,
        away: 0,
        devices: 8,
        taken,
    };
    cluster.pools = Some(vec![pool(Some(8))]);
    assert_eq!(codes(cluster.clone()), [""; 0]);
    cluster.pods = vec![Pod { waits: Some((Cause::Gpu, String::new())), age_s: 1.0, ..pod("a") }];
    assert_eq!(codes(cluster.clone()), ["TD509"]);
    cluster.pools = Some(vec![pool(Some(7))]);
    assert_eq!(codes(cluster.clone()), [""; 0]);
    cluster.pools = Some(vec![pool(None)]);
    assert_eq!(codes(cluster.clone()), [""; 0], "what cannot be seen is not judged");
    cluster.pools = Some(vec![Pool { away: 2, devices: 0, ..pool(None) }]);
    assert_eq!(codes(cluster), ["TD509"]);
}

#[test]
fn usage_that_nobody_serves_is_told_where_somebody_reads_it() {
    let mut cluster = well();
    cluster.served = Some([EXTERNAL].into());
    assert_eq!(codes(cluster.clone()), [""; 0]);
    cluster.scalers[0].reads = [USAGE].into();
    assert_eq!(codes(cluster.clone()), ["TD508"]);
    cluster.scalers[0].reads = [EXTERNAL].into();
    assert_eq!(codes(cluster.clone()), [""; 0], "that one is served");
    cluster.served = Some([USAGE].into());
    let found = of(cluster.clone());
    assert_eq!((found[0].code, &*found[0].subject), ("TD508", EXTERNAL));
    cluster.served = None;
    assert_eq!(codes(cluster), [""; 0]);
}

#[test]
fn objects_that_nobody_runs_are_told_and_what_could_not_be_seen_is_named() {
    let mut cluster = well();
    cluster.operators.tidegate = Some(Vec::new());
    assert_eq!(codes(cluster.clone()), ["TD511"]);
    cluster.operators.tidegate = None;
    cluster.unseen = vec!["nodes: forbidden".to_owned()];
    let found = of(cluster);
    assert_eq!((found[0].code, &*found[0].evidence), ("TD513", &["nodes: forbidden".to_owned()][..]));
}
