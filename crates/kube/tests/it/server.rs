//! An API server of a few hundred lines: objects with versions, watches, merge patches, server-side apply, `/scale`
//! and `/status`, conflicts. It can be stopped and started again with all it knows, and it remembers every
//! request that would change something. It knows no schema and no authorisation, but what a test refuses.
//!
//! It serves one kind of custom resource, `Engine`, whose count is elsewhere than others' ([`custom`]).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

#[path = "apply.rs"]
mod apply;
#[path = "server/custom.rs"]
mod custom;
#[path = "server/troubles.rs"]
mod troubles;
#[path = "writes.rs"]
mod writes;

use apply::Owners;
use writes::{apply as applied, create, patch, read, replace};

type Body = BoxBody<Bytes, Infallible>;

/// A request that would change something.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Written {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Value,
    /// The token that came with it: whose it is.
    pub(crate) who: String,
    /// What it was answered with.
    pub(crate) code: u16,
}

/// `deployments` of namespace `prod`, object `a`.
type Place = (String, String, String);

#[derive(Default)]
struct State {
    objects: BTreeMap<Place, Value>,
    /// Who said what of each.
    owners: BTreeMap<Place, Owners>,
    version: u64,
    written: Vec<Written>,
    /// Every change since `forgotten`, in order, for watches that begin at an older version.
    history: Vec<(u64, &'static str, Place, Value)>,
    /// What was before this version no watch can begin at.
    forgotten: u64,
    /// How many requests were answered with each method, from the start.
    asked: BTreeMap<String, u64>,
    /// How long each watch asked to last, in seconds.
    watches: Vec<u32>,
    /// So many of the first watches say nothing any more, and do not end.
    silenced: usize,
    /// What is refused: a method, what a path contains, and with which status.
    refused: Vec<(Method, String, StatusCode)>,
}

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    state: Arc<Mutex<State>>,
    changes: broadcast::Sender<()>,
    stop: CancellationToken,
    /// Whether writes wait, and are carried out later, whoever is still there.
    stalled: watch::Sender<bool>,
    /// Of what no read is answered.
    hushed: watch::Sender<&'static str>,
}

/// What every connection shares.
#[derive(Clone)]
struct Shared {
    state: Arc<Mutex<State>>,
    changes: broadcast::Sender<()>,
    stalled: watch::Receiver<bool>,
    hushed: watch::Receiver<&'static str>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(crate) async fn start() -> Server {
        let mut server = Server {
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            state: Arc::default(),
            changes: broadcast::channel(1024).0,
            stop: CancellationToken::new(),
            stalled: watch::channel(false).0,
            hushed: watch::channel("").0,
        };
        server.resume().await;
        server
    }

    /// Closes the listener and every connection; what is known stays.
    pub(crate) fn pause(&mut self) {
        self.stop.cancel();
    }

    /// Listens again, at the same address after the first time.
    pub(crate) async fn resume(&mut self) {
        self.stop = CancellationToken::new();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.addr).unwrap();
        let listener = socket.listen(128).unwrap();
        self.addr = listener.local_addr().unwrap();
        let shared = Shared {
            state: Arc::clone(&self.state),
            changes: self.changes.clone(),
            stalled: self.stalled.subscribe(),
            hushed: self.hushed.subscribe(),
        };
        tokio::spawn(serve(listener, shared, self.stop.clone()));
    }

    /// How many requests came with a method, watches among them.
    pub(crate) fn asked(&self, method: &str) -> u64 {
        lock(&self.state).asked.get(method).copied().unwrap_or(0)
    }

    pub(crate) fn put(&self, plural: &str, mut object: Value) {
        let namespace = text(&object, "/metadata/namespace");
        let place = (plural.to_owned(), namespace, text(&object, "/metadata/name"));
        let mut state = lock(&self.state);
        let before = state.objects.get(&place).cloned();
        let known = before.is_some();
        let owners = state.owners.entry(place.clone()).or_default();
        owners.updated("somebody", "", &before.unwrap_or_default(), &object);
        if object.pointer("/metadata/uid").is_none() {
            object["metadata"]["uid"] = json!(format!("{}-{}", place.2, state.version));
        }
        state.store(if known { "MODIFIED" } else { "ADDED" }, place, object);
        drop(state);
        let _ = self.changes.send(());
    }

    /// Changes an object as somebody else would.
    pub(crate) fn edit(&self, plural: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut object = self.get(plural, namespace, name).expect("the object is there");
        edit(&mut object);
        self.put(plural, object);
    }

    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let place = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        lock(&self.state).objects.get(&place).cloned()
    }

    /// Who said a field of an object: `tidegate Apply`, `somebody Update`, …
    pub(crate) fn owners(&self, plural: &str, namespace: &str, name: &str, field: &[&str]) -> Vec<String> {
        let place = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        lock(&self.state).owners.get(&place).map(|owners| owners.of(field)).unwrap_or_default()
    }

    pub(crate) fn all(&self, plural: &str) -> Vec<Value> {
        let state = lock(&self.state);
        let all = state.objects.iter().filter(|(place, _)| place.0 == plural);
        all.map(|(_, object)| object.clone()).collect()
    }

    pub(crate) fn delete(&self, plural: &str, namespace: &str, name: &str) {
        lock(&self.state).remove(&(plural.to_owned(), namespace.to_owned(), name.to_owned()));
        let _ = self.changes.send(());
    }

    /// Every write, but for the lease.
    pub(crate) fn written(&self) -> Vec<Written> {
        let state = lock(&self.state);
        state.written.iter().filter(|written| !written.path.contains("/leases")).cloned().collect()
    }

    /// How often the lease was written.
    pub(crate) fn renewals(&self) -> usize {
        lock(&self.state).written.iter().filter(|written| written.path.contains("/leases")).count()
    }

    /// Writes to `/scale`.
    pub(crate) fn scaled(&self) -> Vec<Written> {
        let counts = |written: &Written| written.method == Method::PATCH && written.path.ends_with("/scale");
        self.written().into_iter().filter(counts).collect()
    }

    pub(crate) fn replicas(&self, name: &str) -> i64 {
        let object = self.get("deployments", "prod", name).expect("the Deployment is there");
        object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
    }
}

impl State {
    fn holds(&self, plural: &str) -> bool {
        self.objects.keys().any(|place| place.0 == plural)
    }

    fn store(&mut self, type_: &'static str, place: Place, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.history.push((self.version, type_, place.clone(), object.clone()));
        // What its last finalizer leaves is gone.
        let deleting = object.pointer("/metadata/deletionTimestamp").is_some();
        let held = object
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|all| !all.is_empty());
        if deleting && !held {
            self.history.push((self.version, "DELETED", place.clone(), object.clone()));
            self.objects.remove(&place);
            self.owners.remove(&place);
        } else {
            self.objects.insert(place, object.clone());
        }
        object
    }

    fn remove(&mut self, place: &Place) {
        let Some(mut object) = self.objects.get(place).cloned() else { return };
        let held = object
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|all| !all.is_empty());
        if held {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            self.store("MODIFIED", place.clone(), object);
            return;
        }
        self.version += 1;
        self.objects.remove(place);
        self.owners.remove(place);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.history.push((self.version, "DELETED", place.clone(), object));
    }
}

fn text(json: &Value, at: &str) -> String {
    json.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
}

async fn serve(listener: TcpListener, shared: Shared, stop: CancellationToken) {
    loop {
        let socket = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted.expect("a connection").0,
        };
        let (shared, stop) = (shared.clone(), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(answer(request, shared).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .half_close(true)
                .serve_connection(TokioIo::new(socket), service);
            tokio::select! {
                () = stop.cancelled() => {}
                _ = connection => {}
            }
        });
    }
}

/// The one kind of somebody else's that is served.
fn leader_worker_sets() -> Value {
    let resource = |name: &str, kind: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get", "list", "watch"]});
    let both = [resource("leaderworkersets", "LeaderWorkerSet"), resource("leaderworkersets/scale", "Scale")];
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "leaderworkerset.x-k8s.io/v1",
        "resources": both,
    })
}

/// What a path names.
struct Path {
    plural: String,
    namespace: String,
    name: String,
    subresource: String,
}

fn path(text: &str) -> Path {
    let mut parts: Vec<&str> = text.trim_matches('/').split('/').collect();
    // Two groups have pods: what they are and what they use.
    let measured = parts.get(1) == Some(&"metrics.k8s.io");
    // /api/v1/… or /apis/group/version/…
    parts.drain(..if parts[0] == "api" { 2 } else { 3 });
    let namespace =
        if parts[0] == "namespaces" && parts.len() > 2 { parts.drain(..2).nth(1).unwrap() } else { "" };
    let part = |index: usize| parts.get(index).copied().unwrap_or_default().to_owned();
    let plural = if measured { "podmetrics".to_owned() } else { part(0) };
    Path { plural, namespace: namespace.to_owned(), name: part(1), subresource: part(2) }
}

async fn answer(request: Request<Incoming>, shared: Shared) -> Response<Body> {
    let Shared { state, changes, mut stalled, mut hushed } = shared;
    if request.uri().path() == "/version" {
        return reply(StatusCode::OK, &json!({"major": "1", "minor": "36"}));
    }
    if request.uri().path() == custom::GROUP {
        return reply(StatusCode::OK, &custom::resources());
    }
    if request.uri().path() == "/apis/leaderworkerset.x-k8s.io/v1" {
        return reply(StatusCode::OK, &leader_worker_sets());
    }
    let path = path(request.uri().path());
    let query: BTreeMap<String, String> = request
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), decoded(value)))
        .collect();
    let (method, uri) = (request.method().clone(), request.uri().path().to_owned());
    *lock(&state).asked.entry(method.to_string()).or_default() += 1;
    let refused =
        lock(&state).refused.iter().find(|(of, part, _)| *of == method && uri.contains(part)).cloned();
    if let Some((_, _, code)) = refused {
        let (body, who) = (Value::Null, String::new());
        if method != Method::GET {
            lock(&state).written.push(Written { method, path: uri, body, who, code: code.as_u16() });
        }
        return outcome(Err((code, "refused")));
    }
    if method == Method::GET && query.contains_key("watch") {
        let lasts = query.get("timeoutSeconds").and_then(|text| text.parse().ok());
        lock(&state).watches.push(lasts.unwrap_or(0));
        return watch_of(path, &query, state, changes.subscribe());
    }
    let who = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let who = who.unwrap_or_default().trim_start_matches("Bearer ").to_owned();
    let type_ = request.headers().get("content-type").and_then(|value| value.to_str().ok());
    let applies = type_ == Some("application/apply-patch+yaml");
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if method == Method::GET {
        let _ = hushed.wait_for(|plural| *plural != path.plural).await;
        let state = lock(&state);
        // Nobody serves it until a test puts some.
        let unserved = path.plural == "podmetrics" && !state.holds("podmetrics");
        let read = if unserved {
            Err(MISSING)
        } else if path.name.is_empty() {
            Ok(list(&state, &path, &query))
        } else {
            read(&state, &path)
        };
        return outcome(read);
    }
    // A task of its own: what was taken is carried out, also when whoever asked has gone.
    let carried_out = tokio::spawn(async move {
        let _ = stalled.wait_for(|stalled| !stalled).await;
        let mut state = lock(&state);
        let done = match method {
            Method::POST => create(&mut state, &path, body.clone()),
            Method::PUT => replace(&mut state, &path, body.clone()),
            Method::PATCH if applies => applied(&mut state, &path, &body, &query),
            Method::PATCH => patch(&mut state, &path, &body, &query),
            _ => {
                state.remove(&(path.plural, path.namespace, path.name));
                Ok(json!({"kind": "Status", "status": "Success"}))
            }
        };
        let code = done.as_ref().map_or_else(|(code, _)| code.as_u16(), |_| 200);
        state.written.push(Written { method, path: uri, body, who, code });
        drop(state);
        let _ = changes.send(());
        outcome(done)
    });
    carried_out.await.expect("the write ends")
}

/// Those that clients write otherwise among the characters that selectors and our page marks have.
fn decoded(value: &str) -> String {
    value.replace("%3D", "=").replace("%2F", "/").replace("%7E", "~").replace("%2C", ",")
}

fn outcome(outcome: Outcome) -> Response<Body> {
    match outcome {
        Ok(json) => reply(StatusCode::OK, &json),
        Err((code, reason)) => reply(code, &failure(code, reason)),
    }
}

fn failure(code: StatusCode, reason: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code.as_u16(),
    })
}

fn reply(code: StatusCode, json: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(json.to_string())).boxed();
    Response::builder().status(code).header("content-type", "application/json").body(body).expect("an answer")
}

fn chosen(place: &Place, object: &Value, path: &Path, query: &BTreeMap<String, String>) -> bool {
    let fields = query.get("fieldSelector").map(String::as_str).unwrap_or_default();
    let has = |field: &str| {
        let (path, value) = field.split_once('=').expect("a field and its value");
        object.pointer(&format!("/{}", path.replace('.', "/"))) == Some(&json!(value))
    };
    let labels = query.get("labelSelector").map(|text| match text.split_once('=') {
        Some((key, value)) => {
            object.pointer("/metadata/labels").and_then(|all| all.get(key)) == Some(&json!(value))
        }
        None => object.pointer("/metadata/labels").and_then(|all| all.get(text)).is_some(),
    });
    place.0 == path.plural
        && (path.namespace.is_empty() || place.1 == path.namespace)
        && fields.split(',').filter(|field| !field.is_empty()).all(has)
        && labels.unwrap_or(true)
}

fn list(state: &State, path: &Path, query: &BTreeMap<String, String>) -> Value {
    let limit: usize = query.get("limit").and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
    // A page goes on after the object that the one before ended with.
    let after = query.get("continue").and_then(|text| text.split_once('~'));
    let first = after.map_or((path.plural.clone(), String::new(), String::new()), |(namespace, name)| {
        (path.plural.clone(), namespace.to_owned(), format!("{name}\0"))
    });
    let here = state.objects.range(first..).take_while(|(place, _)| place.0 == path.plural);
    let mut found = here.filter(|(place, object)| chosen(place, object, path, query));
    let page: Vec<(&Place, &Value)> = found.by_ref().take(limit).collect();
    let more = found.next().is_some();
    let last = page.last().filter(|_| more).map(|(place, _)| format!("{}~{}", place.1, place.2));
    let items: Vec<&Value> = page.into_iter().map(|(_, object)| object).collect();
    let metadata =
        json!({"resourceVersion": state.version.to_string(), "continue": last.unwrap_or_default()});
    json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})
}

fn watch_of(
    path: Path,
    query: &BTreeMap<String, String>,
    state: Arc<Mutex<State>>,
    changes: broadcast::Receiver<()>,
) -> Response<Body> {
    let from: u64 = query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
    let number = lock(&state).watches.len();
    let query = query.clone();
    let stream = futures_util::stream::unfold((Some(from), changes), move |(from, mut changes)| {
        let silent = number <= lock(&state).silenced;
        let told = from.map(|from| news(&lock(&state), from, &path, &query));
        async move {
            if silent {
                std::future::pending::<()>().await;
            }
            let (text, next) = told?;
            if text.is_empty() && matches!(changes.recv().await, Err(broadcast::error::RecvError::Closed)) {
                return None;
            }
            Some((Ok(Frame::data(Bytes::from(text))), (next, changes)))
        }
    });
    let body = BodyExt::boxed(StreamBody::new(SyncStream(Mutex::new(Box::pin(stream)))));
    Response::builder().header("content-type", "application/json").body(body).expect("an answer")
}

/// What a watch is told next, and from where it goes on; nowhere when it has ended.
fn news(state: &State, from: u64, path: &Path, query: &BTreeMap<String, String>) -> (String, Option<u64>) {
    if from < state.forgotten {
        let gone = failure(StatusCode::GONE, "Expired");
        return (format!("{}\n", json!({"type": "ERROR", "object": gone})), None);
    }
    let begin = state.history.partition_point(|(version, ..)| *version <= from);
    let mut text = String::new();
    for (_, type_, place, object) in &state.history[begin..] {
        if chosen(place, object, path, query) {
            text.push_str(&json!({"type": type_, "object": object}).to_string());
            text.push('\n');
        }
    }
    // What is about others was looked at, and need not be again.
    (text, Some(state.version.max(from)))
}

type Boxed = std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// A stream that may be shared, since a boxed body must.
struct SyncStream(Mutex<Boxed>);

impl futures_util::Stream for SyncStream {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll_next(context)
    }
}

type Outcome = Result<Value, (StatusCode, &'static str)>;

const MISSING: (StatusCode, &str) = (StatusCode::NOT_FOUND, "NotFound");
const CONFLICT: (StatusCode, &str) = (StatusCode::CONFLICT, "Conflict");
