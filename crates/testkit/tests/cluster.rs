//! The test cluster is a real one: what is applied to it happens, and it can be broken and mended.

use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_testkit::cluster::{Cluster, Error, Options};
use tokio::runtime::Runtime;

/// Longer than anything here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(90);

/// One cluster for the tests that only use it. It ends with the process, whose end closes its stdin.
fn shared() -> Option<(&'static Runtime, &'static Cluster)> {
    static SHARED: OnceLock<(Runtime, Option<Cluster>)> = OnceLock::new();
    let (runtime, cluster) = SHARED.get_or_init(|| {
        let runtime = Runtime::new().expect("a runtime");
        let cluster = runtime.block_on(ours("tests of pods", Options::default()));
        (runtime, cluster)
    });
    cluster.as_ref().map(|cluster| (runtime, cluster))
}

/// These tests are of our cluster; with somebody else's they have nothing to say.
async fn ours(what: &str, options: Options) -> Option<Cluster> {
    let cluster = Cluster::start_or_say(what, options).await?;
    if cluster.is_ours() {
        return Some(cluster);
    }
    let told = format!("\n*** LEFT OUT: {what}: TIDEGATE_E2E_CLUSTER names a cluster that is not ours ***\n");
    std::io::stderr().write_all(told.as_bytes()).expect("stderr");
    None
}

/// Those that break their cluster do so one at a time: each has a whole one.
fn own(options: Options, test: impl AsyncFnOnce(Cluster)) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    Runtime::new().expect("a runtime").block_on(async {
        if let Some(cluster) = ours("tests of faults", options).await {
            test(cluster).await;
        }
    });
}

/// Asks until the answer is as described.
async fn until(cluster: &Cluster, what: &str, arguments: &[&str], is: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    let mut last = Value::Null;
    while begin.elapsed() < PATIENCE {
        // An object that is not there yet is no failure.
        if let Ok(value) = cluster.get(arguments).await {
            if is(&value) {
                return value;
            }
            last = value;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{arguments:?} never was {what}; last: {last:#}");
}

fn deployment(name: &str, replicas: u32, gpus: u32, annotations: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
      annotations: {{{annotations}}}
    spec:
      containers:
        - name: engine
          image: vllm/vllm-openai:latest
          resources: {{limits: {{nvidia.com/gpu: "{gpus}"}}}}
"#
    )
}

/// The reason why a pod's first container waits, or else its phase and whether it is ready.
fn stage(pod: &Value) -> String {
    let status = &pod["status"];
    if let Some(reason) = status["containerStatuses"][0]["state"]["waiting"]["reason"].as_str() {
        return reason.to_owned();
    }
    let ready = status["containerStatuses"][0]["ready"] == true;
    format!("{}{}", status["phase"].as_str().unwrap_or_default(), if ready { " ready" } else { "" })
}

#[test]
fn pods_of_a_deployment_are_scheduled_pulled_loaded_and_ready_on_gpu_nodes() {
    let Some((runtime, cluster)) = shared() else { return };
    runtime.block_on(async {
        // Long enough that each phase can be seen, at any speed: the next one is only let in when it was.
        let slow = r#"test.tidegate.dev/pull: "3s", test.tidegate.dev/load: "3s""#;
        cluster.apply(&deployment("phases", 2, 1, slow)).await.expect("the Deployment is accepted");
        let pods = ["pods", "-l", "app=phases"];
        for phase in ["ContainerCreating", "Running", "Running ready"] {
            until(cluster, phase, &pods, |list| {
                list["items"].as_array().is_some_and(|pods| pods.iter().any(|pod| stage(pod) == phase))
            })
            .await;
        }
        let done = until(cluster, "available", &["deployment", "phases"], |deployment| {
            deployment["status"]["availableReplicas"] == 2
        })
        .await;
        assert_eq!(done["status"]["readyReplicas"], 2);
        let list = cluster.get(&pods).await.expect("pods are listed");
        for pod in list["items"].as_array().expect("a list") {
            let node = pod["spec"]["nodeName"].as_str().expect("it was scheduled");
            assert!(node.starts_with("gpu-"), "{node}");
            let conditions = pod["status"]["conditions"].as_array().expect("conditions");
            for wanted in ["PodScheduled", "Initialized", "ContainersReady", "Ready"] {
                let is = |condition: &&Value| condition["type"] == wanted && condition["status"] == "True";
                assert!(conditions.iter().any(|condition| is(&condition)), "{wanted}: {conditions:#?}");
            }
        }
        cluster.succeed(&["delete", "deployment", "phases", "--wait"], "").await.expect("it is deleted");
        until(cluster, "gone", &pods, |list| list["items"].as_array().is_some_and(Vec::is_empty)).await;
    });
}

#[test]
fn more_gpus_than_there_are_leave_a_pod_pending_with_the_reason() {
    let Some((runtime, cluster)) = shared() else { return };
    runtime.block_on(async {
        // Two nodes of four: no node has five.
        cluster.apply(&deployment("greedy", 1, 5, "")).await.expect("the Deployment is accepted");
        let told = until(cluster, "unschedulable", &["pods", "-l", "app=greedy"], |list| {
            list["items"][0]["status"]["conditions"][0]["reason"] == "Unschedulable"
        })
        .await;
        let pod = &told["items"][0]["status"];
        assert_eq!(pod["phase"], "Pending");
        let message = pod["conditions"][0]["message"].as_str().expect("a message");
        assert!(message.contains("2 Insufficient nvidia.com/gpu"), "{message}");
        cluster.succeed(&["delete", "deployment", "greedy"], "").await.expect("it is deleted");
    });
}

#[test]
fn an_image_that_cannot_be_pulled_and_a_crash_are_told_as_a_kubelet_tells_them() {
    let Some((runtime, cluster)) = shared() else { return };
    runtime.block_on(async {
        for (name, annotation, reason) in [
            ("unpullable", "test.tidegate.dev/pull-error: \"yes\"", "ImagePullBackOff"),
            ("crashing", "test.tidegate.dev/crash: \"yes\"", "CrashLoopBackOff"),
        ] {
            cluster.apply(&deployment(name, 1, 0, annotation)).await.expect("the Deployment is accepted");
            let label = format!("app={name}");
            until(cluster, reason, &["pods", "-l", &label], |list| stage(&list["items"][0]) == reason).await;
            cluster.succeed(&["delete", "deployment", name], "").await.expect("it is deleted");
        }
    });
}

#[test]
fn a_job_runs_and_completes() {
    let Some((runtime, cluster)) = shared() else { return };
    runtime.block_on(async {
        let job = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: batch}
spec:
  template:
    metadata: {annotations: {test.tidegate.dev/run: 100ms}}
    spec:
      restartPolicy: Never
      containers: [{name: work, image: busybox}]
"#;
        cluster.apply(job).await.expect("the Job is accepted");
        until(cluster, "complete", &["job", "batch"], |job| job["status"]["succeeded"] == 1).await;
        cluster.succeed(&["delete", "job", "batch"], "").await.expect("it is deleted");
    });
}

#[test]
fn the_projects_custom_resources_are_known_and_a_wrong_one_is_refused() {
    let Some((runtime, cluster)) = shared() else { return };
    runtime.block_on(async {
        let object = |target: &str| {
            format!(
                r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{name: chat}}
spec:
  {target}
  triggers:
    - {{type: cron, metadata: {{timezone: UTC, start: 0 8 * * *, end: 0 18 * * *, desiredReplicas: "2"}}}}
"#
            )
        };
        cluster.apply(&object("scaleTargetRef: {name: chat}")).await.expect("it is accepted");
        let listed = cluster.succeed(&["get", "so", "chat"], "").await.expect("its short name is known");
        assert!(listed.contains("chat"), "{listed}");
        let refused = cluster.apply(&object("scaleTargetRef: chat")).await;
        assert!(
            matches!(&refused, Err(Error::Kubectl { said, .. }) if said.contains("scaleTargetRef")),
            "{refused:?}"
        );
        cluster.succeed(&["delete", "so", "chat"], "").await.expect("it is deleted");
        let version = cluster.succeed(&["version", "-o", "json"], "").await.expect("a version");
        let version: Value = serde_json::from_str(&version).expect("JSON");
        assert_eq!(version["clientVersion"]["gitVersion"], version["serverVersion"]["gitVersion"]);
    });
}

const BARE: Options = Options { bare: true, gpu_nodes: 0, gpus_each: 0 };

#[test]
fn an_api_server_that_was_stopped_is_away_and_comes_back_with_everything() {
    own(BARE, async |cluster| {
        cluster.succeed(&["create", "configmap", "kept"], "").await.expect("it is written");
        for kill in [false, true] {
            let done = if kill { cluster.kill_apiserver().await } else { cluster.stop_apiserver().await };
            done.expect("it ends");
            let away = cluster.get(&["configmap", "kept"]).await;
            assert!(matches!(away, Err(Error::Kubectl { .. })), "{away:?}");
            let again = cluster.stop_apiserver().await;
            assert!(matches!(again, Err(Error::Refused { .. })), "{again:?}");
            cluster.start_apiserver().await.expect("it starts");
            cluster.get(&["configmap", "kept"]).await.expect("what was written is there");
        }
    });
}

#[test]
fn while_etcd_is_paused_nothing_is_written_and_afterwards_it_is() {
    own(BARE, async |cluster| {
        cluster.pause_etcd().await.expect("it holds still");
        let arguments = ["create", "configmap", "late", "--request-timeout=2s"];
        let written = cluster.kubectl(&arguments, "").await.expect("kubectl runs");
        assert!(!written.status.success(), "{written:?}");
        cluster.resume_etcd().await.expect("it goes on");
        let begin = Instant::now();
        while cluster.get(&["configmap", "late"]).await.is_err() {
            assert!(begin.elapsed() < PATIENCE, "it is never written");
            // The first write may yet arrive: then this one is refused, and the question above is answered.
            cluster.kubectl(&arguments, "").await.expect("kubectl runs");
        }
    });
}

#[test]
fn who_wrote_what_is_in_the_audit_log_and_reads_are_not() {
    own(BARE, async |cluster| {
        cluster.succeed(&["create", "configmap", "seen"], "").await.expect("it is written");
        cluster.get(&["configmap", "seen"]).await.expect("it is read");
        // A request is logged before it is answered.
        let log = std::fs::read_to_string(cluster.audit_log().expect("ours has one")).expect("it is there");
        let of_it: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON lines"))
            .filter(|event: &Value| {
                event["objectRef"]["resource"] == "configmaps" && event["objectRef"]["name"] == "seen"
            })
            .collect();
        let verbs: Vec<_> = of_it.iter().map(|event| (&event["verb"], &event["user"]["username"])).collect();
        assert_eq!(verbs, [(&Value::from("create"), &Value::from("test-admin"))]);
    });
}

#[test]
fn a_dropped_cluster_leaves_no_process_and_no_file() {
    own(Options::default(), async |cluster| {
        let pids = cluster.pids().await.expect("the components have ids");
        let names: Vec<_> = pids.keys().map(String::as_str).collect();
        assert_eq!(names, ["apiserver", "controlplane", "etcd", "kwok", "manager", "scheduler"]);
        let directory = cluster.kubeconfig().parent().expect("a directory").to_owned();
        // Also one that cannot hear.
        cluster.pause_etcd().await.expect("it holds still");
        assert!(directory.exists());
        drop(cluster);
        for (name, pid) in pids {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{name} is left as {pid}");
        }
        assert!(!directory.exists(), "{} is left", directory.display());
    });
}
