//! From resolved signals to what each asks of the autoscaler: its metrics, in the manifest's order.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::decision::{Because, Lost, Unusable};
use super::hpa::{Answer, Proposal, Tolerance, Usage, calculator, failed_reason, pods};
use super::observe::{Fleet, Pod, Sample};
use super::signals::{self, Amount, Composite, Resolved, SignalState, Slot};
use super::spec::{Keda, Kind, Metric, ResourceGoal, Signal, Spec};
use crate::time::Time;
use crate::units::{Milli, ceil_replicas};

/// Turns resolved signals into the autoscaler's metrics.
pub(crate) struct Proposer<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) fleet: Fleet,
    pub(crate) pods: Option<&'a [Pod]>,
    pub(crate) states: &'a [SignalState],
    pub(crate) now: Time,
    pub(crate) tolerance: Tolerance,
}

impl Proposer<'_> {
    /// One answer a metric: the formula's in place of those it may name, then the others in order.
    pub(crate) fn answers(&self, resolved: &Resolved) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(self.spec.signals.len());
        if let Some(composite) = &resolved.composite {
            answers.push(self.composite(composite));
        }
        for ((signal, state), amount) in self.spec.signals.iter().zip(self.states).zip(&resolved.amounts) {
            let external = matches!(signal.metric, Metric::External(_) | Metric::Object(_));
            if (external && resolved.composite.is_some()) || signal.metric == Metric::Demand {
                continue;
            }
            let result = match amount {
                Amount::Lost(why) => Err(why.clone()),
                _ => self.propose(signal, state, amount).map_err(Lost::Unusable),
            };
            answers.push(Answer {
                signal: Arc::clone(&signal.name),
                failed_reason: failed_reason(&signal.metric),
                result,
            });
        }
        answers
    }

    fn composite(&self, composite: &Composite) -> Answer {
        let signal: Arc<str> = "composite-metric".into();
        let result = match (composite, &self.spec.kind) {
            (Composite::Value(value), Kind::ScaledObject(Keda { modifiers: Some(modifiers), .. })) => {
                calculator::external(&signal, modifiers.goal(), *value, self.against(), self.tolerance)
                    .map_err(Lost::Unusable)
            }
            (Composite::Lost(why), _) => Err(why.clone()),
            _ => Err(Lost::Unread),
        };
        Answer { signal, failed_reason: "FailedGetExternalMetric", result }
    }

    fn against(&self) -> calculator::Against {
        let none =
            self.fleet.status == 0 && self.fleet.ready == 0 || self.pods.is_some_and(<[Pod]>::is_empty);
        let ready = (!none).then_some(self.fleet.ready);
        calculator::Against { spec: self.fleet.spec, status: self.fleet.status, ready }
    }

    fn propose(&self, signal: &Signal, state: &SignalState, amount: &Amount) -> Result<Proposal, Unusable> {
        match &signal.metric {
            Metric::External(goal) | Metric::Object(goal) => {
                let usage = match amount {
                    Amount::Read { published, .. } => *published,
                    Amount::Fallback { replicas } => {
                        signals::fallback_metric(*goal, *replicas, self.fleet.ready)?
                    }
                    Amount::PerPod | Amount::Lost(_) => return Err(Unusable::WrongReading),
                };
                calculator::external(&signal.name, *goal, usage, self.against(), self.tolerance)
            }
            Metric::Pods { average } => match &state.slot {
                Slot::Samples(samples) => pods::average(&signal.name, *average, &self.measured(samples)?),
                slot => self.lone_average(signal, slot, amount, *average),
            },
            Metric::Resource { resource, container, goal } => match &state.slot {
                Slot::Samples(samples) => {
                    let measured = self.measured(samples)?;
                    pods::resource(&signal.name, resource, container.as_deref(), *goal, &measured)
                }
                slot => match goal {
                    ResourceGoal::AverageValue(target) => self.lone_average(signal, slot, amount, *target),
                    ResourceGoal::Utilization(percent) => {
                        self.lone_average(signal, slot, amount, Milli(i64::from(*percent) * 1000))
                    }
                },
            },
            Metric::Demand | Metric::Unsupported => Err(Unusable::SourceType),
        }
    }

    fn measured<'a>(&'a self, samples: &'a [Sample]) -> Result<pods::Measured<'a>, Unusable> {
        Ok(pods::Measured {
            pods: self.pods.ok_or(Unusable::NoPods)?,
            samples,
            now: self.now,
            current: self.fleet.spec,
            tuning: &self.spec.tuning,
            tolerance: self.tolerance,
        })
    }

    /// A per-pod metric observed as its mean (a number) or as one number a pod (a series): the ready
    /// replicas are taken to be the pods it was measured on.
    fn lone_average(
        &self,
        signal: &Signal,
        slot: &Slot,
        amount: &Amount,
        target: Milli,
    ) -> Result<Proposal, Unusable> {
        let (mean, pods) = match (slot, amount) {
            (Slot::Series { published, count, .. }, _) => (Milli(published.0 / i64::from(*count)), *count),
            (_, Amount::Read { published, .. }) => (*published, self.fleet.ready),
            _ => return Err(Unusable::WrongReading),
        };
        if pods == 0 {
            return Err(Unusable::NoSamples);
        }
        let ratio = mean.0 as f64 / target.0 as f64;
        let usage = Usage::amount(mean);
        let signal = Arc::clone(&signal.name);
        let Tolerance { down, up } = self.tolerance;
        if self.tolerance.holds(ratio) {
            let because = Because::Within { signal, ratio, down, up };
            return Ok(Proposal { replicas: self.fleet.spec, within_tolerance: true, usage, because });
        }
        let because = Because::PerPod { signal, average: mean, target, pods };
        let replicas = ceil_replicas(ratio * f64::from(pods));
        Ok(Proposal { replicas, within_tolerance: false, usage, because })
    }
}
