//! A Kubernetes cluster for tests: a real API server, etcd, controller manager and scheduler on loopback, and
//! fake nodes with GPUs on which KWOK runs the pods.
//!
//! In a test of another crate: `tidegate-testkit = { workspace = true, features = ["cluster"] }` among the
//! dev-dependencies, and
//!
//! ```text
//! let Some(cluster) = Cluster::start_or_say("the operator's tests", Options::default()).await else { return };
//! cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n").await?;
//! let client = …; // any client, with cluster.kubeconfig()
//! cluster.stop_apiserver().await?;
//! ```
//!
//! By hand: `tests/controlplane/build.sh target/tools/controlplane`, then
//! `target/tools/controlplane/controlplane`, whose first line says where the kubeconfig is; it ends with its
//! stdin (Ctrl-D).
//!
//! Whose cluster it is, in this order:
//!
//! 1. `TIDEGATE_E2E_CLUSTER=1` and `KUBECONFIG`: that cluster gets our custom resources, and nothing of it is
//!    stopped or paused. How pods start there is its own affair: see [`Cluster::is_ours`].
//! 2. `KUBEBUILDER_ASSETS`: a cluster of ours whose etcd and kube-apiserver come from there.
//! 3. A cluster of ours. Go builds it once (`cargo xtask setup` does so beforehand).
//!
//! How long a pod takes to start is said by annotations on it, listed in
//! `tests/controlplane/cmd/controlplane/pods.yaml`: `test.tidegate.dev/pull: 2s`, `test.tidegate.dev/load: 5s`.

mod error;
mod history;
mod supervisor;
mod tools;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

pub use error::Error;
use supervisor::Supervisor;

/// What a cluster of ours is made of.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Only etcd and the API server: objects are stored, and nothing acts on them. Starts in half the time.
    pub bare: bool,
    /// How many fake nodes there are.
    pub gpu_nodes: u32,
    /// How many `nvidia.com/gpu` each of them has.
    pub gpus_each: u32,
}

impl Default for Options {
    /// Everything, with two nodes of four GPUs.
    fn default() -> Self {
        Self { bare: false, gpu_nodes: 2, gpus_each: 4 }
    }
}

/// A cluster that answers, with the project's custom resources. Dropping it ends everything it started.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    /// None when the cluster is somebody else's.
    ours: Option<Supervisor>,
}

impl Cluster {
    /// A cluster as [`Options::default`] has it.
    ///
    /// # Errors
    ///
    /// [`Error::NoGo`] where it would have to be built and cannot be; otherwise what did not start.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(Options::default()).await
    }

    /// A cluster made of what `options` say; they do not apply to somebody else's.
    ///
    /// # Errors
    ///
    /// As [`Cluster::start`].
    pub async fn start_with(options: Options) -> Result<Self, Error> {
        let cluster = match tools::foreign() {
            Some(kubeconfig) => Self { kubeconfig, kubectl: tools::kubectl_for_foreign().await?, ours: None },
            None => {
                let tools = tools::built().await?;
                let ours = Supervisor::start(&tools.controlplane, options).await?;
                Self { kubeconfig: ours.ready().kubeconfig.clone(), kubectl: tools.kubectl, ours: Some(ours) }
            }
        };
        cluster.install_crds().await?;
        Ok(cluster)
    }

    /// As [`Cluster::start_with`] for tests: None, after a line on stderr that no harness hides, on a machine
    /// that cannot build a cluster.
    ///
    /// # Panics
    ///
    /// When a cluster could be built but did not start.
    pub async fn start_or_say(what: &str, options: Options) -> Option<Self> {
        match Self::start_with(options).await {
            Ok(cluster) => Some(cluster),
            Err(Error::NoGo { said }) => {
                let told = format!("\n*** LEFT OUT: {what}, for want of a test cluster: {said} ***\n");
                // Nothing is left to tell it to if this fails.
                let _ = std::io::stderr().write_all(told.as_bytes());
                None
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// The administrator's kubeconfig, with everything in it.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Whether it was started here, so that its components can be stopped and its pods have phases.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.ours.is_some()
    }

    /// The kubectl of the cluster's own version.
    #[must_use]
    pub fn kubectl_program(&self) -> &Path {
        &self.kubectl
    }

    /// The API server's log of who wrote what, one JSON object a line; None for somebody else's cluster.
    #[must_use]
    pub fn audit_log(&self) -> Option<&Path> {
        self.ours.as_ref().map(|ours| ours.ready().audit.as_path())
    }

    /// Runs kubectl as the administrator, whatever it answers.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when it cannot be run.
    pub async fn kubectl(&self, arguments: &[&str], stdin: &str) -> Result<Output, Error> {
        let failed = |source| Error::Io { what: format!("kubectl {}", arguments.join(" ")), source };
        let mut command = Command::new(&self.kubectl);
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig).env("KUBECTL_KUBERC", "false");
        // What it remembers of an API server is filed by the port, which another cluster may have had.
        if let Some(ours) = &self.ours {
            command.env("KUBECACHEDIR", ours.ready().directory.join("kubectl-cache"));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let pipe = child.stdin.take();
        let write = async move {
            if let Some(mut pipe) = pipe {
                // It may end without having read; its status tells why.
                let _ = pipe.write_all(stdin.as_bytes()).await;
            }
        };
        let ((), output) = tokio::join!(write, child.wait_with_output());
        output.map_err(failed)
    }

    /// Runs kubectl and wants it to succeed: what it printed.
    ///
    /// # Errors
    ///
    /// [`Error::Kubectl`] with what it said when it did not succeed.
    pub async fn succeed(&self, arguments: &[&str], stdin: &str) -> Result<String, Error> {
        let output = self.kubectl(arguments, stdin).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::Kubectl { arguments: arguments.join(" "), said })
    }

    /// `kubectl apply` of these manifests.
    ///
    /// # Errors
    ///
    /// As [`Cluster::succeed`].
    pub async fn apply(&self, manifests: &str) -> Result<String, Error> {
        self.succeed(&["apply", "-f", "-"], manifests).await
    }

    /// `kubectl get … -o json`.
    ///
    /// # Errors
    ///
    /// As [`Cluster::succeed`].
    pub async fn get(&self, arguments: &[&str]) -> Result<Value, Error> {
        let all = [&["get", "-o", "json"], arguments].concat();
        let text = self.succeed(&all, "").await?;
        serde_json::from_str(&text).map_err(|source| Error::NotJson { what: all.join(" "), source })
    }

    /// The API server is asked to end, and is gone when this returns. Watches break, writes fail.
    ///
    /// # Errors
    ///
    /// [`Error::NotOurs`]; [`Error::Refused`] when it does not run.
    pub async fn stop_apiserver(&self) -> Result<(), Error> {
        self.tell("apiserver stop").await
    }

    /// The API server is killed: nothing is finished, no connection is closed in order.
    ///
    /// # Errors
    ///
    /// As [`Cluster::stop_apiserver`].
    pub async fn kill_apiserver(&self) -> Result<(), Error> {
        self.tell("apiserver kill").await
    }

    /// The API server runs again, at the same address, and answers when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::NotOurs`]; [`Error::Refused`] when it runs already, or does not answer.
    pub async fn start_apiserver(&self) -> Result<(), Error> {
        self.tell("apiserver start").await
    }

    /// etcd holds still: connections stay open, and nothing is answered.
    ///
    /// # Errors
    ///
    /// As [`Cluster::stop_apiserver`].
    pub async fn pause_etcd(&self) -> Result<(), Error> {
        self.tell("etcd pause").await
    }

    /// etcd goes on where it was.
    ///
    /// # Errors
    ///
    /// As [`Cluster::stop_apiserver`].
    pub async fn resume_etcd(&self) -> Result<(), Error> {
        self.tell("etcd resume").await
    }

    /// etcd forgets every version but the present one: who asks an API server for what came after an older one is told
    /// 410, once the server has forgotten it too, as with its restart. Gives the present version.
    ///
    /// # Errors
    ///
    /// [`Error::NotOurs`]; [`Error::Refused`] where etcd cannot be found, which is looked for as Linux has it, or says no.
    pub async fn forget_history(&self) -> Result<u64, Error> {
        let pids = self.pids().await?;
        let etcd = pids.get("etcd").copied();
        history::compact(etcd).await
    }

    /// One command to the cluster: a component (`etcd`, `apiserver`, `manager`, `scheduler`, `kwok`) and
    /// `start`, `stop`, `kill`, `pause` or `resume`. Returns when it is done.
    ///
    /// # Errors
    ///
    /// [`Error::NotOurs`]; [`Error::Refused`] with the reason.
    pub async fn tell(&self, command: &str) -> Result<(), Error> {
        self.supervisor(command)?.tell(command).await.map(drop)
    }

    /// The process ids of the components that run, by their names, and of what started them (`controlplane`).
    ///
    /// # Errors
    ///
    /// [`Error::NotOurs`].
    pub async fn pids(&self) -> Result<BTreeMap<String, u32>, Error> {
        self.supervisor("status")?.pids().await
    }

    fn supervisor(&self, command: &str) -> Result<&Supervisor, Error> {
        self.ours.as_ref().ok_or_else(|| Error::NotOurs { command: command.to_owned() })
    }

    async fn install_crds(&self) -> Result<(), Error> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
        let directory = directory.to_string_lossy();
        // Server-side: an annotation with the whole object, as the other way keeps one, would be too large.
        self.succeed(&["apply", "--server-side", "--force-conflicts", "-f", &directory], "").await?;
        let established = ["wait", "--for=condition=Established", "--timeout=60s", "-f", &directory];
        self.succeed(&established, "").await.map(drop)
    }
}
