//! KubeAI's mean of active requests.
//!
//! Source: KubeAI, `internal/modelautoscaler`. Every 10 s, over the last 60 samples (10 minutes, zeros before
//! the first) of active requests:
//!
//! ```text
//! ceil(mean / targetRequests)          targetRequests = 100
//! ```
//!
//! Up at once; down when the result was lower scaleDownDelaySeconds / 10 s times in a row (30 s: 3). A request
//! that finds none asks for one replica at once.
//!
//! *Worked* (target 10): from nothing to 300 in flight: after 10 s the mean is 5, 1 replica; after a minute
//! 30, 3; only after ten minutes the 30 that are needed. That is its way, not a mistake of this file.

use std::collections::VecDeque;

use tidegate_core::time::{Span, Time};

use super::window::ceil;
use super::{Error, Policy, Seen, Wanted, next_of};

const EVERY: Span = Span::from_secs(10);
const SAMPLES: usize = 60;
const DOWN_AFTER: u32 = 3;
/// `targetRequests`.
pub(super) const TARGET: f64 = 100.0;

/// The autoscaler.
#[derive(Clone, Debug)]
pub struct KubeAi {
    target: f64,
    bounds: (u32, u32),
    samples: VecDeque<f64>,
    lower: u32,
    next: Time,
}

impl KubeAi {
    /// So many active requests a replica, and these bounds.
    #[must_use]
    pub fn new(target: f64, bounds: (u32, u32)) -> KubeAi {
        let samples = std::iter::repeat_n(0.0, SAMPLES).collect();
        KubeAi { target, bounds, samples, lower: 0, next: Time::ORIGIN }
    }
}

impl Policy for KubeAi {
    fn name(&self) -> String {
        format!("kubeai:{}", self.target)
    }

    fn next_look(&self) -> Time {
        self.next
    }

    fn look(&mut self, now: Time, seen: &Seen<'_>) -> Result<Option<Wanted>, Error> {
        let active = f64::from(seen.demand.waiting) + f64::from(seen.demand.in_flight);
        if now < self.next {
            let woken = seen.wanted == 0 && active > 0.0 && self.bounds.1 > 0;
            let because = || "a request found no replica".to_owned();
            return Ok(woken.then(|| Wanted { replicas: 1, because: because() }));
        }
        self.next = next_of(now, EVERY);
        self.samples.pop_front();
        self.samples.push_back(active);
        let mean = self.samples.iter().sum::<f64>() / SAMPLES as f64;
        // A model that somebody is using keeps a replica while its mean is above nothing.
        let replicas = ceil(mean / self.target).clamp(self.bounds.0, self.bounds.1);
        let because = || format!("{mean:.1} active on average over 10 min, {} a replica", self.target);
        if replicas >= seen.wanted {
            self.lower = 0;
            return Ok((replicas > seen.wanted).then(|| Wanted { replicas, because: because() }));
        }
        self.lower += 1;
        if self.lower < DOWN_AFTER {
            return Ok(None);
        }
        self.lower = 0;
        Ok(Some(Wanted { replicas, because: because() }))
    }

    fn sees_edges(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{play, seen};

    #[test]
    fn the_mean_of_sixty_samples_climbs_for_ten_minutes() {
        let mut kubeai = KubeAi::new(10.0, (0, 100));
        let mut wanted = 1;
        let mut at = Vec::new();
        for second in (0..=600).step_by(10) {
            if let Some(new) = kubeai.look(Time::from_secs(second), &seen(wanted, wanted, 300)).unwrap() {
                wanted = new.replicas;
                at.push((second, wanted));
            }
        }
        // The n-th sample makes 5 n on average: above 10 a replica at every second one.
        assert_eq!(&at[..3], [(20, 2), (40, 3), (60, 4)]);
        assert_eq!(wanted, 30);
    }

    #[test]
    fn it_goes_down_after_three_lower_results_in_a_row() {
        let mut kubeai = KubeAi::new(10.0, (1, 100));
        let changes = play(&mut kubeai, 0..=60, |_| seen(4, 4, 0));
        assert_eq!(changes.first(), Some(&(20, 1)));
    }

    #[test]
    fn a_request_that_finds_none_asks_for_one_at_once() {
        let mut kubeai = KubeAi::new(10.0, (0, 100));
        kubeai.look(Time::ORIGIN, &seen(0, 0, 0)).unwrap();
        let woken = kubeai.look(Time::from_micros(500_000), &seen(0, 0, 1)).unwrap();
        assert_eq!(woken.map(|wanted| wanted.replicas), Some(1));
    }
}
