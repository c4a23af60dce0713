//! How an object of ours stands with whoever had it before.

use serde_json::Value;

use super::{PAUSE_KEDA, Stands, Wish, stopped, take, take_autoscaler};
use crate::object::{Id, Kind, Object};
use crate::owner::Other;

/// What is to be done about an object that is ours to decide.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// It is ours: decisions are written.
    Write,
    /// It is ours at once, and this is to be said on it.
    WriteAnd(Value),
    /// It is decided, and nothing is written but this, when our decision agrees (or at once).
    Watch(Step),
    /// Somebody else has it.
    Leave(String),
}

/// A step of taking over.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Say on the object that it is taken over.
    Take {
        /// The uid of the autoscaler that KEDA made for it.
        hpa: Option<String>,
        /// Whether our decision need not agree.
        at_once: bool,
    },
    /// Stop the autoscaler that the object is told to take over by its name.
    HandOver {
        /// The autoscaler.
        hpa: Id,
    },
    /// Remove the autoscaler that KEDA made: it was said already that the object is taken over.
    Remove {
        /// The autoscaler.
        hpa: Id,
        /// Its uid.
        uid: String,
    },
}

impl Step {
    /// The patch that says it on the object as it is now.
    #[must_use]
    pub fn patch(&self, object: &Object) -> Option<Value> {
        match self {
            Step::Remove { .. } | Step::HandOver { .. } => None,
            Step::Take { .. } if object.id.kind == Kind::HorizontalPodAutoscaler => {
                Some(take_autoscaler(object))
            }
            Step::Take { hpa, .. } => Some(take(object, hpa.as_deref())),
        }
    }
}

/// What is to be done, given who else was found.
#[must_use]
pub fn plan(object: &Object, other: Option<Other>) -> Plan {
    let wish = Wish::of(object);
    let leave = |other: &Other| Plan::Leave(other.to_string());
    if object.id.kind == Kind::HorizontalPodAutoscaler {
        return match other {
            Some(other) => leave(&other),
            None if stopped(object) && matches!(Stands::of(object), Stands::Adopted(_)) => Plan::Write,
            None => Plan::Watch(Step::Take { hpa: None, at_once: wish == Wish::Now }),
        };
    }
    if let Some(Other::Handed { hpa }) = other {
        return Plan::Watch(Step::HandOver { hpa });
    }
    if wish == Wish::Unsaid {
        return other.as_ref().map_or(Plan::Write, leave);
    }
    // There is no count to agree on where Jobs are made.
    let at_once = wish == Wish::Now || object.id.kind == Kind::ScaledJob;
    // Taken over while KEDA was stopped, and now it is to stay: then it is said anew.
    let pause = object.annotation(PAUSE_KEDA) == Some("true");
    let stands = match Stands::of(object) {
        Stands::Adopted(record) if pause && !record.paused_keda => Stands::Never,
        stands => stands,
    };
    match (stands, other) {
        (Stands::Adopted(_), None | Some(Other::Keda { .. })) => Plan::Write,
        (Stands::Adopted(record), Some(Other::Autoscaler { name, uid, owner }))
            if owner.as_deref() == Some(&*object.id.name) =>
        {
            if record.hpa.as_deref() == Some(&*uid) {
                let hpa = Id::new(Kind::HorizontalPodAutoscaler, &object.id.namespace, &name);
                return Plan::Watch(Step::Remove { hpa, uid });
            }
            Plan::Leave(format!(
                "KEDA is at work again: it made the HorizontalPodAutoscaler {name} anew; stop it, or leave it the \
                 others with `tidegate adopt --keda pause {}`",
                object.id.name
            ))
        }
        (_, None) => Plan::WriteAnd(take(object, None)),
        (_, Some(Other::Autoscaler { uid, owner, .. })) if owner.as_deref() == Some(&*object.id.name) => {
            Plan::Watch(Step::Take { hpa: Some(uid), at_once })
        }
        (_, Some(Other::Keda { .. })) => Plan::Watch(Step::Take { hpa: None, at_once }),
        (_, Some(other)) => leave(&other),
    }
}
