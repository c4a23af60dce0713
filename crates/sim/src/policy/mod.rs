//! Policies: what was observed in, replicas wanted out.
//!
//! Each is faithful to its source and lives in a file of its own with the formula it was written from. A
//! policy decides when it looks, and sees the world as it is at that instant; whatever delays its original
//! has (scrapes, polls, windows), it keeps to itself.

mod aibrix;
mod choice;
mod fixed;
mod keda;
mod kpa;
mod kubeai;
mod loads;
mod page;
mod ray;
mod slo;
mod sources;
mod window;
mod wva;

pub use aibrix::Aibrix;
pub use choice::{Choice, Error as ChoiceError, KNOWN};
pub use fixed::Fixed;
pub use keda::{Beat, Keda};
pub use kpa::Kpa;
pub use kubeai::KubeAi;
pub use ray::Ray;
pub use wva::Wva;

use std::io;

use tidegate_core::route::Demand;
use tidegate_core::time::Time;

use crate::engine::Stats;
use crate::fleet::Ttft;

/// A policy that cannot go on, or cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The journal cannot be written.
    #[error("the journal cannot be written: {0}; free space or name another directory, and run again")]
    Journal(#[from] io::Error),
    /// The spec's formula does not compile.
    #[error(transparent)]
    Spec(#[from] tidegate_core::scale::SpecError),
}

/// One replica as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaSeen<'a> {
    /// Its number; never used again for another.
    pub number: u32,
    /// Whether it takes requests, and since when it does or does not.
    pub ready: bool,
    /// When it became what it is.
    pub since: Time,
    /// What its engine says of itself; zero before it is ready.
    pub stats: Stats,
    /// Its times to first token.
    pub ttft: &'a Ttft,
    /// Requests it has answered.
    pub finished: u64,
}

/// What came to the gateway since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Requests.
    pub requests: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Of them, those that were answered.
    pub answered: u64,
    /// Tokens written for these.
    pub output_tokens: u64,
    /// Requests whose first token came, or that were not answered.
    pub first_tokens: u64,
    /// Of these, those whose first token came after the objective or never.
    pub late: u64,
}

/// The world at one instant.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// Replicas asked for.
    pub wanted: u32,
    /// Of them, those that take requests.
    pub ready: u32,
    /// And those that start.
    pub starting: u32,
    /// What the gateway holds and has given out, exactly.
    pub demand: Demand,
    /// What came so far.
    pub arrived: Arrived,
    /// Each replica but those that drain, by number.
    pub replicas: &'a [ReplicaSeen<'a>],
    /// How long the last starts took, in seconds, oldest first; at most [`STARTS_KEPT`].
    pub starts_s: &'a [f64],
    /// How many starts there have been.
    pub starts: u64,
}

/// Starts that are remembered: a p90 over fewer than 20 would be their greatest.
pub const STARTS_KEPT: usize = 20;

/// How many replicas, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// So many.
    pub replicas: u32,
    /// In one line, with its numbers.
    pub because: String,
}

/// Decides replicas of one target.
pub trait Policy {
    /// What it is called in tables, with its settings.
    fn name(&self) -> String;

    /// When it looks next; asked after each look, and never before the instant of that look.
    fn next_look(&self) -> Time;

    /// Looks. `None` changes nothing.
    ///
    /// # Errors
    /// When it cannot go on; the run ends.
    fn look(&mut self, now: Time, seen: &Seen<'_>) -> Result<Option<Wanted>, Error>;

    /// Whether it is also shown the world when the first request comes to a gateway that had none, and when
    /// the last one leaves.
    fn sees_edges(&self) -> bool {
        false
    }

    /// The run is over.
    ///
    /// # Errors
    /// When what it wrote down cannot be finished.
    fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// What a run should tell its reader of this policy: signals that nobody writes here, and the like.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The next of the instants `every` apart that is later than `now`.
pub(crate) fn next_of(now: Time, every: tidegate_core::time::Span) -> Time {
    let every = every.as_micros().max(1);
    Time::from_micros((now.as_micros().div_euclid(every) + 1) * every)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A world with so many replicas and requests under way.
    pub(crate) fn seen(wanted: u32, ready: u32, requests: u32) -> Seen<'static> {
        let in_flight = if ready > 0 { requests } else { 0 };
        Seen {
            wanted,
            ready,
            starting: wanted - ready,
            demand: Demand { waiting: requests - in_flight, in_flight, ..Demand::default() },
            arrived: Arrived::default(),
            replicas: &[],
            starts_s: &[],
            starts: 0,
        }
    }

    /// Looks every second; what it wanted when.
    pub(crate) fn play(
        policy: &mut dyn Policy,
        seconds: std::ops::RangeInclusive<i64>,
        world: impl Fn(i64) -> Seen<'static>,
    ) -> Vec<(i64, u32)> {
        let looks = seconds.filter_map(|second| {
            let wanted = policy.look(Time::from_secs(second), &world(second)).unwrap()?;
            Some((second, wanted.replicas))
        });
        looks.collect()
    }
}
