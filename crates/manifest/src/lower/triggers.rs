//! Triggers of a ScaledObject or ScaledJob as the core's signals.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_core::scale::spec::{Activation, Metric, Signal};
use tidegate_core::time::Span;

use super::{Called, CronSignal, Faults, stale_after};
use crate::bound::Bound;
use crate::kinds::keda::ScaleTrigger;
use crate::nearest::nearest;
use crate::path;
use crate::trigger::{self, FaultKind, Owner, Source, Trigger, TriggerType};

/// Triggers one object may have: each is asked every second.
const TRIGGERS_MAX: usize = 64;

/// What the triggers of one object become.
#[derive(Debug, Default)]
pub(super) struct Signals {
    pub(super) signals: Vec<Signal>,
    pub(super) crons: Vec<CronSignal>,
    pub(super) aliases: BTreeMap<String, String>,
    pub(super) called: Vec<Called>,
}

/// Lowers all triggers; faults are told and leave the trigger out.
pub(super) fn lower(bound: &Bound<'_>, polling_interval: Span, faults: &mut Faults<'_>) -> Signals {
    let Bound { triggers, owner, .. } = *bound;
    let mut lowered = Signals::default();
    let at = path!["spec", "triggers"];
    if triggers.is_empty() {
        faults.invalid(at, "no triggers defined", "give at least one");
    }
    if triggers.len() > TRIGGERS_MAX {
        let message = format!("{} triggers, more than {TRIGGERS_MAX}", triggers.len());
        faults.invalid(at, message, "split the object");
        return lowered;
    }
    report_twins(triggers, faults);
    for (index, declared) in triggers.iter().enumerate() {
        let undefined = report_undefined(index, declared, bound.environment.as_ref(), faults);
        match bound.parse(index) {
            Ok(trigger) => {
                deprecated(index, &trigger, faults);
                unknown(index, &trigger, faults);
                lowered.called.push(called(index, &trigger, declared, &faults.document.namespace));
                take(&mut lowered, trigger, declared.name.is_some(), owner, polling_interval);
            }
            Err(found) => report(index, found, &undefined, faults),
        }
    }
    let mut names = BTreeSet::new();
    for (index, signal) in lowered.signals.iter().enumerate() {
        // An unnamed trigger is called s<index>-<type>; another may be named just that.
        if !names.insert(&signal.name) {
            let message = format!("two triggers are called {}", signal.name);
            faults.invalid(path!["spec", "triggers", index], message, "give each trigger its own name");
        }
    }
    activate_resources(&mut lowered.signals);
    lowered
}

fn report_twins(triggers: &[ScaleTrigger], faults: &mut Faults<'_>) {
    let mut seen = BTreeSet::new();
    for (index, trigger) in triggers.iter().enumerate() {
        if let Some(name) = trigger.name.as_deref().filter(|name| !name.is_empty())
            && !seen.insert(name)
        {
            let message = format!("triggerName {name} is defined multiple times in the object");
            faults.invalid(
                path!["spec", "triggers", index, "name"],
                message,
                "give each trigger its own name",
            );
        }
    }
}

/// Variables that `…FromEnv` parameters name and the target's container does not have. Told once, here:
/// that the parameter is then missing is no second mistake. Gives the parameters.
fn report_undefined(
    index: usize,
    declared: &ScaleTrigger,
    environment: Option<&BTreeMap<String, Option<String>>>,
    faults: &mut Faults<'_>,
) -> BTreeSet<String> {
    let mut undefined = BTreeSet::new();
    let Some(environment) = environment else { return undefined };
    for (key, variable) in &declared.metadata {
        let Some(parameter) = key.strip_suffix("FromEnv").filter(|_| !variable.is_empty()) else { continue };
        if environment.contains_key(variable) {
            continue;
        }
        let help = match nearest(variable, environment.keys().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("add {variable} to the container's env, or write {parameter} itself"),
        };
        let message =
            format!("{key} names {variable}, which the target's container does not have in its env");
        faults.error("TG113", path!["spec", "triggers", index, "metadata", key], message, help);
        undefined.insert(parameter.to_owned());
    }
    undefined
}

fn report(index: usize, found: Vec<trigger::Fault>, undefined: &BTreeSet<String>, faults: &mut Faults<'_>) {
    for fault in found {
        if fault.kind == FaultKind::MissingRequired
            && fault.key.as_ref().is_some_and(|key| undefined.contains(key))
        {
            continue;
        }
        let code = match fault.kind {
            FaultKind::NotSupportedYet => "TG008",
            FaultKind::UnknownType { .. } => "TG009",
            _ => "TG010",
        };
        let place = match (&fault.key, fault.field) {
            (Some(key), _) => path!["spec", "triggers", index, "metadata", key].to_vec(),
            (None, Some(field)) => path!["spec", "triggers", index, field].to_vec(),
            (None, None) => path!["spec", "triggers", index].to_vec(),
        };
        faults.error(code, &place, fault.message, fault.help);
    }
}

fn deprecated(index: usize, trigger: &Trigger, faults: &mut Faults<'_>) {
    for key in &trigger.deprecated {
        faults.warning(
            "TG012",
            path!["spec", "triggers", index, "metadata", key],
            format!("{key} is no longer read: KEDA names the metric {} itself", trigger.metric_name),
            "remove it; to name the trigger, set its name field",
        );
    }
}

/// KEDA ignores what it does not know, so a slip in an optional parameter leaves its default in force.
fn unknown(index: usize, trigger: &Trigger, faults: &mut Faults<'_>) {
    for key in &trigger.unknown {
        let type_ = trigger.type_.as_str();
        let help = match nearest(key, trigger.known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near}? KEDA ignores {key}, and the default holds"),
            None => "remove it: KEDA ignores it".to_owned(),
        };
        let place = path!["spec", "triggers", index, "metadata", key];
        faults.warning("TG013", place, format!("the {type_} trigger has no parameter {key}"), help);
    }
}

fn called(index: usize, trigger: &Trigger, declared: &ScaleTrigger, namespace: &str) -> Called {
    let type_ = trigger.type_;
    let metric = match type_ {
        TriggerType::KubernetesWorkload => trigger.metric_name.replace('*', namespace),
        _ if trigger.metric_name.contains('*') => format!("s{index}-{}", type_.as_str()),
        _ => trigger.metric_name.clone(),
    };
    let name = declared.name.as_deref().filter(|name| !name.is_empty());
    Called {
        signal: trigger.signal.as_str().into(),
        metric: metric.into(),
        scaler: name.unwrap_or(type_.scaler()).into(),
    }
}

fn take(lowered: &mut Signals, trigger: Trigger, named: bool, owner: Owner, polling_interval: Span) {
    let modifiers = matches!(owner, Owner::ScaledObject { modifiers: true });
    let external = matches!(trigger.metric, Metric::External(_));
    let scheduled = matches!(trigger.source, Source::Cron(_));
    if let Source::Cron(cron) = &trigger.source {
        lowered.crons.push(CronSignal {
            signal: trigger.signal.clone(),
            window: cron.window.clone(),
            desired_replicas: cron.desired_replicas,
        });
    }
    let index_name = format!("s{}-{}", lowered.signals.len(), trigger.type_.as_str());
    for alias in [index_name, trigger.metric_name.clone()] {
        if alias != trigger.signal {
            lowered.aliases.insert(alias, trigger.signal.clone());
        }
    }
    lowered.signals.push(Signal {
        name: Arc::from(trigger.signal),
        metric: trigger.metric,
        activation: trigger.activation,
        absent: trigger.absent,
        series: trigger.series,
        stale_after: stale_after(polling_interval),
        in_formula: modifiers && named && external,
        scheduled,
    });
}

/// cpu and memory keep an object active only when nothing else could: they cannot see an idle target.
fn activate_resources(signals: &mut [Signal]) {
    let alone = signals.iter().all(|signal| matches!(signal.metric, Metric::Resource { .. }));
    for signal in signals.iter_mut().filter(|signal| matches!(signal.metric, Metric::Resource { .. })) {
        signal.activation = if alone { Activation::Always } else { Activation::Never };
    }
}
