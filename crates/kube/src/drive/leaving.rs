//! On the way down: which pods go, that they are drained before, and whether Kubernetes took those.
//!
//! A count that is to be lowered is decided anew with each tick until the pods that will go have nothing to
//! do, or their time is over; only then is it written. So a drain is taken back by simply deciding
//! otherwise. Readiness is not touched: gateways learn of it by [`crate::live::Live::draining`].

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_core::scale::Phase;
use tidegate_core::scale::victims::{Candidate, Standing, choose};
use tidegate_core::time::{Span, Time};

use super::{Entry, Operator, Weight};
use crate::demand::Live;
use crate::index::Index;
use crate::index::pods::{DELETION_COST, Facts};
use crate::index::target::Key;
use crate::live::Pod;
use crate::object::{Gvk, Id, Kind};
use crate::status::notes::Said;
use crate::write::{How, Patch, Write};

/// The cost of what is to go: below whatever anybody else has written, and known as ours.
const COST: i32 = -1_000_000_000;

/// The longest drain, whatever the pods' own time for ending is: longer answers than this are cut by it.
const DRAIN_MAX: Span = Span::from_secs(600);

/// A pod's time for ending where its template says none: Kubernetes' own.
const GRACE_S: i64 = 30;

/// How long costs that are being written are waited for; without them Kubernetes takes the youngest.
const COSTS_MAX: Span = Span::from_secs(3);

/// How long after the count was written Kubernetes may take to choose its pods.
const TAKING_MAX: Span = Span::from_secs(60);

/// Pods that are to go, until the count is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    /// Their names.
    pub pods: BTreeSet<Arc<str>>,
    /// Since when.
    pub since: Time,
    /// Until when they are waited for.
    pub until: Time,
}

/// Pods that were to go, since the count was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) pods: BTreeSet<Arc<str>>,
    /// Those that were to stay.
    pub(super) others: BTreeSet<Arc<str>>,
    pub(super) until: Time,
}

impl Taken {
    pub(super) fn is_over(&self, now: Time) -> bool {
        self.until <= now
    }
}

/// How a kind of workload chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chooser {
    /// By deletion cost, which we may write.
    Cost,
    /// The highest numbers, which pods have at the end of their names.
    Ordinal,
    /// The highest groups, which pods have in a label. They begin at zero.
    Group,
}

/// The label with a pod's group in a LeaderWorkerSet.
const GROUP: &str = "leaderworkerset.sigs.k8s.io/group-index";

impl Chooser {
    fn of(id: &Id) -> Option<Self> {
        let Kind::Workload(Gvk { group, kind, .. }) = &id.kind else { return None };
        Some(match (&**group, &**kind) {
            ("apps", "Deployment") => Chooser::Cost,
            ("apps", "StatefulSet") => Chooser::Ordinal,
            ("leaderworkerset.x-k8s.io", "LeaderWorkerSet") => Chooser::Group,
            _ => return None,
        })
    }

    /// The pods that go when there are to be `to`, of those that are there; the first of those that are numbered
    /// has the number `first`.
    fn choose(
        self,
        pods: &[(&Id, &Facts)],
        (first, to): (u32, u32),
        requests: impl Fn(&Id) -> Option<f64>,
        draining: &BTreeSet<Arc<str>>,
    ) -> BTreeSet<Arc<str>> {
        let number = |(id, facts): &(&Id, &Facts)| -> Option<u32> {
            match self {
                Chooser::Group => facts.labels.get(GROUP)?.parse().ok(),
                _ => id.name.rsplit_once('-')?.1.parse().ok(),
            }
        };
        if self != Chooser::Cost {
            let end = first.saturating_add(to);
            let beyond = pods.iter().filter(|pod| number(pod).is_some_and(|number| number >= end));
            return beyond.map(|(id, _)| Arc::clone(&id.name)).collect();
        }
        let candidates: Vec<Candidate<'_>> = pods
            .iter()
            .map(|(id, facts)| Candidate {
                name: &id.name,
                standing: standing(facts),
                cost: facts.deletion_cost.filter(|cost| *cost != COST).unwrap_or(0),
                draining: draining.contains(&id.name),
                requests: requests(id),
                created: facts.start.created,
            })
            .collect();
        let count = pods.len().saturating_sub(to as usize);
        choose(&candidates, count).into_iter().map(Arc::from).collect()
    }
}

fn standing(facts: &Facts) -> Standing {
    match (facts.node.is_some(), facts.phase, facts.ready) {
        (false, ..) => Standing::Waiting,
        (true, Phase::Pending, _) => Standing::Starting,
        (true, _, false) => Standing::Unready,
        (true, _, true) => Standing::Ready,
    }
}

/// Pods of a workload that are neither ended nor ending.
fn staying<'a>(index: &'a Index, workload: &'a Id) -> Vec<(&'a Id, &'a Facts)> {
    index.pods_of(workload).filter(|(_, facts)| !facts.deleting && !facts.ended()).collect()
}

fn pod(id: &Id) -> Pod {
    Pod { namespace: Arc::clone(&id.namespace), name: Arc::clone(&id.name) }
}

/// How long a workload's pods are waited for: as long as they may take to end.
fn patience(index: &Index, workload: &Id) -> Span {
    let template = index.workload(workload).and_then(|workload| Some(workload.template.as_ref()?.open()));
    let seconds = template
        .and_then(|template| template.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64));
    Span::from_secs(seconds.unwrap_or(GRACE_S).clamp(0, DRAIN_MAX.as_micros() / 1_000_000))
}

impl Operator {
    /// Whether a lower count may be written now. If not, the pods that will go are being drained, and the
    /// next tick asks again.
    pub(super) fn may_shrink(&mut self, key: &Key, workload: &Id, (from, to): (u32, u32)) -> bool {
        let now = self.clock.now();
        let (Some(chooser), Some(entry)) = (Chooser::of(workload), self.entries.get_mut(key)) else {
            return true;
        };
        let staying = staying(&self.index, workload);
        let draining = leaving(entry);
        let before = entry.leave.take();
        let requests = |id: &Id| self.live.requests(&pod(id), now);
        let first = match chooser {
            Chooser::Ordinal => self.index.workload(workload).map_or(0, |workload| workload.first_ordinal),
            Chooser::Cost | Chooser::Group => 0,
        };
        let pods = chooser.choose(&staying, (first, to), requests, &draining);
        let since = before.as_ref().map_or(now, |leave| leave.since);
        let until =
            before.as_ref().map_or_else(|| now + patience(&self.index, workload), |leave| leave.until);
        let its = |pod: &&(&Id, &Facts)| pods.contains(&pod.0.name);
        // What is not ready gets no requests, and of whom nobody knows any he is taken to have none.
        let busy: f64 = staying
            .iter()
            .filter(its)
            .filter(|(_, facts)| facts.ready)
            .filter_map(|(id, _)| requests(id))
            .sum();
        // At zero there is nothing to choose. What somebody else has written stays: he chose before us.
        let marked = |(id, facts): &(&Id, &Facts)| ((*id).clone(), Arc::clone(&facts.uid));
        let uncosted = |(_, facts): &&(&Id, &Facts)| facts.deletion_cost.is_none();
        let costless: Vec<(Id, Arc<str>)> = if chooser == Chooser::Cost && to > 0 {
            staying.iter().filter(its).filter(uncosted).map(marked).collect()
        } else {
            Vec::new()
        };
        let set: BTreeSet<Pod> = staying.iter().filter(its).map(|(id, _)| pod(id)).collect();
        let all: BTreeSet<Pod> = staying.iter().map(|(id, _)| pod(id)).collect();
        let others: BTreeSet<Arc<str>> =
            staying.iter().map(|(id, _)| Arc::clone(&id.name)).filter(|name| !pods.contains(name)).collect();
        self.live.drain(|pod| all.contains(pod), &set);
        let written = costless.is_empty() || now.since(since) >= COSTS_MAX;
        // A gateway that has not heard of the drain may send one more request.
        let at_gateways = self.gateways.book.live(key, now).pods;
        let heard = pods.iter().all(|name| at_gateways.get(name).is_none_or(Live::is_drained));
        let ready = written && ((busy <= 0.0 && heard) || now >= until);
        if ready {
            entry.taken = Some(Taken { pods, others, until: now + TAKING_MAX });
        } else {
            let fresh = before.is_none() && busy > 0.0;
            let names: Vec<&str> = pods.iter().map(|name| &**name).collect();
            let text = format!(
                "{} go, so that {from} become {to}; {busy} requests are waited for, at the most for {}",
                names.join(", "),
                until.since(now),
            );
            entry.leave = Some(Leave { pods, since, until });
            if fresh {
                self.remark(Weight::Info, &format!("{key}: {text}"));
                self.note(key, Said { warning: false, reason: "Draining", message: text });
            }
        }
        for (id, uid) in costless {
            self.cost(id, &uid, true);
        }
        ready
    }

    /// What was decided asks for no fewer replicas any more: nobody has to go.
    pub(super) fn stay(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(leave) = entry.leave.take() else { return };
        let names: Vec<&str> = leave.pods.iter().map(|name| &**name).collect();
        let text = format!("{} may stay: they are needed again", names.join(", "));
        self.remark(Weight::Info, &format!("{key}: {text}"));
        self.note(key, Said { warning: false, reason: "DrainTakenBack", message: text });
        self.settle(key);
    }

    /// Looks whether Kubernetes took the pods that were to go, and takes back what was written of those that
    /// stayed.
    pub(super) fn settle(&mut self, key: &Key) {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(workload) = entry.workload.clone() else { return };
        let there: BTreeSet<Arc<str>> =
            staying(&self.index, &workload).iter().map(|(id, _)| Arc::clone(&id.name)).collect();
        let mut wrong = None;
        if let Some(taken) = &mut entry.taken {
            let left: Vec<&str> =
                taken.pods.iter().filter(|name| there.contains(*name)).map(|name| &**name).collect();
            let gone: Vec<Arc<str>> =
                taken.others.iter().filter(|name| !there.contains(*name)).cloned().collect();
            if !gone.is_empty() && !left.is_empty() {
                let names: Vec<&str> = gone.iter().map(|name| &**name).collect();
                wrong = Some(format!("Kubernetes took {} and left {}", names.join(", "), left.join(", ")));
            }
            taken.others.retain(|name| there.contains(name));
            if left.is_empty() || taken.is_over(now) {
                entry.taken = None;
            }
        }
        let leaving = leaving(entry);
        let all: BTreeSet<Pod> = self.index.pods_of(&workload).map(|(id, _)| pod(id)).collect();
        let set = all.iter().filter(|pod| leaving.contains(&pod.name)).cloned().collect();
        let index = &self.index;
        let gone = |pod: &Pod| {
            pod.namespace == workload.namespace
                && !index.has_pod(&Id::new(Kind::Pod, &pod.namespace, &pod.name))
        };
        self.live.drain(|pod| all.contains(pod) || gone(pod), &set);
        let costed = self.index.pods_of(&workload).filter(|(id, facts)| {
            facts.deletion_cost == Some(COST) && !facts.deleting && !leaving.contains(&id.name)
        });
        let costed: Vec<(Id, Arc<str>)> =
            costed.map(|(id, facts)| (id.clone(), Arc::clone(&facts.uid))).collect();
        for (id, uid) in costed {
            self.cost(id, &uid, false);
        }
        if let Some(message) = wrong {
            self.remark(Weight::Warning, &format!("{key}: {message}"));
            self.note(key, Said { warning: true, reason: "OtherPodTaken", message });
        }
    }

    /// Takes back what we wrote of a workload's pods; of those that were `left` to go also what is still on its way.
    pub(super) fn uncost(&mut self, workload: &Id, left: &BTreeSet<Arc<str>>) {
        let by_cost = Chooser::of(workload) == Some(Chooser::Cost);
        if self.connection.read_only || !by_cost {
            return;
        }
        let ours = |(id, facts): &(&Id, &Facts)| match facts.deletion_cost {
            Some(cost) => cost == COST,
            None => left.contains(&id.name),
        };
        let costed: Vec<(Id, Arc<str>)> = staying(&self.index, workload)
            .iter()
            .filter(|pod| ours(pod))
            .map(|(id, facts)| ((*id).clone(), Arc::clone(&facts.uid)))
            .collect();
        for (id, uid) in costed {
            // It takes the place of a cost that waits, and goes after one that is under way.
            self.queue.push(Write::Patch(costing(id, &uid, false)), self.clock.now());
        }
    }

    /// Marks a pod as the first to go, or takes that back.
    fn cost(&mut self, id: Id, uid: &str, first: bool) {
        if self.connection.read_only {
            return;
        }
        let write = Write::Patch(costing(id, uid, first));
        if !self.queue.holds(&write) {
            self.queue.push(write, self.clock.now());
        }
    }
}

fn costing(id: Id, uid: &str, first: bool) -> Patch {
    let ours = json!({"annotations": {DELETION_COST: COST.to_string()}});
    let mut metadata = if first { ours.clone() } else { json!({}) };
    metadata["uid"] = json!(uid);
    // An operator before us may have said it in another way.
    let gone = if first { Value::Null } else { json!({"metadata": ours}) };
    Patch { id, subresource: None, how: How::Apply { gone }, json: json!({"metadata": metadata}) }
}

/// The pods that go, before and after the count is written.
pub(super) fn leaving(entry: &Entry) -> BTreeSet<Arc<str>> {
    let before = entry.leave.iter().flat_map(|leave| &leave.pods);
    before.chain(entry.taken.iter().flat_map(|taken| &taken.pods)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Object;

    fn pods(labels: impl Fn(usize) -> Value) -> Vec<(Id, Facts)> {
        (0..4)
            .map(|number| {
                let metadata =
                    json!({"namespace": "prod", "name": format!("llama-{number}"), "labels": labels(number)});
                let object = Object::new(Kind::Pod, json!({"metadata": metadata})).unwrap();
                (object.id.clone(), Facts::of(&object))
            })
            .collect()
    }

    fn chosen(chooser: Chooser, pods: &[(Id, Facts)], to: u32) -> Vec<String> {
        chosen_from(chooser, pods, (0, to))
    }

    fn chosen_from(chooser: Chooser, pods: &[(Id, Facts)], to: (u32, u32)) -> Vec<String> {
        let pods: Vec<(&Id, &Facts)> = pods.iter().map(|(id, facts)| (id, facts)).collect();
        // The first has nothing to do: whoever may choose takes it.
        let requests = |id: &Id| Some(if id.name.ends_with('0') { 0.0 } else { 9.0 });
        let chosen = chooser.choose(&pods, to, requests, &BTreeSet::new());
        chosen.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_stateful_set_loses_its_highest_ordinals() {
        let pods = pods(|_| json!({}));
        assert_eq!(chosen(Chooser::Ordinal, &pods, 2), ["llama-2", "llama-3"]);
        assert_eq!(chosen(Chooser::Cost, &pods, 3), ["llama-0"]);
    }

    #[test]
    fn ordinals_that_begin_elsewhere_are_counted_from_there() {
        let pods = pods(|_| json!({}));
        assert_eq!(chosen_from(Chooser::Ordinal, &pods[1..], (1, 2)), ["llama-3"]);
        assert_eq!(chosen_from(Chooser::Ordinal, &pods[2..], (2, u32::MAX)), Vec::<String>::new());
    }

    #[test]
    fn a_leader_worker_set_loses_whole_groups() {
        let pods = pods(|number| json!({GROUP: (number / 2).to_string()}));
        assert_eq!(chosen(Chooser::Group, &pods, 1), ["llama-2", "llama-3"]);
    }

    #[test]
    fn a_kind_that_nobody_here_knows_chooses_by_itself() {
        let of = |api: &str, kind: &str| {
            Chooser::of(&Id::new(Kind::Workload(Gvk::of(Some(api), Some(kind))), "prod", "a"))
        };
        assert_eq!(of("apps/v1", "Deployment"), Some(Chooser::Cost));
        assert_eq!(of("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"), Some(Chooser::Group));
        assert_eq!(of("ray.io/v1", "RayCluster"), None);
    }
}
