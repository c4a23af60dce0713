//! What the work will be like one start from now, and how far off such a forecast has been.
//!
//! Three forecasters run side by side: the level (as much as in the last two minutes), the level and its slope, and
//! yesterday's change from this hour to that. Each is asked at every step what comes after the horizon, and held
//! against what came. The one whose margin has cost the least speaks. Its margin is the factor that a given
//! share of its forecasts stayed within, found by moving it up after a miss and down after a hit in proportion (the
//! gradient of the pinball loss), so a calm service keeps a few percent of standby and a wild one as much as it needs.
//!
//! *Worked*: a share of 0.9 moves a margin of 1.2 to 1.206 after a miss and to 1.19933 after a hit: nine hits undo a miss.

use alloc::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};

/// Length of a step. Shorter ones are noise, longer ones hide a spike that is over before they end.
const STEP_S: f64 = 10.0;
const STEP: Span = Span::from_micros(10_000_000);

/// Steps of forecasts that wait to be held against the truth: 920 s, above any start that is looked ahead over.
const PENDING_MAX: usize = 92;

/// Weight of the newest step in the level: a mean over about two minutes. A step of 200 requests of uneven length is
/// known to a fifth; a mean of two dozen such to a twenty-fifth, which is less than a replica in twenty is worth.
const LEVEL: f64 = 0.08;
/// A step further above the level than so many mean deviations, twice in a row, is no noise: the level is there at once.
/// Requests are of such uneven length that two steps at three deviations come every hour or so; at five, they are another
/// load.
const JUMP: f64 = 5.0;
/// Weight of the newest step in the mean deviation: five minutes or so.
const DEVIATION: f64 = 0.03;
/// The deviation is taken to be at least this share of the level: a silent service is not startled by a whisper.
const DEVIATION_LEAST: f64 = 0.05;

/// Weight of the newest step in the slope: about three minutes.
const SLOPE: f64 = 0.06;
/// How much of the slope is believed over the whole horizon: trends end.
const DAMP: f64 = 0.8;

/// How far a margin moves after a miss, as a factor. After a jump every forecast made before it is a miss, for a whole
/// horizon: 30 of them, which must not make of one jump an hour of standby. 1.005³⁰ is 1.16.
const MOVE: f64 = 0.005;
/// The margin before anything was learned: the 99th percentile of growth in ten minutes over three published traces.
const MARGIN_FIRST: f64 = 1.2;
/// A margin stays within: below a level nobody plans, and above four times it a spike is waited out.
const MARGIN: (f64, f64) = (0.8, 4.0);
/// Weight of the newest step in what a margin has cost: ten minutes or so.
const LOSS: f64 = 0.02;

/// Steps in a slot of the day: ten minutes, so 144 slots a day.
const SLOT_STEPS: u32 = 60;
const SLOTS_A_DAY: usize = 144;
/// Kept beyond a day: the slots that the horizon reaches back into.
const SLOTS_MAX: usize = SLOTS_A_DAY + 4;
/// Yesterday's change is believed within this: beyond, yesterday was another day.
const SEASON: (f64, f64) = (0.25, 4.0);

/// After a silence this long the level is no level any more; the time of day is lost too, for steps were not counted.
const STALE: Span = Span::from_secs(900);

/// How a forecast is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// As much as now.
    Level,
    /// As much as now, and its slope.
    Trend,
    /// As much as now, changed as it changed a day ago.
    Season,
}

impl Method {
    const ALL: [Method; 3] = [Method::Level, Method::Trend, Method::Season];

    /// As a phrase in a sentence.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Method::Level => "as now",
            Method::Trend => "by its slope",
            Method::Season => "as yesterday",
        }
    }
}

/// What is expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// By whom.
    pub method: Method,
    /// The work now, in replicas kept busy.
    pub now: f64,
    /// The work after the horizon.
    pub then: f64,
    /// The factor that the wanted share of such forecasts stayed within.
    pub margin: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Expert {
    margin: f64,
    /// What its margins have cost: mean pinball loss, as a share of the work.
    loss: f64,
}

impl Default for Expert {
    fn default() -> Self {
        Expert { margin: MARGIN_FIRST, loss: 0.05 }
    }
}

/// The past, as far as it is needed: at most 92 × 12 bytes of forecasts and 148 × 4 of slots.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Forecaster {
    began: Option<Time>,
    heard: Option<Time>,
    /// Work summed over the step that runs, and its seconds.
    sum: f64,
    seconds: f64,
    steps: u32,
    level: f64,
    /// Mean of how far steps were from the level.
    deviation: f64,
    /// The last step, if it was far above the level.
    above: Option<f64>,
    /// Change a step.
    slope: f64,
    experts: [Expert; 3],
    /// What each said a horizon ago and since, oldest first.
    pending: VecDeque<[f32; 3]>,
    /// Means over ten minutes, newest last, of one day.
    slots: VecDeque<f32>,
    slot_sum: f64,
}

impl Forecaster {
    pub(crate) fn heap_bytes(&self) -> usize {
        self.pending.capacity() * size_of::<[f32; 3]>() + self.slots.capacity() * size_of::<f32>()
    }

    /// Work of `rate` replicas came over `seconds` up to `now`. `horizon` is how far ahead is asked; `within`
    /// the share of forecasts that the margin is to cover.
    pub(crate) fn observe(&mut self, now: Time, seconds: f64, rate: f64, horizon: Span, within: f64) {
        if self.heard.is_some_and(|heard| now.since(heard) > STALE) {
            *self = Forecaster { experts: self.experts, ..Forecaster::default() };
        }
        self.heard = Some(now);
        let began = *self.began.get_or_insert(now);
        self.sum += rate * seconds;
        self.seconds += seconds;
        if now.since(began) < STEP || self.seconds <= 0.0 {
            return;
        }
        let mean = self.sum / self.seconds;
        (self.began, self.sum, self.seconds) = (Some(now), 0.0, 0.0);
        self.step(mean, ahead(horizon), within);
    }

    fn step(&mut self, mean: f64, ahead: usize, within: f64) {
        self.judge(mean, ahead, within);
        if self.steps == 0 {
            self.level = mean;
        }
        self.follow(mean);
        self.steps = self.steps.saturating_add(1);
        self.slot_sum += mean;
        if self.steps.is_multiple_of(SLOT_STEPS) {
            self.slots.push_back((self.slot_sum / f64::from(SLOT_STEPS)) as f32);
            self.slot_sum = 0.0;
            if self.slots.len() > SLOTS_MAX {
                self.slots.pop_front();
            }
        }
        if self.pending.len() == PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending.push_back(Method::ALL.map(|method| self.forecast(method, ahead) as f32));
    }

    /// Moves level and slope. A jump is no slope: what stands after it is a new level.
    fn follow(&mut self, mean: f64) {
        let off = mean - self.level;
        if off > JUMP * self.deviation.max(DEVIATION_LEAST * self.level) {
            if let Some(first) = self.above.take() {
                self.level = f64::midpoint(first, mean);
                return;
            }
            self.above = Some(mean);
        } else {
            self.above = None;
        }
        self.deviation += DEVIATION * (libm::fabs(off) - self.deviation);
        self.level += LEVEL * off;
        self.slope += SLOPE * (LEVEL * off - self.slope);
    }

    /// Holds what was said `ahead` steps ago against what came.
    fn judge(&mut self, came: f64, ahead: usize, within: f64) {
        // A horizon that has become shorter leaves forecasts behind that nobody asks about any more.
        while self.pending.len() > ahead {
            self.pending.pop_front();
        }
        if self.pending.len() < ahead {
            return;
        }
        let Some(said) = self.pending.pop_front() else { return };
        for (expert, said) in self.experts.iter_mut().zip(said) {
            let ratio = (came / f64::from(said).max(1e-6)).min(MARGIN.1);
            let over = ratio - expert.margin;
            let loss = if over > 0.0 { within * over } else { (within - 1.0) * over };
            expert.loss += LOSS * (loss - expert.loss);
            // `within` of the steps are hits: up · (1 − within) = down · within keeps the margin where it is.
            let factor =
                if over > 0.0 { 1.0 + MOVE * within / 0.9 } else { 1.0 - MOVE * (1.0 - within) / 0.9 };
            expert.margin = (expert.margin * factor).clamp(MARGIN.0, MARGIN.1);
        }
    }

    fn forecast(&self, method: Method, ahead: usize) -> f64 {
        match method {
            Method::Level => self.level,
            Method::Trend => (self.level + DAMP * self.slope * ahead as f64).max(0.0),
            Method::Season => self.level * self.yesterday(ahead).unwrap_or(1.0),
        }
    }

    /// How the work changed a day ago from this time to `ahead` steps later; `None` before there was a day.
    fn yesterday(&self, ahead: usize) -> Option<f64> {
        if self.slots.len() < SLOTS_A_DAY {
            return None;
        }
        let into_slot = f64::from(self.steps % SLOT_STEPS) / f64::from(SLOT_STEPS);
        let today = (self.slots.len() - SLOTS_A_DAY) as f64 + into_slot;
        // Slots are means, so each stands for its middle; between two middles a straight line.
        let at = |steps_later: f64| {
            let place = (today - 0.5 + steps_later / f64::from(SLOT_STEPS)).max(0.0);
            let low = libm::floor(place);
            let slot = |index: usize| self.slots.get(index).map(|slot| f64::from(*slot));
            let (a, b) = (slot(low as usize)?, slot(low as usize + 1).or(slot(low as usize))?);
            Some(a + (b - a) * (place - low))
        };
        let (then, later) = (at(0.0)?, at(ahead as f64)?);
        (then > 1e-3).then(|| (later / then).clamp(SEASON.0, SEASON.1))
    }

    /// What is expected after the horizon.
    pub(crate) fn expected(&self, horizon: Span) -> Expected {
        let known = if self.slots.len() < SLOTS_A_DAY { 2 } else { 3 };
        let experts = Method::ALL.iter().zip(&self.experts).take(known);
        let best = experts.min_by(|(_, a), (_, b)| a.loss.total_cmp(&b.loss));
        let (method, margin) = best.map_or((Method::Level, MARGIN_FIRST), |(m, e)| (*m, e.margin));
        // Within the first step the sum so far is all there is.
        if self.steps == 0 {
            let now = if self.seconds > 0.0 { self.sum / self.seconds } else { 0.0 };
            return Expected { method: Method::Level, now, then: now, margin };
        }
        Expected { method, now: self.level, then: self.forecast(method, ahead(horizon)), margin }
    }
}

fn ahead(horizon: Span) -> usize {
    (libm::ceil(horizon.as_secs_f64() / STEP_S) as usize).clamp(1, PENDING_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays work by the second of the day; what is expected at the end.
    fn played(seconds: i64, work: impl Fn(f64) -> f64) -> Expected {
        let mut forecaster = Forecaster::default();
        let horizon = Span::from_secs(300);
        for step in 0..=seconds / 10 {
            let at = step * 10;
            forecaster.observe(Time::from_secs(at), 10.0, work(at as f64), horizon, 0.9);
        }
        forecaster.expected(horizon)
    }

    #[test]
    fn a_constant_work_is_expected_to_stay_and_its_margin_shrinks() {
        let expected = played(7_200, |_| 5.0);
        assert!((expected.then - 5.0).abs() < 1e-6);
        assert!((0.98..1.05).contains(&expected.margin), "{expected:?}");
    }

    #[test]
    fn a_ramp_is_seen_coming() {
        // 0.01 replicas a second: 149 after four hours, 152 after 300 s more.
        let expected = played(14_400, |t| 5.0 + t * 0.01);
        // Whoever speaks: a forecast that lags has a margin for it.
        assert!((150.0..156.0).contains(&(expected.then * expected.margin)), "{expected:?}");
    }

    #[test]
    fn a_step_is_the_new_level_after_twenty_seconds_and_a_single_spike_is_not() {
        let noisy = |t: f64| 5.0 + if t % 20.0 < 10.0 { 0.5 } else { -0.5 };
        let stepped = played(3_600, |t| if t < 3_590.0 { noisy(t) } else { 20.0 });
        assert!((19.9..20.1).contains(&stepped.now), "{stepped:?}");
        let spiked = played(3_600, |t| if t < 3_600.0 { noisy(t) } else { 20.0 });
        assert!(spiked.now < 8.0, "{spiked:?}");
    }

    #[test]
    fn a_daily_curve_is_seen_coming() {
        let curve = |t: f64| 6.0 + 4.0 * libm::sin(t / 86_400.0 * core::f64::consts::TAU);
        // At the third midnight it grows by 1.5 % in five minutes.
        let end = 2 * 86_400;
        let expected = played(end, curve);
        let (foreseen, comes) = (expected.then * expected.margin, curve(end as f64 + 300.0));
        assert!((foreseen / comes - 1.0).abs() < 0.03, "{foreseen} of {comes}: {expected:?}");
    }

    #[test]
    fn after_a_silence_the_level_is_what_comes_next() {
        let mut forecaster = Forecaster::default();
        let horizon = Span::from_secs(60);
        for step in 0..100 {
            forecaster.observe(Time::from_secs(step * 10), 10.0, 8.0, horizon, 0.9);
        }
        forecaster.observe(Time::from_secs(10_000), 1.0, 2.0, horizon, 0.9);
        assert!((forecaster.expected(horizon).now - 2.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_grows_without_end() {
        let mut forecaster = Forecaster::default();
        for step in 0..40_000 {
            let work = if step % 7 == 0 { 1e6 } else { 0.0 };
            forecaster.observe(Time::from_secs(step * 10), 10.0, work, Span::from_secs(900), 0.97);
        }
        assert!(forecaster.pending.len() <= PENDING_MAX && forecaster.slots.len() <= SLOTS_MAX + 1);
        let expected = forecaster.expected(Span::from_secs(900));
        assert!(expected.then.is_finite() && expected.margin <= MARGIN.1);
    }
}
