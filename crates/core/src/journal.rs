//! The written form of a run: what came in, what went out.
//!
//! A journal is a sequence of segments. Each opens with a [`Header`] that carries everything needed to
//! go on from there: format version, wall-clock origin, a hash of the manifest, and every target's spec
//! and state. Then follow [`Entry`]s in order. Any suffix of segments replays to the same actions, byte
//! for byte. Formulas are kept as text in the spec and compiled again.
//!
//! No prompt, key or header of a request ever enters it: the events of the `scale` machine have none.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::scale::{Action, Event, Spec, State};
use crate::time::Time;

/// The format this version writes, and the only one it reads.
pub const FORMAT: u32 = 1;

/// The first line of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub tidegate_journal: u32,
    /// Unix time in microseconds at the driver's time origin.
    pub origin_unix_us: i64,
    /// A hash of the manifests, in hex, to tell runs of different ones apart.
    pub manifest: String,
    /// Every target as it was when the segment began.
    pub targets: BTreeMap<Arc<str>, Snapshot>,
}

/// One target at a segment's start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its spec.
    pub spec: Spec,
    /// What it remembered.
    pub state: State,
}

/// A line that is not a header, as it is written.
#[derive(Debug, Serialize)]
pub struct Written<'a> {
    /// When.
    pub t: Time,
    /// Which target.
    pub target: &'a str,
    /// What happened.
    pub event: &'a Event,
    /// What followed from it; left out when nothing did.
    #[serde(skip_serializing_if = "<[Action]>::is_empty")]
    pub actions: &'a [Action],
}

/// A line that is not a header, as it is read. Actions stay text: replay compares them as such.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Entry {
    /// When.
    pub t: Time,
    /// Which target.
    pub target: Arc<str>,
    /// What happened.
    pub event: Event,
}
