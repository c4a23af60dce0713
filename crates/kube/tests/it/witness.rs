//! What a real cluster has seen: who wrote what, by the API server's audit log; how counts went, by kubectl's watch.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tidegate_testkit::cluster::Cluster;

use super::real::Real;

/// One of several operators: a token of its own tells it apart in the audit log.
pub(crate) struct Candidate {
    pub(crate) kubeconfig: PathBuf,
    /// How the log calls its token.
    credential: String,
}

impl Candidate {
    /// One with a token of the operator's account, which reaches the API server at an address of its own.
    pub(crate) async fn new(real: &Real, addr: Option<std::net::SocketAddr>) -> Candidate {
        let kubeconfig = super::real::account(real.cluster, "tidegate", "tidegate-operator").await;
        let mut config = read(&kubeconfig);
        if let Some(addr) = addr {
            config["clusters"][0]["cluster"]["server"] = json!(format!("https://{addr}"));
            std::fs::write(&kubeconfig, config.to_string()).unwrap();
        }
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": config["users"][0]["user"]["token"]},
        });
        let create = ["create", "-f", "-", "-o", "json"];
        let review = real.cluster.succeed(&create, &review.to_string()).await.unwrap();
        let review: Value = serde_json::from_str(&review).unwrap();
        let credential = credential(&review["status"]["user"]).expect("a token has a name");
        Candidate { kubeconfig, credential }
    }
}

/// The address in a kubeconfig.
pub(crate) fn address(kubeconfig: &Path) -> std::net::SocketAddr {
    let config = read(kubeconfig);
    let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
    server.trim_start_matches("https://").parse().unwrap()
}

fn read(kubeconfig: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(kubeconfig).unwrap()).unwrap()
}

fn credential(user: &Value) -> Option<String> {
    Some(user["extra"]["authentication.kubernetes.io/credential-id"][0].as_str()?.to_owned())
}

/// The audit log from the moment that this was made.
pub(crate) struct Log<'a> {
    cluster: &'a Cluster,
    from: usize,
}

/// A request that one of the operators made.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// When it came, and when it had been answered. Text of one form, so that order is the order of time.
    pub(crate) came: String,
    pub(crate) done: String,
    credential: String,
    pub(crate) verb: String,
    /// `deployments/scale`.
    pub(crate) resource: String,
    pub(crate) name: String,
    pub(crate) code: u64,
}

impl Entry {
    pub(crate) fn changes(&self) -> bool {
        !matches!(&*self.verb, "get" | "list" | "watch")
    }

    pub(crate) fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    pub(crate) fn scales(&self, name: &str) -> bool {
        self.changes() && self.resource == "deployments/scale" && self.name == name
    }

    pub(crate) fn is_of(&self, candidate: &Candidate) -> bool {
        self.credential == candidate.credential
    }
}

impl<'a> Log<'a> {
    /// None where the cluster is somebody else's, and shows no log.
    pub(crate) fn begin(cluster: &'a Cluster) -> Option<Log<'a>> {
        let from = usize::try_from(std::fs::metadata(cluster.audit_log()?).unwrap().len()).unwrap();
        Some(Log { cluster, from })
    }

    /// What operators asked for since, in the order in which it came.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let log = super::rights::audited(self.cluster, self.from).unwrap_or_default();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut entries: Vec<Entry> = lines.filter_map(|line| entry(&line)).collect();
        entries.sort_by(|one, other| one.came.cmp(&other.came));
        entries
    }

    /// What one of them has changed. Events are left out: they tell what was, and say no wish.
    pub(crate) fn changes(&self, candidate: &Candidate) -> Vec<Entry> {
        let of = |entry: &Entry| entry.changes() && entry.is_of(candidate) && entry.resource != "events";
        self.entries().into_iter().filter(of).collect()
    }

    /// Holds the log against the rule that a term has one writer: whatever the first changed was done before anything
    /// of the second came.
    pub(crate) fn one_after_the_other(&self, first: &Candidate, second: &Candidate) {
        let taken = |one| self.changes(one).into_iter().filter(Entry::succeeded).collect::<Vec<_>>();
        let (before, after) = (taken(first), taken(second));
        let last = before.iter().max_by(|one, other| one.done.cmp(&other.done)).expect("the first wrote");
        let next = after.first().expect("the second wrote");
        assert!(last.done < next.came, "two writers in one term: {last:#?} and {next:#?}");
    }
}

fn entry(line: &Value) -> Option<Entry> {
    let text = |at: &str| line.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let resource = match (text("/objectRef/resource"), text("/objectRef/subresource")) {
        (resource, sub) if sub.is_empty() => resource,
        (resource, sub) => format!("{resource}/{sub}"),
    };
    Some(Entry {
        came: text("/requestReceivedTimestamp"),
        done: text("/stageTimestamp"),
        credential: credential(&line["user"])?,
        verb: text("/verb"),
        resource,
        name: text("/objectRef/name"),
        code: line["responseStatus"]["code"].as_u64().unwrap_or(0),
    })
}

/// The counts that Deployments were asked for, one after the other, as kubectl's watch shows them.
pub(crate) struct Counts {
    child: Child,
    seen: Arc<Mutex<Vec<(String, u64)>>>,
}

impl Counts {
    /// Begins to watch a namespace, and waits until `name` is seen.
    pub(crate) async fn watch(real: &Real, name: &str) -> Counts {
        let columns = "custom-columns=NAME:.metadata.name,REPLICAS:.spec.replicas";
        let mut command = Command::new(real.cluster.kubectl_program());
        command.args(["-n", real.namespace, "get", "deployments", "--watch", "--no-headers", "-o", columns]);
        command.env("KUBECONFIG", real.cluster.kubeconfig());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let seen: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
        let out = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut words = line.split_whitespace();
                let (Some(name), Some(Ok(count))) = (words.next(), words.next().map(str::parse)) else {
                    continue;
                };
                out.lock().unwrap().push((name.to_owned(), count));
            }
        });
        let counts = Counts { child, seen };
        super::rig::until("kubectl shows it", || !counts.of(name).is_empty()).await;
        counts
    }

    /// The counts of one of them; a count that stays is there once.
    pub(crate) fn of(&self, name: &str) -> Vec<u64> {
        let seen = self.seen.lock().unwrap();
        let mut counts: Vec<u64> = seen.iter().filter(|one| one.0 == name).map(|one| one.1).collect();
        counts.dedup();
        counts
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
