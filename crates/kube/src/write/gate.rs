//! The one place that writes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request};
use kube::Client;
use kube::core::ApiResource;
use serde_json::{Value, json};
use tidegate_core::time::Time;
use tidegate_signals::Clock;

use super::queue::{How, NewJob, Note, Patch, Scale, Write};
use super::{MANAGER, applied};
use crate::object::{Gvk, Id};
use crate::watch::{resource, said};

/// Until a write is answered. With the lease's 10 s until we give it up by ourselves it stays below the 15 s
/// after which another may take it, so no write of ours can land beside one of theirs.
const WRITE_TIMEOUT: Duration = Duration::from_secs(4);

/// How often a count is compared again after a conflict before the loop decides anew.
const CONFLICTS_MAX: u32 = 3;

/// Until when writing is allowed: the lease keeps it up to date.
#[derive(Clone, Debug)]
pub struct Hold(Arc<AtomicI64>);

impl Default for Hold {
    fn default() -> Self {
        Hold(Arc::new(AtomicI64::new(i64::MIN)))
    }
}

impl Hold {
    /// Allows writing until `until`, by our own clock.
    pub fn set(&self, until: Time) {
        self.0.store(until.as_micros(), Ordering::Release);
    }

    /// Whether writing is allowed.
    #[must_use]
    pub fn holds(&self, now: Time) -> bool {
        now.as_micros() < self.0.load(Ordering::Acquire)
    }
}

/// Who may write.
#[derive(Clone, Debug)]
pub enum Permit {
    /// Nobody: we only advise.
    Never,
    /// Whoever holds the lease.
    Lease(Hold),
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Sent {
    /// It is written.
    Done,
    /// There is one of its name already.
    Exists,
    /// It was not sent: we only advise.
    Advised,
    /// Not sent: the workload no longer has the count that this was decided from.
    Overtaken {
        /// The count it has.
        found: u32,
    },
}

/// Why a write did not get through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The lease is not held.
    #[error("the lease is not held; whoever holds it writes")]
    NoLease,
    /// No answer, or one that says to come back.
    #[error("the API server does not take it now: {0}")]
    Away(String),
    /// The object has changed since it was read; to be made anew of what it is now.
    #[error("the object has changed meanwhile")]
    Conflict,
    /// It will not be taken.
    #[error("the API server refuses it: {0}")]
    Refused(String),
    /// What is to be changed is not there.
    #[error("{0} is not there any more")]
    Missing(String),
}

impl Error {
    /// Whether the same may get through later.
    #[must_use]
    pub const fn retry(&self) -> bool {
        matches!(self, Error::NoLease | Error::Away(_))
    }
}

/// The way out.
pub struct Gate {
    client: Client,
    permit: Permit,
    clock: Clock,
    /// Who the Events are from: `tidegate-operator`, and this instance of it.
    instance: String,
    resources: Mutex<BTreeMap<Gvk, ApiResource>>,
    /// The version that each page of memory had when we wrote it last.
    pages: Mutex<BTreeMap<Id, Value>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("permit", &self.permit).finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate. `clock` is the one the lease is counted by.
    #[must_use]
    pub fn new(client: Client, permit: Permit, clock: Clock, instance: String) -> Self {
        Gate { client, permit, clock, instance, resources: Mutex::default(), pages: Mutex::default() }
    }

    /// Whether writing is allowed now.
    #[must_use]
    pub fn open(&self) -> bool {
        match &self.permit {
            Permit::Never => false,
            Permit::Lease(hold) => hold.holds(self.clock.now()),
        }
    }

    /// Writes, if that is allowed.
    ///
    /// # Errors
    /// When it was not written: see [`Error::retry`].
    pub async fn send(&self, write: &Write) -> Result<Sent, Error> {
        match &self.permit {
            Permit::Never => return Ok(Sent::Advised),
            Permit::Lease(_) if !self.open() => return Err(Error::NoLease),
            Permit::Lease(_) => {}
        }
        let sending = async {
            match write {
                Write::Scale(scale) => self.scale(scale).await,
                Write::Create(job) => self.create(job).await,
                Write::Delete { id, uid, foreground } => self.delete(id, uid, *foreground).await,
                Write::Patch(patch) => self.patch(patch).await,
                Write::State(patch) => self.remember(patch).await,
                Write::Note(note) => self.note(note).await,
            }
        };
        match tokio::time::timeout(WRITE_TIMEOUT, sending).await {
            Ok(sent) => sent,
            Err(_) => Err(Error::Away(format!("no answer within {} s", WRITE_TIMEOUT.as_secs()))),
        }
    }

    /// Writes a count if the workload still is what it was decided from. A conflict is most often only a
    /// status that has moved on: then the count is compared, and not the version.
    async fn scale(&self, scale: &Scale) -> Result<Sent, Error> {
        let path = format!("{}/scale", self.path(&scale.workload).await?);
        let mut version = scale.version.to_string();
        for _ in 0..=CONFLICTS_MAX {
            let metadata = json!({
                "name": &*scale.workload.name, "namespace": &*scale.workload.namespace,
                "resourceVersion": version, "uid": &*scale.uid,
            });
            let applied = json!({
                "apiVersion": "autoscaling/v1", "kind": "Scale",
                "metadata": metadata, "spec": {"replicas": scale.to},
            });
            let sent = match applied::takes_scale(&scale.workload.kind.gvk()) {
                true => self.apply(&path, &applied).await,
                false => self.merge(&path, &applied).await,
            };
            match sent {
                Ok(_) => return Ok(Sent::Done),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(why(&error, &scale.workload)),
            }
            let now = self.get(&path).await.map_err(|error| why(&error, &scale.workload))?;
            let text = |at: &str| now.pointer(at).and_then(Value::as_str).unwrap_or_default();
            if text("/metadata/uid") != &*scale.uid {
                return Err(Error::Missing(name(&scale.workload)));
            }
            let found = now.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(0);
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            if found != scale.from {
                return Ok(Sent::Overtaken { found });
            }
            version = text("/metadata/resourceVersion").to_owned();
            if !self.open() {
                return Err(Error::NoLease);
            }
        }
        Err(Error::Away("the workload changes faster than it can be written".to_owned()))
    }

    async fn create(&self, job: &NewJob) -> Result<Sent, Error> {
        let id = Id::new(crate::object::Kind::Job, &job.key.namespace, &job.name);
        let path = format!("/apis/batch/v1/namespaces/{}/jobs?fieldManager={MANAGER}", job.key.namespace);
        match self.ask(Method::POST, &path, "application/json", &job.json).await {
            Ok(_) => Ok(Sent::Done),
            Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
                Ok(Sent::Exists)
            }
            // What else there may be counts, such as a quota, was written by somebody else just then.
            Err(kube::Error::Api(status)) if status.code == 409 => Err(Error::Away(status.message.clone())),
            Err(error) => Err(why(&error, &id)),
        }
    }

    async fn delete(&self, id: &Id, uid: &str, foreground: bool) -> Result<Sent, Error> {
        let path = self.path(id).await?;
        let policy = if foreground { "Foreground" } else { "Background" };
        let options = json!({"preconditions": {"uid": uid}, "propagationPolicy": policy});
        match self.ask(Method::DELETE, &path, "application/json", &options).await {
            Ok(_) => Ok(Sent::Done),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Sent::Done),
            Err(error) => Err(why(&error, id)),
        }
    }

    async fn patch(&self, patch: &Patch) -> Result<Sent, Error> {
        let mut path = self.path(&patch.id).await?;
        if let Some(subresource) = patch.subresource {
            path = format!("{path}/{subresource}");
        }
        let failed = |error: kube::Error| why(&error, &patch.id);
        let How::Apply { gone } = &patch.how else {
            self.merge(&path, &patch.json).await.map_err(failed)?;
            return Ok(Sent::Done);
        };
        let now = self.apply(&path, &applied::whole(patch)).await.map_err(failed)?;
        if let Some(rest) = applied::left(&now, gone) {
            if !self.open() {
                return Err(Error::NoLease);
            }
            self.merge(&path, &rest).await.map_err(failed)?;
        }
        Ok(Sent::Done)
    }

    /// Writes a page of memory over the version that we wrote last. One that a leader had sent before it was parted, and
    /// that comes when its successor has written, so takes nothing's place. There are at most as many pages as the
    /// memory has.
    async fn remember(&self, patch: &Patch) -> Result<Sent, Error> {
        let path = self.path(&patch.id).await?;
        let whole = applied::whole(patch);
        let known = self.known_pages().get(&patch.id).cloned();
        let mut sent = match &known {
            Some(version) => {
                let mut over = whole.clone();
                over["metadata"]["resourceVersion"] = version.clone();
                self.apply(&path, &over).await
            }
            None => self.apply(&path, &whole).await,
        };
        // It was written by somebody else or deleted, or our last write got through and its answer was lost. As long as
        // we lead, what we say counts. What is refused for another reason would be refused again.
        let overtaken = |status: &kube::core::Status| matches!(status.code, 404 | 409 | 410);
        if known.is_some() && matches!(&sent, Err(kube::Error::Api(status)) if overtaken(status)) {
            if !self.open() {
                return Err(Error::NoLease);
            }
            sent = self.apply(&path, &whole).await;
        }
        let now = sent.map_err(|error| why(&error, &patch.id))?;
        if let Some(version) = now.pointer("/metadata/resourceVersion") {
            self.known_pages().insert(patch.id.clone(), version.clone());
        }
        Ok(Sent::Done)
    }

    fn known_pages(&self) -> std::sync::MutexGuard<'_, BTreeMap<Id, Value>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn note(&self, note: &Note) -> Result<Sent, Error> {
        let gvk = note.about.kind.gvk();
        let time = stamp(note.at);
        let namespace = if note.about.namespace.is_empty() { "default" } else { &*note.about.namespace };
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {
                "name": event_name(note), "namespace": namespace,
            },
            "involvedObject": {
                "apiVersion": gvk.api_version(), "kind": &*gvk.kind, "namespace": &*note.about.namespace,
                "name": &*note.about.name, "uid": &*note.uid,
            },
            "type": if note.warning { "Warning" } else { "Normal" },
            "reason": note.reason, "message": cut(&note.message, MESSAGE_MAX), "count": 1,
            "firstTimestamp": time, "lastTimestamp": time,
            "source": {"component": "tidegate-operator"},
            "reportingComponent": "tidegate-operator", "reportingInstance": self.instance,
        });
        let path = format!("/api/v1/namespaces/{namespace}/events");
        match self.ask(Method::POST, &path, "application/json", &event).await {
            Ok(_) => Ok(Sent::Done),
            // The first try got through, and only its answer was lost.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Sent::Done),
            Err(error) => Err(why(&error, &note.about)),
        }
    }

    async fn path(&self, id: &Id) -> Result<String, Error> {
        let gvk = id.kind.gvk();
        let known = self.known().get(&gvk).cloned();
        let resource = match known {
            Some(resource) => resource,
            None => {
                let found = resource(&self.client, &gvk).await.map_err(|error| why(&error, id))?;
                self.known().insert(gvk, found.clone());
                found
            }
        };
        let root = if resource.group.is_empty() { "/api" } else { "/apis" };
        let namespace =
            if id.namespace.is_empty() { String::new() } else { format!("/namespaces/{}", id.namespace) };
        Ok(format!("{root}/{}{namespace}/{}/{}", resource.api_version, resource.plural, id.name))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<Gvk, ApiResource>> {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn get(&self, path: &str) -> Result<Value, kube::Error> {
        let request = Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }

    async fn merge(&self, path: &str, patch: &Value) -> Result<Value, kube::Error> {
        let path = format!("{path}?fieldManager={MANAGER}");
        self.ask(Method::PATCH, &path, "application/merge-patch+json", patch).await
    }

    /// Says what is ours, whoever else had said it.
    async fn apply(&self, path: &str, whole: &Value) -> Result<Value, kube::Error> {
        let path = format!("{path}?fieldManager={MANAGER}&force=true");
        self.ask(Method::PATCH, &path, "application/apply-patch+yaml", whole).await
    }

    async fn ask(&self, method: Method, path: &str, type_: &str, json: &Value) -> Result<Value, kube::Error> {
        let request = Request::builder().method(method).uri(path).header("content-type", type_);
        let request = request.body(json.to_string().into_bytes()).map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }
}

/// A time as Kubernetes writes it, in whole seconds.
#[must_use]
pub(crate) fn stamp(at: Time) -> String {
    let seconds = at.as_micros().div_euclid(1_000_000);
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// An object's name at the most, in characters.
const NAME_MAX: usize = 253;

/// Bytes of an Event's message; what API servers hold the newer form of Events to.
const MESSAGE_MAX: usize = 1024;

/// The object's name, the microsecond, and a number for those of one microsecond: 1 + 14 + 8 characters after the name.
/// In order of time, and the same at each try.
fn event_name(note: &Note) -> String {
    let rest = format!(".{:014x}{:08x}", note.at.as_micros().max(0), note.number);
    let name = cut(&note.about.name, NAME_MAX - rest.len());
    format!("{}{rest}", name.trim_end_matches(['-', '.']))
}

/// The beginning of a text, in whole characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

fn name(id: &Id) -> String {
    format!("{} {}/{}", id.kind.gvk().kind, id.namespace, id.name)
}

fn why(error: &kube::Error, id: &Id) -> Error {
    match error {
        kube::Error::Api(status) if status.code == 404 => Error::Missing(name(id)),
        kube::Error::Api(status) if status.code == 409 => Error::Conflict,
        // Being throttled, a server that starts or ends: all pass.
        kube::Error::Api(status) if matches!(status.code, 408 | 429 | 500..) => {
            Error::Away(status.message.clone())
        }
        kube::Error::Api(status) => Error::Refused(format!("{}: {}", name(id), status.message)),
        other => Error::Away(said(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;

    fn named(name: &str, number: u32) -> String {
        let about = Id::new(Kind::ScaledObject, "prod", name);
        let (uid, at) = ("1".into(), Time::from_secs(1_767_225_600));
        event_name(&Note { about, uid, warning: false, reason: "x", message: String::new(), at, number })
    }

    #[test]
    fn events_of_one_microsecond_have_names_of_their_own() {
        assert_eq!(named("llama", 7), "llama.0647484620400000000007");
        assert_ne!(named("llama", 7), named("llama", 8));
    }

    #[test]
    fn the_name_of_an_event_is_never_too_long_and_ends_as_names_do() {
        let long = format!("{}-{}", "a".repeat(229), "b".repeat(23));
        assert_eq!(long.len(), NAME_MAX);
        let name = named(&long, 1);
        assert_eq!(name.len(), NAME_MAX - 1, "{name}");
        assert!(name.starts_with(&format!("{}.", "a".repeat(229))), "{name}");
        assert_eq!(cut("aé", 2), "a");
    }
}
