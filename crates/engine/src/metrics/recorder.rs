//! Counting: what happens to requests, tokens and iterations, in the buckets of one engine.

use tidegate_core::time::{Span, Time};
use tidegate_sim::engine::Iteration;
use tidegate_sim::{Finish, Finished, Profile};

use super::bounds::Bounds;
use super::http::Http;
use crate::options::Dialect;

/// Counts by upper bound.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: Vec<f64>,
    /// One more than there are bounds: the last counts what lies above them all.
    counts: Vec<u64>,
    sum: f64,
    /// Neighbours often fall into the same bucket; it is tried first.
    last: usize,
}

impl Histogram {
    pub(super) fn new(bounds: Vec<f64>) -> Histogram {
        Histogram { counts: vec![0; bounds.len() + 1], bounds, sum: 0.0, last: 0 }
    }

    pub(super) fn observe(&mut self, value: f64) {
        let fits = |place: usize| {
            self.bounds.get(place).is_none_or(|bound| value <= *bound)
                && (place == 0 || value > self.bounds[place - 1])
        };
        if !fits(self.last) {
            self.last = self.bounds.partition_point(|bound| *bound < value);
        }
        self.counts[self.last] += 1;
        self.sum += value;
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum
    }

    /// Each bound, `None` for +Inf, with how many values are at or below it.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (Option<f64>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        }))
    }
}

/// What does not change while the engine runs.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) dialect: Dialect,
    pub(crate) model: String,
    pub(crate) profile: Profile,
    /// When the process started, in microseconds since 1970.
    pub(crate) created_us: i64,
    /// How long loading the weights takes, in seconds, and the whole start.
    pub(crate) load_s: f64,
    pub(crate) start_s: f64,
}

/// Every counter of the engine.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) about: About,
    pub(super) http: Http,
    pub(super) first_token: Histogram,
    pub(super) between_tokens: Histogram,
    pub(super) per_output_token: Histogram,
    pub(super) whole: Histogram,
    pub(super) queue: Histogram,
    pub(super) inference: Histogram,
    pub(super) prefill: Histogram,
    pub(super) decode: Histogram,
    pub(super) prompt_tokens: Histogram,
    pub(super) generation_tokens: Histogram,
    pub(super) max_tokens: Histogram,
    pub(super) computed_tokens: Histogram,
    pub(super) request_preemptions: Histogram,
    pub(super) params_n: Histogram,
    pub(super) iteration_tokens: Histogram,
    pub(super) prefill_iteration: Histogram,
    pub(super) decode_iteration: Histogram,
    pub(super) batch_size: Histogram,
    pub(super) stopped: u64,
    pub(super) cut: u64,
    pub(super) aborted: u64,
    /// Prompt tokens of requests that ended, and of these the cached ones.
    pub(super) ended_prompt_tokens: u64,
    pub(super) ended_cached_tokens: u64,
    pub(super) ended_output_tokens: u64,
    /// The longest sequence seen, prompt and output.
    pub(super) longest_tokens: u64,
    /// Sequences in all iterations together.
    pub(super) sequence_iterations: u64,
    /// Of the last iteration: tokens written a second.
    pub(super) last_rate: f64,
}

impl Recorder {
    pub(crate) fn new(about: About) -> Recorder {
        let bounds = Bounds::of(about.dialect, about.profile.max_model_len);
        let tokens = || Histogram::new(bounds.tokens.clone());
        let request = || Histogram::new(bounds.request.clone());
        let iteration = || Histogram::new(bounds.iteration.clone());
        Recorder {
            http: Http::new(),
            first_token: Histogram::new(bounds.first_token.clone()),
            between_tokens: Histogram::new(bounds.between_tokens.clone()),
            per_output_token: Histogram::new(bounds.per_output_token.clone()),
            whole: request(),
            queue: Histogram::new(bounds.queue.clone()),
            inference: request(),
            prefill: request(),
            decode: request(),
            prompt_tokens: tokens(),
            generation_tokens: tokens(),
            max_tokens: tokens(),
            computed_tokens: tokens(),
            request_preemptions: Histogram::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0]),
            params_n: Histogram::new(vec![1.0, 2.0, 5.0, 10.0, 20.0]),
            iteration_tokens: Histogram::new(bounds.iteration_tokens.clone()),
            prefill_iteration: iteration(),
            decode_iteration: iteration(),
            batch_size: Histogram::new(bounds.batch_size.clone()),
            stopped: 0,
            cut: 0,
            aborted: 0,
            ended_prompt_tokens: 0,
            ended_cached_tokens: 0,
            ended_output_tokens: 0,
            longest_tokens: 0,
            sequence_iterations: 0,
            last_rate: 0.0,
            about,
        }
    }

    /// One token, and the one before it if there was one.
    pub(crate) fn token(&mut self, at: Time, before: Option<Time>) {
        if let Some(before) = before {
            self.between_tokens.observe(at.since(before).as_secs_f64());
        }
    }

    pub(crate) fn iteration(&mut self, iteration: &Iteration) {
        let lasted_s = iteration.ended.since(iteration.began).as_secs_f64();
        self.iteration_tokens.observe(f64::from(iteration.tokens));
        self.batch_size.observe(f64::from(iteration.sequences));
        self.sequence_iterations += u64::from(iteration.sequences);
        if iteration.prefill_tokens > 0 {
            self.prefill_iteration.observe(lasted_s);
        } else {
            self.decode_iteration.observe(lasted_s);
        }
        self.last_rate = f64::from(iteration.tokens - iteration.prefill_tokens) / lasted_s;
    }

    /// The end of one request. Cancelled ones count as aborted and in no histogram, as in vLLM.
    pub(crate) fn finished(&mut self, end: &Finished) {
        match end.finish {
            Finish::Stop => self.stopped += 1,
            Finish::Length => self.cut += 1,
            Finish::Abort => {
                self.aborted += 1;
                return;
            }
        }
        let (Some(scheduled), Some(first)) = (end.scheduled, end.first_token) else { return };
        let seconds = |span: Span| span.as_secs_f64().max(0.0);
        let decode_s = seconds(end.at.since(first));
        self.first_token.observe(seconds(first.since(end.arrived)));
        self.whole.observe(seconds(end.at.since(end.arrived)));
        self.queue.observe(seconds(scheduled.since(end.arrived)));
        self.inference.observe(seconds(end.at.since(scheduled)));
        self.prefill.observe(seconds(first.since(scheduled)));
        self.decode.observe(decode_s);
        // The first token is prefill's.
        let later = f64::from(end.output_tokens.saturating_sub(1).max(1));
        self.per_output_token.observe(decode_s / later);
        self.prompt_tokens.observe(f64::from(end.prompt_tokens));
        self.generation_tokens.observe(f64::from(end.output_tokens));
        self.max_tokens.observe(f64::from(end.max_tokens));
        self.computed_tokens.observe(f64::from(end.prompt_tokens - end.cached_tokens.min(end.prompt_tokens)));
        self.request_preemptions.observe(f64::from(end.preemptions));
        self.params_n.observe(1.0);
        self.ended_prompt_tokens += u64::from(end.prompt_tokens);
        self.ended_cached_tokens += u64::from(end.cached_tokens);
        self.ended_output_tokens += u64::from(end.output_tokens);
        self.longest_tokens =
            self.longest_tokens.max(u64::from(end.prompt_tokens) + u64::from(end.output_tokens));
    }

    /// One answer of the HTTP server.
    pub(crate) fn answered(&mut self, answer: &super::http::Answer) {
        self.http.record(answer);
    }
}
