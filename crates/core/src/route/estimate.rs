//! How many tokens a request is, and how long one waits.
//!
//! The gateway counts bytes; the engine counts tokens. Of every answer with `usage` two numbers are
//! learned per target: how far the prompt estimate was off, and how much is usually written.
//!
//! *Worked*: a chat in Japanese is estimated at 250 tokens (1,000 bytes / 4) and the engine counts 500.
//! The first answer makes the ratio 2.0, and the next such prompt counts as 500. `max_tokens: 4096` with
//! answers of 180 tokens counts as 180, not 4,096: what is reserved is not what is worked.

use crate::time::{Span, Time};

use super::types::Outlook;

/// Tokens an answer has before any was seen: a paragraph or two.
const OUTPUT_PRIOR: f64 = 256.0;
/// Answers after which a new one weighs as little as ever: the mean of the last 32 or so.
const MEMORY: u32 = 32;
/// One answer never says that an estimate was off by more than this factor.
const RATIO_MAX: f64 = 10.0;
/// `Retry-After` over the expected wait: who comes too early is refused twice.
const RETRY_MARGIN: f64 = 1.2;

/// What a target's answers have taught.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    ratio: Mean,
    output: Mean,
}

/// A mean that forgets: plain over the first [`MEMORY`] values, exponential after.
#[derive(Clone, Debug)]
struct Mean {
    value: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.count = (self.count + 1).min(MEMORY);
        self.value += (value - self.value) / f64::from(self.count);
    }
}

impl Tokens {
    pub(super) fn new() -> Self {
        Tokens { ratio: Mean { value: 1.0, count: 0 }, output: Mean { value: OUTPUT_PRIOR, count: 0 } }
    }

    /// Prompt and output tokens of a request, as they will probably be.
    pub(super) fn of(&self, prompt_tokens: u32, max_tokens: Option<u32>) -> (u64, u64) {
        let output = self.output.value.min(max_tokens.map_or(f64::INFINITY, f64::from));
        ((f64::from(prompt_tokens) * self.ratio.value + 0.5) as u64, (output + 0.5) as u64)
    }

    /// Learns from one `usage`. A prompt estimated at zero teaches nothing of the ratio.
    pub(super) fn learn(&mut self, estimated: u32, prompt_tokens: Option<u32>, output_tokens: Option<u32>) {
        if let Some(counted) = prompt_tokens.filter(|_| estimated > 0) {
            let ratio = f64::from(counted) / f64::from(estimated);
            self.ratio.add(ratio.clamp(1.0 / RATIO_MAX, RATIO_MAX));
        }
        if let Some(written) = output_tokens {
            self.output.add(f64::from(written));
        }
    }
}

/// Who is ahead of a request, itself included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) count: u32,
    pub(super) tokens: u64,
}

/// What is known of the places a request waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prospect {
    /// No endpoint can be used now.
    pub(super) cold: bool,
    /// When an endpoint that failed may be tried again, if one is there.
    pub(super) reopens: Option<Time>,
    /// What the driver expects.
    pub(super) outlook: Outlook,
    /// Requests one replica takes at once.
    pub(super) slots: u32,
    /// Tokens a second: of all usable endpoints, or of one replica where there is none. `None` before
    /// anything was measured.
    pub(super) rate: Option<f64>,
}

impl Prospect {
    /// How long a request at this position waits for its dispatch.
    ///
    /// Cold: the rest of the start (a whole one where none runs). Those that fit into the replicas that
    /// come go at once; each one beyond waits until a place was worked free:
    /// `wait = start + tokens ahead × (position − slots) / position / rate`.
    ///
    /// *Worked*: ready in 20 s, 8 slots, 40th in the queue, 40 × 500 tokens, 1,000 tokens/s:
    /// 20 + 20,000 × 32/40 / 1,000 = 36 s.
    ///
    /// `None` where no start was measured, or all are busy at a rate not yet measured.
    pub(super) fn wait(&self, now: Time, position: Position) -> Option<Span> {
        let (start_s, at_once) = if self.cold {
            let starting = self.outlook.starting.max(1);
            (self.start(now)?.as_secs_f64(), u64::from(self.slots) * u64::from(starting))
        } else {
            (0.0, 0)
        };
        let beyond = u64::from(position.count).saturating_sub(at_once);
        if beyond == 0 {
            return Span::try_from_secs_f64(start_s);
        }
        let Some(rate) = self.rate else {
            return if self.cold { Span::try_from_secs_f64(start_s) } else { None };
        };
        let tokens = position.tokens as f64 * beyond as f64 / f64::from(position.count);
        Span::try_from_secs_f64(start_s + tokens / rate)
    }

    fn start(&self, now: Time) -> Option<Span> {
        let replica = self.outlook.ready_at.map(|at| at.since(now)).or(self.outlook.start);
        let again = self.reopens.map(|at| at.since(now));
        let soonest = match (replica, again) {
            (Some(replica), Some(again)) => replica.min(again),
            (one, other) => one.or(other)?,
        };
        Some(soonest.max(Span::ZERO))
    }
}

/// `ceil(wait × 1.2)` in whole seconds, one at least: the header counts in seconds.
pub(super) fn retry_after(wait: Span) -> Span {
    let seconds = libm::ceil(wait.as_secs_f64() * RETRY_MARGIN).max(1.0);
    Span::from_secs(seconds as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_follows_what_the_engine_counts() {
        let mut tokens = Tokens::new();
        assert_eq!(tokens.of(250, None), (250, 256));
        tokens.learn(250, Some(500), Some(180));
        assert_eq!(tokens.of(250, Some(4096)), (500, 180));
        assert_eq!(tokens.of(250, Some(16)), (500, 16));
    }

    #[test]
    fn one_absurd_usage_moves_an_estimate_tenfold_at_the_most() {
        let mut tokens = Tokens::new();
        tokens.learn(1, Some(u32::MAX), None);
        assert_eq!(tokens.of(100, Some(0)), (1000, 0));
        tokens.learn(0, Some(7), None);
        assert_eq!(tokens.of(100, Some(0)), (1000, 0));
    }

    #[test]
    fn the_fortieth_of_a_start_waits_for_the_start_and_for_those_beyond_the_slots() {
        let prospect = Prospect {
            cold: true,
            reopens: None,
            outlook: Outlook { starting: 1, ready_at: Some(Time::from_secs(30)), start: None },
            slots: 8,
            rate: Some(1000.0),
        };
        let now = Time::from_secs(10);
        let at = |count| prospect.wait(now, Position { count, tokens: u64::from(count) * 500 });
        assert_eq!(at(8), Some(Span::from_secs(20)));
        assert_eq!(at(40), Some(Span::from_secs(36)));
        assert_eq!(retry_after(Span::from_secs(36)), Span::from_secs(44));
    }
}
