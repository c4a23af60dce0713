//! Time limits that nobody minds being a quarter of a second late.
//!
//! A request has half a dozen limits of seconds to minutes, and nearly none is ever reached. A tokio timer
//! costs some 150 ns to make, arm and drop, for a precision nobody asked for; here it is a slot in a list
//! that one task a thread walks four times a second. 20,000 connections are 20,000 slots: 0.1 ms a walk.
//! What time it is, is what it was at the last walk: a timer set now may look up to one tick younger than it is,
//! so every wait gets one tick more, and none ends early. On a thread that stood still (the machine was busy, or the
//! process was stopped) it may look as much younger as the thread stood; so the walk after one that
//! came late gives all timers what that was late by. A client is never blamed for the seconds in which nobody could have read what it sent.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Between two walks.
pub const TICK: Duration = Duration::from_millis(250);

/// The timers of one thread. A lock and not a cell because hyper wants its timers `Send`; it is never contended.
#[derive(Clone, Default)]
pub(crate) struct Wheel {
    slots: Arc<Mutex<Slots>>,
}

struct Slots {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// The time of the last walk.
    now: Instant,
}

impl Default for Slots {
    fn default() -> Self {
        Slots { slots: Vec::new(), free: Vec::new(), now: Instant::now() }
    }
}

struct Slot {
    /// `None` in a free slot.
    due: Option<Instant>,
    waker: Option<Waker>,
}

impl Wheel {
    /// A timer that ends after a while; at once where that is nothing.
    pub(crate) fn after(&self, wait: Duration) -> Timer {
        let mut slots = self.lock();
        let slot = Slot { due: Some(slots.due(wait)), waker: None };
        let key = match slots.free.pop() {
            Some(key) => {
                slots.slots[key] = slot;
                key
            }
            None => {
                slots.slots.push(slot);
                slots.slots.len() - 1
            }
        };
        drop(slots);
        Timer { wheel: self.clone(), key }
    }

    /// The time of the last walk: at most one [`TICK`] ago on a thread that is not late.
    pub(crate) fn now(&self) -> Instant {
        self.lock().now
    }

    /// Wakes whoever is due. Wakers are called after the lock is given back.
    pub(crate) fn walk(&self, now: Instant) {
        let mut due = Vec::new();
        {
            let mut slots = self.lock();
            // On time it is nothing. A walk 3 s after the last: 2.75 s, and what was to end in a second has it still.
            let stood = now.saturating_duration_since(slots.now).saturating_sub(TICK);
            slots.now = now;
            for slot in &mut slots.slots {
                slot.due = slot.due.map(|due| due + stood);
                if slot.due.is_some_and(|d| d <= now) {
                    due.extend(slot.waker.take());
                }
            }
        }
        due.into_iter().for_each(Waker::wake);
    }

    /// Walks for ever.
    pub(crate) async fn run(&self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.walk(tick.tick().await.into_std());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn due(&self, wait: Duration) -> Instant {
        if wait.is_zero() {
            return self.now;
        }
        // A year stands for ever: an absurd setting must not overflow an instant.
        self.now + TICK + wait.min(Duration::from_secs(366 * 86_400))
    }
}

/// Ends after its wait, or up to two ticks later; later still by what its thread stood still.
pub(crate) struct Timer {
    wheel: Wheel,
    key: usize,
}

impl Timer {
    /// Starts again.
    pub(crate) fn reset(&mut self, wait: Duration) {
        let mut slots = self.wheel.lock();
        slots.slots[self.key].due = Some(slots.due(wait));
    }

    /// Whether it has ended; else whoever polls is woken when it does.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut slots = self.wheel.lock();
        let now = slots.now;
        let slot = &mut slots.slots[self.key];
        if slot.due.is_some_and(|due| due <= now) {
            return Poll::Ready(());
        }
        match &mut slot.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Future for Timer {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().poll_due(cx)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut slots = self.wheel.lock();
        slots.slots[self.key] = Slot { due: None, waker: None };
        slots.free.push(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As a thread that is never late.
    fn walk_to(wheel: &Wheel, end: Instant) {
        while wheel.now() < end {
            wheel.walk((wheel.now() + TICK).min(end));
        }
    }

    #[test]
    fn what_a_thread_stood_still_counts_for_nobody() {
        let wheel = Wheel::default();
        let mut cx = Context::from_waker(Waker::noop());
        let start = wheel.now();
        let mut before = wheel.after(Duration::from_secs(2));
        walk_to(&wheel, start + Duration::from_secs(1));
        // It stands for ten seconds; then something is begun before the wheel has looked at the clock.
        let mut within = wheel.after(Duration::from_secs(2));
        wheel.walk(start + Duration::from_secs(11));
        assert!(before.poll_due(&mut cx).is_pending() && within.poll_due(&mut cx).is_pending());
        walk_to(&wheel, start + Duration::from_micros(12_900_000));
        assert!(before.poll_due(&mut cx).is_ready() && within.poll_due(&mut cx).is_pending());
        walk_to(&wheel, start + Duration::from_micros(13_100_000));
        assert!(within.poll_due(&mut cx).is_ready());
    }

    #[test]
    fn a_walk_wakes_what_is_due_and_nothing_else() {
        let (wheel, count) = (Wheel::default(), Arc::new(Count::default()));
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        let start = wheel.now();
        let mut soon = wheel.after(Duration::from_secs(60));
        let mut late = wheel.after(Duration::from_secs(120));
        assert!(soon.poll_due(&mut cx).is_pending());
        assert!(late.poll_due(&mut cx).is_pending());
        walk_to(&wheel, start + Duration::from_secs(60));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        walk_to(&wheel, start + Duration::from_secs(61));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(soon.poll_due(&mut cx).is_ready());
        soon.reset(Duration::from_secs(5));
        assert!(soon.poll_due(&mut cx).is_pending());
        assert!(wheel.after(Duration::ZERO).poll_due(&mut cx).is_ready());
    }

    #[test]
    fn a_dropped_timers_slot_is_used_again_and_its_waker_forgotten() {
        let (wheel, count) = (Wheel::default(), Arc::new(Count::default()));
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        let mut timer = wheel.after(Duration::from_secs(1));
        assert!(timer.poll_due(&mut cx).is_pending());
        let key = timer.key;
        drop(timer);
        assert_eq!(wheel.after(Duration::from_secs(1)).key, key);
        walk_to(&wheel, wheel.now() + Duration::from_secs(9));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }
}
