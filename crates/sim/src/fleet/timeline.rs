//! What happened when, in bins that grow with the run.
//!
//! A bin is a second at first; whenever there are too many, neighbours are joined. So a run of any length
//! fits, and none has to say beforehand how long it is.

use serde::Serialize;
use tidegate_core::time::{Span, Time};

/// Bins at the most: what a chart can show. 4,000 of 300 bytes are 1.2 MB.
const BINS_MAX: usize = 4_000;

/// Buckets of times to first token: the n-th ends at 1 ms · √2^n, so that 40 reach 1,000 s and each is
/// known to a fifth.
const BUCKETS: usize = 41;

/// One stretch of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Requests that arrived.
    pub arrived: u32,
    /// Their work in seconds of one replica: [`crate::Profile::work_s`].
    pub work_s: f64,
    /// First tokens.
    pub first_tokens: u32,
    /// Of the requests that arrived here, those that missed the objective.
    pub missed: u32,
    /// The most replicas asked for, and ready at its end.
    pub wanted: u32,
    /// Replicas that took requests at its end.
    pub ready: u32,
    /// The most requests that waited at the gateway.
    pub waiting: u32,
    /// The most at engines.
    pub in_flight: u32,
    #[serde(skip)]
    ttft: [u32; BUCKETS],
}

impl Default for Bin {
    fn default() -> Self {
        Bin {
            arrived: 0,
            work_s: 0.0,
            first_tokens: 0,
            missed: 0,
            wanted: 0,
            ready: 0,
            waiting: 0,
            in_flight: 0,
            ttft: [0; BUCKETS],
        }
    }
}

impl Bin {
    /// The time to first token below which this share of the bin's lie, in seconds, to a fifth; `None`
    /// where there was none.
    #[must_use]
    pub fn ttft_s(&self, share: f64) -> Option<f64> {
        let all: u32 = self.ttft.iter().sum();
        let rank = (f64::from(all) * share).max(1.0);
        let mut below = 0;
        let bucket = self.ttft.iter().position(|count| {
            below += count;
            f64::from(below) >= rank
        })?;
        // The middle of the bucket, by ratio.
        (all > 0).then(|| 0.001 * libm::pow(2.0, (bucket as f64 - 0.5) / 2.0))
    }

    fn join(&mut self, later: &Bin) {
        self.arrived += later.arrived;
        self.work_s += later.work_s;
        self.first_tokens += later.first_tokens;
        self.missed += later.missed;
        self.wanted = self.wanted.max(later.wanted);
        self.ready = later.ready;
        self.waiting = self.waiting.max(later.waiting);
        self.in_flight = self.in_flight.max(later.in_flight);
        for (mine, more) in self.ttft.iter_mut().zip(later.ttft) {
            *mine += more;
        }
    }
}

/// The bins of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timeline {
    /// The length of one bin in seconds.
    pub bin_s: i64,
    /// The bins in order, from the run's beginning.
    pub bins: Vec<Bin>,
}

impl Default for Timeline {
    fn default() -> Self {
        Timeline { bin_s: 1, bins: Vec::new() }
    }
}

/// Levels at an instant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Levels {
    pub(super) wanted: u32,
    pub(super) ready: u32,
    pub(super) waiting: u32,
    pub(super) in_flight: u32,
}

impl Timeline {
    fn place(&self, at: Time) -> usize {
        usize::try_from(at.as_micros().div_euclid(1_000_000).max(0) / self.bin_s).unwrap_or(usize::MAX)
    }

    /// The bin of an instant; levels last until something else is noted.
    fn at(&mut self, at: Time) -> &mut Bin {
        while self.place(at) >= BINS_MAX {
            let joined = self.bins.chunks(2).map(|pair| {
                let mut bin = pair[0].clone();
                pair.iter().skip(1).for_each(|later| bin.join(later));
                bin
            });
            self.bins = joined.collect();
            self.bin_s *= 2;
        }
        let place = self.place(at);
        while self.bins.len() <= place {
            let last = self.bins.last();
            let level = |of: fn(&Bin) -> u32| last.map_or(0, of);
            let bin =
                Bin { wanted: level(|bin| bin.wanted), ready: level(|bin| bin.ready), ..Bin::default() };
            self.bins.push(bin);
        }
        &mut self.bins[place]
    }

    pub(super) fn arrived(&mut self, at: Time, work_s: f64) {
        let bin = self.at(at);
        bin.arrived += 1;
        bin.work_s += work_s;
    }

    pub(super) fn missed(&mut self, arrived: Time) {
        self.at(arrived).missed += 1;
    }

    pub(super) fn first_token(&mut self, at: Time, ttft: Span) {
        let millis = (ttft.as_micros() as f64 / 1e3).max(1.0);
        let bucket = (libm::ceil(libm::log2(millis) * 2.0) as usize).min(BUCKETS - 1);
        let bin = self.at(at);
        bin.first_tokens += 1;
        bin.ttft[bucket] += 1;
    }

    pub(super) fn levels(&mut self, at: Time, levels: Levels) {
        let bin = self.at(at);
        bin.wanted = levels.wanted;
        bin.ready = levels.ready;
        bin.waiting = bin.waiting.max(levels.waiting);
        bin.in_flight = bin.in_flight.max(levels.in_flight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_fits_and_loses_no_request() {
        let mut timeline = Timeline::default();
        for minute in 0..7 * 24 * 60 {
            let at = Time::from_secs(minute * 60);
            timeline.arrived(at, 0.5);
            timeline.first_token(at, Span::from_micros(1_500_000));
        }
        assert!(timeline.bins.len() <= BINS_MAX);
        assert_eq!(timeline.bin_s, 256);
        assert_eq!(timeline.bins.iter().map(|bin| bin.arrived).sum::<u32>(), 7 * 24 * 60);
        let p95 = timeline.bins[100].ttft_s(0.95).unwrap();
        assert!((1.5..1.9).contains(&p95), "{p95}");
    }

    #[test]
    fn a_level_lasts_until_the_next() {
        let mut timeline = Timeline::default();
        timeline.levels(Time::from_secs(1), Levels { wanted: 3, ready: 2, ..Levels::default() });
        timeline.arrived(Time::from_secs(9), 0.0);
        assert_eq!((timeline.bins[9].wanted, timeline.bins[9].ready), (3, 2));
        assert_eq!(timeline.bins[0].wanted, 0);
    }
}
