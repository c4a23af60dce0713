//! Which gateways there are and what they route, for the operator that comes after: a ConfigMap of its own, since it
//! is written when a gateway comes or goes and not when a target is decided.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_core::time::{Span, Time};

use super::LABEL;
use crate::demand::Roll;
use crate::demand::book::GATEWAYS_MAX;
use crate::object::{Id, Kind};
use crate::routes::Route;
use crate::write::{How, Patch};

/// Between two writes: a rollout of 64 gateways costs some ten.
const PAUSE: Span = Span::from_secs(5);

/// Targets written and read: as many as one operator is made for. With names of 60 bytes they are 600 KB.
const TARGETS_MAX: usize = 10_000;

/// Bytes of the entry: what a ConfigMap may have, less its metadata. Targets that have no room are left out, and their
/// gateways have [`crate::demand::FIRST_WORD`] to speak after a start.
const BYTES_MAX: usize = 900_000;

/// What its name ends with, as a page's ends with a number.
pub(super) const SUFFIX: &str = "gateways";

/// The entry.
const ENTRY: &str = "gateways.json";

#[derive(Serialize, Deserialize)]
struct Text {
    gateways: Vec<(String, Option<(String, String)>)>,
    targets: Vec<(String, String)>,
}

/// What of the roll is written, and what is on its way.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Whether the ConfigMap says something; while a write is under way, whether it may.
    full: bool,
    /// What it says.
    version: Option<u64>,
    /// What it says if the write under way gets through: the version, and whether that is something.
    sent: Option<(u64, bool)>,
    /// When a write was last begun.
    at: Option<Time>,
}

impl Written {
    /// With what was found in it.
    pub(super) fn new(found: &Roll) -> Self {
        Written { full: *found != Roll::default(), ..Written::default() }
    }

    /// What is to be written, if it is time and something has changed; `roll` is asked only then.
    pub(super) fn due(
        &mut self,
        version: u64,
        now: Time,
        last: bool,
        roll: impl FnOnce() -> Roll,
    ) -> Option<Value> {
        let rests = !last && (self.sent.is_some() || self.at.is_some_and(|at| now.since(at) < PAUSE));
        let known = self.sent.map_or(self.version, |(version, _)| Some(version));
        if known == Some(version) || rests {
            return None;
        }
        let roll = roll();
        let full = roll != Roll::default();
        if !full && !self.full {
            self.version = Some(version);
            return None;
        }
        self.full |= full;
        (self.at, self.sent) = (Some(now), Some((version, full)));
        Some(json!({"metadata": {}, "data": {ENTRY: text(&roll)}}))
    }

    /// What became of the write under way: one that did not get through is due again after the pause.
    pub(super) const fn landed(&mut self, written: bool) {
        if let Some((version, full)) = self.sent.take()
            && written
        {
            (self.version, self.full) = (Some(version), full);
        }
    }
}

fn text(roll: &Roll) -> String {
    let pod = |pod: &Id| (pod.namespace.to_string(), pod.name.to_string());
    let mut room = BYTES_MAX;
    // Quotes, brackets and commas are eight bytes of each.
    let targets = roll.targets.iter().take(TARGETS_MAX).take_while(|key| {
        let takes = key.namespace.len() + key.name.len() + 8;
        let fits = takes <= room;
        room = room.saturating_sub(takes);
        fits
    });
    let targets = targets.map(|key| (key.namespace.to_string(), key.name.to_string())).collect();
    let gateways = roll.gateways.iter().map(|(name, of)| (name.to_string(), of.as_ref().map(pod))).collect();
    serde_json::to_string(&Text { gateways, targets }).unwrap_or_default()
}

/// The write of it.
pub(super) fn patch(namespace: &str, shard: &str, mut json: Value) -> Patch {
    json["metadata"]["labels"] = json!({LABEL: shard});
    let id = Id::new(Kind::ConfigMap, namespace, &format!("tidegate-{shard}-{SUFFIX}"));
    Patch { id, subresource: None, how: How::APPLY, json }
}

/// What a ConfigMap says of gateways; nothing where it says nothing, or nothing that makes sense.
pub(super) fn of(map: &Value) -> Option<Roll> {
    let text: Text = serde_json::from_str(map.pointer("/data")?.get(ENTRY)?.as_str()?).ok()?;
    let pod = |(namespace, name): (String, String)| Id::new(Kind::Pod, &namespace, &name);
    let gateways = text.gateways.into_iter().take(GATEWAYS_MAX);
    let targets = text.targets.into_iter().take(TARGETS_MAX);
    Some(Roll {
        gateways: gateways.map(|(name, of)| (name.into(), of.map(pod))).collect(),
        targets: targets.map(|(namespace, name)| Route::key_of(&namespace, &name)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roll(targets: usize) -> Roll {
        let name = |number| format!("{number:05}{}", "x".repeat(85));
        Roll {
            gateways: vec![("a_1".into(), Some(Id::new(Kind::Pod, "tidegate", "a"))), ("b_2".into(), None)],
            targets: (0..targets).map(|number| Route::key_of("prod", &name(number))).collect(),
        }
    }

    #[test]
    fn it_is_read_as_it_was_written_and_what_has_no_room_is_left_out() {
        let written = |roll: &Roll| {
            let json = Written::default().due(1, Time::ORIGIN, false, || roll.clone()).expect("it is new");
            of(&patch("tidegate", "operator", json).json).expect("it reads")
        };
        assert_eq!(written(&roll(20)), roll(20));
        let large = written(&roll(20_000));
        assert!(large.targets.len() > 8_000 && text(&large).len() < BYTES_MAX + 1_000);
        for damaged in ["", "{}", "{\"gateways\": 3}", "[]"] {
            assert_eq!(of(&json!({"data": {ENTRY: damaged}})), None, "{damaged}");
        }
    }

    #[test]
    fn it_is_written_when_it_changes_and_emptied_at_the_end() {
        let mut written = Written::new(&Roll::default());
        let at = |seconds| Time::from_secs(seconds);
        assert_eq!(written.due(1, at(0), false, Roll::default), None, "there never was a gateway");
        assert!(written.due(2, at(1), false, || roll(1)).is_some());
        written.landed(true);
        assert_eq!(written.due(2, at(60), false, || roll(1)), None);
        assert!(written.due(3, at(60), false, || roll(2)).is_some());
        written.landed(true);
        assert_eq!(written.due(4, at(62), false, || roll(1)), None, "not yet");
        assert!(written.due(4, at(62), true, || roll(1)).is_some(), "but at the end");
        written.landed(true);
        assert!(written.due(5, at(90), false, Roll::default).is_some(), "the last has left");
        written.landed(true);
        assert_eq!(written.due(6, at(120), false, Roll::default), None);
    }

    #[test]
    fn what_did_not_get_through_is_not_taken_for_written() {
        let mut written = Written::new(&Roll::default());
        let at = |seconds| Time::from_secs(seconds);
        assert!(written.due(1, at(0), false, || roll(1)).is_some());
        assert_eq!(written.due(2, at(60), false, || roll(2)), None, "one is under way");
        written.landed(false);
        assert_eq!(written.due(1, at(4), false, || roll(1)), None, "not at once");
        assert!(written.due(1, at(5), false, || roll(1)).is_some());
        written.landed(false);
        // It may have got through all the same.
        assert!(written.due(2, at(10), false, Roll::default).is_some());
    }
}
