//! Requests that give the recorded curve again.

use std::collections::VecDeque;

use tidegate_core::time::{Span, Time};

use super::Recorded;
use crate::profile::Profile;
use crate::trace::TraceRequest;

/// Requests made of a journal at the most: 5 million of 60 bytes are 300 MB.
pub const REQUESTS_MAX: usize = 5_000_000;
/// Tokens of every prompt: a journal has no lengths, and 512 take an 8B model on an H100 some 14 ms.
pub const PROMPT_TOKENS: u32 = 512;
/// A stay that would be a longer answer than this counts as several requests, one after another: where as many come
/// as go the journal shows a level, and a level is no endless answer. The conversations of 2023 have 211 tokens on
/// average, and one in a hundred has more than 601.
const WHOLE_TOKENS_MAX: u32 = 600;
/// Tokens of each of them at the most.
const PART_TOKENS: u32 = 211;
/// Demand is told with a tick at the latest: what is told now happened within this.
const TICK: Span = Span::from_secs(1);

/// Sums from the journal's beginning on, at an instant at which something changed.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    at: Time,
    /// Seconds of service that one request got that was there all the time.
    served_s: f64,
    /// Seconds × requests that had a seat.
    seated_s: f64,
    /// Seconds × replicas that were ready.
    ready_s: f64,
    /// In force from here on.
    share: f64,
    seated: f64,
    ready: f64,
}

impl Sums {
    /// The same at a later instant, before the next change.
    fn later(&self, at: Time) -> Sums {
        let seconds = at.since(self.at).as_secs_f64().max(0.0);
        Sums {
            at,
            served_s: self.served_s + seconds * self.share,
            seated_s: self.seated_s + seconds * self.seated,
            ready_s: self.ready_s + seconds * self.ready,
            ..*self
        }
    }
}

impl Recorded {
    /// Requests that give the recorded curve on engines of this profile.
    ///
    /// A request that was there from `a` to `b` was served for the integral over that time of
    /// `min(1, ready · seats / count)`; in that time a replica with the mean batch of then wrote as many tokens as
    /// the profile's iterations fit into it, less the prefill of a prompt of [`PROMPT_TOKENS`].
    #[must_use]
    pub fn requests(&self, profile: &Profile) -> Vec<TraceRequest> {
        if !self.arrived.is_empty() {
            return self.told(profile);
        }
        let first = self.first.unwrap_or(self.last);
        let sums = self.sums(first, f64::from(profile.max_num_seqs));
        let mut made = Vec::new();
        for (from, to) in self.stays() {
            let (began, ended) = (at(&sums, from), at(&sums, to));
            let served_s = ended.served_s - began.served_s;
            let ready_s = ended.ready_s - began.ready_s;
            let batch = if ready_s > 0.0 { (ended.seated_s - began.seated_s) / ready_s } else { 1.0 };
            let tokens = output_tokens(profile, served_s, batch.max(1.0));
            let parts = if tokens > WHOLE_TOKENS_MAX { tokens.div_ceil(PART_TOKENS) } else { 1 };
            let output_tokens = match parts {
                1 => tokens,
                parts => output_tokens(profile, served_s / f64::from(parts), batch.max(1.0)),
            };
            for part in 0..parts {
                // Those that follow come while it is served, not while it waits.
                let left_s = served_s * f64::from(parts - part) / f64::from(parts);
                let left = Span::try_from_secs_f64(left_s).unwrap_or(Span::ZERO);
                let came = if part == 0 { from } else { (to - left).max(from) };
                made.push(TraceRequest {
                    at: came.since(first).max(Span::ZERO),
                    prompt_tokens: PROMPT_TOKENS.min(profile.max_model_len / 2).max(1),
                    output_tokens,
                    hash_ids: Vec::new(),
                });
            }
            if made.len() >= REQUESTS_MAX {
                break;
            }
        }
        made.sort_by_key(|request| request.at);
        made
    }

    /// What came as it was told: so many requests in each stretch, evenly over it, with the mean prompt of the stretch and
    /// the mean answer of the whole journal.
    fn told(&self, profile: &Profile) -> Vec<TraceRequest> {
        let first = self.first.unwrap_or(self.last);
        let most = (profile.max_model_len / 2).max(1);
        let tokens =
            |sum: u64, count: u64| u32::try_from(sum / count.max(1)).unwrap_or(u32::MAX).clamp(1, most);
        let output_tokens = match self.ended {
            (0, _) => PART_TOKENS.min(most),
            (ended, written) => tokens(written, ended),
        };
        let mut made = Vec::new();
        for (at, over, arrived, prompt_tokens) in &self.arrived {
            let from = *at - *over;
            for place in 0..i64::from(*arrived) {
                if made.len() >= REQUESTS_MAX {
                    return made;
                }
                let into_us = over.as_micros() as f64 * (place as f64 + 0.5) / f64::from(*arrived);
                let came = from + Span::from_micros(into_us as i64);
                made.push(TraceRequest {
                    at: came.since(first).max(Span::ZERO),
                    prompt_tokens: tokens(*prompt_tokens, u64::from(*arrived)),
                    output_tokens,
                    hash_ids: Vec::new(),
                });
            }
        }
        made.sort_by_key(|request| request.at);
        made
    }

    /// When each request came and went.
    fn stays(&self) -> Vec<(Time, Time)> {
        let (mut open, mut stays) = (VecDeque::new(), Vec::new());
        let (mut since, mut count) = (self.first.unwrap_or(self.last), 0_u32);
        for (now, told) in &self.demand {
            // Edges from and to zero are told at once; anything else with the next tick.
            let from = if count == 0 { *now } else { since.max(*now - TICK) };
            let half = if *told == 0 { 2 } else { 1 };
            let moved = told.abs_diff(count);
            let room_us = now.since(from).as_micros();
            for place in 0..i64::from(moved) {
                if stays.len() + open.len() >= REQUESTS_MAX {
                    break;
                }
                let when = from + Span::from_micros(room_us * (2 * place + half) / (2 * i64::from(moved)));
                if *told > count {
                    open.push_back(when);
                } else if let Some(came) = open.pop_front() {
                    stays.push((came, when.max(came)));
                }
            }
            (since, count) = (*now, *told);
        }
        stays.extend(open.into_iter().map(|came| (came, self.last.max(came))));
        stays.truncate(REQUESTS_MAX);
        stays
    }

    /// The sums at each change of requests or replicas, in order.
    fn sums(&self, first: Time, seats: f64) -> Vec<Sums> {
        let mut changes: Vec<(Time, Option<f64>, Option<f64>)> =
            self.demand.iter().map(|(at, count)| (*at, Some(f64::from(*count)), None)).collect();
        changes.extend(self.fleets.iter().map(|(at, fleet)| (*at, None, Some(f64::from(fleet.ready)))));
        changes.sort_by_key(|(at, ..)| *at);
        let mut now = Sums { at: first, ..Sums::default() };
        let (mut sums, mut count, mut ready) = (vec![now], 0.0, 0.0);
        for (at, counted, readied) in changes {
            count = counted.unwrap_or(count);
            ready = readied.unwrap_or(ready);
            now = now.later(at);
            now.share = if ready > 0.0 { f64::min(1.0, ready * seats / f64::max(count, 1.0)) } else { 0.0 };
            now.seated = f64::min(count, ready * seats);
            now.ready = ready;
            sums.push(now);
        }
        sums
    }
}

/// The sums at any instant.
fn at(sums: &[Sums], when: Time) -> Sums {
    let next = sums.partition_point(|sums| sums.at <= when);
    sums.get(next.saturating_sub(1)).map_or_else(Sums::default, |sums| sums.later(when))
}

/// Tokens an engine writes for one request in so many seconds, beside `batch − 1` others as long.
fn output_tokens(profile: &Profile, served_s: f64, batch: f64) -> u32 {
    let prompt = f64::from(PROMPT_TOKENS);
    let left_ms = served_s * 1e3 - profile.prefill_ms(prompt);
    let most = f64::from(profile.max_model_len.saturating_sub(PROMPT_TOKENS)).max(1.0);
    let batch = batch.min(f64::from(profile.max_num_seqs));
    // An iteration gets longer with what is written already: the second round knows how much that is.
    let mut tokens = 1.0;
    for _ in 0..3 {
        let step_ms = profile.decode_ms(batch, batch * (prompt + tokens / 2.0));
        tokens = (1.0 + left_ms / step_ms.max(1e-3)).clamp(1.0, most);
    }
    libm::rint(tokens) as u32
}
