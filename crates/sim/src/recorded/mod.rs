//! What really happened, as a journal tells it, made into a trace and a world to try other policies in.
//!
//! A journal has no requests: it has how many were at the gateway, at most ten times a second and at every edge
//! from and to zero, and which replicas there were. So requests are made of it that give the same curve:
//!
//! - where the count rises, requests come; where it falls, the oldest end;
//! - a request that came while another left is not seen: the first seems to stay for both, so that the sum of the
//!   times they were there, which is what replicas were busy with, is as it was; a stay too long for one answer
//!   is made several requests, one after another;
//! - of that time only what was service makes tokens: none while no replica was ready, and only the share that
//!   had a seat while more were there than seats (see [`Recorded::requests`]).
//!
//! A journal of policy `slo` also has what came, in requests and tokens, each second: then requests are made of that,
//! with the mean lengths it tells.
//!
//! Otherwise lengths of prompts are not known. What a policy sees of this is the demand; what it cannot tell is how the
//! time to the first token was spread.

mod history;
mod requests;

pub use history::{Recorded, SAMPLES_MAX, Totals};
pub use requests::{PROMPT_TOKENS, REQUESTS_MAX};

use std::io;

/// A journal that cannot be made into a trace, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source failed.
    #[error("line {line}: cannot read the journal: {source}")]
    Read {
        /// Counted from 1 over all segments.
        line: u64,
        /// What happened.
        source: io::Error,
    },
    /// A line that is none of a journal.
    #[error("line {line} is no journal line: {what}; the file was cut or edited before it")]
    Line {
        /// Counted from 1 over all segments.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// Another version wrote it.
    #[error(
        "line {line}: journal format {found} is not the one this version reads; use the version that wrote it"
    )]
    Format {
        /// Counted from 1 over all segments.
        line: u64,
        /// What was found.
        found: u32,
    },
    /// The target asked for is not in it, or none was asked for and there are several.
    #[error("{what}; the journal has {known}")]
    Target {
        /// What is the matter.
        what: String,
        /// Its targets.
        known: String,
    },
    /// Nobody told the demand of the target.
    #[error(
        "the journal has no demand of {target}: no gateway stood before it, so nobody knows what was asked; \
         journals of `tidegate up` have it"
    )]
    NoDemand {
        /// Which.
        target: String,
    },
    /// More than is kept.
    #[error("line {line}: more than {most} {what}; cut the journal to fewer segments")]
    TooMuch {
        /// Counted from 1 over all segments.
        line: u64,
        /// Of what.
        what: &'static str,
        /// How many are kept.
        most: usize,
    },
}
