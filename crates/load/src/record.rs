//! Counting what comes of requests while a run goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::CreationError;
use tokio::time::Instant;

use crate::exchange::Outcome;
use crate::options::Slo;
use crate::report::{Bin, ColdStarts, Curves, Goodput, Group, Kind, Report, Tokens};
use crate::times::Times;

/// Digits of the run's own histograms, and of the many small ones.
const DIGITS: u8 = 3;
const DIGITS_SMALL: u8 = 2;

/// Stretches of the time line. When a run outgrows them, each two become one: 512 of at least a second
/// hold 8 minutes, 512 of 8 s an hour. At 20 KB of histogram each they take 10 MB.
const BINS_MAX: usize = 512;

/// Models and priorities counted apart: the first 64 of each; the others together as `others`.
const GROUPS_MAX: usize = 64;

#[derive(Debug, Default)]
struct BinCount {
    due: u64,
    ok: u64,
    failed: u64,
    in_flight_max: usize,
    in_flight_last: Option<usize>,
    ttft: Option<Times>,
}

#[derive(Debug)]
struct GroupCount {
    requests: u64,
    ok: u64,
    ttft: Times,
    e2e: Times,
}

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Recorder {
    slo: Slo,
    due: u64,
    ok: u64,
    failed: u64,
    good: u64,
    streams: u64,
    errors: BTreeMap<String, u64>,
    examples: BTreeMap<String, String>,
    ttft: Times,
    ttft_intended: Times,
    itl: Times,
    tpot: Times,
    e2e: Times,
    e2e_intended: Times,
    send_lag: Times,
    cold: u64,
    cold_ttft: Times,
    expected_wait: Times,
    tokens: Tokens,
    in_flight_max: usize,
    models: BTreeMap<String, GroupCount>,
    priorities: BTreeMap<String, GroupCount>,
    bins: Vec<BinCount>,
    bin_s: u64,
}

impl Recorder {
    pub(crate) fn new(slo: Slo) -> Result<Recorder, CreationError> {
        let times = || Times::new(DIGITS);
        Ok(Recorder {
            slo,
            due: 0,
            ok: 0,
            failed: 0,
            good: 0,
            streams: 0,
            errors: BTreeMap::new(),
            examples: BTreeMap::new(),
            ttft: times()?,
            ttft_intended: times()?,
            itl: times()?,
            tpot: times()?,
            e2e: times()?,
            e2e_intended: times()?,
            send_lag: times()?,
            cold: 0,
            cold_ttft: times()?,
            expected_wait: times()?,
            tokens: Tokens::default(),
            in_flight_max: 0,
            models: BTreeMap::new(),
            priorities: BTreeMap::new(),
            bins: Vec::new(),
            bin_s: 1,
        })
    }

    /// Requests due so far, answered whole, failed.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        (self.due, self.ok, self.failed)
    }

    /// A request is due.
    pub(crate) fn due(&mut self, at: Duration) {
        self.due += 1;
        self.bin(at).due += 1;
    }

    /// The number in flight changed.
    pub(crate) fn in_flight(&mut self, at: Duration, count: usize) {
        self.in_flight_max = self.in_flight_max.max(count);
        let bin = self.bin(at);
        bin.in_flight_max = bin.in_flight_max.max(count);
        bin.in_flight_last = Some(count);
    }

    /// A request whose task died: it is counted, though nothing is known of it.
    pub(crate) fn lost(&mut self, detail: &str) {
        self.failed += 1;
        self.error(&Kind::BadAnswer, &format!("the request's task ended: {detail}"));
    }

    /// A request ended; `in_flight` are still there.
    pub(crate) fn ended(&mut self, outcome: Outcome, start: Instant, in_flight: usize) {
        let end = outcome.end.saturating_duration_since(start);
        self.in_flight(end, in_flight);
        self.tokens.count(&outcome);
        let ok = outcome.result.is_ok();
        match &outcome.result {
            Ok(()) => {
                self.ok += 1;
                self.bin(end).ok += 1;
            }
            Err(failure) => {
                self.failed += 1;
                self.bin(end).failed += 1;
                self.error(&failure.kind, &failure.detail);
            }
        }
        self.group(&outcome, ok);
        // A request that failed fast would make the server look fast: only whole answers are timed.
        if ok {
            self.times(&outcome, start);
        }
    }

    fn times(&mut self, outcome: &Outcome, start: Instant) {
        let since = |from: Instant, to: Instant| to.saturating_duration_since(from).as_micros() as u64;
        let e2e = since(outcome.sent, outcome.end);
        self.e2e.record_us(e2e);
        self.e2e_intended.record_us(since(outcome.intended, outcome.end));
        self.send_lag.record_us(since(outcome.intended, outcome.sent));
        outcome.gaps_us.iter().for_each(|gap| self.itl.record_us(u64::from(*gap)));
        let ttft = outcome.first.map(|first| since(outcome.sent, first));
        let tokens = outcome.answer.counted;
        let tpot = match (outcome.first, outcome.last) {
            (Some(first), Some(last)) if tokens > 1 => Some(since(first, last) / (tokens - 1)),
            _ => None,
        };
        if let Some(us) = ttft {
            self.streams += 1;
            self.ttft.record_us(us);
            self.ttft_intended.record_us(outcome.first.map_or(0, |first| since(outcome.intended, first)));
            let sent = outcome.sent.saturating_duration_since(start);
            let bin = self.bin(sent);
            if bin.ttft.is_none() {
                bin.ttft = Times::new(DIGITS_SMALL).ok();
            }
            if let Some(times) = &mut bin.ttft {
                times.record_us(us);
            }
        }
        if let Some(us) = tpot {
            self.tpot.record_us(us);
        }
        if outcome.cold {
            self.cold += 1;
            self.cold_ttft.record_us(ttft.unwrap_or(e2e));
            if let Some(wait_s) = outcome.expected_wait_s {
                self.expected_wait.record_us((wait_s * 1e6) as u64);
            }
        }
        if self.is_good(outcome, ttft, tpot, e2e) {
            self.good += 1;
        }
    }

    /// A stream is good when its first token and the mean time of the others kept their bounds. An answer
    /// that is no stream shows no token: it is good when it took no longer than a good stream of its tokens
    /// could, `ttft + (tokens − 1) · itl`, or, without both bounds, when it is whole.
    fn is_good(&self, outcome: &Outcome, ttft: Option<u64>, tpot: Option<u64>, e2e: u64) -> bool {
        let within = |us: Option<u64>, bound: Option<Duration>| {
            bound.is_none_or(|bound| us.is_none_or(|us| u128::from(us) <= bound.as_micros()))
        };
        if ttft.is_some() {
            return within(ttft, self.slo.ttft) && within(tpot, self.slo.itl);
        }
        let (Some(first), Some(each)) = (self.slo.ttft, self.slo.itl) else { return true };
        let tokens = outcome.answer.usage.map_or(1, |usage| usage.completion_tokens.max(1));
        u128::from(e2e) <= first.as_micros() + each.as_micros() * u128::from(tokens - 1)
    }

    fn error(&mut self, kind: &Kind, detail: &str) {
        let name = kind.to_string();
        self.examples.entry(name.clone()).or_insert_with(|| detail.to_owned());
        *self.errors.entry(name).or_default() += 1;
    }

    fn group(&mut self, outcome: &Outcome, ok: bool) {
        let planned = &outcome.planned;
        let since = |to: Instant| to.saturating_duration_since(outcome.sent).as_micros() as u64;
        let both =
            [(&mut self.models, Some(&planned.model)), (&mut self.priorities, planned.priority.as_ref())];
        for (groups, name) in both {
            let Some(name) = name else { continue };
            let room = groups.len() < GROUPS_MAX || groups.contains_key(&**name);
            let name = if room { name.to_string() } else { "others".to_owned() };
            if !groups.contains_key(&name) {
                let (Ok(ttft), Ok(e2e)) = (Times::new(DIGITS_SMALL), Times::new(DIGITS_SMALL)) else {
                    continue;
                };
                groups.insert(name.clone(), GroupCount { requests: 0, ok: 0, ttft, e2e });
            }
            let Some(group) = groups.get_mut(&name) else { continue };
            group.requests += 1;
            group.ok += u64::from(ok);
            if ok {
                outcome.first.into_iter().for_each(|first| group.ttft.record_us(since(first)));
                group.e2e.record_us(since(outcome.end));
            }
        }
    }

    fn bin(&mut self, at: Duration) -> &mut BinCount {
        while at.as_secs() / self.bin_s >= BINS_MAX as u64 {
            self.merge_bins();
        }
        let index = (at.as_secs() / self.bin_s) as usize;
        if self.bins.len() <= index {
            self.bins.resize_with(index + 1, BinCount::default);
        }
        &mut self.bins[index]
    }

    fn merge_bins(&mut self) {
        self.bin_s *= 2;
        let mut merged: Vec<BinCount> = Vec::with_capacity(BINS_MAX);
        for (index, bin) in std::mem::take(&mut self.bins).into_iter().enumerate() {
            match merged.last_mut() {
                Some(into) if index % 2 == 1 => into.absorb(bin),
                _ => merged.push(bin),
            }
        }
        self.bins = merged;
    }

    /// What the run comes to.
    pub(crate) fn report(self, url: &str, seconds: f64, unfinished: u64, interrupted: bool) -> Report {
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let curves =
            Curves { ttft: self.ttft.cumulative(), itl: self.itl.cumulative(), e2e: self.e2e.cumulative() };
        let goodput = Goodput {
            slo_ttft_s: self.slo.ttft.map(|bound| bound.as_secs_f64()),
            slo_itl_s: self.slo.itl.map(|bound| bound.as_secs_f64()),
            good: self.good,
            // Of all that ended: a request that failed was not good.
            share: (self.ok + self.failed > 0).then(|| self.good as f64 / (self.ok + self.failed) as f64),
            rps: per_second(self.good),
        };
        Report {
            url: url.to_owned(),
            seconds,
            interrupted,
            requests: self.ok + self.failed,
            ok: self.ok,
            failed: self.failed,
            unfinished,
            streams: self.streams,
            in_flight_max: self.in_flight_max,
            offered_rps: per_second(self.due),
            ok_rps: per_second(self.ok),
            errors: self.errors,
            examples: self.examples,
            ttft_s: self.ttft.percentiles(),
            itl_s: self.itl.percentiles(),
            tpot_s: self.tpot.percentiles(),
            e2e_s: self.e2e.percentiles(),
            ttft_intended_s: self.ttft_intended.percentiles(),
            e2e_intended_s: self.e2e_intended.percentiles(),
            send_lag_s: self.send_lag.percentiles(),
            goodput,
            tokens: self.tokens,
            cold_starts: ColdStarts {
                requests: self.cold,
                ttft_s: self.cold_ttft.percentiles(),
                expected_wait_s: self.expected_wait.percentiles(),
            },
            models: groups(&self.models),
            priorities: groups(&self.priorities),
            timeline: timeline(&self.bins, self.bin_s),
            curves,
        }
    }
}

impl BinCount {
    fn absorb(&mut self, later: BinCount) {
        self.due += later.due;
        self.ok += later.ok;
        self.failed += later.failed;
        self.in_flight_max = self.in_flight_max.max(later.in_flight_max);
        self.in_flight_last = later.in_flight_last.or(self.in_flight_last);
        match (&mut self.ttft, later.ttft) {
            (Some(times), Some(later)) => times.add(&later),
            (none @ None, later) => *none = later,
            (Some(_), None) => {}
        }
    }
}

impl Tokens {
    fn count(&mut self, outcome: &Outcome) {
        let answer = &outcome.answer;
        let Some(usage) = answer.usage else {
            if outcome.result.is_ok() && outcome.planned.stream {
                self.without_usage += 1;
            }
            self.output += answer.counted;
            return;
        };
        self.prompt += usage.prompt_tokens;
        self.output += usage.completion_tokens;
        self.with_usage += 1;
        if outcome.planned.stream && usage.completion_tokens != answer.counted {
            self.counted_differs += 1;
        }
        let asked = u64::from(outcome.planned.output_tokens);
        if answer.ended_at_length() && usage.completion_tokens != asked {
            self.asked_differs += 1;
        }
    }
}

fn groups(counts: &BTreeMap<String, GroupCount>) -> BTreeMap<String, Group> {
    let group = |count: &GroupCount| Group {
        requests: count.requests,
        ok: count.ok,
        failed: count.requests - count.ok,
        ttft_s: count.ttft.percentiles(),
        e2e_s: count.e2e.percentiles(),
    };
    counts.iter().map(|(name, count)| (name.clone(), group(count))).collect()
}

fn timeline(bins: &[BinCount], bin_s: u64) -> Vec<Bin> {
    let mut in_flight = 0;
    let bin = |(index, bin): (usize, &BinCount)| {
        // Where nothing changed, as many were in flight as before.
        let in_flight_max = bin.in_flight_max.max(in_flight);
        in_flight = bin.in_flight_last.unwrap_or(in_flight);
        Bin {
            at_s: index as u64 * bin_s,
            seconds: bin_s,
            due: bin.due,
            ok: bin.ok,
            failed: bin.failed,
            in_flight_max,
            ttft_p50_s: bin.ttft.as_ref().and_then(|times| times.quantile_s(0.5)),
            ttft_p95_s: bin.ttft.as_ref().and_then(|times| times.quantile_s(0.95)),
        }
    };
    bins.iter().enumerate().map(bin).collect()
}

#[cfg(test)]
mod tests;
