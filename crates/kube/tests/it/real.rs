//! The real cluster that these tests share, and Tidegate installed in it as a user would.
//!
//! One cluster, because a start takes ten seconds and a gigabyte; one test at a time, because all operators in
//! it stand for the one lease that the chart's roles name. Each test has namespaces of its own.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testkit::cluster::{Cluster, Options};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::rig::{Operator, Setup};

static CLUSTER: OnceCell<Option<(Cluster, PathBuf)>> = OnceCell::const_new();
static TURN: Mutex<()> = Mutex::const_new(());

/// A test's turn on the cluster.
pub(crate) struct Real {
    pub(crate) cluster: &'static Cluster,
    account: &'static Path,
    /// The namespace it has to itself.
    pub(crate) namespace: &'static str,
    _turn: MutexGuard<'static, ()>,
}

impl Real {
    /// Waits for its turn; `None` on a machine that cannot have a cluster.
    pub(crate) async fn turn(namespace: &'static str) -> Option<Real> {
        Real::with(namespace, Options::default()).await
    }

    /// The same; who comes first says what the cluster is made of.
    pub(crate) async fn with(namespace: &'static str, options: Options) -> Option<Real> {
        let turn = TURN.lock().await;
        let made = CLUSTER.get_or_init(|| async {
            let cluster = Cluster::start_or_say("the operator on a real cluster", options).await?;
            let account = install(&cluster).await;
            Some((cluster, account))
        });
        let (cluster, account) = made.await.as_ref()?;
        cluster.apply(&named("Namespace", namespace).to_string()).await.unwrap();
        let real = Real { cluster, account, namespace, _turn: turn };
        real.clear().await;
        Some(real)
    }

    /// Removes what another test has left in this namespace. No operator runs, so nobody lets objects go.
    async fn clear(&self) {
        let left = self.kubectl(&["get", "scaledobjects,scaledjobs", "-o", "name"]).await;
        for name in left.lines() {
            let patch = r#"{"metadata": {"finalizers": null}}"#;
            self.kubectl(&["patch", name, "--type=merge", "-p", patch]).await;
        }
        self.kubectl(&["delete", "scaledobjects,scaledjobs,deployments,statefulsets", "--all"]).await;
    }

    /// A kubeconfig of the operator's account.
    pub(crate) fn kubeconfig(&self) -> &Path {
        self.account
    }

    /// An operator under the chart's roles that looks at the test's namespace.
    pub(crate) async fn operator(&self) -> Operator {
        self.operator_of(Setup { namespaces: vec![self.namespace], ..Setup::default() }).await
    }

    pub(crate) async fn operator_of(&self, setup: Setup) -> Operator {
        Operator::of(self.account, setup).await
    }

    /// Applies an object in the test's namespace, without what only the fake server's objects carry.
    pub(crate) async fn put(&self, mut object: Value) {
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert("namespace".to_owned(), json!(self.namespace));
        metadata.remove("creationTimestamp");
        if object["kind"] == "Deployment" {
            let labels = object["spec"]["selector"]["matchLabels"].clone();
            object["spec"]["template"]["metadata"]["labels"] = labels;
            object.as_object_mut().unwrap().remove("status");
        }
        self.cluster.apply(&object.to_string()).await.unwrap();
    }

    /// An object of the test's namespace, as it is.
    pub(crate) async fn get(&self, kind: &str, name: &str) -> Value {
        self.cluster.get(&["-n", self.namespace, kind, name]).await.unwrap_or(Value::Null)
    }

    /// kubectl in the test's namespace; it must succeed.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        let all = [&["-n", self.namespace], arguments].concat();
        self.cluster.succeed(&all, "").await.unwrap()
    }

    /// Waits until a workload is to have so many replicas.
    pub(crate) async fn replicas(&self, kind: &str, name: &str, count: u32) {
        let what = format!("{count} replicas of {name}");
        self.until(&what, kind, name, |object| object["spec"]["replicas"] == json!(count)).await;
    }

    /// Waits until an object is as described.
    pub(crate) async fn until(
        &self,
        what: &str,
        kind: &str,
        name: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Value {
        let asking = async {
            loop {
                let object = self.get(kind, name).await;
                if is(&object) {
                    return object;
                }
                // A look is a process of 150 ms of CPU: not more of it than of what is waited for.
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        };
        super::rig::within(what, asking).await
    }
}

impl Deref for Real {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster
    }
}

/// `deploy/manifests/operator.yaml` applied, and a token of its account. Its pods are fake: the tests run the
/// operator themselves, as that account.
async fn install(cluster: &Cluster) -> PathBuf {
    let manifests = deploy("manifests/operator.yaml");
    cluster.apply(&named("Namespace", "tidegate").to_string()).await.unwrap();
    cluster.apply(&manifests).await.unwrap();
    // The Deployment would make pods that do not end; only its account and roles are needed.
    cluster
        .succeed(&["-n", "tidegate", "scale", "deployment/tidegate-operator", "--replicas=0"], "")
        .await
        .unwrap();
    account(cluster, "tidegate", "tidegate-operator").await
}

/// `deploy/manifests/complete.yaml`, on a cluster of a test's own. Its webhook is left out: the API server could not
/// reach a Service, and the test has one that it can.
pub(crate) async fn complete(cluster: &Cluster) {
    cluster.apply(&named("Namespace", "tidegate").to_string()).await.unwrap();
    cluster.apply(&deploy("manifests/complete.yaml")).await.unwrap();
    for account in ["tidegate-operator", "tidegate-gateway"] {
        let name = format!("deployment/{account}");
        cluster.succeed(&["-n", "tidegate", "scale", &name, "--replicas=0"], "").await.unwrap();
        // Who authorises has a look of its own at roles, a moment later.
        let who = format!("--as=system:serviceaccount:tidegate:{account}");
        let can = ["auth", "can-i", "watch", "scaledobjects.keda.sh", "-A", &who];
        while !cluster.kubectl(&can, "").await.unwrap().status.success() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    cluster.succeed(&["delete", "validatingwebhookconfiguration", "tidegate"], "").await.unwrap();
}

/// A kubeconfig of a ServiceAccount, as a pod of it would be connected.
pub(crate) async fn account(cluster: &Cluster, namespace: &str, name: &str) -> PathBuf {
    let token =
        cluster.succeed(&["-n", namespace, "create", "token", name, "--duration=1h"], "").await.unwrap();
    let view = cluster.succeed(&["config", "view", "--raw", "-o", "json"], "").await.unwrap();
    let mut config: Value = serde_json::from_str(&view).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    config["contexts"][0]["context"]["namespace"] = json!(namespace);
    let file = std::env::temp_dir().join(format!("tidegate-account-{:x}", fastrand::u64(..)));
    std::fs::write(&file, config.to_string()).unwrap();
    file
}

/// A file under `deploy/`.
pub(crate) fn deploy(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

pub(crate) fn named(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})
}
