//! What is told of a target: its status, what is remembered of it, and the whole to who shows it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use serde_json::json;
use tidegate_core::scale::Decision;
use tidegate_core::scale::decision::{AbsentAs, Because};
use tidegate_core::time::{Span, Time};

use super::entry::STATUS;
use super::work::objective;
use super::{Entry, Operator, View};
use crate::index::target::{Asks, Key};
use crate::lease::elector::Standing;
use crate::object::Gvk;
use crate::persist;
use crate::status::{Facts, Told, activity, status};
use crate::write::{self, How, Patch, Sent, Write};

impl Operator {
    /// Writes a target's status, if it is not what stands or was asked for last.
    pub(super) fn tell(&mut self, key: &Key) {
        if self.connection.read_only
            || self.entries.get(key).is_none_or(|entry| entry.watched() || entry.elsewhere)
        {
            return;
        }
        self.say_ready(key);
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(key) else { return };
        // While another has it, the status is the other's to write; an autoscaler's always is.
        if entry.watched() || entry.elsewhere || key.asks == Asks::Autoscaler {
            return;
        }
        let id = key.id();
        let Some(version) = self.index.version(&id) else { return };
        // A finalizer is on its way to this very version: what is made of it would come too late.
        if entry.claiming == Some(version) || entry.refused[STATUS].rests(now) {
            return;
        }
        entry.claiming = None;
        let silent = silence(entry, now);
        // Most decisions are those of the second before: then there is nothing to compare.
        let made_of = made_of(version, entry, silent.as_deref());
        if std::mem::replace(&mut entry.told, made_of) == made_of {
            return;
        }
        let Some(object) = self.index.object(&id) else { return };
        let gvk = entry.workload.as_ref().map(|id| id.kind.gvk());
        let plural = gvk.as_ref().map(plural).unwrap_or_default();
        let told = status(&Facts {
            object: &object,
            asks: key.asks,
            spec: entry.spec.as_ref(),
            called: &entry.called,
            readings: &entry.readings,
            decision: entry.latest.as_deref(),
            trouble: entry.trouble.as_deref(),
            workload: gvk.as_ref().map(|gvk| (gvk, plural.as_str())),
            found: entry.found,
            was_active: entry.ended,
            limited: entry
                .room
                .as_ref()
                .and_then(Option::as_ref)
                .filter(|room| room.limits())
                .map(|room| &*room.lacks),
            silent: silent.as_deref(),
        });
        let Some(Told { mut json, gone, small }) = told else {
            entry.status = None;
            return;
        };
        if small && entry.told_at.is_some_and(|at| now.since(at) < SMALL_PAUSE) {
            // Looked at again with the next decision.
            entry.told = 0;
            return;
        }
        let mut hasher = DefaultHasher::new();
        json.to_string().hash(&mut hasher);
        let short = hasher.finish();
        if entry.status.replace(short) == Some(short) {
            return;
        }
        entry.told_at = Some(now);
        // Conditions are one list: only over the version that those of others were read from.
        let version = object.text("/metadata/resourceVersion");
        json["metadata"] = json!({"resourceVersion": version, "uid": object.uid()});
        let patch = Patch { id, subresource: Some("status"), how: How::Apply { gone }, json };
        self.queue.push(Write::Patch(patch), now);
    }

    /// Writes what is remembered, if it is time; `last` when this is the end.
    pub(super) fn remember(&mut self, last: bool) {
        if self.connection.read_only || self.mind != super::Mind::Decides {
            return;
        }
        let now = self.clock.now();
        if !last && self.unwritten.rests(now) {
            return;
        }
        let (place, book) = ((&*self.namespace, &*self.shard), &self.gateways.book);
        if let Some(patch) = self.memory.gateways(place, (book.version(), || book.roll()), now, last) {
            self.queue.push(Write::State(patch), now);
        }
        if !self.memory.due(now, last) {
            return;
        }
        let index = &self.index;
        let uid = |key: &Key| index.uid(&key.id()).map(|uid| uid.to_string());
        let keys: Vec<(Key, String)> =
            self.entries.keys().filter_map(|key| Some((key.clone(), uid(key)?))).collect();
        let states = keys.iter().filter_map(|(key, uid)| {
            let entry = self.entries.get(key)?;
            let (name, state) = (Arc::clone(&entry.name), self.control.state(&entry.name)?);
            let mut mark = entry.latest.as_deref().map_or(0, persist::mark);
            if entry.spec.as_ref().and_then(objective).is_some() {
                mark = persist::mark_learned(mark, now);
            }
            Some(persist::Kept { name, uid, mark, state })
        });
        let before = self.memory.left_out();
        for page in self.memory.pages(states, now, last) {
            let patch = persist::patch(&self.namespace, &self.shard, &page);
            self.queue.push(Write::State(patch), now);
        }
        let left_out = self.memory.left_out();
        if left_out > before {
            let text = format!(
                "what is remembered of {left_out} targets has no room in the ConfigMaps: after a restart their windows \
                 begin anew; give this operator fewer namespaces"
            );
            self.remark(super::Weight::Warning, &text);
        }
    }

    /// What became of a page of what is remembered. That it is refused is said once for each page and reason.
    pub(super) fn remembered(&mut self, page: &Patch, outcome: Result<Sent, write::Error>) {
        self.memory.landed(&page.id.name, outcome.is_ok());
        match outcome {
            Ok(_) => self.unwritten.over(&page.id.name),
            Err(error) => {
                if self.unwritten.again(&page.id.name, &error.to_string(), self.clock.now()) {
                    let text = format!("what is remembered cannot be written: {error}");
                    self.remark(super::Weight::Warning, &text);
                }
            }
        }
    }

    pub(super) fn show(&mut self) {
        let view = View {
            at: self.clock.now(),
            standing: if self.connection.read_only { Standing::Standby } else { *self.standing.borrow() },
            advise: self.connection.read_only,
            synced: self.synced,
            deciding: self.mind == super::Mind::Decides,
            entries: &self.entries,
            waiting: self.queue.len(),
            blind: &self.blind,
            lag_s: self.lag_s,
            gateways: &self.gateways.book,
            registered: &self.registered,
            left_out: self.memory.left_out(),
            events_dropped: self.queue.dropped(),
            full: self.index.full(),
        };
        self.audience.look(&view);
    }
}

/// What single triggers say is told this often at the most: a value that moves about its threshold would be a write a
/// second. KEDA tells it each polling interval, 30 s.
const SMALL_PAUSE: Span = Span::from_secs(10);

/// A query that has answered with nothing for so long is one without data; at a rollout it is a scrape or two.
const SILENT_FOR: Span = Span::from_secs(30);

/// Triggers without data that are named; the others are counted.
const NAMED_MAX: usize = 3;

/// Notes which signals answer with nothing, and since when.
pub(super) fn listen(entry: &mut Entry, decision: &Decision, now: Time) {
    if entry.silent.is_empty() && activity::silent(decision).next().is_none() {
        return;
    }
    let before = std::mem::take(&mut entry.silent);
    let silent = activity::silent(decision);
    entry.silent = silent
        .map(|(signal, taken)| {
            let since = before.get(signal).map_or(now, |(since, _)| *since);
            (Arc::clone(signal), (since, matches!(taken, AbsentAs::Zero)))
        })
        .collect();
}

/// The triggers that have answered with nothing for long, in a sentence.
fn silence(entry: &Entry, now: Time) -> Option<String> {
    let long = entry.silent.iter().filter(|(_, (since, _))| now.since(*since) >= SILENT_FOR);
    let long: Vec<(&str, bool)> = long.map(|(signal, (_, zero))| (&**signal, *zero)).collect();
    if long.is_empty() {
        return None;
    }
    let each = long.iter().take(NAMED_MAX).map(|(signal, zero)| match zero {
        true => format!("{signal} (counted as 0)"),
        false => format!("{signal} (its last value is kept)"),
    });
    let each: Vec<String> = each.collect();
    let more = long.len().saturating_sub(NAMED_MAX);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(format!("no data from {}{more}", each.join(", ")))
}

/// What a status is made of, in short: the version of the object as it stands, the decision's conditions, rules and
/// failures, what triggers say, and what is wrong.
fn made_of(version: u64, entry: &Entry, silent: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (version, entry.trouble.as_deref(), entry.ended, entry.fleet.is_some(), silent).hash(&mut hasher);
    if let Some(spec) = &entry.spec {
        let activity = activity::triggers(spec, &entry.readings, entry.latest.as_deref());
        activity.for_each(|(signal, active)| (&*signal.name, active).hash(&mut hasher));
    }
    let limits = entry.room.as_ref().and_then(Option::as_ref).filter(|room| room.limits());
    limits.map(|room| &*room.lacks).hash(&mut hasher);
    if let Some(decision) = &entry.latest {
        let conditions = decision.conditions;
        let all = [
            conditions.ready,
            conditions.active,
            conditions.fallback,
            conditions.paused,
            conditions.scaling_active,
        ];
        for (status, reason) in all.into_iter().flatten() {
            (status as u8, reason).hash(&mut hasher);
        }
        for step in &decision.steps {
            (step.rule as u8).hash(&mut hasher);
            if let Because::Lost { failures: Some((failures, threshold)), .. } = &step.because {
                failures.min(threshold).hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}

/// A kind's plural as nearly every kind has it; only shown, never asked for.
fn plural(gvk: &Gvk) -> String {
    let lower = gvk.kind.to_lowercase();
    if lower.ends_with('s') { format!("{lower}es") } else { format!("{lower}s") }
}

#[cfg(test)]
mod tests {
    use tidegate_core::scale::Step;
    use tidegate_core::scale::decision::{Conditions, Rule};

    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_secs(seconds)
    }

    fn absent(signals: &[&str]) -> Decision {
        let step = |signal: &&str| Step {
            rule: Rule::Absent,
            from: 1,
            to: 1,
            because: Because::Absent { signal: (*signal).into(), taken: AbsentAs::Zero },
        };
        let steps = signals.iter().map(step).collect();
        let conditions = Conditions::default();
        Decision { target: "prod/a".into(), replicas: 1, rule: Rule::Steady, steps, conditions }
    }

    fn entry() -> Entry {
        Entry::new(Key { asks: Asks::ScaledObject, namespace: "prod".into(), name: "a".into() })
    }

    #[test]
    fn a_query_without_data_is_told_once_that_has_lasted_and_no_more_when_there_is_some() {
        let mut entry = entry();
        listen(&mut entry, &absent(&["s0"]), at(100));
        assert_eq!(silence(&entry, at(129)), None, "at a rollout that passes");
        listen(&mut entry, &absent(&["s0"]), at(129));
        assert_eq!(silence(&entry, at(130)).as_deref(), Some("no data from s0 (counted as 0)"));
        listen(&mut entry, &absent(&[]), at(131));
        assert_eq!(silence(&entry, at(200)), None);
    }

    #[test]
    fn of_many_queries_without_data_a_few_are_named() {
        let mut entry = entry();
        listen(&mut entry, &absent(&["a", "b", "c", "d", "e"]), at(0));
        let text = silence(&entry, at(60)).expect("five are silent");
        assert!(text.ends_with("c (counted as 0) and 2 more"), "{text}");
    }
}
