//! The engine model in real time: requests go in, tokens come out when they are due.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_core::time::{Span, Time};
use tidegate_sim::engine::{self, Detail, Engine, Outputs};
use tidegate_sim::{Profile, Request, Stats};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::Recorder;
use crate::progress::{Progress, Ticket};

/// The timer counts whole milliseconds. What is due within the next one is handed out now: the pace stays
/// right on average, and a profile faster than the timer is not slowed down to it.
const TIMER_STEP: Duration = Duration::from_millis(1);

/// The model's time: real time since the start, `speed` times as fast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    speed: f64,
}

impl Clock {
    pub(crate) fn new(speed: f64) -> Clock {
        Clock { origin: Instant::now(), speed }
    }

    fn now(self) -> Time {
        self.after(self.origin.elapsed())
    }

    fn after(self, real: Duration) -> Time {
        Time::from_micros((real.as_secs_f64() * self.speed * 1e6) as i64)
    }

    fn instant(self, time: Time) -> Instant {
        let real_s = time.as_secs_f64().max(0.0) / self.speed;
        // A year ahead stands for never.
        self.origin + Duration::from_secs_f64(real_s.min(31_536_000.0))
    }

    /// How long a span of the model's time takes.
    pub(crate) fn real(self, span: Span) -> Duration {
        Duration::from_secs_f64(span.as_secs_f64().max(0.0) / self.speed)
    }
}

/// The engine, its clients and its counters.
#[derive(Debug)]
pub(crate) struct Machine {
    inner: Mutex<Inner>,
    work: Notify,
    clock: Clock,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    out: Outputs,
    entries: HashMap<u64, Entry>,
    recorder: Recorder,
    last_id: u64,
}

#[derive(Debug)]
struct Entry {
    progress: Arc<Progress>,
    last_token: Option<Time>,
}

impl Machine {
    pub(crate) fn new(profile: &Profile, recorder: Recorder, clock: Clock) -> Result<Machine, engine::Error> {
        let inner = Inner {
            engine: Engine::new(profile, Detail::EveryToken)?,
            out: Outputs::default(),
            entries: HashMap::new(),
            recorder,
            last_id: 0,
        };
        Ok(Machine { inner: Mutex::new(inner), work: Notify::new(), clock })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request; its `id` is given here.
    pub(crate) fn submit(self: &Arc<Self>, mut request: Request) -> Result<Ticket, engine::Error> {
        let progress = Arc::new(Progress::default());
        let mut inner = self.lock();
        inner.advance(self.clock);
        inner.last_id += 1;
        let id = inner.last_id;
        request.id = id;
        inner.engine.submit(self.clock.now(), request)?;
        inner.entries.insert(id, Entry { progress: Arc::clone(&progress), last_token: None });
        drop(inner);
        self.work.notify_one();
        Ok(Ticket::new(Arc::clone(self), progress, id))
    }

    pub(crate) fn tokens_max(&self) -> u64 {
        self.lock().engine.tokens_max()
    }

    pub(crate) fn cancel(&self, id: u64) {
        let mut inner = self.lock();
        if inner.entries.remove(&id).is_some() {
            let now = self.clock.now();
            if let Some(finished) = inner.engine.cancel(now, id) {
                inner.recorder.finished(&finished);
            }
        }
    }

    /// Ends every request where it stands.
    pub(crate) fn abort_all(&self) {
        let now = self.clock.now();
        let mut inner = self.lock();
        let Inner { engine, out, .. } = &mut *inner;
        engine.cancel_all(now, out);
        inner.deliver();
    }

    /// The counters as they are now.
    pub(crate) fn observe<T>(&self, read: impl FnOnce(&Recorder, &Stats, u64) -> T) -> T {
        let mut inner = self.lock();
        inner.advance(self.clock);
        read(&inner.recorder, &inner.engine.stats(), inner.engine.reserved_tokens())
    }

    pub(crate) fn record(&self, write: impl FnOnce(&mut Recorder)) {
        write(&mut self.lock().recorder);
    }

    /// Keeps the model going. Never returns.
    pub(crate) async fn drive(&self) {
        loop {
            let next = self.lock().advance(self.clock);
            match next {
                Some(end) => {
                    let due = self.clock.instant(end);
                    // New requests do not change an iteration under way, so nothing else need wake us.
                    tokio::time::sleep_until(due.checked_sub(TIMER_STEP).unwrap_or(due)).await;
                }
                None => self.work.notified().await,
            }
        }
    }
}

impl Inner {
    /// Hands out all that is due, and says when the iteration under way ends.
    fn advance(&mut self, clock: Clock) -> Option<Time> {
        let now = clock.now();
        self.engine.next_iteration(now)?;
        self.engine.step(clock.after(clock.origin.elapsed() + TIMER_STEP), &mut self.out);
        self.deliver();
        self.engine.next_iteration(now)
    }

    fn deliver(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let Inner { out, entries, recorder, .. } = self;
        for iteration in &out.iterations {
            recorder.iteration(iteration);
        }
        for token in &out.tokens {
            let Some(entry) = entries.get_mut(&token.id) else { continue };
            recorder.token(token.at, entry.last_token);
            entry.last_token = Some(token.at);
            entry.progress.tokens(token.index + 1);
        }
        for finished in &out.finished {
            recorder.finished(finished);
            if let Some(entry) = entries.get(&finished.id) {
                entry.progress.end(finished.finish);
            }
        }
        // Only now, so that a client woken by its first token finds those that are due with it.
        for token in &out.tokens {
            if let Some(entry) = entries.get(&token.id) {
                entry.progress.wake();
            }
        }
        for finished in &out.finished {
            if let Some(entry) = entries.remove(&finished.id) {
                entry.progress.wake();
            }
        }
        out.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_compresses_spans_and_moments_alike() {
        let clock = Clock::new(100.0);
        assert_eq!(clock.real(Span::from_secs(10)), Duration::from_millis(100));
        assert_eq!(clock.after(Duration::from_millis(100)), Time::from_secs(10));
        assert_eq!(clock.instant(Time::from_secs(10)), clock.origin + Duration::from_millis(100));
    }

    #[test]
    fn a_moment_that_never_comes_is_a_year_ahead_and_not_a_panic() {
        let clock = Clock::new(0.001);
        let never = clock.instant(Time::from_micros(i64::MAX));
        assert_eq!(never, clock.origin + Duration::from_secs(31_536_000));
    }
}
