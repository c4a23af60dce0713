//! Means over the last so many seconds, as every one of the peers takes them.

use std::collections::VecDeque;

use tidegate_core::time::{Span, Time};

/// Samples of one window at the most: ten minutes of one a second, six times over.
const SAMPLES_MAX: usize = 3_600;

/// Samples no older than the window.
#[derive(Clone, Debug)]
pub(super) struct Window {
    span: Span,
    samples: VecDeque<(Time, f64)>,
}

impl Window {
    pub(super) fn new(span: Span) -> Window {
        Window { span, samples: VecDeque::new() }
    }

    pub(super) fn push(&mut self, now: Time, value: f64) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((now, value));
        while self.samples.front().is_some_and(|(at, _)| now.since(*at) >= self.span) {
            self.samples.pop_front();
        }
    }

    /// The mean of what there is; 0 before anything is.
    pub(super) fn mean(&self) -> f64 {
        let sum: f64 = self.samples.iter().map(|(_, value)| value).sum();
        if self.samples.is_empty() { 0.0 } else { sum / self.samples.len() as f64 }
    }
}

/// The least whole number of replicas that is not below `count`, within what a count can be.
pub(super) fn ceil(count: f64) -> u32 {
    // A rounding error of a division must not cost a replica: 3.0000000001 is 3.
    libm::ceil(count - 1e-9).clamp(0.0, 1e6) as u32
}
