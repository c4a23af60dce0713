//! A ScaledObject as a core spec.

use std::sync::Arc;

use tidegate_core::formula::Compiler;
use tidegate_core::scale::spec::{
    Fallback, FallbackBehavior, Keda, Kind, Metric, Modifiers, Signal, Spec, Tuning,
};
use tidegate_core::units::Milli;

use super::{Faults, Target, annotations, behavior, triggers};
use crate::bound::Bound;
use crate::formula::ExprLang;
use crate::kinds::keda::{self, ModifierMetricType, ScaledObject};
use crate::load::Manifests;
use crate::path;
use crate::trigger::Owner;

/// `pollingInterval` where the manifest is silent.
const POLLING_INTERVAL_S: u32 = 30;
/// `cooldownPeriod` where the manifest is silent.
const COOLDOWN_S: u32 = 300;
/// `maxReplicaCount` where the manifest is silent.
const MAX_REPLICAS: u32 = 100;
/// The longest name that fits a label.
const NAME_MAX: usize = 63;

pub(super) fn lower(
    manifests: &Manifests,
    document: usize,
    object: &ScaledObject,
    faults: &mut Faults<'_>,
) -> Option<Target> {
    let spec = &object.spec;
    let polling_interval =
        faults.seconds(path!["spec", "pollingInterval"], spec.polling_interval, POLLING_INTERVAL_S);
    if spec.polling_interval == Some(0) {
        faults.invalid(path!["spec", "pollingInterval"], "pollingInterval is 0", "write at least 1");
    }
    let min = faults.count(path!["spec", "minReplicaCount"], spec.min_replica_count, 0);
    let max = faults.count(path!["spec", "maxReplicaCount"], spec.max_replica_count, MAX_REPLICAS);
    let idle =
        spec.idle_replica_count.map(|idle| faults.count(path!["spec", "idleReplicaCount"], Some(idle), 0));
    check_bounds(spec.min_replica_count, min, max, idle, faults);
    check_names(spec, faults);

    let modifiers = spec.advanced.as_ref().and_then(|advanced| advanced.scaling_modifiers.as_ref());
    let bound = Bound::of(manifests, faults.document)?;
    let composed = bound.owner == Owner::ScaledObject { modifiers: true };
    let lowered = triggers::lower(&bound, polling_interval, faults);

    let tuning = Tuning::default();
    let hpa = spec.advanced.as_ref().and_then(|advanced| advanced.horizontal_pod_autoscaler_config.as_ref());
    let at = path!["spec", "advanced", "horizontalPodAutoscalerConfig", "behavior"];
    let slo = annotations::slo(faults.document);
    let defaults = behavior::defaults(slo.is_some(), &tuning);
    let behavior = behavior::lower(hpa.and_then(|hpa| hpa.behavior.as_ref()), at, &defaults, faults)
        .or_else(|| slo.map(|_| defaults));
    let modifiers =
        modifiers.and_then(|modifiers| lower_modifiers(modifiers, spec, &lowered.signals, faults));
    let fallback = lower_fallback(spec, composed, &lowered.signals, faults);
    resource_only_needs_one(spec, &lowered.signals, faults);
    annotations::check(faults.document, faults);
    let document_ref = faults.document;
    let keda = Keda {
        idle,
        cooldown: faults.seconds(path!["spec", "cooldownPeriod"], spec.cooldown_period, COOLDOWN_S),
        initial_cooldown: faults.seconds(
            path!["spec", "initialCooldownPeriod"],
            spec.initial_cooldown_period,
            0,
        ),
        fallback,
        pause: annotations::pause(document_ref, faults),
        force_activation: annotations::force_activation(document_ref),
        modifiers,
        slo,
    };
    Some(Target {
        spec: Spec {
            target: Arc::from(format!("{}/{}", document_ref.namespace, document_ref.name)),
            kind: Kind::ScaledObject(keda),
            min,
            max,
            signals: lowered.signals,
            on_absent: annotations::on_absent(document_ref, faults),
            polling_interval,
            behavior,
            tuning,
        },
        document,
        crons: lowered.crons,
        aliases: lowered.aliases,
        triggers: lowered.called.into(),
    })
}

/// KEDA's `CheckReplicaCountBoundsAreValid`. An explicit minimum of 0 counts as 1 there, so that
/// `idleReplicaCount: 0` beside `minReplicaCount: 0` passes (and means nothing).
fn check_bounds(given: Option<i32>, min: u32, max: u32, idle: Option<u32>, faults: &mut Faults<'_>) {
    if max == 0 {
        faults.invalid(path!["spec", "maxReplicaCount"], "maxReplicaCount is 0", "write at least 1");
    }
    let effective = if given.is_none() { 0 } else { min.max(1) };
    if effective > max {
        faults.invalid(
            path!["spec", "minReplicaCount"],
            format!("minReplicaCount {min} is above maxReplicaCount {max}"),
            "lower one or raise the other",
        );
    }
    if let Some(idle) = idle.filter(|idle| *idle >= effective) {
        faults.invalid(
            path!["spec", "idleReplicaCount"],
            format!("idleReplicaCount {idle} must be less than minReplicaCount {min}"),
            "idle replicas are those kept while inactive; set minReplicaCount above them",
        );
    }
}

/// KEDA writes both names into labels. We create no HorizontalPodAutoscaler, but the object must be one
/// that can be handed back to KEDA.
fn check_names(spec: &keda::ScaledObjectSpec, faults: &mut Faults<'_>) {
    let name = faults.document.name.clone();
    if name.len() > NAME_MAX {
        let message = format!("the name has {} characters, more than {NAME_MAX}", name.len());
        faults.invalid(path!["metadata", "name"], message, "shorten it: KEDA puts it into a label");
    }
    let hpa = spec.advanced.as_ref().and_then(|advanced| advanced.horizontal_pod_autoscaler_config.as_ref());
    match hpa.and_then(|hpa| hpa.name.as_deref()).filter(|name| !name.is_empty()) {
        Some(given) if given.len() > NAME_MAX => {
            let path = path!["spec", "advanced", "horizontalPodAutoscalerConfig", "name"];
            faults.invalid(
                path,
                format!("the name has {} characters, more than {NAME_MAX}", given.len()),
                "shorten it",
            );
        }
        None if name.len() <= NAME_MAX && name.len() + "keda-hpa-".len() > NAME_MAX => {
            let message = format!(
                "keda-hpa-{name}, as KEDA names its autoscaler, is longer than {NAME_MAX} characters"
            );
            let help = "shorten the name, or set advanced.horizontalPodAutoscalerConfig.name";
            faults.invalid(path!["metadata", "name"], message, help);
        }
        _ => {}
    }
}

fn lower_modifiers(
    modifiers: &keda::ScalingModifiers,
    spec: &keda::ScaledObjectSpec,
    signals: &[Signal],
    faults: &mut Faults<'_>,
) -> Option<Modifiers> {
    let at = |field: &str| path!["spec", "advanced", "scalingModifiers", field].to_vec();
    let formula = modifiers.formula.as_deref().unwrap_or_default().trim();
    let target = modifiers.target.as_deref().unwrap_or_default().trim();
    if formula.is_empty() && target.is_empty() {
        return None;
    }
    if formula.is_empty() {
        faults.invalid(&at("target"), "scalingModifiers has a target and no formula", "give both");
        return None;
    }
    let number = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite());
    // Thousandths, truncated, as KEDA writes the composite metric's target.
    let target_milli = number(target).map(|value| Milli((value * 1000.0) as i64)).filter(|milli| milli.0 > 0);
    if target_milli.is_none() {
        let message = format!("scalingModifiers.target is {target:?}, not a number of 0.001 or more");
        faults.invalid(&at("target"), message, "the formula's value is divided by it");
    }
    let activation = modifiers.activation_target.as_deref().unwrap_or_default().trim();
    let activation_target = if activation.is_empty() { Some(0.0) } else { number(activation) };
    if activation_target.is_none() {
        let message = format!("scalingModifiers.activationTarget is {activation:?}, not a number");
        faults.invalid(&at("activationTarget"), message, "active above it; \"0\" is the default");
    }
    for (index, trigger) in spec.triggers.iter().enumerate() {
        let resource = matches!(trigger.type_.as_str(), "cpu" | "memory");
        if !resource && trigger.name.as_deref().unwrap_or_default().is_empty() {
            let message = "a formula is used, and this trigger has no name for it to use";
            faults.invalid(path!["spec", "triggers", index], message, "give the trigger a name");
        }
    }
    let variables: Vec<Arc<str>> =
        signals.iter().filter(|signal| signal.in_formula).map(|signal| Arc::clone(&signal.name)).collect();
    // A trigger that was refused would make every use of its name look wrong.
    let whole = signals.len() == spec.triggers.len();
    if whole && let Err(error) = ExprLang.compile(formula, &variables) {
        let help = "numbers, + - * / %, comparisons, ?:, ??, min, max, sum, count over trigger names";
        faults.invalid(&at("formula"), format!("formula: {}", error.message), help);
    }
    Some(Modifiers {
        formula: formula.to_owned(),
        target: target_milli?,
        activation_target: activation_target?,
        value: modifiers.metric_type == Some(ModifierMetricType::Value),
    })
}

fn lower_fallback(
    spec: &keda::ScaledObjectSpec,
    modifiers: bool,
    signals: &[Signal],
    faults: &mut Faults<'_>,
) -> Option<Fallback> {
    let fallback = spec.fallback.as_ref()?;
    let failure_threshold =
        faults.count(path!["spec", "fallback", "failureThreshold"], Some(fallback.failure_threshold), 0);
    let replicas = faults.count(path!["spec", "fallback", "replicas"], Some(fallback.replicas), 0);
    let behavior = match fallback.behavior {
        keda::FallbackBehavior::Static => FallbackBehavior::Static,
        keda::FallbackBehavior::CurrentReplicas => FallbackBehavior::CurrentReplicas,
        keda::FallbackBehavior::CurrentReplicasIfHigher => FallbackBehavior::CurrentReplicasIfHigher,
        keda::FallbackBehavior::CurrentReplicasIfLower => FallbackBehavior::CurrentReplicasIfLower,
        keda::FallbackBehavior::ScalingModifiers => FallbackBehavior::ScalingModifiers,
    };
    if behavior == FallbackBehavior::ScalingModifiers && !modifiers {
        faults.invalid(
            path!["spec", "fallback", "behavior"],
            "fallback behavior scalingModifiers needs a formula",
            "add advanced.scalingModifiers, or choose another behavior",
        );
    }
    let external = signals.iter().any(|signal| matches!(signal.metric, Metric::External(_)));
    // Beside a formula KEDA does not look at the triggers' types: the fallback is the formula's.
    if !external && !modifiers && signals.len() == spec.triggers.len() {
        faults.invalid(
            path!["spec", "fallback"],
            "a fallback needs a trigger other than cpu and memory",
            "remove the fallback, or add such a trigger",
        );
    }
    Some(Fallback { failure_threshold, replicas, behavior })
}

fn resource_only_needs_one(spec: &keda::ScaledObjectSpec, signals: &[Signal], faults: &mut Faults<'_>) {
    let whole = !signals.is_empty() && signals.len() == spec.triggers.len();
    let resources = signals.iter().all(|signal| matches!(signal.metric, Metric::Resource { .. }));
    if whole && resources && spec.min_replica_count.unwrap_or(0) == 0 {
        faults.invalid(
            path!["spec", "minReplicaCount"],
            "cpu and memory triggers alone cannot scale to zero: nothing would wake the target",
            "set minReplicaCount to 1 or more, or add another trigger",
        );
    }
}
