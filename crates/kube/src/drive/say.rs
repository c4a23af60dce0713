//! Events beside those of counts: an object became ready or was refused, its sources are asked or no more, an
//! authentication came or went.
//!
//! Each tells a change, and the object's own conditions say what was told before: an operator that starts anew does
//! not tell all of it again.

use std::sync::Arc;

use serde_json::Value;
use tidegate_core::scale::decision::Status;
use tidegate_core::time::Span;

use super::{Mind, Operator};
use crate::index::target::Key;
use crate::object::{Change, Id, Kind, Object};
use crate::status::notes::{self, Happened, Said};
use crate::write::{Note, Write};

/// Between two Events of one reason about one object, of those that a flapping source would repeat each second.
const SAID_PAUSE: Span = Span::from_secs(30);

/// Whether an object is ready to be scaled, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    status: Status,
    /// Why nothing is decided of it.
    trouble: Option<String>,
}

impl Ready {
    /// What the object's own conditions say.
    fn standing(object: &Object) -> Self {
        let conditions = object.json.pointer("/status/conditions").and_then(Value::as_array);
        let text = |one: &Value, at: &str| one.get(at).and_then(Value::as_str).map(str::to_owned);
        let mut conditions = conditions.into_iter().flatten();
        let ready = conditions.find(|one| text(one, "type").as_deref() == Some("Ready"));
        let status = match ready.and_then(|ready| text(ready, "status")).as_deref() {
            Some("True") => Status::True,
            Some("False") => Status::False,
            _ => Status::Unknown,
        };
        let refused =
            |ready: &&Value| text(ready, "reason").is_some_and(|reason| reason.ends_with("CheckFailed"));
        Ready { status, trouble: ready.filter(refused).and_then(|ready| text(ready, "message")) }
    }
}

impl Operator {
    pub(super) fn note(&mut self, key: &Key, said: Said) {
        let about = key.id();
        if let Some(uid) = self.index.uid(&about).map(Arc::clone) {
            self.note_of(about, uid, said);
        }
    }

    fn note_of(&mut self, about: Id, uid: Arc<str>, said: Said) {
        if self.connection.read_only {
            return;
        }
        let now = self.clock.now();
        let Said { warning, reason, message } = said;
        self.queue.push(Write::Note(Note { about, uid, warning, reason, message, at: now, number: 0 }), now);
    }

    /// Tells what a source that comes and goes would have told each second.
    pub(super) fn note_at_times(&mut self, key: &Key, said: Said) {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.said.get(said.reason).is_some_and(|at| now.since(*at) < SAID_PAUSE) {
            return;
        }
        entry.said.insert(said.reason, now);
        self.note(key, said);
    }

    /// Tells when an object has become ready, and when it is refused.
    pub(super) fn say_ready(&mut self, key: &Key) {
        let Some(entry) = self.entries.get(key) else { return };
        let decided = entry.latest.as_ref().map(|decision| decision.conditions.ready);
        let now = match (&entry.trouble, decided) {
            (Some(why), _) => Ready { status: Status::False, trouble: Some(why.clone()) },
            (None, Some(ready)) => {
                Ready { status: ready.map_or(Status::True, |(status, _)| status), trouble: None }
            }
            (None, None) => return,
        };
        if entry.ready.as_ref() == Some(&now) {
            return;
        }
        let before = match &entry.ready {
            Some(before) => before.clone(),
            None => match self.index.object(&key.id()) {
                Some(object) => Ready::standing(&object),
                None => return,
            },
        };
        let triggers = entry.unreadable;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.ready = Some(now.clone());
        }
        match &now.trouble {
            Some(why) if before.trouble.as_ref() != Some(why) => {
                notes::refused(key.asks, triggers, why).into_iter().for_each(|said| self.note(key, said));
            }
            None if now.status == Status::True && before.status != Status::True => {
                notes::ready(key.asks).into_iter().for_each(|said| self.note_at_times(key, said));
            }
            _ => {}
        }
    }

    /// Tells of authentications: those that are there when the first list comes were there before.
    pub(super) fn say_authentication(&mut self, change: &Change) {
        if self.mind != Mind::Decides {
            return;
        }
        let id = match change {
            Change::Applied(object) => &object.id,
            Change::Gone(id) => id,
            _ => return,
        };
        if !matches!(id.kind, Kind::TriggerAuthentication | Kind::ClusterTriggerAuthentication) {
            return;
        }
        if id.kind == Kind::ClusterTriggerAuthentication && !self.sight.namespaces.is_empty() {
            // Its Event would go to a namespace that is not ours.
            return;
        }
        let known = self.index.object(id);
        let (object, happened) = match (change, &known) {
            (Change::Applied(new), None) => (&**new, Happened::Added),
            (Change::Applied(new), Some(old)) if old.json.get("spec") != new.json.get("spec") => {
                (&**new, Happened::Updated)
            }
            (Change::Gone(_), Some(old)) => (&**old, Happened::Deleted),
            _ => return,
        };
        if let Some(said) = notes::authentication(&object.id.kind, happened) {
            self.note_of(object.id.clone(), object.uid().into(), said);
        }
    }
}
