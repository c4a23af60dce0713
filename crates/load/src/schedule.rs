//! What is sent when: a plan or a trace, with a mix of models, priorities and lengths drawn over it.
//!
//! The same seed gives the same schedule. Times and contents are drawn from two generators, so that another
//! mix does not move the arrivals.

use std::sync::Arc;

use fastrand::Rng;
use tidegate_core::time::Span;
use tidegate_sim::TraceRequest;

use crate::plan::Plan;

/// Tokens of one prompt or answer. A million-token context is the longest there is; its text is 4 MB.
pub const TOKENS_MAX: u32 = 1 << 20;

/// How requests of a plan are spread around its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// As independent users come: gaps are exponential, and bursts happen.
    Poisson,
    /// Evenly: the n-th request when n − ½ are expected.
    Uniform,
}

/// One request to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// From 0, in the order of sending.
    pub number: u64,
    /// When it is to leave, from the start of the run.
    pub at: Span,
    /// The model it asks for.
    pub model: Arc<str>,
    /// Whether it asks for a stream.
    pub stream: bool,
    /// The prompt's length, in tokens.
    pub prompt_tokens: u32,
    /// The answer's, in tokens.
    pub output_tokens: u32,
    /// A trace's hashes of the prompt, 512 tokens each; prompts share the text of those they share.
    pub stretches: Vec<u64>,
    /// The value of `x-tidegate-priority`, if any is sent.
    pub priority: Option<Arc<str>>,
}

/// Names with weights: `a=2,b=1` asks for `a` twice as often as for `b`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weighted {
    /// Each name with the sum of the weights up to it.
    names: Vec<(Arc<str>, f64)>,
}

/// A length in tokens, or a range of which each length is as likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    least: u32,
    most: u32,
}

/// What requests are made of, where the schedule's source does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// The models asked for.
    pub models: Weighted,
    /// The priorities; empty sends none.
    pub priorities: Weighted,
    /// The share that asks for a stream, 0 to 1.
    pub stream_share: f64,
    /// A plan's prompts.
    pub prompt_tokens: Tokens,
    /// A plan's answers.
    pub output_tokens: Tokens,
}

/// Why a mix or a trace is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A weight that is none.
    #[error("\"{0}\" has no good weight; write name=weight with a weight above zero, such as llama=2")]
    Weight(String),
    /// A name that is empty.
    #[error("a name is missing in \"{0}\"; write name or name=weight, parted by commas")]
    Name(String),
    /// Not a length.
    #[error("\"{0}\" is no number of tokens; write 128 or 64..512, from 1 to {TOKENS_MAX}")]
    Tokens(String),
    /// Nothing in the trace.
    #[error("the trace has no request")]
    EmptyTrace,
    /// A speed that makes no time pass, or all of it at once.
    #[error("the speed must be above zero and at most 1000000")]
    Speed,
}

impl Weighted {
    /// Reads `name`, `name=weight`, several parted by commas.
    ///
    /// # Errors
    /// When a name is missing or a weight is not above zero.
    pub fn parse(text: &str) -> Result<Weighted, Error> {
        let mut all = Weighted::default();
        for part in text.split(',').map(str::trim) {
            // The last sign counts: a model's name may hold one.
            let (name, weight) = match part.rsplit_once('=') {
                None => (part, 1.0),
                Some((name, weight)) => {
                    let weight = weight.parse().ok().filter(|weight: &f64| *weight > 0.0 && *weight <= 1e9);
                    (name, weight.ok_or_else(|| Error::Weight(part.to_owned()))?)
                }
            };
            if name.is_empty() {
                return Err(Error::Name(text.to_owned()));
            }
            all.add(name, weight);
        }
        Ok(all)
    }

    /// One more name; the weight must be above zero.
    pub fn add(&mut self, name: &str, weight: f64) {
        let before = self.total();
        self.names.push((name.into(), before + weight.max(0.0)));
    }

    /// The names of another one beside these.
    pub fn extend(&mut self, other: &Weighted) {
        let mut before = 0.0;
        for (name, sum) in &other.names {
            self.add(name, sum - before);
            before = *sum;
        }
    }

    /// The names, in the order they were given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| &**name)
    }

    fn total(&self) -> f64 {
        self.names.last().map_or(0.0, |(_, sum)| *sum)
    }

    fn pick(&self, rng: &mut Rng) -> Option<Arc<str>> {
        let at = rng.f64() * self.total();
        let index = self.names.partition_point(|(_, sum)| *sum <= at);
        self.names.get(index).or(self.names.last()).map(|(name, _)| name.clone())
    }
}

impl Tokens {
    /// Always the same length; at least 1, at most [`TOKENS_MAX`].
    #[must_use]
    pub fn fixed(tokens: u32) -> Tokens {
        let tokens = tokens.clamp(1, TOKENS_MAX);
        Tokens { least: tokens, most: tokens }
    }

    /// Reads `128` or `64..512`, both ends included.
    ///
    /// # Errors
    /// When it is neither, or out of 1 to [`TOKENS_MAX`].
    pub fn parse(text: &str) -> Result<Tokens, Error> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let number = |part: &str| part.trim().parse().ok().filter(|tokens| (1..=TOKENS_MAX).contains(tokens));
        match (number(least), number(most)) {
            (Some(least), Some(most)) if least <= most => Ok(Tokens { least, most }),
            _ => Err(Error::Tokens(text.to_owned())),
        }
    }

    fn pick(self, rng: &mut Rng) -> u32 {
        rng.u32(self.least..=self.most)
    }
}

impl Mix {
    /// Streams of 64 tokens after prompts of 128, all to one model.
    #[must_use]
    pub fn of(model: &str) -> Mix {
        let mut models = Weighted::default();
        models.add(model, 1.0);
        Mix {
            models,
            priorities: Weighted::default(),
            stream_share: 1.0,
            prompt_tokens: Tokens::fixed(128),
            output_tokens: Tokens::fixed(64),
        }
    }
}

#[derive(Clone, Debug)]
enum Source {
    Plan { plan: Plan, arrivals: Arrivals, expected: f64 },
    Trace { requests: Arc<[TraceRequest]>, next: usize, speed: f64, repeat: bool, offset: Span },
}

/// What is sent when: an iterator over requests in the order of their times.
#[derive(Clone, Debug)]
pub struct Schedule {
    source: Source,
    mix: Mix,
    times: Rng,
    contents: Rng,
    number: u64,
    limit: Option<u64>,
    until: Option<Span>,
}

impl Schedule {
    /// The requests of a plan.
    #[must_use]
    pub fn from_plan(plan: Plan, arrivals: Arrivals, seed: u64, mix: Mix) -> Schedule {
        Schedule::new(Source::Plan { plan, arrivals, expected: 0.0 }, seed, mix)
    }

    /// The requests of a trace, from its first one on, `speed` times as fast as they came. Lengths are the
    /// trace's, kept within 1 to [`TOKENS_MAX`]; models, streams and priorities are the mix's.
    ///
    /// # Errors
    /// When the trace is empty or the speed is no speed.
    pub fn from_trace(
        mut requests: Vec<TraceRequest>,
        speed: f64,
        seed: u64,
        mix: Mix,
    ) -> Result<Schedule, Error> {
        if !(speed > 0.0 && speed <= 1e6) {
            return Err(Error::Speed);
        }
        requests.sort_by_key(|request| request.at);
        let Some(first) = requests.first().map(|request| request.at) else { return Err(Error::EmptyTrace) };
        for request in &mut requests {
            request.at = Span::from_micros(request.at.as_micros().saturating_sub(first.as_micros()));
        }
        let requests = requests.into();
        let source = Source::Trace { requests, next: 0, speed, repeat: false, offset: Span::ZERO };
        Ok(Schedule::new(source, seed, mix))
    }

    fn new(source: Source, seed: u64, mix: Mix) -> Schedule {
        let mut seeds = Rng::with_seed(seed);
        let (times, contents) = (seeds.fork(), seeds.fork());
        Schedule { source, mix, times, contents, number: 0, limit: None, until: None }
    }

    /// The same ending after `requests`.
    #[must_use]
    pub fn limited(mut self, requests: u64) -> Schedule {
        self.limit = Some(requests);
        self
    }

    /// The same ending after `length`. A plan that is shorter goes on at its last rate until then.
    #[must_use]
    pub fn lasting(mut self, length: Span) -> Schedule {
        self.until = Some(length);
        if let Source::Plan { plan, .. } = &mut self.source {
            *plan = plan.clone().extended(length.as_secs_f64());
        }
        self
    }

    /// The same beginning again whenever a trace ends, its mean gap later. A plan is not repeated.
    #[must_use]
    pub fn repeated(mut self) -> Schedule {
        if let Source::Trace { repeat, .. } = &mut self.source {
            *repeat = true;
        }
        self
    }

    /// How long sending takes, and how many requests it is, as far as both are known before.
    #[must_use]
    pub fn outlook(&self) -> (Option<Span>, Option<u64>) {
        let (mut length, mut requests) = match &self.source {
            Source::Plan { plan, .. } => {
                (Span::try_from_secs_f64(plan.length_s()), Some(plan.requests().round() as u64))
            }
            Source::Trace { repeat: true, .. } => (None, None),
            Source::Trace { requests, speed, .. } => {
                let last = requests.last().map(|request| request.at.as_secs_f64() / speed);
                (last.and_then(Span::try_from_secs_f64), Some(requests.len() as u64))
            }
        };
        if let Some(until) = self.until
            && length.is_none_or(|length| until < length)
        {
            (length, requests) = (Some(until), None);
        }
        if let Some(limit) = self.limit {
            requests = Some(requests.map_or(limit, |requests| requests.min(limit)));
        }
        (length, requests)
    }

    /// The next request's time and, from a trace, what it says of it.
    fn next_arrival(&mut self) -> Option<(Span, Option<TraceRequest>)> {
        match &mut self.source {
            Source::Plan { plan, arrivals, expected } => {
                *expected += match arrivals {
                    // An exponential gap of mean one, in units of expected requests; 1 − u is never zero.
                    Arrivals::Poisson => -(1.0 - self.times.f64()).ln(),
                    Arrivals::Uniform if self.number == 0 => 0.5,
                    Arrivals::Uniform => 1.0,
                };
                Some((Span::try_from_secs_f64(plan.when_s(*expected)?)?, None))
            }
            Source::Trace { requests, next, speed, repeat, offset } => {
                if *next == requests.len() && *repeat {
                    let last = requests.last()?.at.as_micros();
                    let gap = last / (requests.len() as i64 - 1).max(1);
                    // A trace of one moment would otherwise repeat in no time at all.
                    *offset = *offset + Span::from_micros((last + gap).max(1_000_000));
                    *next = 0;
                }
                let request = requests.get(*next)?;
                *next += 1;
                let at_s = (*offset + request.at).as_secs_f64() / *speed;
                Some((Span::try_from_secs_f64(at_s)?, Some(request.clone())))
            }
        }
    }
}

impl Iterator for Schedule {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        if self.limit.is_some_and(|limit| self.number >= limit) {
            return None;
        }
        let (at, traced) = self.next_arrival()?;
        if self.until.is_some_and(|until| at > until) {
            return None;
        }
        let (mix, rng) = (&self.mix, &mut self.contents);
        let model = mix.models.pick(rng)?;
        let stream = rng.f64() < mix.stream_share;
        let priority = mix.priorities.pick(rng);
        let length = |tokens: u32| tokens.clamp(1, TOKENS_MAX);
        let (prompt_tokens, output_tokens, stretches) = match traced {
            Some(it) => (length(it.prompt_tokens), length(it.output_tokens), it.hash_ids),
            None => (mix.prompt_tokens.pick(rng), mix.output_tokens.pick(rng), Vec::new()),
        };
        let number = self.number;
        self.number += 1;
        Some(Planned { number, at, model, stream, prompt_tokens, output_tokens, stretches, priority })
    }
}

#[cfg(test)]
mod tests;
