//! One endpoint: what it has, what it can take, and whether it can be trusted.
//!
//! *Slots.* The queue belongs in the gateway, where order, fairness and another endpoint are still
//! possible; an engine gets what it batches and a little to go on with. When an engine reports requests
//! waiting, what it runs is its batch N, and it may have `N + max(1, N/8)`. When it is full, runs what it
//! was given and reports nobody waiting, it may have `max(1, slots/8)` more.
//! *Worked*: 256 to begin with; the engine runs 32 and queues 60: slots = 32 + 4 = 36. From now on it
//! reports 32 and 4, and 36 stays. Restarted with room for 64 it reports 36 and 0: 40, 45, 50, 56, 63,
//! 70, then runs 64 and queues 6: 72, which stays. An engine that runs nothing yet says nothing of its
//! batch. Without scrapes the slots stay as they are and the own counts go on. A new replica begins with
//! what another of its target learned last: with 256 it would take everyone who waits.
//!
//! *Rate.* Tokens a second, prompt and output together, over windows of a busy second or more, and only
//! while at least half of the slots are in use: an engine with one stream shows the speed of a stream, not
//! its own. A faster window counts half, a slower one a twentieth, so that what is kept is what it can do.
//!
//! *Trust.* Two things, for two kinds of trouble:
//! - a **pause** after a request that failed and is to be tried again: 50 ms, doubled with every further
//!   failure up to 5 s. It outlasts the moment between a replica's death and the driver's word of it,
//!   when the dead one looks like the emptiest. From the second failure on one request at a time probes
//!   it, until a first byte comes. Requests that were under way when it failed add nothing: one death is
//!   one failure.
//! - an **ejection** after 5 failures in a row (Envoy's default), or more than half of 20 outcomes: 10 s,
//!   doubled each time up to 300 s, forgotten after 5 answers in a row. Never more than half of a target's
//!   endpoints, so a lone one is only ever paused.

use super::types::{EndpointId, EndpointState, EndpointView, EngineLoad};
use crate::time::{Span, Time};

/// The most that is ever learned: four times what the largest engines batch by default (1,024).
const SLOTS_MAX: u32 = 4096;
/// Tokens a second before anything was measured: a small GPU with a model that fits it. It only has to
/// be the same for all that are unknown; nothing is promised from it.
const RATE_PRIOR: f64 = 1000.0;
/// Rates outside are a fault of the clock or of `usage`.
const RATES: (f64, f64) = (1.0, 1e7);
/// A window ends with the first tokens after this much busy time.
const WINDOW_MIN_US: i64 = 1_000_000;
/// A scrape older than this says nothing of the KV cache: five scrapes missed.
const LOAD_STALE: Span = Span::from_secs(5);
/// KV use counts up to here: 0.15 × 0.98 / 0.02 = 7.4 s, and no division by zero.
const KV_MAX: f64 = 0.98;

const PAUSE_BASE_US: i64 = 50_000;
const PAUSE_MAX_US: i64 = 5_000_000;
/// Failures from which on one request at a time is tried.
const PROBE_FROM: u32 = 2;
const EJECT_AFTER: u32 = 5;
const EJECT_SHARE: f64 = 0.5;
const EJECT_SHARE_OUTCOMES: u32 = 20;
const EJECT_BASE_US: i64 = 10_000_000;
const EJECT_MAX_US: i64 = 300_000_000;
const TRUST_AFTER: u32 = 5;

/// Why an endpoint gets nothing for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Closed {
    pub(super) until: Time,
    pub(super) ejected: bool,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) id: EndpointId,
    pub(super) state: EndpointState,
    pub(super) in_flight: u32,
    pub(super) tokens: u64,
    pub(super) closed: Option<Closed>,
    /// Where it stands in the list of those with room.
    pub(super) open_at: Option<u32>,
    /// Whether it counts as usable.
    pub(super) usable: bool,
    pub(super) rate: Option<f64>,
    /// Seconds a token, as used for choosing.
    pub(super) seconds_per_token: f64,
    slots: u32,
    slots_learned: bool,
    kv: Option<(Time, f64)>,
    window: Window,
    trust: Trust,
}

/// What was done in the present window of busy time.
#[derive(Clone, Debug, Default)]
struct Window {
    tokens: u64,
    busy_us: i64,
    /// Requests × microseconds.
    area: i64,
    last: Time,
}

/// How it did of late.
#[derive(Clone, Debug, Default)]
struct Trust {
    /// Failures before a first byte, each of a request sent after the one before.
    strikes: u32,
    /// Dispatches there were when it failed last.
    strike_dispatch: u64,
    probing: bool,
    failed_in_a_row: u32,
    answered_in_a_row: u32,
    outcomes: u32,
    failed: u32,
    ejections: u32,
}

impl Endpoint {
    pub(super) fn new(id: EndpointId, state: EndpointState, slots: u32, now: Time) -> Self {
        Endpoint {
            id,
            state,
            in_flight: 0,
            tokens: 0,
            closed: None,
            open_at: None,
            usable: false,
            rate: None,
            seconds_per_token: 1.0 / RATE_PRIOR,
            slots: slots.clamp(1, SLOTS_MAX),
            slots_learned: false,
            kv: None,
            window: Window { last: now, ..Window::default() },
            trust: Trust::default(),
        }
    }

    /// Whether it could take requests at all.
    pub(super) fn is_usable(&self) -> bool {
        self.state == EndpointState::Ready && self.closed.is_none()
    }

    /// Whether it can take one more now.
    pub(super) fn has_room(&self) -> bool {
        self.is_usable()
            && self.in_flight < self.slots
            && (self.trust.strikes < PROBE_FROM || !self.trust.probing)
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.closed.is_some_and(|closed| closed.ejected)
    }

    /// The target's limit changed; what was learned stays.
    pub(super) fn set_slots(&mut self, slots: u32) {
        if !self.slots_learned {
            self.slots = slots.clamp(1, SLOTS_MAX);
        }
    }

    /// Ready again after something else: a new start, with a clean slate but what it knows of its speed.
    pub(super) fn ready_again(&mut self) {
        self.state = EndpointState::Ready;
        self.closed = None;
        self.trust = Trust { strike_dispatch: self.trust.strike_dispatch, ..Trust::default() };
    }

    /// Learns from a scrape; the slots, if they were learned.
    pub(super) fn load(&mut self, now: Time, load: EngineLoad) -> Option<u32> {
        let kv = load.kv_use.filter(|share| share.is_finite());
        self.kv = kv.map(|share| {
            let share = share.clamp(0.0, KV_MAX);
            (now, 0.15 * share / (1.0 - share))
        });
        if load.waiting > 0 && load.running > 0 {
            self.learn_slots(load.running.saturating_add(look_ahead(load.running)));
        } else if load.waiting == 0 && self.in_flight >= self.slots {
            let runs_all = load.running.saturating_add(look_ahead(self.slots)) >= self.slots;
            if runs_all {
                let batch = self.slots.max(load.running);
                self.learn_slots(batch.saturating_add(look_ahead(batch)));
            }
        }
        self.slots_learned.then_some(self.slots)
    }

    fn learn_slots(&mut self, slots: u32) {
        self.slots = slots.clamp(1, SLOTS_MAX);
        self.slots_learned = true;
    }

    /// Seconds until it has done what it has and `more` tokens:
    /// `tokens / rate + 0.15 × k / (1 − k)`, k the share of KV cache in use.
    /// *Worked*: 20,000 tokens at 2,000 a second and a cache at 90 %: 10 + 1.35 s; at 50 %, 10.15 s.
    pub(super) fn drain_s(&self, now: Time, more: u64) -> f64 {
        let kv_s = match self.kv {
            Some((at, penalty)) if now.since(at) <= LOAD_STALE => penalty,
            _ => 0.0,
        };
        (self.tokens + more) as f64 * self.seconds_per_token + kv_s
    }

    pub(super) fn view(&self, now: Time) -> EndpointView {
        EndpointView {
            in_flight: self.in_flight,
            tokens: self.tokens,
            slots: self.slots,
            drain: Span::try_from_secs_f64(self.drain_s(now, 0)).unwrap_or_default(),
            ejected: self.is_ejected(),
        }
    }

    /// Takes a request.
    pub(super) fn take(&mut self, now: Time, tokens: u64) {
        self.advance(now);
        self.in_flight += 1;
        self.tokens += tokens;
        self.trust.probing |= self.trust.strikes >= PROBE_FROM;
    }

    /// Gives one back, with what of its tokens was still open.
    pub(super) fn give_back(&mut self, now: Time, tokens: u64) {
        self.advance(now);
        self.in_flight -= 1;
        self.tokens -= tokens;
    }

    /// Counts tokens as done; true if the rate changed.
    pub(super) fn done(&mut self, now: Time, tokens: u64) -> bool {
        self.advance(now);
        self.window.tokens = self.window.tokens.saturating_add(tokens);
        if self.window.busy_us < WINDOW_MIN_US {
            return false;
        }
        let window = core::mem::replace(&mut self.window, Window { last: now, ..Window::default() });
        let half_full = i64::from(self.slots.div_ceil(2)).saturating_mul(window.busy_us);
        if window.area < half_full {
            return false;
        }
        let rate = (window.tokens as f64 * 1e6 / window.busy_us as f64).clamp(RATES.0, RATES.1);
        let known = self.rate.unwrap_or(rate);
        self.rate = Some(known + (rate - known) * if rate > known { 0.5 } else { 0.05 });
        true
    }

    fn advance(&mut self, now: Time) {
        let passed_us = now.since(self.window.last).as_micros();
        self.window.last = now;
        if self.in_flight > 0 {
            self.window.busy_us += passed_us;
            self.window.area =
                self.window.area.saturating_add(passed_us.saturating_mul(i64::from(self.in_flight)));
        }
    }

    /// A first byte came: it lives. True if that opens it.
    pub(super) fn lives(&mut self) -> bool {
        let opens = self.trust.strikes > 0;
        self.trust.strikes = 0;
        self.trust.probing = false;
        if !self.is_ejected() {
            self.closed = None;
        }
        opens
    }

    pub(super) fn answered(&mut self) {
        self.trust.failed_in_a_row = 0;
        self.trust.answered_in_a_row += 1;
        self.trust.count(false);
        if self.trust.answered_in_a_row >= TRUST_AFTER && !self.is_ejected() {
            self.trust.ejections = 0;
        }
    }

    /// A request left; if it was the probe, another may be.
    pub(super) fn left(&mut self, dispatch: u64) {
        if dispatch > self.trust.strike_dispatch {
            self.trust.probing = false;
        }
    }

    /// A request failed; until when it is ejected, if it now is.
    pub(super) fn failed(&mut self, now: Time, failure: Failure) -> Option<Time> {
        self.trust.failed_in_a_row += 1;
        self.trust.answered_in_a_row = 0;
        self.trust.count(true);
        let later = failure.dispatch > self.trust.strike_dispatch;
        self.trust.probing &= !later;
        if failure.retry && later {
            self.trust.strikes += 1;
            self.trust.strike_dispatch = failure.dispatches;
            let pause_us = doubled(PAUSE_BASE_US, self.trust.strikes, PAUSE_MAX_US);
            self.close(Closed { until: now + Span::from_micros(pause_us), ejected: false });
        }
        if !failure.may_eject || self.is_ejected() || !self.trust.is_lost() {
            return None;
        }
        self.trust.ejections += 1;
        self.trust.failed_in_a_row = 0;
        (self.trust.outcomes, self.trust.failed) = (0, 0);
        let until = now + Span::from_micros(doubled(EJECT_BASE_US, self.trust.ejections, EJECT_MAX_US));
        self.close(Closed { until, ejected: true });
        Some(until)
    }

    fn close(&mut self, closed: Closed) {
        if !self.is_ejected() {
            self.closed = Some(closed);
        }
    }
}

/// A request that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    /// Whether it is to be tried elsewhere: nothing of an answer had come.
    pub(super) retry: bool,
    /// The target's count of dispatches when it went.
    pub(super) dispatch: u64,
    /// That count now.
    pub(super) dispatches: u64,
    /// Whether one more of the target's endpoints may be ejected.
    pub(super) may_eject: bool,
}

impl Trust {
    fn count(&mut self, failed: bool) {
        self.outcomes += 1;
        self.failed += u32::from(failed);
        if self.outcomes >= 2 * EJECT_SHARE_OUTCOMES {
            self.outcomes /= 2;
            self.failed /= 2;
        }
    }

    fn is_lost(&self) -> bool {
        let share = f64::from(self.failed) / f64::from(self.outcomes.max(1));
        self.failed_in_a_row >= EJECT_AFTER || self.outcomes >= EJECT_SHARE_OUTCOMES && share > EJECT_SHARE
    }
}

fn look_ahead(batch: u32) -> u32 {
    (batch / 8).max(1)
}

fn doubled(base_us: i64, times: u32, most_us: i64) -> i64 {
    // 2^20 × 50 ms is half a day: more doublings cannot matter, and cannot overflow.
    (base_us << (times.clamp(1, 21) - 1)).min(most_us)
}
