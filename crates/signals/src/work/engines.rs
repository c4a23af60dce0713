//! What the engines of one target did between two looks.
//!
//! A replica is *heard* while its last sample is fresh. One that was heard and is not any more is silent: it still
//! works, so what the others say stands for it too, as long as half of those that could speak do. One that is new, or
//! was started again, is not missed: it begins with nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::slo::{Engines, Objective};
use tidegate_core::time::{Span, Time};
use tidegate_metrics::sample::EngineSample;

/// A sample older than this is none: five scrapes in a row were lost, or two with the pauses after them.
pub const FRESH: Span = Span::from_secs(5);

/// How long a replica that has never said anything is not missed: its first scrape comes within two seconds of its
/// being ready, and the first page of a busy engine may take a few more.
const FIRST_WORD: Span = Span::from_secs(10);

/// What one replica said at the last look.
#[derive(Clone, Debug)]
struct Known {
    since: Time,
    /// Whether it has ever said anything.
    spoke: bool,
    /// `None` while it is silent.
    sample: Option<EngineSample>,
}

/// What every replica said at the last look; as many entries as the target has replicas.
#[derive(Debug, Default)]
pub(super) struct Watch {
    known: BTreeMap<Arc<str>, Known>,
}

/// What all replicas did between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Done {
    /// Replicas that said what they did, and those that should have.
    pub(super) heard: u32,
    pub(super) expected: u32,
    /// Requests they queue now, all that speak.
    pub(super) queued: f64,
    /// Requests under way now and at the last look, of those heard.
    pub(super) under_way: f64,
    pub(super) before: f64,
    pub(super) running: f64,
    pub(super) kv_tokens: f64,
    pub(super) work: Grown,
}

/// By how much counters grew.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Grown {
    /// Requests that ended; `None` where an engine does not count them.
    pub(super) finished: Option<f64>,
    pub(super) prompt: f64,
    pub(super) output: f64,
    hits: f64,
    gaps: f64,
    gaps_s: f64,
    pub(super) first_tokens: f64,
    pub(super) late: f64,
}

impl Watch {
    /// Looks at each ready replica and what it said last.
    pub(super) fn look<'s>(
        &mut self,
        now: Time,
        replicas: impl Iterator<Item = (&'s Arc<str>, Option<(&'s EngineSample, Time)>)>,
        objective: &Objective,
    ) -> Done {
        let mut done = Done::default();
        let mut finished = Some(0.0);
        let mut known = BTreeMap::new();
        for (replica, said) in replicas {
            let said = said.filter(|(sample, at)| now.since(*at) < FRESH && speaks(sample));
            let old = self.known.remove(replica);
            let since = old.as_ref().map_or(now, |old| old.since);
            let spoke = old.as_ref().is_some_and(|old| old.spoke);
            if let Some((sample, _)) = said {
                done.queued += level(sample.waiting);
            }
            let before = old.and_then(|old| old.sample);
            match (before, said) {
                (Some(before), Some((sample, _))) => {
                    // One that was started again begins anew.
                    if let Some(grown) = grown(&before, sample, objective) {
                        done.expected += 1;
                        done.heard += 1;
                        done.take(&before, sample, &grown);
                        finished = finished.zip(grown.finished).map(|(sum, one)| sum + one);
                    }
                }
                // It has fallen silent, or speaks again and what it did meanwhile was reckoned from the others.
                _ if spoke => done.expected += 1,
                (_, None) if now.since(since) > FIRST_WORD => done.expected += 1,
                _ => {}
            }
            let sample = said.map(|(sample, _)| sample.clone());
            known.insert(Arc::clone(replica), Known { since, spoke: spoke || sample.is_some(), sample });
        }
        self.known = known;
        done.work.finished = finished;
        done
    }
}

impl Done {
    fn take(&mut self, before: &EngineSample, sample: &EngineSample, grown: &Grown) {
        self.under_way += level(sample.running) + level(sample.waiting);
        self.before += level(before.running) + level(before.waiting);
        self.running += level(sample.running);
        self.kv_tokens += level(sample.kv_capacity_tokens);
        let work = &mut self.work;
        work.prompt += grown.prompt;
        work.output += grown.output;
        work.hits += grown.hits;
        work.gaps += grown.gaps;
        work.gaps_s += grown.gaps_s;
        work.first_tokens += grown.first_tokens;
        work.late += grown.late;
    }

    /// Whether so many are silent that nothing can be said for them.
    pub(super) const fn is_deaf(&self) -> bool {
        2 * self.heard < self.expected
    }

    /// What those that are silent are reckoned to do besides: a mean replica's part each.
    pub(super) fn for_all(&self) -> f64 {
        if self.heard > 0 { f64::from(self.expected) / f64::from(self.heard) } else { 1.0 }
    }

    /// As the policy is told, the silent ones reckoned in.
    pub(super) fn engines(&self) -> Engines {
        let all = self.for_all();
        let work = &self.work;
        Engines {
            reporting: self.expected,
            running: count(self.running * all),
            prefill_tokens: whole((work.prompt - work.hits) * all),
            decode_tokens: whole(work.output * all),
            itl_us: if work.gaps > 0.0 { count(work.gaps_s / work.gaps * 1e6) } else { 0 },
            kv_tokens: whole(self.kv_tokens * all),
        }
    }

    /// Requests that came: those that ended, and by how much more are under way. Of engines that do not count what
    /// ended, those that are more under way: fewer than came, and never none while some come.
    pub(super) fn arrived(&self) -> f64 {
        (self.work.finished.unwrap_or(0.0) + self.under_way - self.before).max(0.0)
    }

    /// Requests that ended, as far as is known.
    pub(super) fn ended(&self) -> f64 {
        self.work.finished.unwrap_or_else(|| (self.before - self.under_way).max(0.0))
    }
}

/// Whether a page is one of an engine at work, and not of something else that stands there.
fn speaks(sample: &EngineSample) -> bool {
    sample.running.is_some() || sample.output_tokens_total.is_some() || sample.finished_total.is_some()
}

/// By how much a replica's counters grew; `None` when one fell.
fn grown(old: &EngineSample, new: &EngineSample, objective: &Objective) -> Option<Grown> {
    let counter = |old: Option<f64>, new: Option<f64>| match (old, new) {
        (Some(old), Some(new)) => (new >= old).then_some(new - old),
        _ => Some(0.0),
    };
    let finished = counter(old.finished_total, new.finished_total)?;
    let mut grown = Grown {
        finished: new.finished_total.map(|_| finished),
        prompt: counter(old.prompt_tokens_total, new.prompt_tokens_total)?,
        output: counter(old.output_tokens_total, new.output_tokens_total)?,
        hits: counter(old.prefix_hits_total, new.prefix_hits_total)?,
        ..Grown::default()
    };
    if let Some(gaps) = new.itl_s.as_ref().and_then(|itl| itl.since(old.itl_s.as_ref()?)) {
        (grown.gaps, grown.gaps_s) = (gaps.count(), gaps.sum());
    }
    if let Some(ttft) = new.ttft_s.as_ref().and_then(|ttft| ttft.since(old.ttft_s.as_ref()?)) {
        let objective_s = objective.ttft.as_secs_f64();
        // The first bound at or above the objective: what lies between them is let pass.
        let within = ttft.buckets().iter().find(|(bound, _)| *bound >= objective_s);
        grown.first_tokens = ttft.count();
        grown.late = within.map_or(0.0, |(_, within)| ttft.count() - within);
    }
    Some(grown)
}

/// A gauge; what is no number is nothing.
fn level(gauge: Option<f64>) -> f64 {
    gauge.filter(|value| value.is_finite()).unwrap_or(0.0)
}

/// A difference of counters as a count: what is none is 0.
pub(super) fn count(value: f64) -> u32 {
    if value.is_finite() { value.round().clamp(0.0, f64::from(u32::MAX)) as u32 } else { 0 }
}

pub(super) fn whole(value: f64) -> u64 {
    // 2^53 is as far as a counter is exact.
    if value.is_finite() { value.round().clamp(0.0, 9_007_199_254_740_992.0) as u64 } else { 0 }
}
