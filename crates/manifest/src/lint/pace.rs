//! How fast replicas go, beside how long they take to come back.

use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};
use k8s_openapi::api::core::v1::{Container, Probe};

use super::facts::{Facts, Pods};
use super::inference::{Serves, serves};
use crate::finding::{Finding, Severity};
use crate::load::Document;
use crate::node::Segment;
use crate::object::Object;
use crate::path;

/// `cooldownPeriod` where the manifest is silent.
const COOLDOWN_S: i32 = 300;
/// The controller's window where the manifest is silent.
const WINDOW_S: i32 = 300;

/// What an object says about descending.
struct Descent<'a> {
    document: &'a Document,
    /// Path to `scaleDown`.
    at: Vec<Segment>,
    rules: Option<&'a HPAScalingRules>,
    min: i32,
    max: i32,
}

impl Descent<'_> {
    fn under(&self, rest: &[Segment]) -> Vec<Segment> {
        self.at.iter().chain(rest).cloned().collect()
    }

    fn disabled(&self) -> bool {
        self.rules.and_then(|rules| rules.select_policy.as_deref()) == Some("Disabled")
    }
}

/// The descent of every object that scales a model's server.
fn descents<'a>(facts: &Facts<'a>) -> Vec<Descent<'a>> {
    let documents = facts.manifests.documents.iter();
    let all = documents.filter_map(|document| match &document.object {
        Object::ScaledObject(object) => {
            let spec = &object.spec;
            let config = spec.advanced.as_ref().and_then(|it| it.horizontal_pod_autoscaler_config.as_ref());
            Some(Descent {
                document,
                at: path!["spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown"]
                    .to_vec(),
                rules: down(config.and_then(|config| config.behavior.as_ref())),
                min: spec.min_replica_count.unwrap_or(0).max(1),
                max: spec.max_replica_count.unwrap_or(100),
            })
        }
        Object::HorizontalPodAutoscaler(object) => {
            let spec = object.spec.as_ref()?;
            Some(Descent {
                document,
                at: path!["spec", "behavior", "scaleDown"].to_vec(),
                rules: down(spec.behavior.as_ref()),
                min: spec.min_replicas.unwrap_or(1),
                max: spec.max_replicas,
            })
        }
        _ => None,
    });
    all.filter(|descent| !descent.disabled() && serves(facts, descent.document) == Serves::Model).collect()
}

fn down(behavior: Option<&HorizontalPodAutoscalerBehavior>) -> Option<&HPAScalingRules> {
    behavior?.scale_down.as_ref()
}

/// TG202: the author allows all replicas to go in one step.
pub(super) fn all_at_once(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for descent in descents(facts).iter().filter(|descent| descent.max - descent.min > 1) {
        let Some(rules) = descent.rules else { continue };
        let policies = rules.policies.as_deref().unwrap_or_default();
        let whole =
            |policy: &&k8s_openapi::api::autoscaling::v2::HPAScalingPolicy| match policy.type_.as_str() {
                "Percent" => policy.value >= 100,
                _ => policy.value >= descent.max - descent.min,
            };
        let least = rules.select_policy.as_deref() == Some("Min");
        if least && !policies.iter().all(|policy| whole(&policy)) {
            continue;
        }
        let found = policies.iter().enumerate().find(|(_, policy)| whole(policy));
        let Some((index, policy)) = found else { continue };
        let (from, to) = (descent.max, descent.min);
        let unit = if policy.type_ == "Percent" { " %" } else { " pods" };
        let message = format!(
            "{}{unit} every {} s lets {from} replicas become {to} in one step: one quiet reading too many ends every \
             stream on them, and the next burst waits for all their starts",
            policy.value, policy.period_seconds
        );
        let help = "let a part go at a time: type: Pods, value: 1, periodSeconds: 60, or Percent 25";
        let at = descent.under(path!["policies", index]);
        findings.push(descent.document.finding("TG202", Severity::Warning, &at, message, help));
    }
}

/// TG203: no window before descending.
pub(super) fn no_stabilisation(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for descent in descents(facts) {
        if descent.rules.and_then(|rules| rules.stabilization_window_seconds) != Some(0) {
            continue;
        }
        let message = "stabilizationWindowSeconds is 0: one low reading removes replicas, and the reading after it \
                       starts them again, model load included";
        let help = "write at least the time a start takes, or leave it out: the default is 300";
        let at = descent.under(path!["stabilizationWindowSeconds"]);
        findings.push(descent.document.finding("TG203", Severity::Warning, &at, message, help));
    }
}

/// TG201: replicas go sooner than they could come back.
pub(super) fn cooldown_shorter_than_start(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for descent in descents(facts) {
        let document = descent.document;
        let Some((start, from)) = facts.pods_of(document).as_ref().and_then(start) else { continue };
        if let Object::ScaledObject(object) = &document.object {
            let spec = &object.spec;
            let leaves = spec.idle_replica_count.is_some() || spec.min_replica_count.unwrap_or(0) == 0;
            let cooldown = spec.cooldown_period.unwrap_or(COOLDOWN_S);
            if leaves && cooldown < start {
                let default = if spec.cooldown_period.is_some() { "" } else { ", the default," };
                let message = format!(
                    "cooldownPeriod {cooldown}{default} is shorter than a start, {start} s by {from}: a pause of \
                     {cooldown} s costs the next request a whole start"
                );
                let help = format!("write cooldownPeriod: {start} or more");
                let at = path!["spec", "cooldownPeriod"];
                findings.push(document.finding("TG201", Severity::Warning, at, message, help));
            }
        }
        let given = descent.rules.and_then(|rules| rules.stabilization_window_seconds);
        let window = given.unwrap_or(WINDOW_S);
        // An hour is the longest window there is; 0 is TG203's.
        if window >= start.min(3600) || window == 0 {
            continue;
        }
        let (severity, default) = match given {
            Some(_) => (Severity::Warning, ""),
            None => (Severity::Info, ", the default,"),
        };
        let message = format!(
            "a stabilization window of {window} s{default} is shorter than a start, {start} s by {from}: replicas \
             are removed that will be missed before they could be back"
        );
        let help = format!("write scaleDown.stabilizationWindowSeconds: {}", start.min(3600));
        let at = descent.under(path!["stabilizationWindowSeconds"]);
        findings.push(document.finding("TG201", severity, &at, message, help));
    }
}

/// How long a start takes in the author's own judgement: what the startup probe tolerates, or else the
/// longest delay before a probe is first tried.
fn start(pods: &Pods<'_>) -> Option<(i32, &'static str)> {
    let (_, container) = pods.server()?;
    let tolerated = container.startup_probe.as_ref().map(|probe| (tolerated(probe), "the startup probe"));
    tolerated.or_else(|| delay(container)).filter(|(start, _)| *start > 0)
}

fn tolerated(probe: &Probe) -> i32 {
    let period = probe.period_seconds.unwrap_or(10);
    let failures = probe.failure_threshold.unwrap_or(3);
    period.saturating_mul(failures).saturating_add(probe.initial_delay_seconds.unwrap_or(0))
}

fn delay(container: &Container) -> Option<(i32, &'static str)> {
    let delay = |probe: &Option<Probe>| probe.as_ref().and_then(|probe| probe.initial_delay_seconds);
    let readiness = delay(&container.readiness_probe).map(|delay| (delay, "the readiness probe's delay"));
    let liveness = delay(&container.liveness_probe).map(|delay| (delay, "the liveness probe's delay"));
    readiness.into_iter().chain(liveness).max_by_key(|(delay, _)| *delay)
}
