//! Pods: of which workload, in which state, and how long each phase of a start took.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;
use tidegate_core::scale::{Phase, Pod, Requests};
use tidegate_core::time::{Span, Time};
use tidegate_core::units::Milli;
use tidegate_manifest::quantity;

use super::labels::Labelled;
use super::pending::{self, Cause};
use super::selector::Selector;
use crate::object::{Id, Kind, Object};

/// What is kept of a pod: some 600 bytes instead of the 10 KB it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Its uid: one made anew under its name is another.
    pub uid: Arc<str>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `status.phase`.
    pub phase: Phase,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Why it does not run, where it says so.
    pub cause: Option<Cause>,
    /// When it came how far.
    pub start: Start,
    /// The controller that owns it, by uid.
    pub owner: Option<Arc<str>>,
    /// Condition types that are True.
    pub conditions: Vec<String>,
    /// Its node.
    pub node: Option<Arc<str>>,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// The Ready condition, True or not, and since when; `None` where there is none yet.
    pub readiness: Option<(bool, Option<Time>)>,
    /// `status.startTime`.
    pub began: Option<Time>,
    /// What it asks for of cpu and memory. Pods of one template share it.
    pub requests: Arc<Requests>,
    /// `controller.kubernetes.io/pod-deletion-cost`, where somebody has set it.
    pub deletion_cost: Option<i32>,
}

/// The annotation by which a ReplicaSet chooses among pods that are equally ready: the lowest goes first.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// When a pod came how far on its way to serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// It was made.
    pub created: Option<Time>,
    /// It has a node.
    pub scheduled: Option<Time>,
    /// Its init containers are done, so its images are being pulled or are there.
    pub initialised: Option<Time>,
    /// Its last container began to run: all images are there.
    pub started: Option<Time>,
    /// It serves.
    pub ready: Option<Time>,
}

impl Start {
    /// How long each phase took; only of a start that is over, and whose times are in order.
    /// `schedule` to a node, `pull` until its containers run, `load` until it is ready.
    #[must_use]
    pub fn phases(&self) -> Option<[(&'static str, Span); 3]> {
        let (created, scheduled) = (self.created?, self.scheduled?);
        let (started, ready) = (self.started?, self.ready?);
        if !(created <= scheduled && scheduled <= started && started <= ready) {
            return None;
        }
        Some([
            ("schedule", scheduled.since(created)),
            ("pull", started.since(scheduled)),
            ("load", ready.since(started)),
        ])
    }
}

impl Facts {
    /// Reads a pod.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        let labels = object.json.pointer("/metadata/labels").and_then(Value::as_object);
        let labels = labels.into_iter().flatten();
        let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        let conditions = Conditions(object.json.pointer("/status/conditions"));
        let phase = match object.text("/status/phase") {
            Some("Running") => Phase::Running,
            Some("Succeeded") => Phase::Succeeded,
            Some("Failed") => Phase::Failed,
            Some("Unknown") => Phase::Unknown,
            _ => Phase::Pending,
        };
        let owners = object.json.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let owner =
            owners.into_iter().flatten().find(|owner| owner.get("controller") == Some(&Value::Bool(true)));
        Facts {
            uid: object.uid().into(),
            labels: labels.collect(),
            phase,
            ready: phase == Phase::Running && conditions.is_true("Ready"),
            deleting: object.deleting(),
            cause: pending::cause(&object.json),
            start: Start {
                created: object.text("/metadata/creationTimestamp").and_then(time),
                scheduled: conditions.since("PodScheduled"),
                initialised: conditions.since("Initialized"),
                started: started(&object.json),
                ready: conditions.since("Ready"),
            },
            owner: owner.and_then(|owner| owner.get("uid")?.as_str()).map(Arc::from),
            conditions: conditions.all_true(),
            node: object.text("/spec/nodeName").filter(|name| !name.is_empty()).map(Arc::from),
            ip: object.text("/status/podIP").and_then(|text| text.parse().ok()),
            readiness: conditions.find("Ready").map(|condition| {
                let since = condition.get("lastTransitionTime").and_then(Value::as_str).and_then(time);
                (is_true(condition), since)
            }),
            began: object.text("/status/startTime").and_then(time),
            requests: Arc::new(requests(&object.json)),
            deletion_cost: object.annotation(DELETION_COST).and_then(|text| text.parse().ok()),
        }
    }

    /// As the resource arithmetic knows it.
    #[must_use]
    pub fn pod(&self, name: &str) -> Pod {
        Pod {
            name: name.to_owned(),
            phase: self.phase,
            ready: self.readiness.map(|(ready, _)| ready),
            started: self.began,
            ready_changed: self.readiness.and_then(|(_, since)| since),
            deleting: self.deleting,
            requests: (*self.requests).clone(),
        }
    }

    /// Whether it has ended, well or badly.
    #[must_use]
    pub const fn ended(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }
}

/// What a pod asks for of cpu and memory: itself, and each container that runs along, which init
/// containers do that are always restarted.
fn requests(json: &Value) -> Requests {
    let list = |at: &str| json.pointer(at).and_then(Value::as_array).into_iter().flatten();
    let sidecars = list("/spec/initContainers")
        .filter(|one| one.get("restartPolicy").and_then(Value::as_str) == Some("Always"));
    let containers = list("/spec/containers").chain(sidecars);
    Requests {
        pod: amounts(json.pointer("/spec/resources/requests")),
        containers: containers
            .filter_map(|one| {
                let name = one.get("name")?.as_str()?.to_owned();
                Some((name, amounts(one.pointer("/resources/requests"))))
            })
            .collect(),
    }
}

fn amounts(requests: Option<&Value>) -> BTreeMap<String, Milli> {
    let of = |resource: &str| {
        let text = requests?.get(resource)?.as_str()?;
        Some((resource.to_owned(), quantity::parse(text).ok()?))
    };
    ["cpu", "memory"].into_iter().filter_map(of).collect()
}

/// When the last of its containers began to run; `None` while one does not.
fn started(json: &Value) -> Option<Time> {
    let statuses = json.pointer("/status/containerStatuses")?.as_array()?;
    let times =
        statuses.iter().map(|status| status.pointer("/state/running/startedAt").and_then(Value::as_str));
    times.map(|text| time(text?)).try_fold(None, |last: Option<Time>, at| Some(last.max(Some(at?))))?
}

/// A time as Kubernetes writes it.
#[must_use]
pub fn time(text: &str) -> Option<Time> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(Time::from_micros(at.as_microsecond()))
}

struct Conditions<'a>(Option<&'a Value>);

impl<'a> Conditions<'a> {
    fn all(&self) -> impl Iterator<Item = &'a Value> {
        self.0.and_then(Value::as_array).into_iter().flatten()
    }

    fn find(&self, type_: &str) -> Option<&'a Value> {
        self.all().find(|condition| condition.get("type").and_then(Value::as_str) == Some(type_))
    }

    fn is_true(&self, type_: &str) -> bool {
        self.find(type_).is_some_and(is_true)
    }

    /// Since when it is True.
    fn since(&self, type_: &str) -> Option<Time> {
        let condition = self.find(type_).filter(|condition| is_true(condition))?;
        time(condition.get("lastTransitionTime")?.as_str()?)
    }

    fn all_true(&self) -> Vec<String> {
        let met = self.all().filter(|condition| is_true(condition));
        met.filter_map(|condition| Some(condition.get("type")?.as_str()?.to_owned())).collect()
    }
}

fn is_true(condition: &Value) -> bool {
    condition.get("status").and_then(Value::as_str) == Some("True")
}

/// All pods.
#[derive(Debug, Default)]
pub(super) struct Pods {
    all: BTreeMap<Id, Facts>,
    labelled: Labelled,
}

impl Pods {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn contains(&self, id: &Id) -> bool {
        self.all.contains_key(id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &Id> {
        self.all.keys()
    }

    /// Somebody looks for pods by this selector.
    pub(super) fn want(&mut self, selector: &Selector) {
        let new = self.labelled.want(selector);
        if !new.is_empty() {
            self.all.iter().for_each(|(id, facts)| self.labelled.put(id, &facts.labels, Some(&new)));
        }
    }

    /// Takes a pod, and gives the labels it has and had; none where nothing that counts has changed.
    pub(super) fn put(&mut self, id: Id, mut facts: Facts) -> Vec<BTreeMap<String, String>> {
        let labels = facts.labels.clone();
        // Pods of one template have names side by side, and ask for the same.
        let (before, after) = (self.all.range(..&id).next_back(), self.all.range(&id..).next());
        let same = [before, after].into_iter().flatten().find(|(_, other)| other.requests == facts.requests);
        if let Some((_, other)) = same {
            facts.requests = Arc::clone(&other.requests);
        }
        let old = self.all.insert(id.clone(), facts);
        if old.as_ref().is_some_and(|old| self.all.get(&id) == Some(old)) {
            return Vec::new();
        }
        match old {
            Some(old) if old.labels == labels => vec![labels],
            Some(old) => {
                self.labelled.remove(&id, &old.labels);
                self.labelled.put(&id, &labels, None);
                vec![old.labels, labels]
            }
            None => {
                self.labelled.put(&id, &labels, None);
                vec![labels]
            }
        }
    }

    pub(super) fn remove(&mut self, id: &Id) -> Vec<BTreeMap<String, String>> {
        let Some(facts) = self.all.remove(id) else { return Vec::new() };
        self.labelled.remove(id, &facts.labels);
        vec![facts.labels]
    }

    pub(super) fn chosen<'a>(
        &'a self,
        namespace: &'a Arc<str>,
        selector: Option<&'a Selector>,
    ) -> impl Iterator<Item = (&'a Id, &'a Facts)> {
        let names = selector.and_then(|selector| self.labelled.among(namespace, selector));
        // By name where some are named, else among all.
        let all = names.is_none().then(|| self.of_namespace(namespace));
        let named = names.into_iter().flatten().filter_map(move |name| {
            let id = Id { kind: Kind::Pod, namespace: Arc::clone(namespace), name: Arc::clone(name) };
            self.all.get_key_value(&id)
        });
        let here = all.into_iter().flatten().chain(named);
        here.filter(move |(_, facts)| selector.is_some_and(|selector| selector.chooses(&facts.labels)))
    }

    pub(super) fn of_namespace<'a>(
        &'a self,
        namespace: &'a Arc<str>,
    ) -> impl Iterator<Item = (&'a Id, &'a Facts)> {
        let first = Id::new(Kind::Pod, namespace, "");
        self.all.range(first..).take_while(move |(id, _)| id.namespace == *namespace)
    }
}
