//! Requests that nobody ever sent: a shape, a seed.
//!
//! `daily,rate=2,high=10,for=48h` is a text of the kind that is read here: the shape, then its settings, in any
//! order. Every shape is a rate over time made of straight lines (a [`Plan`]). Gaps are drawn with mean 1 and last
//! until the integral of the rate has reached them, as ServeGen's do: `cv=1` is a Poisson process, more comes in
//! clumps. Lengths of prompts and answers are each drawn from a Gamma law of shape 2 with the mean asked for, which
//! is near the conversations of 2023: there, one in a hundred is 3.6 and 2.9 times the mean, here 3.3.

use std::fmt;

use tidegate_core::time::Span;

use super::plan::{LENGTH_MAX_S, Plan, RATE_MAX_RPS, rate_rps, time_s};
use super::{Error, TraceRequest};
use crate::random::Random;

/// Shapes by name, with the settings each reads and what these are unless said.
pub const SHAPES: &[(&str, &str)] = &[
    ("steady", "rate=5 for=10m"),
    ("step", "rate=1 high=10 at=5m for=20m"),
    ("ramp", "rate=1 high=10 at=5m over=10m for=30m"),
    ("spike", "rate=1 high=10 at=5m over=30s for=20m"),
    ("silence", "rate=5 at=20m over=1h for=2h"),
    ("daily", "rate=1 high=10 period=24h for=24h"),
    ("bursts", "rate=1 high=10 every=10m over=30s for=2h"),
    ("plan", "points such as 0s:1rps 30s:20rps"),
];

/// What every shape reads besides.
const COMMON: &str = "prompt=1155 output=211 cv=1";

/// A text that is no synthetic trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSynth {
    /// No such shape.
    #[error("there is no shape {name}; known are {}", Shapes)]
    Shape {
        /// What was asked for.
        name: String,
    },
    /// A word that is no setting of the shape.
    #[error("\"{word}\" is no setting of {shape}; it reads {settings} and {COMMON}")]
    Setting {
        /// The shape.
        shape: &'static str,
        /// What stands there.
        word: String,
        /// What could.
        settings: &'static str,
    },
    /// A setting out of range.
    #[error("\"{word}\" is out of range: {must}")]
    Range {
        /// What stands there.
        word: String,
        /// What is allowed.
        must: &'static str,
    },
    /// The plan's points are wrong.
    #[error(transparent)]
    Plan(#[from] super::plan::Error),
}

struct Shapes;

impl fmt::Display for Shapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, settings)) in SHAPES.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name} ({settings})")?;
        }
        Ok(())
    }
}

/// The settings of a shape, in seconds and requests a second.
#[derive(Clone, Debug, PartialEq)]
struct Settings {
    rate: f64,
    high: f64,
    at_s: f64,
    over_s: f64,
    every_s: f64,
    period_s: f64,
    for_s: f64,
    prompt: f64,
    output: f64,
    cv: f64,
}

/// Requests drawn from a shape.
#[derive(Clone, Debug)]
pub struct Synth {
    plan: Plan,
    prompt: f64,
    output: f64,
    cv: f64,
    count: f64,
    gaps: Random,
    lengths: Random,
}

/// Straight lines that a day's curve is drawn with: 96 of a quarter of an hour are off by at most a two-thousandth
/// of its height.
const LINES_PER_PERIOD: u32 = 96;
/// Points of a plan that is drawn: a week of daily curves has 673, and of bursts a minute apart 40,000.
const POINTS_MAX: usize = 100_000;
/// Shape of the law of lengths.
const LENGTHS_SHAPE: f64 = 2.0;
/// Tokens of a mean prompt or answer at the most.
const TOKENS_MAX: f64 = 1e6;

impl Synth {
    /// Reads a text as the module describes it.
    ///
    /// # Errors
    /// A shape or setting that is none, with what there is.
    pub fn parse(text: &str, seed: u64) -> Result<Synth, BadSynth> {
        let mut words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
        let name = words.next().unwrap_or_default();
        let found = SHAPES.iter().find(|(known, _)| *known == name);
        let Some((shape, known)) = found else { return Err(BadSynth::Shape { name: name.to_owned() }) };
        let mut settings = Settings::none();
        for word in known.split(' ').chain(COMMON.split(' ')).filter(|word| word.contains('=')) {
            settings.set(shape, known, word)?;
        }
        let mut points = Vec::new();
        for word in words {
            if *shape == "plan" && !word.contains('=') {
                points.push(word);
            } else {
                settings.set(shape, known, word)?;
            }
        }
        let plan = match *shape {
            "plan" => Plan::parse(&points.join(" "))?,
            _ => settings.plan(shape, seed),
        };
        Ok(Synth {
            plan,
            prompt: settings.prompt,
            output: settings.output,
            cv: settings.cv,
            count: 0.0,
            gaps: Random::of(seed, 0x7379_6e67, 0),
            lengths: Random::of(seed, 0x7379_6e6c, 0),
        })
    }

    /// How long it goes on, in seconds.
    #[must_use]
    pub fn length_s(&self) -> f64 {
        self.plan.length_s()
    }

    fn length(&mut self, mean: f64) -> u32 {
        let drawn = self.lengths.gamma(LENGTHS_SHAPE, mean / LENGTHS_SHAPE);
        libm::rint(drawn).clamp(1.0, 16.0 * TOKENS_MAX) as u32
    }
}

impl Iterator for Synth {
    type Item = Result<TraceRequest, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.count += if self.cv > 0.0 {
            let shape = 1.0 / (self.cv * self.cv);
            self.gaps.gamma(shape, 1.0 / shape)
        } else {
            1.0
        };
        let at = Span::try_from_secs_f64(self.plan.when_s(self.count)?)?;
        let (prompt_tokens, output_tokens) = (self.length(self.prompt), self.length(self.output));
        Some(Ok(TraceRequest { at, prompt_tokens, output_tokens, hash_ids: Vec::new() }))
    }
}

impl Settings {
    fn none() -> Settings {
        Settings {
            rate: 0.0,
            high: 0.0,
            at_s: 0.0,
            over_s: 0.0,
            every_s: 0.0,
            period_s: 0.0,
            for_s: 0.0,
            prompt: 0.0,
            output: 0.0,
            cv: 0.0,
        }
    }

    fn set(&mut self, shape: &'static str, known: &'static str, word: &str) -> Result<(), BadSynth> {
        let bad = || BadSynth::Setting { shape, word: word.to_owned(), settings: known };
        let range = |must| BadSynth::Range { word: word.to_owned(), must };
        let (key, value) = word.split_once('=').ok_or_else(bad)?;
        let reads = |settings: &str| settings.split(' ').any(|one| one.split('=').next() == Some(key));
        if !reads(known) && !reads(COMMON) {
            return Err(bad());
        }
        let within = |from: f64, to: f64, must: &'static str| {
            let number = value.parse().ok().filter(|number: &f64| (from..=to).contains(number));
            number.ok_or_else(|| range(must))
        };
        let time = || {
            let seconds = time_s(value).filter(|seconds| *seconds <= LENGTH_MAX_S);
            seconds.ok_or_else(|| range("write a time with its unit, such as 30s or 2h, up to a week"))
        };
        let longer =
            || time().and_then(|s| if s >= 1.0 { Ok(s) } else { Err(range("it must be a second or more")) });
        let rate = || rate_rps(value).ok_or_else(|| range("write requests a second, such as 5 or 0.5rps"));
        match key {
            "rate" => self.rate = rate()?,
            "high" => self.high = rate()?,
            "at" => self.at_s = time()?,
            "over" => self.over_s = time()?,
            "every" => self.every_s = longer()?,
            "period" => self.period_s = longer()?,
            "for" => self.for_s = longer()?,
            "prompt" => self.prompt = within(1.0, TOKENS_MAX, "a number of tokens from 1 to 1,000,000")?,
            "output" => self.output = within(1.0, TOKENS_MAX, "a number of tokens from 1 to 1,000,000")?,
            "cv" => self.cv = within(0.0, 20.0, "a number from 0 (evenly spaced) to 20")?,
            _ => return Err(bad()),
        }
        Ok(())
    }

    fn plan(&self, shape: &str, seed: u64) -> Plan {
        let (rate, high, end_s) = (self.rate, self.high, self.for_s);
        let at_s = self.at_s.min(end_s);
        let over_s = (at_s + self.over_s).min(end_s);
        let plan = |points: &[(f64, f64)]| {
            let mut plan = Plan::empty();
            points.iter().for_each(|(at_s, rps)| plan.push(*at_s, *rps));
            plan
        };
        match shape {
            "step" => plan(&[(0.0, rate), (at_s, rate), (at_s, high), (end_s, high)]),
            "ramp" => plan(&[(0.0, rate), (at_s, rate), (over_s, high), (end_s, high)]),
            "spike" => plan(&[
                (0.0, rate),
                (at_s, rate),
                (at_s, high),
                (over_s, high),
                (over_s, rate),
                (end_s, rate),
            ]),
            "silence" => {
                plan(&[(0.0, rate), (at_s, rate), (at_s, 0.0), (over_s, 0.0), (over_s, rate), (end_s, rate)])
            }
            "daily" => self.daily(),
            "bursts" => self.bursts(seed),
            _ => plan(&[(0.0, rate), (end_s, rate)]),
        }
    }

    /// A cosine from its trough on.
    fn daily(&self) -> Plan {
        let mut plan = Plan::empty();
        let step_s = (self.period_s / f64::from(LINES_PER_PERIOD)).max(self.for_s / POINTS_MAX as f64);
        let mut at_s = 0.0;
        while at_s < self.for_s {
            plan.push(at_s, self.daily_rate(at_s));
            at_s += step_s;
        }
        plan.push(self.for_s, self.daily_rate(self.for_s));
        plan
    }

    fn daily_rate(&self, at_s: f64) -> f64 {
        let turn = 2.0 * core::f64::consts::PI * at_s / self.period_s;
        let rps = self.rate + (self.high - self.rate) * (1.0 - libm::cos(turn)) / 2.0;
        rps.clamp(0.0, RATE_MAX_RPS)
    }

    /// Bursts that come at any time, so often on average, and last so long on average.
    fn bursts(&self, seed: u64) -> Plan {
        let mut random = Random::of(seed, 0x7379_6e62, 0);
        let mut plan = Plan::empty();
        plan.push(0.0, self.rate);
        let (mut at_s, mut points) = (0.0, 1);
        loop {
            let begins_s: f64 = at_s + random.exponential(self.every_s);
            let ends_s = begins_s + random.exponential(self.over_s.max(1e-3));
            if ends_s >= self.for_s || points + 5 > POINTS_MAX {
                break;
            }
            for (at_s, rps) in
                [(begins_s, self.rate), (begins_s, self.high), (ends_s, self.high), (ends_s, self.rate)]
            {
                plan.push(at_s, rps);
            }
            (at_s, points) = (ends_s, points + 4);
        }
        plan.push(self.for_s, self.rate);
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str, seed: u64) -> Vec<TraceRequest> {
        Synth::parse(text, seed).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn between(requests: &[TraceRequest], from_s: i64, to_s: i64) -> f64 {
        let (from, to) = (Span::from_secs(from_s), Span::from_secs(to_s));
        requests.iter().filter(|request| (from..to).contains(&request.at)).count() as f64
    }

    fn near(found: f64, wanted: f64) {
        // Four deviations of a Poisson count.
        assert!((found - wanted).abs() < 4.0 * libm::sqrt(wanted), "{found}, expected {wanted}");
    }

    #[test]
    fn every_shape_has_the_rates_it_is_asked_for() {
        near(between(&drawn("steady,rate=20", 1), 0, 600), 12_000.0);
        let step = drawn("step,rate=2,high=20,at=5m", 2);
        near(between(&step, 0, 300), 600.0);
        near(between(&step, 300, 1_200), 18_000.0);
        let ramp = drawn("ramp rate=0 high=20 at=100s over=100s for=300s", 3);
        assert!(between(&ramp, 0, 100) < 0.5);
        near(between(&ramp, 100, 200), 1_000.0);
        near(between(&ramp, 200, 300), 2_000.0);
        let spike = drawn("spike,rate=1,high=100", 4);
        near(between(&spike, 300, 330), 3_000.0);
        near(between(&spike, 330, 1_200), 870.0);
        let silence = drawn("silence,rate=10", 5);
        assert!(between(&silence, 1_200, 4_800) < 0.5);
        near(between(&silence, 4_800, 7_200), 24_000.0);
        let daily = drawn("daily,rate=0,high=10,period=1h,for=2h", 6);
        near(between(&daily, 0, 3_600), 18_000.0);
        // Around the top, an eighth of the turn to either side: 5 · (1 + sin(π/4) / (π/4)).
        near(between(&daily, 1_350, 2_250), 900.0 * 5.0 * (1.0 + 0.9003));
        near(between(&drawn("plan,0s:10,100s:10,100s:0,200s:0", 7), 0, 200), 1_000.0);
    }

    #[test]
    fn bursts_come_at_any_time_and_are_the_seeds() {
        let (first, again, other) =
            (drawn("bursts,high=50", 1), drawn("bursts,high=50", 1), drawn("bursts,high=50", 2));
        assert_eq!(first, again);
        assert_ne!(first, other);
        // Of two hours some twelve bursts of 30 s at 50 a second: far more than the 7,200 of the rate between.
        let all: usize = (0..20).map(|seed| drawn("bursts,high=50", seed).len()).sum();
        // An average of 7,200 + 7,200 / 630 · 30 · 49 = 24,000; a twentieth of which one seed's luck is a quarter.
        assert!((19_000..29_000).contains(&(all / 20)), "{}", all / 20);
    }

    #[test]
    fn lengths_have_the_means_asked_for_and_gaps_the_variation() {
        let requests = drawn("steady,rate=50,prompt=300,output=40,cv=3", 9);
        let mean = |of: fn(&TraceRequest) -> u32| {
            requests.iter().map(|one| f64::from(of(one))).sum::<f64>() / requests.len() as f64
        };
        assert!((mean(|one| one.prompt_tokens) / 300.0 - 1.0).abs() < 0.03);
        assert!((mean(|one| one.output_tokens) / 40.0 - 1.0).abs() < 0.03);
        let gaps: Vec<f64> =
            requests.windows(2).map(|pair| pair[1].at.as_secs_f64() - pair[0].at.as_secs_f64()).collect();
        let average = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let square =
            gaps.iter().map(|gap| (gap - average) * (gap - average)).sum::<f64>() / gaps.len() as f64;
        let cv = libm::sqrt(square) / average;
        assert!((2.7..3.3).contains(&cv), "{cv}");
    }

    #[test]
    fn what_is_no_shape_is_refused_with_what_there_is() {
        let said = |text: &str| Synth::parse(text, 1).unwrap_err().to_string();
        assert!(said("wave").contains("daily"), "{}", said("wave"));
        assert!(said("").contains("steady"));
        assert!(said("step,period=1h").contains("high=10"), "{}", said("step,period=1h"));
        assert!(said("step,at=5").contains("unit"));
        assert!(said("step,rate=-1").contains("requests a second"));
        assert!(said("steady,for=0s").contains("second"));
        assert!(said("steady,prompt=NaN").contains("tokens"));
        assert!(said("plan").contains("points"));
    }
}
