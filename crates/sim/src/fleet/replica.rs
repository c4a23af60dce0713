//! One replica, from being asked for to being gone.

use tidegate_core::time::{Span, Time};

use crate::cold_start::Phase;
use crate::engine::Engine;
use crate::random::Random;

use super::setup::Setup;

/// Where a replica is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// No node has room for it.
    Pending,
    /// It starts; the phase's place among the four.
    Starting(usize),
    /// It takes requests.
    Ready,
    /// It finishes what it has.
    Draining,
}

/// A replica.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) state: State,
    pub(super) asked: Time,
    /// Where it is and since when it holds its GPUs there.
    pub(super) node: Option<u32>,
    pub(super) held: Option<Time>,
    pub(super) since: Time,
    pub(super) phases: [(Phase, Span); 4],
    /// When the event comes that ends its phase; any other is void.
    pub(super) phase_due: Option<Time>,
    pub(super) crash_due: Option<Time>,
    /// There from its readiness on.
    pub(super) engine: Option<Box<Engine>>,
    /// When the engine is next looked at.
    pub(super) wake: Option<Time>,
    pub(super) served: u64,
    pub(super) slow: bool,
    /// What its engine last showed of being empty, so that nothing is told twice.
    pub(super) told_idle: bool,
    pub(super) ttft: Ttft,
    /// Answers so far.
    pub(super) finished: u64,
}

/// Kinds of chance that belong to a replica by its number.
const PHASES: u64 = 1;
const SLOW: u64 = 2;
pub(super) const CRASH: u64 = 3;
pub(super) const NODE: u64 = 4;

impl Replica {
    /// The `number`-th replica of a run: its luck is its own, whatever else happens.
    pub(super) fn new(number: u32, now: Time, setup: &Setup) -> Replica {
        let mut random = Random::of(setup.seed, PHASES, u64::from(number));
        let phases = setup.start.phases().map(|(phase, span)| {
            let micros = span.as_micros() as f64 * random.factor(setup.start_spread);
            (phase, Span::from_micros(libm::rint(micros) as i64))
        });
        let slow = Random::of(setup.seed, SLOW, u64::from(number)).happens(setup.fleet.faults.slow_share);
        Replica {
            state: State::Pending,
            asked: now,
            node: None,
            held: None,
            since: now,
            phases,
            phase_due: None,
            crash_due: None,
            engine: None,
            wake: None,
            served: 0,
            slow: slow && setup.fleet.faults.slow_factor > 0.0,
            told_idle: true,
            ttft: Ttft::default(),
            finished: 0,
        }
    }

    /// Whether it counts as a replica of its target: all that do not leave.
    pub(super) fn counts(&self) -> bool {
        self.state != State::Draining
    }

    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, State::Pending | State::Starting(_))
    }
}

/// vLLM's bounds of `time_to_first_token_seconds`, in seconds.
pub const TTFT_BOUNDS_S: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];

/// Times to first token as an engine counts them: from its own queue on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ttft {
    /// How many fell into each bucket, and past the last bound.
    pub counts: [u64; TTFT_BOUNDS_S.len() + 1],
    /// Their sum in seconds.
    pub sum_s: f64,
}

impl Ttft {
    pub(super) fn add(&mut self, value_s: f64) {
        let bucket = TTFT_BOUNDS_S.partition_point(|bound| *bound < value_s);
        self.counts[bucket] += 1;
        self.sum_s += value_s;
    }
}
