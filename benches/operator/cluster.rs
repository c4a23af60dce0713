//! The real test cluster as these benches use it: objects made over many connections, and who wrote what by the API
//! server's audit log.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use tidegate_kube::client::{Client, Connection, Options as Who};
use tidegate_testkit::cluster::{Cluster, Options};
use tokio::runtime::Runtime;

use super::Outcome;
use super::program::cpu_s;

/// Requests of ours under way at once, so that an API server on two cores always has one to work on.
const AT_ONCE: usize = 16;

/// The namespace of what is scaled.
pub(super) const NAMESPACE: &str = "bench";

/// A cluster of our own.
pub(super) struct Real {
    pub(super) runtime: Runtime,
    pub(super) cluster: Cluster,
    client: Client,
    audit: PathBuf,
}

impl Real {
    /// Starts one, with the namespaces of operator and objects; nothing, after saying so, on a machine that cannot have
    /// one.
    pub(super) fn start(what: &str, options: Options) -> Outcome<Option<Real>> {
        let runtime = Runtime::new()?;
        let Some(cluster) = runtime.block_on(Cluster::start_or_say(what, options)) else { return Ok(None) };
        let who = Who { kubeconfig: Some(cluster.kubeconfig().to_owned()), ..Who::default() };
        let client = runtime.block_on(Connection::new(&who))?.client;
        let Some(audit) = cluster.audit_log().map(PathBuf::from) else {
            println!("{what}: left out, a cluster that is not ours shows no audit log");
            return Ok(None);
        };
        let real = Real { runtime, cluster, client, audit };
        for name in [NAMESPACE, "tidegate"] {
            real.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))?;
        }
        Ok(Some(real))
    }

    /// `kubectl apply` of an object.
    pub(super) fn apply(&self, object: &Value) -> Outcome<()> {
        Ok(self.runtime.block_on(self.cluster.apply(&object.to_string())).map(drop)?)
    }

    /// Makes objects, each at its path: how many seconds that took.
    pub(super) fn create(&self, objects: Vec<(String, Value)>) -> Outcome<f64> {
        let begin = Instant::now();
        let (objects, next) = (Arc::new(objects), Arc::new(AtomicUsize::new(0)));
        self.runtime.block_on(async {
            let hands: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    let (client, objects, next) =
                        (self.client.clone(), Arc::clone(&objects), Arc::clone(&next));
                    tokio::spawn(async move {
                        while let Some((path, object)) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
                            post(&client, path, object).await.map_err(|error| error.to_string())?;
                        }
                        Ok::<_, String>(())
                    })
                })
                .collect();
            for hand in hands {
                hand.await??;
            }
            Ok::<_, Box<dyn std::error::Error>>(())
        })?;
        Ok(begin.elapsed().as_secs_f64())
    }

    /// The API server's answer to a GET.
    pub(super) fn get(&self, path: &str) -> Outcome<Value> {
        let request = http::Request::get(path).body(Vec::new())?;
        Ok(self.runtime.block_on(self.client.request(request))?)
    }

    /// The audit log from now on.
    pub(super) fn audit(&self) -> Outcome<Audit> {
        Ok(Audit { at: std::fs::metadata(&self.audit)?.len(), file: self.audit.clone() })
    }

    /// CPU time of all that the cluster consists of, in seconds.
    pub(super) fn cpu_s(&self) -> Outcome<f64> {
        let processes = self.runtime.block_on(self.cluster.pids())?;
        processes.values().map(|process| cpu_s(*process)).sum()
    }
}

async fn post(client: &Client, path: &str, object: &Value) -> Outcome<()> {
    let request = http::Request::post(path).header("content-type", "application/json");
    client.request::<Value>(request.body(object.to_string().into_bytes())?).await?;
    Ok(())
}

/// Who wrote what, as it is written down. The log is one file up to 256 MB, some 300,000 writes.
pub(super) struct Audit {
    file: PathBuf,
    at: u64,
}

impl Audit {
    /// What was written since this was asked last.
    pub(super) fn more(&mut self) -> Outcome<Vec<Value>> {
        let mut file = std::fs::File::open(&self.file)?;
        file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // The last line may be half written.
        let end = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
        bytes.truncate(end);
        self.at += end as u64;
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| Ok(serde_json::from_slice(line)?))
            .collect()
    }

    /// How much operators have written since this was asked last, but for the lease. They are the only ones here who do
    /// not say what program they are.
    pub(super) fn operators(&mut self) -> Outcome<usize> {
        let ours = |entry: &&Value| {
            entry["objectRef"]["resource"] != "leases"
                && entry["userAgent"].as_str().unwrap_or_default().is_empty()
        };
        Ok(self.more()?.iter().filter(ours).count())
    }
}
