//! KEDA's own cases of formulas, as data: which are let in, and what the `scale` machine makes of their
//! values, of triggers that fail, and of a formula that gives nil. (What a formula evaluates to is
//! tested beside the compiler.)

mod keda;

use std::collections::BTreeSet;
use std::sync::Arc;

use keda::{Case, admit, cases, run_all, scaled_object};
use serde_json::{Value as Json, json};
use tidegate_core::scale::decision::Status;
use tidegate_core::scale::signals::fallback_metric;
use tidegate_core::scale::spec::{Keda, Kind, Modifiers};
use tidegate_core::scale::{Action, Because, Decision, Event, Fleet, Reading, Rule, Scaler, Spec};
use tidegate_core::time::{Span, Time};
use tidegate_manifest::formula::ExprLang;

const TABLE: &str = include_str!("../../../conformance/keda/formula_cases.json");

/// Kinds that have no counterpart here, and why.
const NOT_OURS: [(&str, &str); 4] = [
    ("formula", "run beside the compiler"),
    ("trigger_value", "a placeholder never reaches a formula here: see formula-092"),
    ("trigger_pair", "KEDA maps its metrics' names to triggers' names; here a signal has the trigger's name"),
    ("metric_name_match", "names do not pass through an API that changes their case"),
];

/// Cases whose result here is not KEDA's: id, and why.
const DIFFERENT: [(&str, &str); 4] = [
    ("formula-092", "a trigger that fails within the threshold makes the pass an error before the formula"),
    ("formula-093", "modifiers without a formula are refused with the object, so nothing is left uncompiled"),
    (
        "formula-109",
        "a trigger without a name makes every pass fail in KEDA (formula-104): told at admission",
    ),
    (
        "formula-117",
        "a trigger without a name makes every pass fail in KEDA (formula-104): told at admission",
    ),
];

fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: T, expected: T) -> Result<(), String> {
    if ours == expected { Ok(()) } else { Err(format!("{what} is {ours:?}, expected {expected:?}")) }
}

fn compile(case: &Case) -> Result<(), String> {
    let mut input = json!({"triggers": case.input["triggers"], "minReplicaCount": 1});
    for key in ["formula", "target", "metricType"] {
        input["modifiers"][key] = case.input[key].clone();
    }
    let admitted = admit(&scaled_object(&input));
    let valid = admitted.errors().is_empty();
    same("valid", valid, case.expected["valid"] == true)
        .map_err(|why| format!("{why}: {}", admitted.sentences()))?;
    let about = ["formula", "scalingModifiers", "no name"];
    let right = valid || about.iter().any(|word| admitted.sentences().contains(word));
    if right { Ok(()) } else { Err(format!("refused for another reason: {}", admitted.sentences())) }
}

/// The spec of a case, through the manifest as people would write it.
fn lowered(input: &Json) -> Result<Spec, String> {
    let names = input["metrics"].as_object().into_iter().flat_map(|metrics| metrics.keys());
    let triggers: Vec<Json> = names.map(|name| json!({"type": "prometheus", "name": name})).collect();
    let target = if input["target"].is_null() { json!("1") } else { input["target"].clone() };
    let object = scaled_object(&json!({
        "triggers": triggers,
        "fallback": input["fallback"],
        "modifiers": {
            "formula": input["formula"], "target": target,
            "activationTarget": input["activationTarget"], "metricType": input["metricType"],
        },
    }));
    let admitted = admit(&object);
    let spec = admitted.lowered.targets.first().map(|target| target.spec.clone());
    spec.ok_or_else(|| format!("refused: {}", admitted.sentences()))
}

fn modifiers(spec: &Spec) -> Result<(&Modifiers, &Keda), String> {
    match &spec.kind {
        Kind::ScaledObject(keda) => keda.modifiers.as_ref().map(|modifiers| (modifiers, keda)),
        _ => None,
    }
    .ok_or_else(|| "no modifiers".to_owned())
}

/// A driver in miniature.
struct Rig {
    scaler: Scaler,
    now: Time,
}

impl Rig {
    fn send(&mut self, event: &Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.scaler.step(self.now, event, &mut actions);
        actions
    }

    fn fleet(&mut self, count: u32) {
        self.send(&Event::Fleet(Fleet { spec: count, status: count, ready: count, starting: 0 }));
    }

    /// One pass: every trigger is read, those that fail fail, and a change is carried out at once.
    fn pass(&mut self, input: &Json) -> Option<Decision> {
        for (name, value) in input["metrics"].as_object().into_iter().flatten() {
            let reading = if input["failures"][name].is_number() {
                Reading::Error("connection refused".into())
            } else {
                Reading::Value { value: value.as_f64()?, active: None }
            };
            self.send(&Event::Reading { signal: Arc::from(name.as_str()), reading });
        }
        let mut decided = None;
        for action in self.send(&Event::Tick) {
            match action {
                Action::Decided(decision) => decided = Some(decision),
                Action::Scale { to, .. } => self.fleet(to),
                _ => {}
            }
        }
        decided
    }
}

fn composite(case: &Case) -> Result<(), String> {
    let (input, expected) = (&case.input, &case.expected);
    let spec = lowered(input)?;
    let (polling, goal) = (spec.polling_interval, modifiers(&spec)?.0.goal());
    let scaler = Scaler::new(spec, Arc::new(ExprLang)).map_err(|error| error.to_string())?;
    let mut rig = Rig { scaler, now: Time::ORIGIN };
    rig.fleet(1);
    // Failures are counted once a polling interval.
    let failures =
        input["failures"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64());
    let mut decision = rig.pass(input);
    for _ in 1..failures.max().unwrap_or(1) {
        rig.now = rig.now + polling;
        decision = rig.pass(input);
    }
    let decision = decision.ok_or("no decision")?;
    let milli =
        decision.steps.iter().find(|step| step.rule == Rule::Formula).and_then(|step| match &step.because {
            Because::FormulaValue { value } => Some((value * 1000.0) as i64),
            Because::FormulaNil { replicas } => fallback_metric(goal, *replicas, 1).ok().map(|milli| milli.0),
            _ => None,
        });
    if let Some(wanted) = expected["milli"].as_i64() {
        same("milli", milli, Some(wanted))?;
    }
    if let Some(active) = expected["isActive"].as_bool() {
        let status = decision.conditions.active.map(|(status, _)| status);
        same("Active", status == Some(Status::True), active)?;
    }
    if let Some(replicas) = expected["replicas"].as_u64() {
        // Twenty minutes: past the cooldown and every window.
        for _ in 0..1200 {
            rig.now = rig.now + Span::from_secs(1);
            let settled = rig.pass(input).ok_or("no decision")?;
            if rig.now.since(Time::ORIGIN) > Span::from_secs(1100) {
                same("replicas", u64::from(settled.replicas), replicas)?;
            }
        }
    }
    Ok(())
}

fn run(case: &Case) -> Result<(), String> {
    let ours = match case.kind.as_str() {
        "compile" => compile(case),
        "composite" => composite(case),
        other => Err(format!("no runner for cases of kind {other}")),
    };
    keda::as_listed(&DIFFERENT, case, ours)
}

#[test]
fn formulas_are_let_in_and_used_as_in_keda() {
    let table = cases(TABLE);
    assert_eq!(table.len(), 132);
    let ours: Vec<Case> =
        table.into_iter().filter(|case| NOT_OURS.iter().all(|(kind, _)| *kind != case.kind)).collect();
    run_all(&ours, run);
}

#[test]
fn what_is_left_out_and_what_differs_is_in_the_table() {
    let table = cases(TABLE);
    let kinds: BTreeSet<&str> = table.iter().map(|case| case.kind.as_str()).collect();
    assert!(NOT_OURS.iter().all(|(kind, _)| kinds.contains(kind)), "{kinds:?}");
    let ids: BTreeSet<&str> = table.iter().map(|case| case.id.as_str()).collect();
    assert!(DIFFERENT.iter().all(|(id, _)| ids.contains(id)));
}
