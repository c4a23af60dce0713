//! How long starts took: the time to look ahead.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::time::Span;

/// Starts that are remembered: a p90 over fewer than 20 would be their greatest.
const KEPT: usize = 20;
/// Before one was measured: an 8B model from a local disk takes 70 to 120 s, and too long a look-ahead errs on
/// the side of a replica too many.
const FIRST: Span = Span::from_secs(120);
/// No look-ahead is longer: 15 minutes, an untuned image pull included.
const MAX: Span = Span::from_secs(900);

/// The last starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Starts {
    took: VecDeque<Span>,
}

impl Starts {
    pub(crate) fn took(&mut self, took: Span) {
        if took <= Span::ZERO {
            return;
        }
        if self.took.len() == KEPT {
            self.took.pop_front();
        }
        self.took.push_back(took);
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.took.capacity() * size_of::<Span>()
    }

    pub(crate) fn count(&self) -> usize {
        self.took.len()
    }

    /// Nine in ten of them took no longer; at most [`MAX`].
    pub(crate) fn p90(&self) -> Span {
        let mut sorted: Vec<Span> = self.took.iter().copied().collect();
        sorted.sort_unstable();
        let place = (sorted.len() * 9).div_ceil(10).saturating_sub(1);
        sorted.get(place).map_or(FIRST, |took| (*took).min(MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_in_ten_of_the_last_twenty_starts_took_no_longer() {
        let mut starts = Starts::default();
        assert_eq!(starts.p90(), Span::from_secs(120), "nothing measured yet");
        for second in 1..=30 {
            starts.took(Span::from_secs(second));
        }
        // The last twenty are 11 to 30 s; the 18th of them is 28 s.
        assert_eq!((starts.count(), starts.p90()), (20, Span::from_secs(28)));
    }

    #[test]
    fn a_start_of_hours_is_not_looked_ahead_over() {
        let mut starts = Starts::default();
        starts.took(Span::from_secs(7_200));
        assert_eq!(starts.p90(), Span::from_secs(900));
        starts.took(Span::ZERO);
        assert_eq!(starts.count(), 1, "a start of no length is none");
    }
}
