//! KEDA's metrics, under its names and with its labels, so that boards made for it go on working.
//!
//! What is counted from requests to sources, of CloudEvents and between KEDA's own processes has no counterpart
//! here; the names that are left out stand in the test of the names.

use std::borrow::Cow;

use tidegate_core::scale::decision::{Because, Status};
use tidegate_core::scale::spec::{Absent, Kind, Metric, Modifiers, Signal};
use tidegate_core::scale::{Reading, Rule, Spec};
use tidegate_kube::admission::Counters;
use tidegate_kube::drive::{Entry, View};
use tidegate_kube::index::target::Asks;
use tidegate_kube::status::{COMPOSITE, activity};
use tidegate_manifest::Called;

use super::family::Family;

pub(super) fn write(view: &View<'_>, reviews: &Counters, out: &mut String) {
    build(out);
    scalers(view, out);
    errors(view, out);
    objects(view, out);
    registered(view, out);
    webhook(reviews, out);
}

fn webhook(reviews: &Counters, out: &mut String) {
    let help = "ScaledObjects that this replica's admission webhook validated";
    let mut family = Family::counter(out, "keda_webhook_scaled_object_validations_total", help);
    reviews.each(|namespace, action, count| {
        family.add(&[("namespace", namespace), ("action", action)], count as f64);
    });
    let help = "ScaledObjects that it refused, by the first reason";
    let mut family = Family::counter(out, "keda_webhook_scaled_object_validation_errors_total", help);
    reviews.each_refused(|namespace, action, reason, count| {
        let labels = [("namespace", namespace), ("action", action), ("reason", reason)];
        family.add(&labels, count as f64);
    });
}

fn build(out: &mut String) {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let help = "Always 1; what is running. It is not written in Go";
    Family::new(out, "keda_build_info", help).add(
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("git_commit", option_env!("TIDEGATE_COMMIT").unwrap_or("")),
            ("goversion", ""),
            ("goos", std::env::consts::OS),
            ("goarch", arch),
        ],
        1.0,
    );
}

/// Indexes of the triggers that most objects have.
const DIGITS: [&str; 4] = ["0", "1", "2", "3"];

/// What KEDA has a word for; an autoscaler's rules are nothing that KEDA runs.
const fn type_(asks: Asks) -> Option<&'static str> {
    match asks {
        Asks::ScaledObject => Some("scaledobject"),
        Asks::ScaledJob => Some("scaledjob"),
        Asks::Autoscaler => None,
    }
}

/// A signal's labels as KEDA has them.
fn of_signal<'a>(
    entry: &'a Entry,
    type_: &'a str,
    index: &'a str,
    (metric, scaler): (&'a str, &'a str),
) -> [(&'static str, &'a str); 6] {
    [
        ("namespace", &*entry.key.namespace),
        ("metric", metric),
        ("scaledObject", &*entry.key.name),
        ("scaler", scaler),
        ("triggerIndex", index),
        ("type", type_),
    ]
}

/// Writes a series for each trigger of which there is a value.
fn each(family: &mut Family<'_>, view: &View<'_>, value: impl Fn(&Entry, &Signal) -> Option<f64>) {
    for entry in view.entries.values() {
        let Some(type_) = type_(entry.key.asks) else { continue };
        let Some(spec) = &entry.spec else { continue };
        // Triggers are lowered in their order, and so are their names.
        for (index, called) in entry.called.iter().enumerate() {
            let Some(value) = of(spec, &called.signal).and_then(|signal| value(entry, signal)) else {
                continue;
            };
            let index = DIGITS.get(index).map_or_else(|| index.to_string().into(), |text| Cow::from(*text));
            family.add(&of_signal(entry, type_, &index, (&called.metric, &called.scaler)), value);
        }
    }
}

fn number(reading: Option<&Reading>) -> Option<f64> {
    match reading {
        Some(Reading::Value { value, .. } | Reading::Stale { value, .. }) => Some(*value),
        Some(Reading::Series(series)) => Some(series.iter().sum()),
        _ => None,
    }
}

fn modifiers(entry: &Entry) -> Option<&Modifiers> {
    match &entry.spec.as_ref()?.kind {
        Kind::ScaledObject(keda) => keda.modifiers.as_ref(),
        _ => None,
    }
}

/// A formula's value at the last decision.
fn composite(entry: &Entry) -> Option<f64> {
    let steps = &entry.latest.as_ref()?.steps;
    steps.iter().filter(|step| step.rule == Rule::Formula).find_map(|step| match step.because {
        Because::FormulaValue { value } => Some(value),
        _ => None,
    })
}

/// Writes a series for each formula of which there is a value: KEDA has it as a scaler of that name, with index 0.
fn formulas(family: &mut Family<'_>, view: &View<'_>, value: impl Fn(&Modifiers, f64) -> f64) {
    for entry in view.entries.values() {
        if let (Some(type_), Some(modifiers), Some(composite)) =
            (type_(entry.key.asks), modifiers(entry), composite(entry))
        {
            let labels = of_signal(entry, type_, "0", (COMPOSITE, COMPOSITE));
            family.add(&labels, value(modifiers, composite));
        }
    }
}

/// Whether a trigger makes its object active. With a formula only the formula does; cpu and memory always do, for KEDA.
fn active(entry: &Entry, signal: &Signal) -> Option<f64> {
    let active = match (&signal.metric, modifiers(entry)) {
        (_, Some(_)) | (Metric::Demand, _) => return None,
        (Metric::Resource { .. }, _) => true,
        _ => activity::of(signal, &entry.readings, entry.latest.as_deref())?,
    };
    Some(f64::from(u32::from(active)))
}

fn scalers(view: &View<'_>, out: &mut String) {
    let mut family = Family::new(out, "keda_scaler_metrics_value", "The value of each trigger's metric");
    each(&mut family, view, |entry, signal| number(entry.readings.get(&signal.name)));
    formulas(&mut family, view, |_, value| value);
    let mut family = Family::new(out, "keda_scaler_active", "1 where a trigger makes its object active");
    each(&mut family, view, active);
    formulas(&mut family, view, |modifiers, value| f64::from(u32::from(value > modifiers.activation_target)));
    let help = "How long the last answer to each trigger's query took";
    let mut family = Family::new(out, "keda_scaler_metrics_latency_seconds", help);
    each(&mut family, view, |entry, signal| {
        let mut all = entry.latencies();
        all.find(|(name, _)| **name == signal.name).map(|(_, took)| took.as_secs_f64())
    });
}

/// Failed reads of a trigger: from 0, since a counter that begins at 1 hides its first failure from `rate`. What
/// Kubernetes itself measures is no scaler's for KEDA, and is told of once it has failed.
fn failed(entry: &Entry, signal: &Signal) -> Option<f64> {
    match (entry.errors.get(&signal.name), &signal.metric) {
        (Some(count), _) => Some(*count as f64),
        (None, Metric::External(_)) => Some(0.0),
        (None, _) => None,
    }
}

fn errors(view: &View<'_>, out: &mut String) {
    let help = "Failed reads of each trigger since this operator began to decide";
    let mut family = Family::counter(out, "keda_scaler_detail_errors_total", help);
    each(&mut family, view, failed);
    let all = |entry: &Entry| entry.errors.values().sum::<u64>() as f64;
    for (asks, name, label) in [
        (Asks::ScaledObject, "keda_scaled_object_errors_total", "scaledObject"),
        (Asks::ScaledJob, "keda_scaled_job_errors_total", "scaledJob"),
    ] {
        let mut family = Family::counter(out, name, "Failed reads of all triggers of an object");
        for entry in view.entries.values().filter(|entry| entry.key.asks == asks) {
            family.add(&[("namespace", &*entry.key.namespace), (label, &*entry.key.name)], all(entry));
        }
    }
    let help = "Answers with nothing in them, of each trigger that has had one";
    let mut family = Family::counter(out, "keda_scaler_empty_upstream_responses_total", help);
    for entry in view.entries.values() {
        let Some(type_) = type_(entry.key.asks) else { continue };
        for (signal, count) in &entry.empty {
            let asked = entry.spec.as_ref().and_then(|spec| of(spec, signal));
            let name =
                entry.called.iter().find(|called| called.signal == *signal && called.scaler == *signal);
            let name = name.map_or("", |called| &*called.scaler);
            let ignored = asked.is_none_or(|signal| signal.absent == Absent::Zero);
            family.add(
                &[
                    ("namespace", &*entry.key.namespace),
                    ("scaledResource", &*entry.key.name),
                    ("triggerName", name),
                    ("metricName", Called::metric(&entry.called, signal)),
                    ("resourceType", type_),
                    ("ignoreNullValues", if ignored { "true" } else { "false" }),
                ],
                *count as f64,
            );
        }
    }
}

fn of<'a>(spec: &'a Spec, name: &str) -> Option<&'a Signal> {
    spec.signals.iter().find(|signal| *signal.name == *name)
}

fn objects(view: &View<'_>, out: &mut String) {
    let mut paused = Family::new(out, "keda_scaled_object_paused", "1 where an object is paused");
    for entry in view.entries.values().filter(|entry| entry.key.asks == Asks::ScaledObject) {
        let condition = entry.latest.as_ref().and_then(|decision| decision.conditions.paused);
        let is = condition.is_some_and(|(status, _)| status == Status::True);
        let labels = [("namespace", &*entry.key.namespace), ("scaledObject", &*entry.key.name)];
        paused.add(&labels, f64::from(u32::from(is)));
    }
    let help = "How late the last tick was, which is one for all objects";
    let mut family = Family::new(out, "keda_internal_scale_loop_latency_seconds", help);
    for entry in view.entries.values() {
        let Some(type_) = type_(entry.key.asks) else { continue };
        let labels = [("namespace", &*entry.key.namespace), ("type", type_), ("resource", &*entry.key.name)];
        family.add(&labels, view.lag_s);
    }
}

fn registered(view: &View<'_>, out: &mut String) {
    let help = "Triggers there are, by type";
    let mut family = Family::new(out, "keda_trigger_registered_total", help);
    for (type_, count) in &view.registered.triggers {
        family.add(&[("type", type_)], *count as f64);
    }
    let help = "Objects there are, by type and namespace";
    let mut family = Family::new(out, "keda_resource_registered_total", help);
    for ((type_, namespace), count) in &view.registered.resources {
        // KEDA counts what has no namespace as if it were there.
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        family.add(&[("type", type_), ("namespace", namespace)], *count as f64);
    }
}
