//! A target with everything it refers to, read as the manifest crate reads files.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_core::scale::Spec;
use tidegate_manifest::bound::token_secret;
use tidegate_manifest::serving::{CA, Entry, KEY};
use tidegate_manifest::{Finding, Manifests, Severity, Source, Target, live, lower};

use super::Index;
use crate::adopt;
use crate::drive::FINALIZER;
use crate::object::{Gvk, Id, Kind, Object};

/// What asks for replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asks {
    /// A ScaledObject.
    ScaledObject,
    /// A ScaledJob.
    ScaledJob,
    /// A plain HorizontalPodAutoscaler that asks us to run its rules.
    Autoscaler,
}

/// The object that asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub asks: Asks,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl Key {
    /// The key of an object; `None` for what asks for no replicas.
    #[must_use]
    pub fn of(id: &Id) -> Option<Self> {
        let asks = match id.kind {
            Kind::ScaledObject => Asks::ScaledObject,
            Kind::ScaledJob => Asks::ScaledJob,
            Kind::HorizontalPodAutoscaler => Asks::Autoscaler,
            _ => return None,
        };
        Some(Key { asks, namespace: Arc::clone(&id.namespace), name: Arc::clone(&id.name) })
    }

    /// The object.
    #[must_use]
    pub fn id(&self) -> Id {
        let kind = match self.asks {
            Asks::ScaledObject => Kind::ScaledObject,
            Asks::ScaledJob => Kind::ScaledJob,
            Asks::Autoscaler => Kind::HorizontalPodAutoscaler,
        };
        Id { kind, namespace: Arc::clone(&self.namespace), name: Arc::clone(&self.name) }
    }

    /// How decisions name it. Objects of two kinds may have one name, so only ScaledObjects go without.
    #[must_use]
    pub fn target(&self) -> Arc<str> {
        self.to_string().into()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.asks {
            Asks::ScaledObject => "",
            Asks::ScaledJob => "scaledjob/",
            Asks::Autoscaler => "hpa/",
        };
        write!(f, "{}/{kind}{}", self.namespace, self.name)
    }
}

/// A target as it was read.
#[derive(Debug)]
pub struct Read {
    /// The objects it is made of, the target's own first.
    pub manifests: Manifests,
    /// What is to be decided.
    pub target: Target,
    /// The workload; `None` for a ScaledJob.
    pub workload: Option<Id>,
}

/// Why a target cannot be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A ScaledObject of another shard, with what has to be known of it: whose it is, and what it scales. Others are left
/// whole.
pub(super) fn stub(object: Object) -> Object {
    if object.id.kind != Kind::ScaledObject {
        return object;
    }
    let metadata =
        |name: &str| object.json.pointer(&format!("/metadata/{name}")).cloned().unwrap_or_default();
    let annotations: serde_json::Map<String, Value> = [adopt::CLAIM, adopt::WISH]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), object.annotation(name)?.into())))
        .collect();
    let json = json!({
        "metadata": {
            "namespace": &*object.id.namespace, "name": &*object.id.name, "uid": object.uid(),
            "creationTimestamp": metadata("creationTimestamp"), "labels": metadata("labels"),
            "annotations": annotations,
        },
        "spec": {"scaleTargetRef": object.json.pointer("/spec/scaleTargetRef")},
    });
    Object { json, ..object }
}

/// Whether an object says the same as before to those who read it as a manifest. That it has got our claim is
/// nothing to read it for: each of 10,000 would be read twice at a start. That it has lost it is.
pub(super) fn same(old: &Object, new: &Object, claim: &str) -> bool {
    let metadata = |object: &Object, field: &str| object.json.pointer("/metadata")?.get(field).cloned();
    let status = |object: &Object| object.json.get("status").cloned();
    let told = ["spec", "data", "stringData", "endpoints", "ports"];
    let (before, after) = (Claim::of(old), Claim::of(new));
    let annotations = |object: &Object| {
        let mut all = metadata(object, "annotations");
        if let Some(fields) = all.as_mut().and_then(Value::as_object_mut) {
            fields.retain(|name, value| name != adopt::CLAIM || value != claim);
        }
        all.filter(|all| all.as_object().is_none_or(|fields| !fields.is_empty()))
    };
    let ours = |object: &Object| object.annotation(adopt::CLAIM) == Some(claim);
    ["deletionTimestamp", "uid"].iter().all(|field| metadata(old, field) == metadata(new, field))
        && annotations(old) == annotations(new)
        && (ours(new) || !ours(old))
        && told.iter().all(|field| old.json.get(field) == new.json.get(field))
        && (old.id.kind != Kind::Job || status(old) == status(new))
        && (before.others == after.others)
        && (after.finalizer || !before.finalizer)
        && (after.label || !before.label)
}

/// What we put on an object, and the finalizers and labels beside it.
struct Claim<'a> {
    finalizer: bool,
    label: bool,
    others: (Vec<&'a Value>, Vec<(&'a String, &'a Value)>),
}

impl Claim<'_> {
    fn of(object: &Object) -> Claim<'_> {
        let asks = Key::of(&object.id).is_some();
        let finalizers = object.json.pointer("/metadata/finalizers").and_then(Value::as_array);
        let labels = object.json.pointer("/metadata/labels").and_then(Value::as_object);
        let ours = |finalizer: &&Value| asks && finalizer.as_str() == Some(FINALIZER);
        let our_label = |label: &(&String, &Value)| {
            asks && matches!(label.0.as_str(), "scaledobject.keda.sh/name" | "scaledjob.keda.sh/name")
        };
        let (finalizers, labels) = (finalizers.into_iter().flatten(), labels.into_iter().flatten());
        Claim {
            finalizer: finalizers.clone().any(|one| ours(&one)),
            label: labels.clone().any(|label| our_label(&label)),
            others: (
                finalizers.filter(|one| !ours(one)).collect(),
                labels.filter(|one| !our_label(one)).collect(),
            ),
        }
    }
}

/// What an object scales.
#[must_use]
pub fn scaled(object: &Object) -> Option<Id> {
    let target = object.json.pointer("/spec/scaleTargetRef")?;
    let text = |at: &str| target.get(at).and_then(Value::as_str);
    let gvk = Gvk::of(text("apiVersion"), text("kind"));
    Some(Id::new(Kind::Workload(gvk), &object.id.namespace, text("name")?))
}

/// Reads a target with what it refers to, and remembers in the index what that is. `None` when there is
/// no such target. `cluster` is the namespace of what a ClusterTriggerAuthentication refers to.
pub fn read(index: &mut Index, key: &Key, cluster: &str) -> Option<Result<Box<Read>, Refused>> {
    let Some(object) = index.object(&key.id()).filter(|object| index.ours(object)) else {
        index.uses(key, BTreeSet::new());
        return None;
    };
    let mut gathered = Gathered { index, cluster, uses: BTreeSet::new(), sources: Vec::new() };
    let workload = gathered.gather(&object);
    let Gathered { uses, sources, .. } = gathered;
    index.uses(key, uses);
    let manifests = live(&sources);
    let lowered = lower(&manifests);
    let mut findings = manifests.findings.iter().chain(&lowered.findings);
    let error = findings.find(|finding| finding.severity == Severity::Error).map(sentence);
    let target = lowered.targets.into_iter().find(|target| target.document == 0);
    Some(match (error, target) {
        (Some(error), _) => Err(Refused(error)),
        (None, None) => Err(Refused("the object asks for nothing that can be decided".to_owned())),
        (None, Some(mut target)) => {
            target.spec = Spec { target: key.target(), ..target.spec };
            Ok(Box::new(Read { manifests, target, workload }))
        }
    })
}

/// A finding of an object that has no file: without its place.
fn sentence(finding: &Finding) -> String {
    format!("{}; {}", finding.message, finding.help)
}

struct Gathered<'a> {
    index: &'a Index,
    cluster: &'a str,
    uses: BTreeSet<Id>,
    sources: Vec<Source>,
}

impl Gathered<'_> {
    fn gather(&mut self, object: &Object) -> Option<Id> {
        self.push(&adopt::as_before(object));
        let workload = scaled(object);
        let template = match &workload {
            Some(id) => {
                self.uses.insert(id.clone());
                let manifest = self.index.workload(id).and_then(|workload| workload.manifest());
                if let Some(manifest) = &manifest {
                    self.push(manifest);
                }
                manifest.and_then(|manifest| manifest.pointer("/spec/template").cloned())
            }
            None => object.json.pointer("/spec/jobTargetRef/template").cloned(),
        };
        self.access(template.as_ref(), &object.id.namespace);
        let triggers = object.json.pointer("/spec/triggers").and_then(Value::as_array);
        let mut environment = false;
        let mut seen = BTreeSet::new();
        for trigger in triggers.into_iter().flatten() {
            let metadata = trigger.get("metadata").and_then(Value::as_object);
            environment |= metadata.into_iter().flatten().any(|(key, _)| key.ends_with("FromEnv"));
            if let Some(id) = authentication(trigger, &object.id.namespace)
                && seen.insert(id.clone())
            {
                environment |= self.authentication(&id, &object.id.namespace);
            }
        }
        if let Some(template) = template.filter(|_| environment) {
            self.environment(&template, &object.id.namespace);
        }
        workload
    }

    /// The Secrets by which pods are asked for their metrics. They are read where they are used, and no manifest.
    fn access(&mut self, template: Option<&Value>, namespace: &str) {
        let annotations = template.and_then(|template| template.pointer("/metadata/annotations"));
        for name in [KEY, CA] {
            let said = annotations.and_then(|all| all.get(name)).and_then(Value::as_str);
            if let Some(entry) = said.and_then(Entry::parse) {
                self.uses.insert(Id::new(Kind::Secret, namespace, &entry.secret));
            }
        }
    }

    /// An authentication and what it refers to; whether it wants the container's environment.
    fn authentication(&mut self, id: &Id, namespace: &str) -> bool {
        self.uses.insert(id.clone());
        let Some(object) = self.index.object(id) else { return false };
        let mut json = object.json.clone();
        let cluster = id.kind == Kind::ClusterTriggerAuthentication;
        for (field, kind) in [("secretTargetRef", Kind::Secret), ("configMapTargetRef", Kind::ConfigMap)] {
            let references = json.pointer_mut("/spec").and_then(|spec| spec.get_mut(field));
            for reference in references.and_then(Value::as_array_mut).into_iter().flatten() {
                let Some(name) = reference.get("name").and_then(Value::as_str).map(str::to_owned) else {
                    continue;
                };
                if !cluster {
                    self.entry(kind.clone(), namespace, &name, None);
                    continue;
                }
                let alias = alias(&name);
                self.entry(kind.clone(), self.cluster, &name, Some((namespace, &alias)));
                reference["name"] = Value::String(alias);
            }
        }
        self.client_secret(&mut json, namespace, cluster);
        self.tokens(&mut json, namespace, cluster);
        self.push(&json);
        json.pointer("/spec/env").and_then(Value::as_array).is_some_and(|env| !env.is_empty())
    }

    /// The Secret in which an `oauth2` source has its password.
    fn client_secret(&mut self, json: &mut Value, namespace: &str, cluster: bool) {
        let reference = json.pointer_mut("/spec/oauth2/clientSecret/valueFrom/secretKeyRef/name");
        let Some((name, reference)) =
            reference.and_then(|reference| Some((reference.as_str()?.to_owned(), reference)))
        else {
            return;
        };
        if !cluster {
            return self.entry(Kind::Secret, namespace, &name, None);
        }
        let alias = alias(&name);
        self.entry(Kind::Secret, self.cluster, &name, Some((namespace, &alias)));
        *reference = Value::String(alias);
    }

    /// The tokens of ServiceAccounts, each handed to the manifest crate as a Secret.
    fn tokens(&mut self, json: &mut Value, namespace: &str, cluster: bool) {
        let sources = json.pointer_mut("/spec/boundServiceAccountToken").and_then(Value::as_array_mut);
        for source in sources.into_iter().flatten() {
            let Some(account) = source.get("serviceAccountName").and_then(Value::as_str).map(str::to_owned)
            else {
                continue;
            };
            let (from, called) =
                if cluster { (self.cluster, alias(&account)) } else { (namespace, account.clone()) };
            let id = Id::new(Kind::Token, from, &account);
            source["serviceAccountName"] = Value::String(called.clone());
            let known = !self.uses.insert(id.clone());
            if let Some(object) = self.index.object(&id).filter(|_| !known || cluster) {
                let mut secret = object.json.clone();
                secret["apiVersion"] = json!("v1");
                secret["kind"] = json!("Secret");
                secret["metadata"] = json!({"namespace": namespace, "name": token_secret(&called)});
                self.push(&secret);
            }
        }
    }

    /// The Secrets and ConfigMaps that a pod template's containers take variables from.
    fn environment(&mut self, template: &Value, namespace: &str) {
        let containers = template.pointer("/spec/containers").and_then(Value::as_array).cloned();
        for container in containers.into_iter().flatten() {
            let list =
                |field: &str| container.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
            let single = list("env");
            let whole = list("envFrom");
            for (kind, one, all) in [
                (Kind::Secret, "/valueFrom/secretKeyRef/name", "/secretRef/name"),
                (Kind::ConfigMap, "/valueFrom/configMapKeyRef/name", "/configMapRef/name"),
            ] {
                let singles = single.iter().filter_map(|variable| variable.pointer(one));
                let wholes = whole.iter().filter_map(|source| source.pointer(all));
                let names: BTreeSet<&str> = singles.chain(wholes).filter_map(Value::as_str).collect();
                for name in names {
                    self.entry(kind.clone(), namespace, name, None);
                }
            }
        }
    }

    /// A Secret or ConfigMap; under another namespace and name where `alias` says so.
    fn entry(&mut self, kind: Kind, namespace: &str, name: &str, alias: Option<(&str, &str)>) {
        let id = Id::new(kind, namespace, name);
        let known = !self.uses.insert(id.clone());
        let Some(object) = self.index.object(&id).filter(|_| !known || alias.is_some()) else {
            return;
        };
        let mut json = object.json.clone();
        if let Some((namespace, name)) = alias {
            json["metadata"] = json!({"namespace": namespace, "name": name});
        }
        self.push(&json);
    }

    fn push(&mut self, json: &Value) {
        let mut json = json.clone();
        if let Some(object) = json.as_object_mut() {
            // Statuses and the record of who wrote what are no part of what was asked for.
            object.remove("status");
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|field, _| {
                    matches!(field.as_str(), "name" | "namespace" | "annotations" | "labels")
                });
            }
        }
        let text = |at: &str| json.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let name = format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
        self.sources.push(Source::new(&name, json.to_string()));
    }
}

/// What stands in the operator's namespace gets a name that nothing in the target's can have.
fn alias(name: &str) -> String {
    format!("cluster/{name}")
}

fn authentication(trigger: &Value, namespace: &str) -> Option<Id> {
    let reference = trigger.get("authenticationRef")?;
    let name = reference.get("name")?.as_str()?;
    Some(match reference.get("kind").and_then(Value::as_str) {
        Some("ClusterTriggerAuthentication") => Id::new(Kind::ClusterTriggerAuthentication, "", name),
        _ => Id::new(Kind::TriggerAuthentication, namespace, name),
    })
}
