//! What probes are told: whether a program works, and whether it can be relied on.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A loop that ticks once a second and has not for so long does not work. Ten: a list of ten thousand objects, taken
/// in one go by a debug build, was four.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What a program says of itself. What it says is shown to whoever asks, without a token.
#[derive(Debug)]
pub struct Health(Mutex<State>);

#[derive(Debug)]
struct State {
    ticked: Instant,
    unready: Option<&'static str>,
}

impl Health {
    /// Of a program that has just begun, and why it is not ready yet.
    #[must_use]
    pub fn new(unready: &'static str) -> Self {
        Health(Mutex::new(State { ticked: Instant::now(), unready: Some(unready) }))
    }

    /// Its loop is at work; to be said once a second.
    pub fn tick(&self) {
        self.state(|state| state.ticked = Instant::now());
    }

    /// It is ready; or it is not, and why.
    pub fn set_ready(&self, ready: Result<(), &'static str>) {
        self.state(|state| state.unready = ready.err());
    }

    /// Whether it works.
    ///
    /// # Errors
    /// When its loop has not ticked lately.
    pub fn alive(&self, now: Instant) -> Result<(), &'static str> {
        let silent = self.state(|state| now.saturating_duration_since(state.ticked));
        if silent > SILENCE_MAX { Err("its loop has stood still for more than 10 s") } else { Ok(()) }
    }

    /// Whether it can be relied on.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), &'static str> {
        self.state(|state| state.unready.map_or(Ok(()), Err))
    }

    fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        // Two plain values are whole whatever happened to who held them.
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_not_alive_until_it_ticks_again() {
        let health = Health::new("begins");
        let now = Instant::now();
        assert_eq!(health.alive(now + SILENCE_MAX / 2), Ok(()));
        assert!(health.alive(now + SILENCE_MAX * 2).is_err());
        health.tick();
        assert_eq!(health.alive(Instant::now()), Ok(()));
    }

    #[test]
    fn it_is_ready_when_it_says_so_and_until_it_takes_that_back() {
        let health = Health::new("begins");
        assert_eq!(health.ready(), Err("begins"));
        health.set_ready(Ok(()));
        assert_eq!(health.ready(), Ok(()));
        health.set_ready(Err("leaves"));
        assert_eq!(health.ready(), Err("leaves"));
    }
}
