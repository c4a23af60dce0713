//! What a write does to the objects of the server: made, replaced, merged, applied.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::apply::Owners;
use super::{CONFLICT, MISSING, Outcome, Path, Place, State, custom, text};

pub(super) fn place(path: &Path) -> Place {
    (path.plural.clone(), path.namespace.clone(), path.name.clone())
}

fn scale_of(path: &Path, object: &Value) -> Value {
    if path.plural == custom::PLURAL {
        return custom::scale(object);
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": object["metadata"],
        "spec": {"replicas": object["spec"]["replicas"]},
        "status": {"replicas": object["status"]["replicas"], "selector": object["status"]["hpaPodSelector"]},
    })
}

pub(super) fn read(state: &State, path: &Path) -> Outcome {
    let object = state.objects.get(&place(path)).cloned().ok_or(MISSING)?;
    Ok(if path.subresource == "scale" { scale_of(path, &object) } else { object })
}

pub(super) fn create(state: &mut State, path: &Path, mut body: Value) -> Outcome {
    if path.plural == "tokenreviews" {
        // Every token is a gateway's; who may not is for a real API server to say.
        let user = json!({"username": "system:serviceaccount:tidegate:tidegate-gateway"});
        let audiences = body["spec"]["audiences"].clone();
        body["status"] = json!({"authenticated": true, "user": user, "audiences": audiences});
        return Ok(body);
    }
    if (path.plural.as_str(), path.subresource.as_str()) == ("serviceaccounts", "token") {
        let token = format!("token-of-{}", path.name);
        body["status"] = json!({"token": token, "expirationTimestamp": "2036-01-01T00:00:00Z"});
        body["spec"]["expirationSeconds"] = json!(3600);
        return Ok(body);
    }
    let name = text(&body, "/metadata/name");
    let place = (path.plural.clone(), path.namespace.clone(), name.clone());
    if state.objects.contains_key(&place) {
        return Err((StatusCode::CONFLICT, "AlreadyExists"));
    }
    body["metadata"]["namespace"] = json!(path.namespace);
    body["metadata"]["uid"] = json!(format!("{name}-{}", state.version));
    let owners = state.owners.entry(place.clone()).or_default();
    if *owners == Owners::default() {
        owners.updated("unknown", "", &json!({}), &body);
    }
    Ok(state.store("ADDED", place, body))
}

pub(super) fn replace(state: &mut State, path: &Path, body: Value) -> Outcome {
    let place = place(path);
    let known = state.objects.get(&place).ok_or(MISSING)?;
    if text(&body, "/metadata/resourceVersion") != text(known, "/metadata/resourceVersion") {
        return Err(CONFLICT);
    }
    Ok(state.store("MODIFIED", place, body))
}

/// What of a body a path takes, in the object itself.
fn taken(path: &Path, body: &Value) -> Value {
    match path.subresource.as_str() {
        "scale" if path.plural == custom::PLURAL => json!({"spec": {"size": body["spec"]["replicas"]}}),
        "scale" => json!({"spec": {"replicas": body["spec"]["replicas"]}}),
        "status" => json!({"status": body["status"]}),
        _ => {
            let mut body = body.clone();
            body.as_object_mut().expect("an object").remove("status");
            body
        }
    }
}

/// Whether a body is of the object as it is, as far as it says.
fn is_of(object: &Value, body: &Value) -> bool {
    ["resourceVersion", "uid"].iter().all(|field| {
        let asked = body.pointer(&format!("/metadata/{field}"));
        asked.is_none_or(|asked| Some(asked) == object["metadata"].get(field))
    })
}

fn manager(query: &BTreeMap<String, String>) -> &str {
    query.get("fieldManager").map_or("unknown", String::as_str)
}

/// Keeps an object that was changed; one that was not keeps its version.
fn changed(state: &mut State, path: &Path, before: &Value, object: Value) -> Outcome {
    let object = if *before == object { object } else { state.store("MODIFIED", place(path), object) };
    Ok(if path.subresource == "scale" { scale_of(path, &object) } else { object })
}

pub(super) fn patch(
    state: &mut State,
    path: &Path,
    patch: &Value,
    query: &BTreeMap<String, String>,
) -> Outcome {
    let before = state.objects.get(&place(path)).cloned().ok_or(MISSING)?;
    if !is_of(&before, patch) {
        return Err(CONFLICT);
    }
    let mut object = before.clone();
    merge(&mut object, &taken(path, patch));
    let owners = state.owners.entry(place(path)).or_default();
    owners.updated(manager(query), &path.subresource, &before, &object);
    changed(state, path, &before, object)
}

pub(super) fn apply(
    state: &mut State,
    path: &Path,
    said: &Value,
    query: &BTreeMap<String, String>,
) -> Outcome {
    let kind = text(said, "/kind");
    let other = path.subresource == "scale" && kind != "Scale";
    if other
        || kind.is_empty()
        || text(said, "/apiVersion").is_empty()
        || text(said, "/metadata/name") != path.name
    {
        return Err((StatusCode::BAD_REQUEST, "what is applied names its object"));
    }
    if path.subresource == "scale" && !matches!(path.plural.as_str(), "deployments" | "statefulsets") {
        let why = "request to convert CR to an invalid group/version: autoscaling/v1";
        return Err((StatusCode::INTERNAL_SERVER_ERROR, why));
    }
    let known = state.objects.get(&place(path)).cloned();
    let Some(before) = known else {
        if !path.subresource.is_empty() {
            return Err(MISSING);
        }
        if said.pointer("/metadata/uid").is_some() {
            return Err(CONFLICT);
        }
        let owners = state.owners.entry(place(path)).or_default();
        let made = owners.applied(manager(query), "", &json!({}), said, true).expect("nobody else's");
        let mut made = made;
        for field in ["apiVersion", "kind"] {
            made[field] = said[field].clone();
        }
        made["metadata"]["name"] = json!(path.name);
        return create(state, path, made);
    };
    if !is_of(&before, said) {
        return Err(CONFLICT);
    }
    let force = query.get("force").is_some_and(|force| force == "true");
    let owners = state.owners.entry(place(path)).or_default();
    let object = owners.applied(manager(query), &path.subresource, &before, &taken(path, said), force);
    changed(state, path, &before, object.ok_or(CONFLICT)?)
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().expect("an object").remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}
