//! What is counted for each target: requests by how they ended, times, tokens.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidegate_core::route::Flow;
use tidegate_core::time::Span;

/// Seconds; the usual ones of engines and peers for waits of an answer.
pub(crate) const SECONDS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 600.0];
/// Seconds between two tokens.
pub(crate) const GAPS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.4, 1.0, 10.0];

/// Length of one slice of the recent past; four of them are kept, so "recent" is the last 45 to 60 s.
const SLICE: Duration = Duration::from_secs(15);
const SLICES: usize = 4;
/// An hour in microseconds: longer is counted as this.
const MICROS_MAX: u64 = 3_600_000_000;

/// Percentiles of a time, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    /// How many were measured.
    pub count: u64,
    /// Half were at most this.
    pub p50: f64,
    /// Nine in ten.
    pub p90: f64,
    /// 95 in a hundred.
    pub p95: f64,
    /// 99 in a hundred.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// Percentiles since the start and of the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// Of the last 45 to 60 seconds.
    pub recent: Percentiles,
    /// Since the gateway started.
    pub all: Percentiles,
}

/// One kind of time. Two digits of precision over 1 µs to 1 h are 26 × 128 counters, 13 KB in 32 bits; the
/// recent slices come into being only when something is measured.
pub(crate) struct Series {
    bounds: &'static [f64; 16],
    pub(crate) buckets: [u64; 17],
    pub(crate) sum_s: f64,
    all: Option<Histogram<u32>>,
    recent: [Option<(u64, Histogram<u32>)>; SLICES],
    epoch: Instant,
}

impl Series {
    fn new(bounds: &'static [f64; 16]) -> Self {
        Series {
            bounds,
            buckets: [0; 17],
            sum_s: 0.0,
            all: None,
            recent: Default::default(),
            epoch: Instant::now(),
        }
    }

    pub(crate) fn bounds(&self) -> &'static [f64; 16] {
        self.bounds
    }

    fn record(&mut self, wait: Duration, times: u64, now: Instant) {
        let seconds = wait.as_secs_f64();
        let bucket = self.bounds.partition_point(|b| *b < seconds);
        self.buckets[bucket] += times;
        self.sum_s += seconds * times as f64;
        let micros = u64::try_from(wait.as_micros()).unwrap_or(MICROS_MAX).clamp(1, MICROS_MAX);
        if self.all.is_none() {
            self.all = Histogram::new_with_bounds(1, MICROS_MAX, 2).ok();
        }
        if let Some(all) = &mut self.all {
            all.saturating_record_n(micros, u32::try_from(times).unwrap_or(u32::MAX));
        }
        let slice = self.slice(now);
        let place = &mut self.recent[usize::try_from(slice).unwrap_or(0) % SLICES];
        match place {
            Some((number, histogram)) => {
                if *number != slice {
                    histogram.reset();
                    *number = slice;
                }
                histogram.saturating_record_n(micros, u32::try_from(times).unwrap_or(u32::MAX));
            }
            None => {
                if let Ok(mut histogram) = Histogram::new_with_bounds(1, MICROS_MAX, 2) {
                    histogram.saturating_record_n(micros, u32::try_from(times).unwrap_or(u32::MAX));
                    *place = Some((slice, histogram));
                }
            }
        }
    }

    fn slice(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_secs() / SLICE.as_secs()
    }

    fn latency(&self, now: Instant) -> Latency {
        let current = self.slice(now);
        let mut merged: Option<Histogram<u32>> = None;
        for (number, histogram) in self.recent.iter().flatten() {
            if number + SLICES as u64 > current {
                if merged.is_none() {
                    merged = Histogram::new_with_bounds(1, MICROS_MAX, 2).ok();
                }
                if let Some(sum) = &mut merged {
                    let _ = sum.add(histogram);
                }
            }
        }
        Latency { recent: percentiles(merged.as_ref()), all: percentiles(self.all.as_ref()) }
    }
}

fn percentiles(histogram: Option<&Histogram<u32>>) -> Percentiles {
    let Some(h) = histogram else { return Percentiles::default() };
    let at = |q| h.value_at_quantile(q) as f64 / 1e6;
    Percentiles {
        count: h.len(),
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        max: h.max() as f64 / 1e6,
    }
}

pub(crate) struct Times {
    pub(crate) ttft: Series,
    pub(crate) itl: Series,
    pub(crate) e2e: Series,
    pub(crate) hold: Series,
    /// Requests by what the client got: an HTTP status, or 499 for one that left first.
    pub(crate) codes: BTreeMap<u16, u64>,
}

/// Counts of one target.
pub(crate) struct Stats {
    times: Mutex<Times>,
    pub(crate) retries: AtomicU64,
    pub(crate) ejections: AtomicU64,
    pub(crate) broken_streams: AtomicU64,
    pub(crate) cold_starts: AtomicU64,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) output_tokens: AtomicU64,
    flow: Counts,
}

/// What [`Flow`] is made of, beside the tokens written.
#[derive(Default)]
struct Counts {
    arrived: AtomicU64,
    prompt_tokens: AtomicU64,
    ended: AtomicU64,
    first_tokens: AtomicU64,
    late: AtomicU64,
    /// The objective in microseconds; 0 for none.
    ttft_us: AtomicU64,
}

/// How many gaps between tokens a stream gathers before it reports them: one lock for 32 tokens.
pub(crate) const GAPS_KEPT: usize = 32;

impl Stats {
    pub(crate) fn new() -> Self {
        Stats {
            times: Mutex::new(Times {
                ttft: Series::new(&SECONDS),
                itl: Series::new(&GAPS),
                e2e: Series::new(&SECONDS),
                hold: Series::new(&SECONDS),
                codes: BTreeMap::new(),
            }),
            retries: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            broken_streams: AtomicU64::new(0),
            cold_starts: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            output_tokens: AtomicU64::new(0),
            flow: Counts::default(),
        }
    }

    /// Sets until when a first token is in time.
    pub(crate) fn promise(&self, ttft: Option<Span>) {
        let micros = ttft.map_or(0, |ttft| u64::try_from(ttft.as_micros()).unwrap_or(0));
        self.flow.ttft_us.store(micros, Ordering::Relaxed);
    }

    /// A request came.
    pub(crate) fn arrived(&self, prompt_tokens: u32) {
        self.flow.arrived.fetch_add(1, Ordering::Relaxed);
        self.flow.prompt_tokens.fetch_add(u64::from(prompt_tokens), Ordering::Relaxed);
    }

    /// Whether this is longer than was promised.
    pub(crate) fn is_late(&self, wait: Duration) -> bool {
        let ttft_us = u128::from(self.flow.ttft_us.load(Ordering::Relaxed));
        ttft_us > 0 && wait.as_micros() > ttft_us
    }

    /// A request's first token came, in time or not; or it never will.
    pub(crate) fn judged(&self, late: bool) {
        self.flow.first_tokens.fetch_add(1, Ordering::Relaxed);
        if late {
            self.flow.late.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Everything counted for who scales the target.
    pub(crate) fn flow(&self) -> Flow {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Flow {
            arrived: read(&self.flow.arrived),
            prompt_tokens: read(&self.flow.prompt_tokens),
            ended: read(&self.flow.ended),
            output_tokens: read(&self.output_tokens),
            first_tokens: read(&self.flow.first_tokens),
            late: read(&self.flow.late),
        }
    }

    pub(crate) fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ejected(&self) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn held(&self, wait: Duration, cold: bool) {
        if cold {
            self.cold_starts.fetch_add(1, Ordering::Relaxed);
        }
        self.times().hold.record(wait, 1, Instant::now());
    }

    pub(crate) fn first_token(&self, wait: Duration, now: Instant) {
        self.times().ttft.record(wait, 1, now);
    }

    pub(crate) fn gaps(&self, gaps: &[(Duration, u32)], now: Instant) {
        let mut times = self.times();
        for (gap, events) in gaps {
            times.itl.record(*gap, u64::from(*events), now);
        }
    }

    /// A request is over: what its client got, and after how long. Only answered ones count as a time.
    pub(crate) fn ended(&self, code: u16, wait: Duration, now: Instant) {
        self.flow.ended.fetch_add(1, Ordering::Relaxed);
        let mut times = self.times();
        *times.codes.entry(code).or_insert(0) += 1;
        if code < 400 {
            times.e2e.record(wait, 1, now);
        }
    }

    pub(crate) fn tokens(&self, prompt: Option<u32>, output: Option<u32>) {
        self.prompt_tokens.fetch_add(u64::from(prompt.unwrap_or(0)), Ordering::Relaxed);
        self.output_tokens.fetch_add(u64::from(output.unwrap_or(0)), Ordering::Relaxed);
    }

    pub(crate) fn latencies(&self) -> [Latency; 4] {
        let (times, now) = (self.times(), Instant::now());
        [&times.ttft, &times.itl, &times.e2e, &times.hold].map(|s| s.latency(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recent_past_is_forgotten_and_the_whole_is_not() {
        let mut series = Series::new(&SECONDS);
        let start = series.epoch;
        series.record(Duration::from_millis(100), 1, start);
        series.record(Duration::from_millis(300), 3, start + Duration::from_secs(50));
        let now = series.latency(start + Duration::from_secs(55));
        assert_eq!((now.recent.count, now.all.count), (4, 4));
        let later = series.latency(start + Duration::from_secs(61));
        assert_eq!((later.recent.count, later.all.count), (3, 4));
        assert_eq!(series.latency(start + Duration::from_secs(200)).recent, Percentiles::default());
        assert!((later.all.p50 - 0.3).abs() < 0.01, "{later:?}");
    }

    #[test]
    fn late_is_what_takes_longer_than_was_promised() {
        let stats = Stats::new();
        assert!(!stats.is_late(Duration::from_secs(900)), "nothing was promised");
        stats.promise(Some(Span::from_secs(2)));
        assert!(!stats.is_late(Duration::from_secs(2)) && stats.is_late(Duration::from_micros(2_000_001)));
        stats.arrived(100);
        stats.judged(true);
        stats.judged(false);
        let flow = stats.flow();
        assert_eq!((flow.arrived, flow.prompt_tokens, flow.first_tokens, flow.late), (1, 100, 2, 1));
    }

    #[test]
    fn buckets_hold_what_is_at_most_their_bound() {
        let mut series = Series::new(&SECONDS);
        series.record(Duration::from_millis(5), 1, series.epoch);
        series.record(Duration::from_secs(10_000), 1, series.epoch);
        assert_eq!((series.buckets[0], series.buckets[16]), (1, 1));
    }
}
