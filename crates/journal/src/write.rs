//! Writing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use tidegate_core::journal::{FORMAT, Header, Joins, Snapshot, Written};
use tidegate_core::scale::{Action, Event};
use tidegate_core::time::Time;

use crate::SEGMENT_BYTES_MAX;

/// Makes the places segments are written to.
pub trait Segments {
    /// Where one segment goes.
    type Out: Write;

    /// Opens segment `number`, from 1.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&mut self, number: u32) -> io::Result<Self::Out>;
}

/// Every target as a segment begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opening {
    /// With what it remembers.
    pub targets: BTreeMap<Arc<str>, Snapshot>,
    /// Those that came since the last segment began and have had no event.
    pub joined: BTreeSet<Arc<str>>,
}

/// A journal being written.
#[derive(Debug)]
pub struct Journal<S: Segments> {
    segments: S,
    manifest: String,
    anew: bool,
    origin_unix_us: i64,
    current: Option<S::Out>,
    number: u32,
    written: u64,
    segment_bytes_max: u64,
}

impl<S: Segments> Journal<S> {
    /// A journal of a run of the manifests with this hash, whose time counts from `origin_unix_us`.
    pub fn new(segments: S, manifest: String, origin_unix_us: i64) -> Self {
        Journal {
            segments,
            manifest,
            anew: false,
            origin_unix_us,
            current: None,
            number: 0,
            written: 0,
            segment_bytes_max: SEGMENT_BYTES_MAX,
        }
    }

    /// The same with smaller segments.
    #[must_use]
    pub fn with_segment_bytes_max(self, segment_bytes_max: u64) -> Self {
        Journal { segment_bytes_max: segment_bytes_max.min(SEGMENT_BYTES_MAX), ..self }
    }

    /// To be called before an event is stepped: opens a segment with a snapshot when there is none, or
    /// when the current one is full. Whether it did.
    ///
    /// # Errors
    /// When a segment cannot be opened or written.
    pub fn prepare(&mut self, opening: impl FnOnce() -> Opening) -> io::Result<bool> {
        if self.current.is_some() && self.written < self.segment_bytes_max {
            return Ok(false);
        }
        self.finish()?;
        self.number += 1;
        self.current = Some(self.segments.open(self.number)?);
        self.written = 0;
        let (anew, Opening { targets, joined }) = (std::mem::take(&mut self.anew), opening());
        // Where a run begins, all of them do.
        let joined = if anew || self.number == 1 { BTreeSet::new() } else { joined };
        let header = Header {
            tidegate_journal: FORMAT,
            origin_unix_us: self.origin_unix_us,
            manifest: self.manifest.clone(),
            anew,
            joined,
            targets,
        };
        self.line(&header)?;
        Ok(true)
    }

    /// Says of a target that it has joined since the segment's snapshot.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn join(&mut self, t: Time, target: &str, joins: &Snapshot) -> io::Result<()> {
        self.line(&Joins { joins, t, target })
    }

    /// Ends the segment: what follows is of other manifests, or of other targets, and opens with a snapshot
    /// of its own.
    ///
    /// # Errors
    /// When what is buffered cannot be written.
    pub fn turn(&mut self, manifest: String) -> io::Result<()> {
        self.finish()?;
        self.current = None;
        self.manifest = manifest;
        Ok(())
    }

    /// Goes on numbering after the segments of an earlier run.
    #[must_use]
    pub fn after(self, number: u32) -> Self {
        Journal { number, ..self }
    }

    /// Says in the next segment that it begins a run of its own, which goes by what its driver remembers of the
    /// targets and not by the segments before.
    #[must_use]
    pub fn anew(self) -> Self {
        Journal { anew: true, ..self }
    }

    /// Writes one event and what followed from it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record(&mut self, t: Time, target: &str, event: &Event, actions: &[Action]) -> io::Result<()> {
        self.line(&Written { t, target, event, actions })
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        match &mut self.current {
            Some(out) => out.flush(),
            None => Ok(()),
        }
    }

    fn line(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.written += line.len() as u64;
        match &mut self.current {
            Some(out) => out.write_all(&line),
            None => Err(io::Error::other("record before prepare")),
        }
    }
}

/// A hash of manifests, to tell runs of different ones apart: 64-bit FNV-1a in hex. Not for security.
#[must_use]
pub fn manifest_hash<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut take = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    for file in files {
        file.iter().copied().for_each(&mut take);
        // A separator, so that where one file ends matters.
        take(0xff);
    }
    format!("{hash:016x}")
}
