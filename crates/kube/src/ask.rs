//! Plain requests for commands that look at a cluster once: no watch, no index.

use std::time::Duration;

use http::{Method, Request};
use kube::Client;
use serde_json::Value;

use crate::object::{Id, Kind, Object};
use crate::watch::said;
use crate::write::MANAGER;

/// A request that did not go well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {what}: {why}")]
pub struct Error {
    /// What was tried.
    pub what: String,
    /// What was answered.
    pub why: String,
}

/// Objects in a page of a list, and pages at the most: 10,000 objects. Beyond it the rest is left out.
const PAGE: usize = 500;
const PAGES_MAX: usize = 20;

fn all(kind: &Kind, namespace: &str) -> String {
    let gvk = kind.gvk();
    let root = if gvk.group.is_empty() { "/api" } else { "/apis" };
    let namespace = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    format!("{root}/{}{namespace}/{}s", gvk.api_version(), gvk.kind.to_lowercase())
}

fn failed(what: String) -> impl Fn(kube::Error) -> Error {
    move |error| Error { what: what.clone(), why: said(&error) }
}

/// An object; `None` where there is none.
pub(crate) async fn get(client: &Client, id: &Id) -> Result<Option<Object>, Error> {
    let path = format!("{}/{}", all(&id.kind, &id.namespace), id.name);
    match ask(client, Method::GET, &path, None).await {
        Ok(json) => Ok(Object::new(id.kind.clone(), json)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(failed(format!("read {path}"))(error)),
    }
}

/// All objects of a kind in a namespace; in all of them where it is empty.
pub(crate) async fn list(client: &Client, kind: &Kind, namespace: &str) -> Result<Vec<Object>, Error> {
    let items = pages(client, &all(kind, namespace), "").await?;
    Ok(items.into_iter().filter_map(|item| Object::new(kind.clone(), item)).collect())
}

/// The items of a list.
pub(crate) async fn pages(client: &Client, path: &str, query: &str) -> Result<Vec<Value>, Error> {
    let (mut items, mut next) = (Vec::new(), String::new());
    for _ in 0..PAGES_MAX {
        let place = if next.is_empty() { String::new() } else { format!("&continue={next}") };
        let page = ask(client, Method::GET, &format!("{path}?limit={PAGE}{place}{query}"), None).await;
        let mut page = page.map_err(failed(format!("list {path}")))?;
        if let Some(more) = page.get_mut("items").and_then(Value::as_array_mut) {
            items.append(more);
        }
        next = page.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or_default().to_owned();
        if next.is_empty() {
            break;
        }
    }
    Ok(items)
}

/// A leader renews its lease every two seconds; one that has not within this is no leader.
const RENEWED_WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(500);

/// The leases that are renewed while we look, as `namespace/name`: no clock of another machine is compared with ours.
pub(crate) async fn renewed(client: &Client, query: &str) -> Result<Vec<String>, Error> {
    let list = || pages(client, "/apis/coordination.k8s.io/v1/leases", query);
    let holder =
        |lease: &Value| lease.pointer("/spec/holderIdentity").and_then(Value::as_str).map(str::to_owned);
    let held = |lease: &Value| holder(lease).is_some_and(|who| !who.is_empty());
    let mut still: Vec<Value> = list().await?.into_iter().filter(held).collect();
    let mut renewed = Vec::new();
    let until = tokio::time::Instant::now() + RENEWED_WITHIN;
    while !still.is_empty() && tokio::time::Instant::now() < until {
        tokio::time::sleep(LOOK).await;
        let now = list().await?;
        let at = |lease: &Value| lease.pointer("/spec/renewTime").cloned();
        still.retain(|before| {
            let moved = now.iter().any(|lease| place(lease) == place(before) && at(lease) != at(before));
            if moved {
                renewed.push(place(before));
            }
            !moved
        });
    }
    Ok(renewed)
}

/// `namespace/name` of an object.
pub(crate) fn place(object: &Value) -> String {
    let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"))
}

/// Merges a patch into an object.
pub(crate) async fn patch(client: &Client, id: &Id, json: &Value) -> Result<Value, Error> {
    let path = format!("{}/{}", all(&id.kind, &id.namespace), id.name);
    let asked = format!("{path}?fieldManager={MANAGER}");
    ask(client, Method::PATCH, &asked, Some(json)).await.map_err(failed(format!("write {path}")))
}

/// Gives a workload a count, if it is still of the version that was read.
pub(crate) async fn scale(client: &Client, workload: &Object, to: u32) -> Result<(), Error> {
    let path = format!("{}/{}/scale", all(&workload.id.kind, &workload.id.namespace), workload.id.name);
    let version = workload.text("/metadata/resourceVersion");
    let json = serde_json::json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": to}});
    let asked = format!("{path}?fieldManager={MANAGER}");
    let sent = ask(client, Method::PATCH, &asked, Some(&json)).await;
    sent.map(drop).map_err(failed(format!("write {path}")))
}

/// What the operator said last about an object's adoption.
pub(crate) async fn last_event(client: &Client, object: &Object) -> Result<Option<String>, Error> {
    let path = format!("/api/v1/namespaces/{}/events", object.id.namespace);
    let query = format!("&fieldSelector=involvedObject.name%3D{}", object.id.name);
    let ours = |event: &&Value| {
        let text = |at: &str| event.pointer(at).and_then(Value::as_str).unwrap_or_default();
        text("/involvedObject/uid") == object.uid()
            && matches!(text("/reason"), "AdoptionWaits" | "NotOperated")
    };
    let time = |event: &&Value| {
        let name = event.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let at = event.pointer("/lastTimestamp").and_then(Value::as_str).unwrap_or_default().to_owned();
        (at, name)
    };
    let events = pages(client, &path, &query).await?;
    let event = events.iter().filter(ours).max_by_key(time);
    if let Some(said) = event.and_then(|event| event.get("message")).and_then(Value::as_str) {
        return Ok(Some(said.to_owned()));
    }
    let conditions = object.json.pointer("/status/conditions").and_then(Value::as_array);
    let refused = conditions.into_iter().flatten().find(|condition| {
        let text = |at: &str| condition.get(at).and_then(Value::as_str);
        text("type") == Some("Ready") && text("status") == Some("False")
    });
    let said = refused.and_then(|condition| condition.get("message")).and_then(Value::as_str);
    Ok(said.map(str::to_owned))
}

async fn ask(
    client: &Client,
    method: Method,
    path: &str,
    json: Option<&Value>,
) -> Result<Value, kube::Error> {
    let body = json.map(|json| json.to_string().into_bytes()).unwrap_or_default();
    let request = Request::builder().method(method).uri(path);
    let request = request.header("content-type", "application/merge-patch+json").body(body);
    client.request(request.map_err(kube::Error::HttpError)?).await
}
