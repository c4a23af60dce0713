//! Knative's pod autoscaler (KPA), on concurrency.
//!
//! Source: `knative.dev/serving`, `pkg/autoscaler/scaling/autoscaler.go`. Every 2 s, with `ready` pods (at
//! least 1), the mean concurrency of the last 60 s (stable) and of the last 6 s (panic):
//!
//! ```text
//! dspc = ceil(stable / target)      dppc = ceil(panic / target)
//! each kept within floor(ready / 2) and ceil(ready × 1000)
//! panic begins, or begins anew, when dppc before those limits / ready ≥ 2
//! panic ends 60 s after it last began
//! in panic: the greatest of dspc, dppc and all counts of this panic; else dspc
//! ```
//!
//! `target` is 70 % of the container concurrency, 100 by default. Concurrency is counted where the requests
//! are: at queue proxies and, at zero, at the activator. Metrics come each second.
//!
//! *Worked* (target 10, 2 ready): 60 s at 15 in flight are ceil(1.5) = 2. Then 50 at once: the panic mean
//! passes 30, dppc = 4, 4/2 ≥ 2, panic. It does not go down for 60 s, whatever comes.

use tidegate_core::time::{Span, Time};

use super::window::{Window, ceil};
use super::{Error, Policy, Seen, Wanted, next_of};

const TICK: Span = Span::from_secs(2);
const METRICS: Span = Span::from_secs(1);
const STABLE: Span = Span::from_secs(60);
const PANIC: Span = Span::from_secs(6);
const PANIC_THRESHOLD: f64 = 2.0;
const UP_RATE_MAX: f64 = 1000.0;
const DOWN_RATE_MAX: f64 = 2.0;
/// Container concurrency × target utilisation: 100 × 70 %.
pub(super) const TARGET: f64 = 70.0;

/// The autoscaler.
#[derive(Clone, Debug)]
pub struct Kpa {
    target: f64,
    bounds: (u32, u32),
    stable: Window,
    panic: Window,
    /// When the panic last began.
    panicking: Option<Time>,
    panic_pods: u32,
    next_metrics: Time,
    next_tick: Time,
}

impl Kpa {
    /// So much concurrency a replica, and these bounds.
    #[must_use]
    pub fn new(target: f64, bounds: (u32, u32)) -> Kpa {
        Kpa {
            target,
            bounds,
            stable: Window::new(STABLE),
            panic: Window::new(PANIC),
            panicking: None,
            panic_pods: 0,
            next_metrics: Time::ORIGIN,
            next_tick: Time::ORIGIN,
        }
    }

    fn scale(&mut self, now: Time, ready: u32) -> u32 {
        let ready = f64::from(ready.max(1));
        let within = |count: f64| {
            let (least, most) = (libm::floor(ready / DOWN_RATE_MAX), libm::ceil(ready * UP_RATE_MAX));
            ceil(count).clamp(least as u32, most as u32)
        };
        let (dspc, dppc) = (self.stable.mean() / self.target, self.panic.mean() / self.target);
        if f64::from(ceil(dppc)) / ready >= PANIC_THRESHOLD {
            self.panicking = Some(now);
        } else if self.panicking.is_some_and(|since| now.since(since) > STABLE) {
            self.panicking = None;
            self.panic_pods = 0;
        }
        let stable = within(dspc);
        if self.panicking.is_none() {
            return stable;
        }
        self.panic_pods = self.panic_pods.max(stable).max(within(dppc));
        self.panic_pods
    }
}

impl Policy for Kpa {
    fn name(&self) -> String {
        format!("kpa:{}", self.target)
    }

    fn next_look(&self) -> Time {
        self.next_metrics.min(self.next_tick)
    }

    fn look(&mut self, now: Time, seen: &Seen<'_>) -> Result<Option<Wanted>, Error> {
        let concurrency = f64::from(seen.demand.waiting) + f64::from(seen.demand.in_flight);
        if now >= self.next_metrics {
            self.next_metrics = next_of(now, METRICS);
            self.stable.push(now, concurrency);
            self.panic.push(now, concurrency);
        }
        // The activator tells the autoscaler at once of a request that finds no pod.
        let woken = seen.wanted == 0 && concurrency > 0.0;
        if now < self.next_tick && !woken {
            return Ok(None);
        }
        self.next_tick = next_of(now, TICK);
        let counted = self.scale(now, seen.ready);
        let replicas = counted.max(u32::from(woken)).clamp(self.bounds.0, self.bounds.1);
        Ok((replicas != seen.wanted).then(|| Wanted {
            replicas,
            because: format!(
                "{:.1} in flight over 60 s, {:.1} over 6 s, {} a replica{}",
                self.stable.mean(),
                self.panic.mean(),
                self.target,
                if self.panicking.is_some() { ", in panic" } else { "" }
            ),
        }))
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
    fn the_stable_mean_over_the_target_is_what_it_wants() {
        let mut kpa = Kpa::new(10.0, (0, 100));
        assert_eq!(
            play(&mut kpa, 0..=70, |_| seen(2, 2, 15)),
            [(0, 2)].into_iter().skip(1).collect::<Vec<_>>()
        );
        let mut kpa = Kpa::new(10.0, (0, 100));
        let changes = play(&mut kpa, 0..=70, |_| seen(3, 3, 15));
        assert_eq!(changes.first(), Some(&(0, 2)), "15 / 10 are 2, and not less than half of 3");
    }

    #[test]
    fn twice_what_is_ready_is_a_panic_and_a_panic_never_goes_down() {
        let mut kpa = Kpa::new(10.0, (0, 100));
        for second in 0..60 {
            kpa.look(Time::from_secs(second), &seen(2, 2, 15)).unwrap();
        }
        let mut most = 0;
        for second in 60..66 {
            let wanted = kpa.look(Time::from_secs(second), &seen(2, 2, 50)).unwrap();
            most = wanted.map_or(most, |wanted| wanted.replicas.max(most));
        }
        // At 64 s the panic mean is of 15, then five of 50: 44.2, which is 5.
        assert_eq!(most, 5);
        for second in 66..=120 {
            let wanted = kpa.look(Time::from_secs(second), &seen(5, 5, 1)).unwrap();
            assert_eq!(wanted, None, "{second}");
        }
    }

    #[test]
    fn in_one_step_it_goes_down_to_half_at_the_most() {
        let mut kpa = Kpa::new(10.0, (0, 100));
        let wanted = kpa.look(Time::ORIGIN, &seen(9, 9, 0)).unwrap().unwrap();
        assert_eq!(wanted.replicas, 4);
    }
}
