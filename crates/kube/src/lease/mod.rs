//! The lease: read, taken and renewed at the API server; who leads is [`elector`]'s to say.

pub mod elector;

use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};
use tidegate_core::time::{Span, Time};
use tidegate_signals::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::write::{Hold, MANAGER};
use elector::{Elector, Record, Standing, Step, Terms};

/// Until a request about the lease is answered: below the deadline twice over, so that one that hangs does
/// not cost the lease.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(4);

/// The annotation with the selector of the shard that holds a lease.
pub const SELECTOR: &str = "tidegate.dev/selector";

/// Which lease.
#[derive(Clone, Debug)]
pub struct Which {
    /// Its namespace.
    pub namespace: String,
    /// Its name: one a shard.
    pub name: String,
    /// Which objects the shard looks at: a label selector, all when empty.
    pub selector: String,
    /// Who we are; no two candidates may say the same.
    pub me: String,
}

/// Takes part in the election until it is cancelled, then gives the lease up.
///
/// `standing` is told of every change, and `hold` is kept at the time until which writing is allowed.
pub async fn run(
    client: Client,
    which: Which,
    clock: Clock,
    hold: Hold,
    standing: watch::Sender<Standing>,
    stop: CancellationToken,
) {
    let mut elector = Elector::new(which.me.clone(), Terms::default());
    let lease = Lease { client, which };
    loop {
        lease.turn(&mut elector, &clock).await;
        let now = clock.now();
        // Another leads: not a moment more, whatever the time that was set says.
        hold.set(elector.until().unwrap_or(Time::from_micros(i64::MIN)));
        let stands = elector.standing(now);
        standing.send_if_modified(|known| std::mem::replace(known, stands) != stands);
        let wait = wait(elector.terms().retry);
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    hold.set(Time::from_micros(i64::MIN));
    if elector.until().is_some() {
        // It would run out by itself; this only spares the next one the wait.
        let _ = lease.write(&elector, clock.now(), "").await;
    }
}

/// The pause between two looks, with jitter, so that candidates do not come at once.
fn wait(retry: Span) -> std::time::Duration {
    std::time::Duration::from_secs_f64(retry.as_secs_f64() * (0.8 + fastrand::f64() * 0.4))
}

struct Lease {
    client: Client,
    which: Which,
}

impl Lease {
    /// One look, and what follows from it. What fails is tried again at the next turn.
    async fn turn(&self, elector: &mut Elector, clock: &Clock) {
        let asked = clock.now();
        // Who leads writes at once: a conflict tells that somebody else did.
        if elector.standing(asked) == Standing::Leads
            && let Ok(record) = self.write(elector, asked, elector.me()).await
        {
            elector.wrote(asked, record);
            return;
        }
        let Ok(record) = self.read().await else { return };
        elector.read(clock.now(), record);
        let asked = clock.now();
        if elector.step(asked) != Step::Wait
            && let Ok(record) = self.write(elector, asked, elector.me()).await
        {
            elector.wrote(asked, record);
        }
    }

    async fn read(&self) -> Result<Option<Record>, ()> {
        let path = format!("{}/{}", self.all(), self.which.name);
        let request = Request::get(path).body(Vec::new()).map_err(drop)?;
        match tokio::time::timeout(ANSWER, self.client.request::<Value>(request)).await {
            Ok(Ok(json)) => Ok(Some(record(&json))),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
            _ => Err(()),
        }
    }

    /// Writes the lease over the version that was seen: who wrote in between has won.
    async fn write(&self, elector: &Elector, now: Time, holder: &str) -> Result<Record, ()> {
        let before = elector.record();
        let changes = before.is_none_or(|before| before.holder != self.which.me);
        let transitions = before.map_or(0, |before| before.transitions);
        let transitions =
            if changes && before.is_some() { transitions.saturating_add(1) } else { transitions };
        let renewed = jiff::Timestamp::from_microsecond(now.as_micros()).unwrap_or_default();
        let duration = elector.terms().duration.as_micros() / 1_000_000;
        let mut json = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": self.which.name, "namespace": self.which.namespace,
                // By this `doctor` finds it, whatever shard it is of.
                "labels": {"app.kubernetes.io/managed-by": "tidegate"},
                // By this other shards know whether what it has claimed is still its own.
                "annotations": {SELECTOR: self.which.selector},
            },
            "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": duration,
                "leaseTransitions": transitions, "renewTime": format!("{renewed:.6}"),
            },
        });
        let (method, path) = match before {
            None => (Method::POST, self.all()),
            Some(before) => {
                json["metadata"]["resourceVersion"] = json!(before.version);
                (Method::PUT, format!("{}/{}", self.all(), self.which.name))
            }
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?fieldManager={MANAGER}"))
            .header("content-type", "application/json")
            .body(json.to_string().into_bytes())
            .map_err(drop)?;
        match tokio::time::timeout(ANSWER, self.client.request::<Value>(request)).await {
            Ok(Ok(json)) => Ok(record(&json)),
            _ => Err(()),
        }
    }

    fn all(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.which.namespace)
    }
}

fn record(json: &Value) -> Record {
    let text = |at: &str| json.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |at: &str| json.pointer(at).and_then(Value::as_i64);
    Record {
        holder: text("/spec/holderIdentity"),
        version: text("/metadata/resourceVersion"),
        transitions: number("/spec/leaseTransitions").and_then(|n| i32::try_from(n).ok()).unwrap_or(0),
        duration: number("/spec/leaseDurationSeconds").map(Span::from_secs),
    }
}

/// What a candidate is called: where it runs, and a number nobody else has drawn.
#[must_use]
pub fn identity(host: &str) -> String {
    format!("{host}_{:016x}", fastrand::u64(..))
}
