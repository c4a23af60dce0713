//! Objects as they are kept: as trees where they are looked at often, as text where there are many.
//!
//! A tree of `serde_json` has a node of 632 bytes for each `{}` in it, be there eleven fields in it or one: a
//! ScaledObject of 1.5 KB is one of 12 KB as a tree, and a Deployment's pod template another 10. An operator of
//! 10,000 of them reads each when it has changed, so there they are text between two looks.

use std::sync::Arc;

use serde_json::Value;

use crate::object::{Id, Kind, Object};

/// A JSON value as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Arc<str>);

impl Text {
    pub(super) fn of(json: &Value) -> Self {
        Text(json.to_string().into())
    }

    /// The value.
    #[must_use]
    pub fn open(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// The value as what it is.
    #[must_use]
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.0).ok()
    }
}

/// An object that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    /// Which change brought it: two of one object are never the same.
    pub(super) version: u64,
    pub(super) uid: Arc<str>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Tree(Arc<Object>),
    Text(Text),
}

impl Kept {
    pub(super) fn new(object: &Arc<Object>, version: u64, compact: bool) -> Self {
        let form = if compact && many(&object.id.kind) {
            Form::Text(Text::of(&object.json))
        } else {
            Form::Tree(Arc::clone(object))
        };
        Kept { version, uid: object.uid().into(), form }
    }

    /// The object.
    pub(super) fn open(&self, id: &Id) -> Arc<Object> {
        match &self.form {
            Form::Tree(object) => Arc::clone(object),
            Form::Text(text) => Arc::new(Object { id: id.clone(), json: text.open() }),
        }
    }
}

/// Kinds of which there is one for each target, and that are read only when they have changed. A ScaledJob and its
/// Jobs are looked at with each of their pods.
const fn many(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::ScaledObject
            | Kind::HorizontalPodAutoscaler
            | Kind::TriggerAuthentication
            | Kind::ClusterTriggerAuthentication
            | Kind::Secret
            | Kind::ConfigMap
            | Kind::Token
    )
}
