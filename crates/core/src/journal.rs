//! The written form of a run: what came in, what went out.
//!
//! A journal is a sequence of segments. Each opens with a [`Header`] that carries everything needed to
//! go on from there: format version, wall-clock origin, a hash of the manifest, and every target's spec
//! and state. Then follow [`Entry`]s in order, and a [`Joined`] before the first of a target that the header does not
//! have. Any suffix of segments replays to the same actions, byte
//! for byte. Formulas are kept as text in the spec and compiled again.
//!
//! No prompt, key or header of a request ever enters it: the events of the `scale` machine have none.

use alloc::collections::{BTreeMap, BTreeSet};
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
    /// Whether a run begins here that goes by what its driver remembered of the targets, not by the segment before.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub anew: bool,
    /// Those of the targets that join with this segment, as a [`Joined`] has it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub joined: BTreeSet<Arc<str>>,
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

/// How a line begins that says of a target that it joined after its segment's header. What stands before it under the
/// same name was another target's, or is this one's before its state was set anew (a lease that was lost and won again, a
/// clock that was set).
pub const JOINS: &str = "{\"joins\":";

/// A line that says so, as it is written.
#[derive(Debug, Serialize)]
pub struct Joins<'a> {
    /// The target as it joined.
    pub joins: &'a Snapshot,
    /// When its first event was.
    pub t: Time,
    /// Its name.
    pub target: &'a str,
}

/// The same as it is read.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Joined {
    /// The target as it joined.
    pub joins: Snapshot,
    /// When its first event was.
    pub t: Time,
    /// Its name.
    pub target: Arc<str>,
}

/// A line of an event, as it is written.
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

/// A line of an event, as it is read. Actions stay text: replay compares them as such.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Entry {
    /// When.
    pub t: Time,
    /// Which target.
    pub target: Arc<str>,
    /// What happened.
    pub event: Event,
}
