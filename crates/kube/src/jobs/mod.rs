//! Jobs of a ScaledJob: made, counted, and cleared away.

mod name;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tidegate_core::scale::{Job, JobPod};

use crate::adopt::{CLAIM, PAUSE_KEDA, STANDS, WISH};
use crate::index::pods::Facts;
use crate::object::Object;
pub use name::Numbers;

/// The label by which a Job is a ScaledJob's, as KEDA's.
pub const LABEL: &str = "scaledjob.keda.sh/name";

/// The annotation with the ScaledJob's generation.
pub const GENERATION: &str = "scaledjob.keda.sh/generation";

/// The annotation that names labels that are not handed on.
const EXCLUDED: &str = "scaledjob.keda.sh/job-excluded-labels";

/// Jobs made at once at the most: as many as KEDA's own `maxReplicaCount` has by default, times ten. The rest comes with
/// the next poll.
pub const AT_ONCE_MAX: u32 = 1000;

/// Finished Jobs kept of each kind, where the ScaledJob does not say.
const HISTORY: usize = 100;

/// How a Job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// Not finished.
    Unfinished,
    /// It is complete.
    Complete,
    /// It has failed.
    Failed,
}

/// How a Job stands.
#[must_use]
pub fn stand(job: &Object) -> Stand {
    let conditions = job.json.pointer("/status/conditions").and_then(Value::as_array);
    let is = |type_: &str| {
        conditions.is_some_and(|conditions| {
            conditions.iter().any(|one| {
                one.get("type").and_then(Value::as_str) == Some(type_)
                    && one.get("status").and_then(Value::as_str) == Some("True")
            })
        })
    };
    if is("Complete") {
        Stand::Complete
    } else if is("Failed") {
        Stand::Failed
    } else {
        Stand::Unfinished
    }
}

/// A Job as the machine counts it.
#[must_use]
pub fn counted<'a>(job: &Object, pods: impl Iterator<Item = &'a Facts>) -> Job {
    let pods = pods.map(|pod| JobPod { phase: pod.phase, conditions: pod.conditions.clone() });
    Job { finished: stand(job) != Stand::Unfinished, pods: pods.collect() }
}

/// Finished Jobs beyond the history limits, oldest first. What they own is deleted after them, whatever the rollout
/// says of running ones.
#[must_use]
pub fn beyond_history<'a>(scaled_job: &Object, jobs: &[&'a Object]) -> Vec<&'a Object> {
    let mut surplus = Vec::new();
    for (state, field) in
        [(Stand::Complete, "successfulJobsHistoryLimit"), (Stand::Failed, "failedJobsHistoryLimit")]
    {
        let limit = scaled_job.count(&format!("/spec/{field}")).map_or(HISTORY, |limit| limit as usize);
        let mut of_state: Vec<&'a Object> = jobs.iter().copied().filter(|job| stand(job) == state).collect();
        of_state.sort_by_key(|job| (ended(job), job.id.name.clone()));
        let beyond = of_state.len().saturating_sub(limit);
        surplus.extend(of_state.into_iter().take(beyond));
    }
    surplus.retain(|job| !job.deleting());
    surplus
}

/// Unfinished Jobs of an older generation, where the rollout ends them; those that are ending already among them.
#[must_use]
pub fn outdated<'a>(scaled_job: &Object, jobs: &[&'a Object]) -> Vec<&'a Object> {
    if !immediate(scaled_job) {
        return Vec::new();
    }
    let generation = scaled_job.generation().map(|number| number.to_string());
    let old = |job: &&Object| {
        stand(job) == Stand::Unfinished && job.annotation(GENERATION) != generation.as_deref()
    };
    jobs.iter().copied().filter(old).collect()
}

/// When a Job ended. A failed one has no completion time; its condition has one.
fn ended(job: &Object) -> String {
    let complete = job.text("/status/completionTime").map(str::to_owned);
    let conditions = job.json.pointer("/status/conditions").and_then(Value::as_array);
    complete
        .or_else(|| {
            let failed =
                conditions?.iter().find(|one| one.get("type").and_then(Value::as_str) == Some("Failed"))?;
            Some(failed.get("lastTransitionTime")?.as_str()?.to_owned())
        })
        .unwrap_or_default()
}

/// Whether running Jobs of an older generation are ended: so by default, as KEDA's.
#[must_use]
pub fn immediate(scaled_job: &Object) -> bool {
    let old = scaled_job.text("/spec/rolloutStrategy").filter(|text| !text.is_empty());
    old.or_else(|| scaled_job.text("/spec/rollout/strategy")) != Some("gradual")
}

/// Whether what a Job owns is deleted before it, when a rollout ends it.
#[must_use]
pub fn foreground(scaled_job: &Object) -> bool {
    scaled_job.text("/spec/rollout/propagationPolicy") == Some("foreground")
}

/// A new Job of a ScaledJob.
#[must_use]
pub fn new(scaled_job: &Object, name: &str) -> Value {
    let owner = &scaled_job.id;
    let excluded: Vec<&str> =
        scaled_job.annotation(EXCLUDED).unwrap_or_default().split(',').map(str::trim).collect();
    let mut labels: Map<String, Value> = Map::new();
    let own = scaled_job.json.pointer("/metadata/labels").and_then(Value::as_object);
    for (key, value) in own.into_iter().flatten().filter(|(key, _)| !excluded.contains(&key.as_str())) {
        labels.insert(key.clone(), value.clone());
    }
    labels.insert("app.kubernetes.io/name".to_owned(), json!(cut(name)));
    labels.insert("app.kubernetes.io/version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    labels.insert("app.kubernetes.io/part-of".to_owned(), json!(cut(&owner.name)));
    labels.insert("app.kubernetes.io/managed-by".to_owned(), json!("tidegate-operator"));
    labels.insert(LABEL.to_owned(), json!(&*owner.name));
    let own = scaled_job.json.pointer("/metadata/annotations").and_then(Value::as_object);
    let own = own.into_iter().flatten().filter(|(key, _)| handed_on(key));
    let mut annotations: BTreeMap<String, Value> =
        own.map(|(key, value)| (key.clone(), value.clone())).collect();
    annotations.insert(
        GENERATION.to_owned(),
        json!(scaled_job.generation().map(|number| number.to_string()).unwrap_or_default()),
    );
    let mut spec = scaled_job.json.pointer("/spec/jobTargetRef").cloned().unwrap_or(Value::Null);
    // Pods restart always by default, which a Job may not have.
    if let Some(pod) = spec.pointer_mut("/template/spec").and_then(Value::as_object_mut)
        && pod.get("restartPolicy").and_then(Value::as_str).unwrap_or_default().is_empty()
    {
        pod.insert("restartPolicy".to_owned(), json!("OnFailure"));
    }
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": name, "namespace": &*owner.namespace, "labels": labels, "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "name": &*owner.name,
                "uid": scaled_job.uid(), "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": spec,
    })
}

/// Whether a Job has an annotation of its ScaledJob's: not what tools keep there of the ScaledJob itself.
fn handed_on(annotation: &str) -> bool {
    !annotation.starts_with("kubectl.kubernetes.io/")
        && ![WISH, STANDS, PAUSE_KEDA, CLAIM].contains(&annotation)
}

/// A label's value is 63 letters at the most.
fn cut(text: &str) -> &str {
    text.get(..63).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;

    fn scaled_job(spec: Value) -> Object {
        let metadata = json!({
            "namespace": "prod", "name": "batch", "uid": "7", "generation": 3,
            "labels": {"team": "a", "secret": "b"}, "annotations": {EXCLUDED: "secret, other"},
        });
        Object::new(Kind::ScaledJob, json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn job(name: &str, generation: &str, condition: Option<(&str, &str)>) -> Object {
        let conditions: Vec<Value> = condition
            .iter()
            .map(|(type_, at)| json!({"type": type_, "status": "True", "lastTransitionTime": at}))
            .collect();
        let completed = condition.filter(|(type_, _)| *type_ == "Complete").map(|(_, at)| at);
        let json = json!({
            "metadata": {"namespace": "prod", "name": name, "annotations": {GENERATION: generation}},
            "status": {"conditions": conditions, "completionTime": completed},
        });
        Object::new(Kind::Job, json).unwrap()
    }

    fn names(of: &[&Object]) -> Vec<String> {
        of.iter().map(|job| job.id.name.to_string()).collect()
    }

    #[test]
    fn the_oldest_beyond_the_limits_go() {
        let jobs = [
            job("c2", "3", Some(("Complete", "2026-01-02T00:00:00Z"))),
            job("c1", "3", Some(("Complete", "2026-01-01T00:00:00Z"))),
            job("f2", "3", Some(("Failed", "2026-01-04T00:00:00Z"))),
            job("f1", "3", Some(("Failed", "2026-01-03T00:00:00Z"))),
            job("running", "3", None),
        ];
        let all: Vec<&Object> = jobs.iter().collect();
        let limits = scaled_job(json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0}));
        assert_eq!(names(&beyond_history(&limits, &all)), ["c1", "f1", "f2"]);
        assert!(beyond_history(&scaled_job(json!({})), &all).is_empty());
    }

    #[test]
    fn running_jobs_of_an_older_generation_end_unless_the_rollout_is_gradual() {
        let jobs = [job("old", "2", None), job("new", "3", None)];
        let all: Vec<&Object> = jobs.iter().collect();
        assert_eq!(names(&outdated(&scaled_job(json!({})), &all)), ["old"]);
        let gradual = scaled_job(json!({"rollout": {"strategy": "gradual"}}));
        assert!(outdated(&gradual, &all).is_empty());
        let both = scaled_job(json!({"rolloutStrategy": "immediate", "rollout": {"strategy": "gradual"}}));
        assert_eq!(names(&outdated(&both, &all)), ["old"], "the older field wins");
    }

    #[test]
    fn a_new_job_is_the_scaled_jobs_own() {
        let template = json!({"template": {"spec": {"restartPolicy": "Never"}}, "backoffLimit": 2});
        let mut whole = scaled_job(json!({"jobTargetRef": template}));
        whole.json["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = json!("now");
        whole.json["metadata"]["annotations"]["tidegate.dev/adopted"] = json!("{}");
        whole.json["metadata"]["annotations"]["team/cost"] = json!("7");
        let made = new(&whole, "batch-1");
        assert_eq!(made["metadata"]["annotations"]["team/cost"], "7");
        assert_eq!(made["metadata"]["annotations"].as_object().unwrap().len(), 3, "{made}");
        assert!(made["metadata"]["labels"]["app.kubernetes.io/version"].is_string());
        assert_eq!(made["spec"], template);
        assert_eq!(made["metadata"]["labels"][LABEL], "batch");
        assert_eq!(made["metadata"]["labels"]["team"], "a");
        assert_eq!(made["metadata"]["labels"].get("secret"), None);
        assert_eq!(made["metadata"]["annotations"][GENERATION], "3");
        assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "7");
    }

    #[test]
    fn a_template_without_a_restart_policy_gets_the_one_that_jobs_may_have() {
        for pod in [json!({"containers": []}), json!({"restartPolicy": ""})] {
            let template = json!({"template": {"spec": pod}});
            let made = new(&scaled_job(json!({"jobTargetRef": template})), "batch-1");
            assert_eq!(made["spec"]["template"]["spec"]["restartPolicy"], "OnFailure");
        }
    }
}
