//! Journals as JSON lines: write, read, replay; and the machines whose steps they hold.
//!
//! A bug report is a journal. It is written in segments of about 64 MiB; each opens with a snapshot of
//! every target, so old segments can be thrown away and what remains still replays. [`replay()`] runs the
//! recorded events through the same machine and compares what comes out with what was recorded, byte for
//! byte.
//!
//! [`Control`] owns the machines of all targets and writes down every step, for every driver.
//!
//! Nothing here opens a file: segments are made by whoever drives ([`Segments`]), lines are read from
//! any [`BufRead`](std::io::BufRead).
#![forbid(unsafe_code)]

pub mod control;
mod replay;
mod write;

pub use control::{Control, Recorder};
pub use replay::{Error, Recovered, Replayed, recover, replay};
pub use write::{Journal, Opening, Segments, manifest_hash};

/// A segment that has this size is not written to any more. A busy target writes about 1 KB a second, so 64 MiB hold eighteen hours
/// of it, and a segment is read into an editor without pain.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// One line at the most: a snapshot of ten thousand targets is under 30 MB.
pub const LINE_BYTES_MAX: usize = 64 << 20;

/// Targets of one segment at the most, those that joined included: a line that joins one is some 2 KB, so what we write
/// has no more than 33,000 in 64 MiB. Readers refuse more, as each is a machine.
pub const TARGETS_MAX: usize = 200_000;
