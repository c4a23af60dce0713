//! From what gateways and engines counted to what policy `slo` is told: what came and what was done between two looks.
//!
//! What came is counted at the gateway, where a request is known from its first byte on; where no gateway routes the
//! target, or one of them is silent, it is reckoned from what engines took on. What was done, and what it took, only
//! engines know. Who comes late is known best by whoever says more: an engine does not know the wait before it, nor a
//! gateway the first token of an answer that comes whole.
//!
//! Silence is no zero: while more than half of the replicas that could speak do not, there is no stretch at all, and the
//! policy hears nothing. Counts that are first seen, or have fallen, say nothing until the next look.

mod engines;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::route::Flow;
use tidegate_core::slo::{Load, Objective};
use tidegate_core::time::{Span, Time};
use tidegate_metrics::sample::EngineSample;

pub use self::engines::FRESH;
use self::engines::{Watch, count, whole};

/// Two looks further apart than this do not make one stretch: a rate over it would hide what happened.
const APART_MAX: Span = Span::from_secs(30);

/// Estimated tokens over which the estimate is held against what engines counted: the prompts of a hundred requests.
const TOKENS_KEPT: f64 = 100_000.0;
/// An estimate is not off by more: from one token a byte to one for thirty-two.
const OFF_MAX: f64 = 8.0;

/// What gateways say of one target.
#[derive(Clone, Copy, Debug, Default)]
pub struct AtGateways<'f> {
    /// Requests that wait there.
    pub waiting: u32,
    /// What each gateway that routes it has counted; `None` where none does, or one of them is silent.
    pub flows: Option<&'f [(Arc<str>, Flow)]>,
}

/// What one target's replicas and gateways said at the last look; as many entries as there are of both.
#[derive(Debug, Default)]
pub struct Work {
    at: Option<Time>,
    engines: Watch,
    gateways: BTreeMap<Arc<str>, Flow>,
    estimate: Estimate,
}

impl Work {
    /// What came since the last look. `replicas` are the ready ones, each with what it said last and when.
    ///
    /// `None` the first time, when looks are too far apart, and when too many replicas are silent.
    pub fn load<'s>(
        &mut self,
        now: Time,
        replicas: impl Iterator<Item = (&'s Arc<str>, Option<(&'s EngineSample, Time)>)>,
        gateways: AtGateways<'_>,
        objective: &Objective,
    ) -> Option<Load> {
        let over = self.at.replace(now).map(|before| now.since(before));
        let done = self.engines.look(now, replicas, objective);
        let came = self.came(gateways.flows);
        let over = over.filter(|over| *over > Span::ZERO && *over <= APART_MAX)?;
        if done.is_deaf() {
            return None;
        }
        let (all, work) = (done.for_all(), &done.work);
        let mut load = Load {
            over,
            waiting: gateways.waiting.saturating_add(count(done.queued * all)),
            ended: count(done.ended() * all),
            output_tokens: whole(work.output * all),
            engines: done.engines(),
            ..Load::default()
        };
        let (mut judged, mut late) = (work.first_tokens * all, work.late * all);
        if let Some(came) = came {
            let estimated = came.prompt_tokens as f64;
            self.estimate.learn(estimated, work.prompt * all);
            load.arrived = count(came.arrived as f64);
            load.prompt_tokens = whole(estimated * self.estimate.off());
            if done.heard == 0 || work.finished.is_none() {
                (load.ended, load.output_tokens) = (count(came.ended as f64), came.output_tokens);
            }
            // The greater share, of as many as the gateway has seen.
            let (seen, seen_late) = (came.first_tokens as f64, came.late as f64);
            if seen > 0.0 {
                let share = if judged > 0.0 { late / judged } else { 0.0 };
                (judged, late) = (seen, seen_late.max(seen * share));
            }
        } else {
            load.arrived = count(done.arrived() * all);
            load.prompt_tokens = whole(work.prompt * all);
        }
        (load.first_tokens, load.late) = (count(judged), count(late));
        Some(load)
    }

    /// What came to all gateways since the last look; `None` where that is not known of all of them.
    fn came(&mut self, flows: Option<&[(Arc<str>, Flow)]>) -> Option<Flow> {
        let Some(flows) = flows else {
            // What was counted while one was silent is reckoned from engines, so it must not come again after it.
            self.gateways.clear();
            return None;
        };
        let known = std::mem::take(&mut self.gateways);
        let mut sum = (!known.is_empty()).then(Flow::default);
        for (name, flow) in flows {
            let grown = known.get(name).and_then(|before| flow.since(before));
            sum = sum.map(|sum| grown.map_or(sum, |grown| sum.plus(&grown)));
            self.gateways.insert(Arc::clone(name), *flow);
        }
        sum
    }
}

/// How far off the gateway's estimate of prompts is: it knows bytes, and engines count tokens.
#[derive(Clone, Copy, Debug, Default)]
struct Estimate {
    estimated: f64,
    counted: f64,
}

impl Estimate {
    fn learn(&mut self, estimated: f64, counted: f64) {
        self.estimated += estimated;
        self.counted += counted;
        if self.estimated > TOKENS_KEPT {
            let fade = TOKENS_KEPT / self.estimated;
            self.estimated *= fade;
            self.counted *= fade;
        }
    }

    /// Tokens for each that was estimated; 1 before a tenth of what is kept was seen, and where engines count none.
    fn off(&self) -> f64 {
        if self.estimated < TOKENS_KEPT / 10.0 || self.counted <= 0.0 {
            return 1.0;
        }
        (self.counted / self.estimated).clamp(1.0 / OFF_MAX, OFF_MAX)
    }
}
