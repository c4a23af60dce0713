//! One metric → one proposal, for metrics measured on each pod (Resource, ContainerResource, Pods).
//!
//! The care here is for pods that cannot be believed yet: a pod that starts shows no load, or the load
//! of starting, and a pod without a sample might do anything. On the way up they count as idle, on the
//! way down as busy, so that neither doubt moves the count further than what is known.
//! Follows kubernetes v1.36.2 `replica_calculator.go`; the order of the tests in [`group`] is upstream's.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::calculator::{Proposal, Tolerance, Usage};
use crate::scale::decision::{Because, Unusable};
use crate::scale::observe::{Phase, Pod, Requests, Sample};
use crate::scale::spec::{ResourceGoal, Tuning};
use crate::time::Time;
use crate::units::{Milli, ceil_replicas};

/// Pods by how far their samples can be believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups<'a> {
    /// Pods whose samples count.
    pub ready: u32,
    /// Pending, or not believably ready.
    pub unready: Vec<&'a str>,
    /// Without a sample.
    pub missing: Vec<&'a str>,
    /// Being deleted, or failed.
    pub ignored: Vec<&'a str>,
}

/// Usage a pod, by name.
type PodUsage<'a> = BTreeMap<&'a str, i64>;

/// What per-pod arithmetic works on.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// The target's pods.
    pub pods: &'a [Pod],
    /// One sample a pod.
    pub samples: &'a [Sample],
    /// Now.
    pub now: Time,
    /// `spec.replicas`.
    pub current: u32,
    /// The controller's constants.
    pub tuning: &'a Tuning,
    /// How far a ratio may be off.
    pub tolerance: Tolerance,
}

/// Sorts pods by whether their samples can be believed. Only cpu looks at readiness: a starting pod
/// burns cpu without serving, while its memory is real.
#[must_use]
pub fn group<'a>(measured: &Measured<'a>, resource: &str) -> Groups<'a> {
    let mut groups = Groups::default();
    for pod in measured.pods {
        if pod.deleting || pod.phase == Phase::Failed {
            groups.ignored.push(&pod.name);
        } else if pod.phase == Phase::Pending {
            groups.unready.push(&pod.name);
        } else {
            match measured.samples.iter().find(|sample| sample.pod == pod.name) {
                None => groups.missing.push(&pod.name),
                Some(sample) if resource == "cpu" && !believable(pod, sample, measured) => {
                    groups.unready.push(&pod.name);
                }
                Some(_) => groups.ready += 1,
            }
        }
    }
    groups
}

fn believable(pod: &Pod, sample: &Sample, measured: &Measured<'_>) -> bool {
    let (Some(ready), Some(started)) = (pod.ready, pod.started) else { return false };
    let changed = pod.ready_changed.unwrap_or(started);
    if started + measured.tuning.cpu_initialization > measured.now {
        // Still starting: believe it only when ready and a whole window lies after it became so.
        ready && sample.at >= changed + sample.window
    } else {
        // Later: a pod that was never ready is still starting; one that was is merely unwell.
        ready || started + measured.tuning.initial_readiness_delay <= changed
    }
}

/// The proposal of a Resource or ContainerResource metric.
///
/// # Errors
/// When there are no pods, no usable samples, or no requests to measure utilization against.
pub fn resource(
    signal: &Arc<str>,
    name: &str,
    container: Option<&str>,
    goal: ResourceGoal,
    measured: &Measured<'_>,
) -> Result<Proposal, Unusable> {
    let usage = usage_of(measured.samples, container);
    match goal {
        ResourceGoal::AverageValue(target) => plain(signal, name, target, usage, measured),
        ResourceGoal::Utilization(percent) => utilization(signal, name, container, percent, usage, measured),
    }
}

/// The proposal of a Pods metric: as an average, without a look at readiness.
///
/// # Errors
/// When there are no pods or no usable samples.
pub fn average(signal: &Arc<str>, target: Milli, measured: &Measured<'_>) -> Result<Proposal, Unusable> {
    plain(signal, "", target, usage_of(measured.samples, None), measured)
}

/// Usage a pod: the sum of its containers, or the named one. A pod with any container that reports
/// without the resource is left out whole.
fn usage_of<'a>(samples: &'a [Sample], container: Option<&str>) -> PodUsage<'a> {
    let mut usage = PodUsage::new();
    for sample in samples {
        let total = match container {
            Some(name) => sample.containers.get(name).copied().flatten(),
            None => sample
                .containers
                .values()
                .try_fold(Milli(0), |sum, value| value.map(|value| Milli(sum.0.saturating_add(value.0)))),
        };
        if let Some(total) = total {
            usage.insert(&sample.pod, total.0);
        }
    }
    usage
}

/// Samples that count, and what to put in for those that do not.
struct Believed<'a> {
    usage: PodUsage<'a>,
    groups: Groups<'a>,
}

fn believe<'a>(
    mut usage: PodUsage<'a>,
    resource: &str,
    measured: &Measured<'a>,
) -> Result<Believed<'a>, Unusable> {
    if measured.pods.is_empty() {
        return Err(Unusable::NoPods);
    }
    // A pod whose containers reported only in part has no sample for our purposes.
    let complete: Vec<Sample> =
        measured.samples.iter().filter(|sample| usage.contains_key(sample.pod.as_str())).cloned().collect();
    let with_complete = Measured { samples: &complete, ..*measured };
    let groups = Groups::from_names(group(&with_complete, resource), measured.pods);
    for name in groups.ignored.iter().chain(&groups.unready) {
        usage.remove(name);
    }
    if usage.is_empty() {
        return Err(Unusable::NoSamples);
    }
    Ok(Believed { usage, groups })
}

impl<'a> Groups<'a> {
    /// The same groups with names borrowed from `pods`.
    fn from_names(groups: Groups<'_>, pods: &'a [Pod]) -> Groups<'a> {
        let names = |wanted: Vec<&str>| {
            pods.iter().map(|pod| pod.name.as_str()).filter(|name| wanted.contains(name)).collect()
        };
        Groups {
            ready: groups.ready,
            unready: names(groups.unready),
            missing: names(groups.missing),
            ignored: names(groups.ignored),
        }
    }
}

fn plain(
    signal: &Arc<str>,
    resource: &str,
    target: Milli,
    usage: PodUsage<'_>,
    measured: &Measured<'_>,
) -> Result<Proposal, Unusable> {
    let Believed { mut usage, groups } = believe(usage, resource, measured)?;
    let ratio_of = |usage: &PodUsage<'_>| {
        // Integer division, as upstream: 31,666 and not 31,666.67 thousandths.
        let mean = usage.values().fold(0_i64, |sum, v| sum.saturating_add(*v)) / usage.len() as i64;
        (mean as f64 / target.0 as f64, mean)
    };
    let (ratio, mean) = ratio_of(&usage);
    let fill = |_: &str| target.0;
    let counted = conclude(ratio, &mut usage, &groups, measured, fill, |usage| Ok(ratio_of(usage).0))?;
    let average = Milli(mean);
    Ok(counted.into_proposal(signal, measured, Usage::amount(average), |pods| Because::PerPod {
        signal: Arc::clone(signal),
        average,
        target,
        pods,
    }))
}

fn utilization(
    signal: &Arc<str>,
    resource: &str,
    container: Option<&str>,
    percent: u32,
    usage: PodUsage<'_>,
    measured: &Measured<'_>,
) -> Result<Proposal, Unusable> {
    let Believed { mut usage, groups } = believe(usage, resource, measured)?;
    let mut requests: BTreeMap<&str, i64> = BTreeMap::new();
    for pod in measured.pods {
        requests.insert(&pod.name, pod.requests.total(resource, container).ok_or(Unusable::NoRequest)?.0);
    }
    let ratio_of = |usage: &PodUsage<'_>| {
        let known = usage.iter().filter_map(|(pod, used)| requests.get(pod).map(|asked| (used, asked)));
        let (used, asked, pods) = known.fold((0_i64, 0_i64, 0_i64), |(used, asked, pods), (u, a)| {
            (used.saturating_add(*u), asked.saturating_add(*a), pods + 1)
        });
        // Nothing sensible requests less than nothing; dividing by it could overflow.
        if asked <= 0 {
            return Err(Unusable::ForeignSamples);
        }
        // Integer percent, as upstream: 59.9 % is 59.
        let used_percent = used.saturating_mul(100) / asked;
        let usage = Usage { amount: Milli(used / pods), percent: Some(used_percent) };
        Ok((used_percent as f64 / f64::from(percent), used_percent, usage))
    };
    let (ratio, used_percent, reported) = ratio_of(&usage)?;
    let fill = |pod: &str| {
        let asked = requests.get(pod).copied().unwrap_or(0);
        asked.saturating_mul(i64::from(percent.max(100))) / 100
    };
    let counted = conclude(ratio, &mut usage, &groups, measured, fill, |usage| ratio_of(usage).map(|r| r.0))?;
    Ok(counted.into_proposal(signal, measured, reported, |pods| Because::Utilization {
        signal: Arc::clone(signal),
        percent: used_percent,
        target: percent,
        pods,
    }))
}

enum Counted {
    Within { ratio: f64 },
    Asked { replicas: u32, pods: u32 },
}

impl Counted {
    fn into_proposal(
        self,
        signal: &Arc<str>,
        measured: &Measured<'_>,
        usage: Usage,
        asked: impl FnOnce(u32) -> Because,
    ) -> Proposal {
        match self {
            Counted::Within { ratio } => {
                let Tolerance { down, up } = measured.tolerance;
                let because = Because::Within { signal: Arc::clone(signal), ratio, down, up };
                Proposal { replicas: measured.current, within_tolerance: true, usage, because }
            }
            Counted::Asked { replicas, pods } => {
                Proposal { replicas, within_tolerance: false, usage, because: asked(pods) }
            }
        }
    }
}

/// The common end of both kinds: doubts are filled in against the direction of travel, and if that
/// turns the direction round, nothing changes.
fn conclude<'a>(
    ratio: f64,
    usage: &mut PodUsage<'a>,
    groups: &Groups<'a>,
    measured: &Measured<'_>,
    fill: impl Fn(&str) -> i64,
    ratio_of: impl Fn(&PodUsage<'a>) -> Result<f64, Unusable>,
) -> Result<Counted, Unusable> {
    let tolerance = measured.tolerance;
    let up_with_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !up_with_unready && groups.missing.is_empty() {
        if tolerance.holds(ratio) {
            return Ok(Counted::Within { ratio });
        }
        let replicas = ceil_replicas(ratio * f64::from(groups.ready));
        return Ok(Counted::Asked { replicas, pods: groups.ready });
    }
    for &pod in &groups.missing {
        if ratio < 1.0 {
            usage.insert(pod, fill(pod));
        } else if ratio > 1.0 {
            usage.insert(pod, 0);
        }
    }
    if up_with_unready {
        for &pod in &groups.unready {
            usage.insert(pod, 0);
        }
    }
    let filled = ratio_of(usage)?;
    let turned = (ratio < 1.0 && filled > 1.0) || (ratio > 1.0 && filled < 1.0);
    if tolerance.holds(filled) || turned {
        return Ok(Counted::Within { ratio: filled });
    }
    let pods = usage.len() as u32;
    let replicas = ceil_replicas(filled * f64::from(pods));
    let against =
        (filled < 1.0 && replicas > measured.current) || (filled > 1.0 && replicas < measured.current);
    Ok(if against { Counted::Within { ratio: filled } } else { Counted::Asked { replicas, pods } })
}

impl Requests {
    /// What the pod asks for: the named container, or the pod-level request, or the sum of all
    /// containers. `None` when any of those lacks the resource.
    #[must_use]
    pub fn total(&self, resource: &str, container: Option<&str>) -> Option<Milli> {
        let of =
            |requests: &BTreeMap<_, Milli>| requests.get(resource).or_else(|| requests.get("*")).copied();
        if container.is_none()
            && let Some(pod_level) = of(&self.pod)
        {
            return Some(pod_level);
        }
        self.containers
            .iter()
            .filter(|(name, _)| container.is_none_or(|wanted| wanted == name.as_str()))
            .try_fold(Milli(0), |sum, (_, requests)| of(requests).map(|v| Milli(sum.0.saturating_add(v.0))))
    }
}
