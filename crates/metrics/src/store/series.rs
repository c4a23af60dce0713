//! One series: its labels and its past.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_core::time::Span;

use super::chunk::Chunk;
use super::{GRACE, LOOKBACK, LabelSet, Past};

/// What stands where a series ended: the NaN that Prometheus uses for it.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Samples of the past a series keeps at the most, 1,800: 15 minutes at two a second, or a day at one
/// each 48 s. What comes faster is thinned.
pub(super) const SAMPLES_MAX: u32 = 1_800;

/// Whether `value` says that a series ended.
#[must_use]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// One series. Times are milliseconds since the Unix epoch, or whatever origin the driver has.
#[derive(Clone, Debug)]
pub struct Series {
    labels: Arc<LabelSet>,
    target: Option<Arc<str>>,
    /// How long its newest sample is believed.
    lookback_ms: i64,
    retention_ms: i64,
    samples_max: u32,
    chunks: VecDeque<Chunk>,
    /// Not yet packed: it gives way to a newer one that comes too soon.
    newest: Option<(i64, f64)>,
    packed_ms: i64,
}

impl Series {
    pub(super) fn new(labels: Arc<LabelSet>, target: Option<Arc<str>>, lookback: Span, past: Past) -> Self {
        Series {
            labels,
            target,
            lookback_ms: lookback.as_micros() / 1000,
            retention_ms: past.retention.as_micros() / 1000,
            samples_max: past.samples_max,
            chunks: VecDeque::new(),
            newest: None,
            packed_ms: i64::MIN,
        }
    }

    /// The metric's name.
    #[must_use]
    pub fn name(&self) -> &str {
        super::label(&self.labels, super::NAME).unwrap_or_default()
    }

    /// Its labels, `__name__` among them, in order of names.
    #[must_use]
    pub fn labels(&self) -> &LabelSet {
        &self.labels
    }

    pub(super) fn shared_labels(&self) -> &Arc<LabelSet> {
        &self.labels
    }

    /// The target whose replica wrote it; `None` for what was written to us.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// The newest sample, [stale](is_stale) or not.
    #[must_use]
    pub const fn newest(&self) -> Option<(i64, f64)> {
        self.newest
    }

    /// Whether it has ended for good, or has not begun.
    pub(super) fn has_ended(&self) -> bool {
        self.newest.is_none_or(|(_, value)| is_stale(value))
    }

    pub(super) fn set_retention(&mut self, retention: Span) {
        self.retention_ms = self.retention_ms.max(retention.as_micros() / 1000);
    }

    /// The closest that packed samples stand.
    fn step_ms(&self) -> i64 {
        self.retention_ms / i64::from(self.samples_max.max(1))
    }

    /// Adds a sample; false for one that is not newer than the newest.
    pub(super) fn push(&mut self, at_ms: i64, value: f64) -> bool {
        let Some((before_ms, before)) = self.newest else {
            self.newest = Some((at_ms, value));
            return true;
        };
        if at_ms <= before_ms {
            return false;
        }
        let apart = before_ms.saturating_sub(self.packed_ms) >= self.step_ms();
        if apart || is_stale(before) || is_stale(value) {
            self.pack(before_ms, before);
        }
        self.newest = Some((at_ms, value));
        let oldest_ms = at_ms.saturating_sub(self.retention_ms);
        while self.chunks.front().is_some_and(|chunk| chunk.end_ms() < oldest_ms) {
            self.chunks.pop_front();
        }
        true
    }

    fn pack(&mut self, at_ms: i64, value: f64) {
        self.packed_ms = at_ms;
        match self.chunks.back_mut().filter(|chunk| !chunk.is_full()) {
            Some(chunk) => {
                chunk.push(at_ms, value);
                if chunk.is_full() {
                    chunk.seal();
                }
            }
            None => self.chunks.push_back(Chunk::new(at_ms, value)),
        }
    }

    /// Bytes its past takes, without labels.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Series>()
            + self.chunks.iter().map(Chunk::size).sum::<usize>()
            + (self.chunks.capacity() - self.chunks.len()) * size_of::<Chunk>()
    }

    /// Samples kept.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.between(i64::MIN, i64::MAX).count()
    }

    /// Samples after `start_ms` and up to `end_ms`, stale ones too, oldest first.
    pub fn between(&self, start_ms: i64, end_ms: i64) -> impl Iterator<Item = (i64, f64)> {
        let chunks = self.chunks.iter().skip_while(move |chunk| chunk.end_ms() <= start_ms);
        chunks
            .flat_map(Chunk::iter)
            .chain(self.newest)
            .skip_while(move |(at_ms, _)| *at_ms <= start_ms)
            .take_while(move |(at_ms, _)| *at_ms <= end_ms)
    }

    /// The sample that counts at `at_ms`: the newest before it, unless it is stale or too old. A scraped
    /// series is believed for [`GRACE`], a written one for [`LOOKBACK`], as Prometheus does.
    #[must_use]
    pub fn at(&self, at_ms: i64) -> Option<(i64, f64)> {
        let newest = self.newest?;
        let found = if newest.0 <= at_ms {
            (newest, self.lookback_ms)
        } else {
            // Among thinned samples, the one before may be two steps away.
            let lookback = self.lookback_ms.max(2 * self.step_ms());
            (self.between(at_ms.saturating_sub(lookback), at_ms).last()?, lookback)
        };
        let ((found_ms, value), lookback) = found;
        (found_ms > at_ms.saturating_sub(lookback) && !is_stale(value)).then_some((found_ms, value))
    }

    /// Whether nothing of it is left at `now_ms`.
    pub(super) fn is_over(&self, now_ms: i64) -> bool {
        let keep_ms = self.retention_ms.max(LOOKBACK.max(GRACE).as_micros() / 1000);
        self.newest.is_none_or(|(at_ms, _)| at_ms < now_ms.saturating_sub(keep_ms))
    }
}
