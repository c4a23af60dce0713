//! A gateway's report, checked: what it says is bounded before it is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::route::Flow;

use super::proto;
use crate::index::target::{Asks, Key};
use crate::object::Id;

/// Targets in a report: as many as one operator is made for. What is beyond is not taken.
const TARGETS_MAX: usize = 10_000;

/// Pods of one target in a report; those beyond it have no count, and are drained as if they were busy.
const PODS_MAX: usize = 5_000;

/// Pods in a report: 50,000 of 60 bytes are 3 MB, as much as a message may have.
const PODS_IN_ALL_MAX: usize = 50_000;

/// Bytes of a gateway's name: a pod's is at most 253.
const NAME_BYTES_MAX: usize = 253;

/// What one gateway says of one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests in flight there.
    pub in_flight: u32,
    /// Tokens still to be worked on.
    pub tokens: u64,
    /// Whether nothing new is sent there.
    pub draining: bool,
}

/// What one gateway says of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Requests that wait.
    pub waiting: u32,
    /// Requests at pods.
    pub in_flight: u32,
    /// Tokens of those that wait.
    pub waiting_tokens: u64,
    /// Tokens still to be worked on at pods.
    pub in_flight_tokens: u64,
    /// Its pods, by name.
    pub pods: BTreeMap<Arc<str>, Load>,
    /// What was counted of its requests; `None` from a gateway that does not count.
    pub flow: Option<Flow>,
}

/// What one gateway says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who says it.
    pub gateway: Arc<str>,
    /// Its pod, as its token says.
    pub pod: Option<Id>,
    /// Whether what is not in it is no longer the gateway's.
    pub whole: bool,
    /// Whether it ends.
    pub leaves: bool,
    /// The targets.
    pub targets: BTreeMap<Key, Told>,
}

/// Why a report is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It does not say whose it is.
    #[error("the report names no gateway, or one longer than {NAME_BYTES_MAX} bytes")]
    Gateway,
    /// It names too many targets.
    #[error("the report has more than {TARGETS_MAX} targets")]
    Targets,
    /// It names too many pods.
    #[error("the report has more than {PODS_IN_ALL_MAX} pods")]
    Pods,
    /// A name that no object can have.
    #[error("the report names a target that no ScaledObject can be")]
    Name,
}

impl Report {
    /// A report as it came over the wire from whom `pod` says.
    ///
    /// # Errors
    /// When it is larger than any gateway's, or names what cannot be.
    pub fn read(report: proto::Report, pod: Option<Id>) -> Result<Self, Refused> {
        if report.gateway.is_empty() || report.gateway.len() > NAME_BYTES_MAX {
            return Err(Refused::Gateway);
        }
        if report.targets.len() > TARGETS_MAX {
            return Err(Refused::Targets);
        }
        if report.targets.iter().map(|target| target.pods.len()).sum::<usize>() > PODS_IN_ALL_MAX {
            return Err(Refused::Pods);
        }
        let mut targets = BTreeMap::new();
        for target in report.targets {
            let key = key(&target.namespace, &target.name).ok_or(Refused::Name)?;
            targets.insert(key, told(target));
        }
        let gateway = report.gateway.into();
        Ok(Report { gateway, pod, whole: report.whole, leaves: report.leaves, targets })
    }
}

fn flow(flow: proto::Flow) -> Flow {
    let proto::Flow { arrived, prompt_tokens, ended, output_tokens, first_tokens, late } = flow;
    Flow { arrived, prompt_tokens, ended, output_tokens, first_tokens, late }
}

fn key(namespace: &str, name: &str) -> Option<Key> {
    let named = |text: &str| !text.is_empty() && text.len() <= NAME_BYTES_MAX;
    (named(namespace) && named(name)).then(|| Key {
        asks: Asks::ScaledObject,
        namespace: namespace.into(),
        name: name.into(),
    })
}

fn told(target: proto::Target) -> Told {
    let pods = target.pods.into_iter().take(PODS_MAX).filter(|pod| pod.name.len() <= NAME_BYTES_MAX);
    let load =
        |pod: &proto::Pod| Load { in_flight: pod.in_flight, tokens: pod.tokens, draining: pod.draining };
    Told {
        waiting: target.waiting,
        in_flight: target.in_flight,
        waiting_tokens: target.waiting_tokens,
        in_flight_tokens: target.in_flight_tokens,
        pods: pods.map(|pod| (Arc::from(pod.name.as_str()), load(&pod))).collect(),
        flow: target.flow.map(flow),
    }
}
