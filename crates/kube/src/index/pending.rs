//! Why a pod does not run, read from its own status.
//!
//! The scheduler writes one sentence into the `PodScheduled` condition, such as `0/5 nodes are available:
//! 3 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint {gpu: true}.`; the kubelet writes a reason
//! of a word beside a waiting container. Both are read, and kept for whoever wants the whole.

use std::fmt;

use serde_json::Value;

/// Characters of a sentence kept: the scheduler's for a cluster of many kinds of nodes are some 300.
const SENTENCE_MAX: usize = 512;

/// What keeps a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// No node has so much of a device left.
    Gpu,
    /// No node has so much cpu or memory, or room for another pod.
    Resources,
    /// A quota of the namespace is used up.
    Quota,
    /// The nodes that have room refuse it by a taint.
    Taint,
    /// No node is where it must be: selector, affinity, topology.
    Affinity,
    /// Its volume is in another zone, or is not there.
    Volume,
    /// Its image cannot be had.
    Image,
    /// Its container ends each time it is started.
    Crash,
    /// Its configuration is refused by the node: a missing Secret or ConfigMap.
    Config,
    /// A gate holds it on purpose.
    Gated,
    /// Something else.
    Other,
}

/// What keeps a pod, with the words of whoever said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// In a word.
    pub kind: Kind,
    /// The resource that is missing, such as `nvidia.com/gpu`.
    pub resource: Option<String>,
    /// The sentence.
    pub said: String,
}

impl Kind {
    /// Whether more replicas would only wait as well.
    #[must_use]
    pub const fn is_capacity(self) -> bool {
        matches!(self, Kind::Gpu | Kind::Resources | Kind::Quota)
    }
}

impl Cause {
    /// What is missing, in words that stay the same while it is: without the sentence, which counts nodes.
    #[must_use]
    pub fn lacks(&self) -> String {
        let what = match (self.kind, &self.resource) {
            (Kind::Gpu | Kind::Resources, Some(resource)) => return format!("no node has {resource} left"),
            (Kind::Gpu, None) => "no node has a GPU left",
            (Kind::Resources, None) => "no node has room",
            (Kind::Quota, _) => "the namespace's quota is used up",
            (Kind::Taint, _) => "a taint keeps it off the nodes that have room",
            (Kind::Affinity, _) => "no node is where it must be",
            (Kind::Volume, _) => "its volume cannot be had where there is room",
            (Kind::Image, _) => "its image cannot be pulled",
            (Kind::Crash, _) => "its container ends each time it is started",
            (Kind::Config, _) => "its configuration is not there",
            (Kind::Gated, _) => "a scheduling gate holds it",
            (Kind::Other, _) => "it waits",
        };
        what.to_owned()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, &self.resource) {
            (Kind::Gpu | Kind::Resources, Some(_)) => f.write_str(&self.lacks()),
            _ => write!(f, "{}: {}", self.lacks(), self.said),
        }
    }
}

/// Why a pod does not run; `None` for one that does, or has not said why.
#[must_use]
pub fn cause(pod: &Value) -> Option<Cause> {
    unscheduled(pod).or_else(|| waiting(pod))
}

fn unscheduled(pod: &Value) -> Option<Cause> {
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    let text = |condition: &Value, at: &str| condition.get(at).and_then(Value::as_str).map(str::to_owned);
    let found = conditions.iter().find(|condition| {
        text(condition, "type").as_deref() == Some("PodScheduled")
            && text(condition, "status").as_deref() == Some("False")
    })?;
    let said: String = text(found, "message").unwrap_or_default().chars().take(SENTENCE_MAX).collect();
    if text(found, "reason").as_deref() == Some("SchedulingGated") {
        return Some(Cause { kind: Kind::Gated, resource: None, said });
    }
    let (kind, resource) = scheduler(&said);
    Some(Cause { kind, resource, said })
}

/// The scheduler's sentence: a missing device counts before a taint, since nodes without the device are
/// often tainted for those that want it, and what would help is a device.
fn scheduler(said: &str) -> (Kind, Option<String>) {
    let short: Vec<String> = said
        .match_indices("Insufficient ")
        .map(|(at, word)| {
            let rest = &said[at + word.len()..];
            rest.chars().take_while(|letter| !letter.is_whitespace() && *letter != ',').collect::<String>()
        })
        .map(|resource| resource.trim_end_matches('.').to_owned())
        .collect();
    let device = short.iter().find(|resource| is_device(resource));
    if let Some(device) = device {
        return (Kind::Gpu, Some(device.clone()));
    }
    if said.contains("cannot allocate all claims") || said.contains("ResourceClaim") {
        return (Kind::Gpu, None);
    }
    if let Some(resource) = short.into_iter().next() {
        return (Kind::Resources, Some(resource));
    }
    let kind = [
        ("Too many pods", Kind::Resources),
        ("exceeded quota", Kind::Quota),
        ("volume", Kind::Volume),
        ("PersistentVolume", Kind::Volume),
        ("persistentvolumeclaim", Kind::Volume),
        ("taint", Kind::Taint),
        ("affinity", Kind::Affinity),
        ("selector", Kind::Affinity),
        ("topology spread", Kind::Affinity),
    ]
    .into_iter()
    .find_map(|(words, kind)| said.contains(words).then_some(kind));
    (kind.unwrap_or(Kind::Other), None)
}

/// Extended resources have a domain; of those with one, only these are none.
pub(crate) fn is_device(resource: &str) -> bool {
    resource.contains('/') && !resource.starts_with("kubernetes.io/") && !resource.starts_with("hugepages-")
}

fn waiting(pod: &Value) -> Option<Cause> {
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = lists.iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten();
    for status in statuses {
        let Some(waiting) = status.pointer("/state/waiting") else { continue };
        let text = |at: &str| waiting.get(at).and_then(Value::as_str).unwrap_or_default();
        let kind = match text("reason") {
            "ImagePullBackOff"
            | "ErrImagePull"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "RegistryUnavailable"
            | "ImageInspectError" => Kind::Image,
            "CrashLoopBackOff" | "RunContainerError" | "StartError" => Kind::Crash,
            "CreateContainerConfigError" | "CreateContainerError" => Kind::Config,
            _ => continue,
        };
        let said = format!("{}: {}", text("reason"), text("message"));
        let said = said.trim_end_matches(": ").chars().take(SENTENCE_MAX).collect();
        return Some(Cause { kind, resource: None, said });
    }
    None
}

/// Why a workload's pods are not even made: its controller says so in a condition of the workload.
#[must_use]
pub fn refused(workload: &Value) -> Option<Cause> {
    let conditions = workload.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|condition| {
        condition.get("type").and_then(Value::as_str) == Some("ReplicaFailure")
            && condition.get("status").and_then(Value::as_str) == Some("True")
    })?;
    Some(not_made(found.get("message").and_then(Value::as_str).unwrap_or_default()))
}

/// What keeps pods from being made, as their controller says it.
#[must_use]
pub fn not_made(said: &str) -> Cause {
    let said: String = said.chars().take(SENTENCE_MAX).collect();
    let kind = if said.contains("exceeded quota") { Kind::Quota } else { Kind::Other };
    Cause { kind, resource: None, said }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn unscheduled(said: &str) -> Cause {
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said});
        cause(&json!({"status": {"phase": "Pending", "conditions": [condition]}})).unwrap()
    }

    #[test]
    fn a_missing_device_is_named_even_beside_taints() {
        let cause = unscheduled(
            "0/5 nodes are available: 2 node(s) had untolerated taint {pool: gpu}, 3 Insufficient nvidia.com/gpu.",
        );
        assert_eq!((cause.kind, cause.resource.as_deref()), (Kind::Gpu, Some("nvidia.com/gpu")));
        assert_eq!(cause.to_string(), "no node has nvidia.com/gpu left");
    }

    #[test]
    fn each_cause_of_the_scheduler_has_its_kind() {
        for (said, kind) in [
            ("0/2 nodes are available: 2 Insufficient memory.", Kind::Resources),
            ("0/2 nodes are available: 2 Insufficient cpu, 1 Too many pods.", Kind::Resources),
            ("0/2 nodes are available: 2 node(s) had untolerated taint {a: b}.", Kind::Taint),
            ("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.", Kind::Affinity),
            ("0/2 nodes are available: 2 node(s) had volume node affinity conflict.", Kind::Volume),
            ("pod has unbound immediate PersistentVolumeClaims.", Kind::Volume),
            ("something new", Kind::Other),
        ] {
            assert_eq!(unscheduled(said).kind, kind, "{said}");
        }
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_a_cause() {
        let state =
            json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"x\""}});
        let pod = json!({"status": {"containerStatuses": [{"name": "a", "state": state}]}});
        let cause = cause(&pod).unwrap();
        assert_eq!(cause.kind, Kind::Image);
        assert!(cause.to_string().contains("Back-off pulling"));
    }

    #[test]
    fn a_pod_that_is_being_created_has_no_cause_yet() {
        let state = json!({"waiting": {"reason": "ContainerCreating"}});
        assert_eq!(cause(&json!({"status": {"containerStatuses": [{"name": "a", "state": state}]}})), None);
    }

    #[test]
    fn a_quota_is_found_where_the_controller_writes_it() {
        let said = "pods \"a-b\" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1";
        let condition = json!({"type": "ReplicaFailure", "status": "True", "message": said});
        let workload = json!({"status": {"conditions": [condition]}});
        assert_eq!(refused(&workload).map(|cause| cause.kind), Some(Kind::Quota));
    }
}
