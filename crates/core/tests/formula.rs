//! One formula over all triggers, with a language of five expressions.

mod common;

use std::sync::Arc;

use common::{Rig, average, fallback, keda, milli, signal, spec};
use tidegate_core::formula::{Compiler, Error, Formula, Variable};
use tidegate_core::scale::decision::Status;
use tidegate_core::scale::spec::{
    Activation, FallbackBehavior as B, Keda, Kind, Metric, Modifiers, ResourceGoal,
};
use tidegate_core::scale::{Because, Event, Fleet, Rule, Spec};

/// `a + b`, `a - b`, `a ?? b`, `a ?? nil` and `fail`.
#[derive(Debug)]
struct Toy;

#[derive(Debug)]
struct Expression(String);

impl Compiler for Toy {
    fn compile(&self, source: &str, variables: &[Arc<str>]) -> Result<Box<dyn Formula>, Error> {
        if source.contains('a') && !variables.iter().any(|name| **name == *"a") {
            return Err(Error { message: "unknown name a".into() });
        }
        Ok(Box::new(Expression(source.to_owned())))
    }
}

impl Formula for Expression {
    fn evaluate(&self, variables: &[Variable<'_>]) -> Result<Option<f64>, Error> {
        let of =
            |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).and_then(|(_, value)| *value);
        let both = || of("a").zip(of("b")).ok_or(Error { message: "nil has no sum".into() });
        match &*self.0 {
            "a + b" => both().map(|(a, b)| Some(a + b)),
            "a - b" => both().map(|(a, b)| Some(a - b)),
            "a ?? b" => Ok(of("a").or(of("b"))),
            "a ?? nil" => Ok(of("a")),
            _ => Err(Error { message: "division by zero at 1:3".into() }),
        }
    }
}

fn modifiers(formula: &str) -> Modifiers {
    Modifiers { formula: formula.into(), target: milli(10.0), activation_target: 0.0, value: false }
}

fn rules(formula: &str) -> Keda {
    Keda { modifiers: Some(modifiers(formula)), ..keda() }
}

/// Two triggers `a` and `b`, each by itself asking for far more than the formula will.
fn rig(keda: Keda, current: u32) -> Rig {
    let signals = vec![average("a", 0.1), average("b", 0.1)];
    let mut rig = Rig::compiled(spec(Kind::ScaledObject(keda), signals), Arc::new(Toy));
    rig.fleet(current);
    rig
}

#[test]
fn the_formulas_value_takes_the_place_of_every_trigger() {
    let mut rig = rig(rules("a + b"), 5);
    rig.value("a", 30.0);
    rig.value("b", 40.0);
    let ticked = rig.tick();
    assert_eq!((ticked.replicas(), ticked.decision.rule), (7, Rule::Signal));
    assert_eq!(*ticked.because(Rule::Formula), Because::FormulaValue { value: 70.0 });
    let total =
        Because::AverageValue { signal: "composite-metric".into(), total: milli(70.0), target: milli(10.0) };
    assert_eq!(*ticked.because(Rule::Signal), total);
}

#[test]
fn activity_is_the_formulas_and_not_the_triggers() {
    for (a, b, replicas) in [(30.0, 30.0, 0), (30.0, 24.5, 0), (30.0, 24.0, 1)] {
        let modifiers = Some(Modifiers { activation_target: 5.5, ..modifiers("a - b") });
        let mut rig = rig(Keda { modifiers, ..keda() }, 0);
        rig.value("a", a);
        rig.value("b", b);
        assert_eq!(rig.tick().replicas(), replicas, "{a} - {b}");
    }
}

#[test]
fn a_negative_result_asks_for_nothing_and_is_inactive() {
    let mut rig = rig(Keda { cooldown: common::secs(60), ..rules("a - b") }, 5);
    rig.value("a", 50.0);
    rig.value("b", 0.0);
    rig.settle();
    rig.pass(10);
    rig.value("a", 1.0);
    rig.value("b", 9.0);
    let ticked = rig.tick();
    assert_eq!(ticked.decision.conditions.active, Some((Status::False, "ScalerCooldown")));
    assert_eq!(ticked.step(Rule::Signal).map(|step| step.to), Some(0));
    rig.pass(51);
    rig.value("a", 1.0);
    rig.value("b", 9.0);
    assert_eq!(rig.tick().replicas(), 0);
}

#[test]
fn the_formulas_value_is_cut_to_thousandths() {
    let mut rig = rig(rules("a + b"), 1);
    // The inputs are rounded to thousandths, as they would be published: 20.000 and 0.001.
    rig.value("a", 20.000_4);
    rig.value("b", 0.000_6);
    let ticked = rig.tick();
    assert_eq!(ticked.replicas(), 3);
    assert!(matches!(ticked.because(Rule::Signal), Because::AverageValue { total, .. } if total.0 == 20_001));
}

#[test]
fn a_formula_that_fails_holds_and_never_looks_idle() {
    let mut rig = rig(Keda { cooldown: common::secs(0), ..rules("fail") }, 5);
    for _ in 0..600 {
        rig.value("a", 0.0);
        rig.value("b", 0.0);
        let ticked = rig.tick();
        assert_eq!((ticked.replicas(), ticked.decision.rule), (5, Rule::Hold));
        rig.pass(1);
    }
    rig.value("a", 0.0);
    rig.value("b", 0.0);
    let ticked = rig.tick();
    let failed = Because::FormulaError { message: "division by zero at 1:3".into() };
    assert_eq!(*ticked.because(Rule::Formula), failed);
    assert_eq!(ticked.decision.conditions.active, Some((Status::False, "ScalerNotActive")));
}

#[test]
fn a_trigger_lost_within_the_threshold_loses_the_formula() {
    for behavior in [B::Static, B::ScalingModifiers] {
        let keda = Keda { fallback: fallback(3, 6, behavior), ..rules("a ?? b") };
        let mut rig = rig(keda, 5);
        rig.error("a");
        rig.value("b", 20.0);
        let ticked = rig.tick();
        assert_eq!((ticked.replicas(), ticked.decision.rule), (5, Rule::Hold), "{behavior:?}");
        assert!(ticked.step(Rule::Formula).is_none());
    }
}

#[test]
fn a_trigger_beyond_the_threshold_is_nil_in_the_formula() {
    let keda = Keda { fallback: fallback(0, 6, B::ScalingModifiers), ..rules("a ?? b") };
    let mut rig = rig(keda, 5);
    rig.error("a");
    rig.value("b", 80.0);
    let ticked = rig.tick();
    assert_eq!(ticked.replicas(), 8);
    assert_eq!(ticked.decision.conditions.fallback, Some((Status::True, "FallbackExists")));
}

#[test]
fn a_formula_that_gives_nil_asks_for_the_fallbacks_count() {
    let keda = || Keda { fallback: fallback(0, 6, B::ScalingModifiers), ..rules("a ?? nil") };
    let mut one = rig(keda(), 5);
    one.error("a");
    one.value("b", 500.0);
    let ticked = one.tick();
    assert_eq!(ticked.replicas(), 6);
    assert_eq!(*ticked.because(Rule::Formula), Because::FormulaNil { replicas: 6 });

    // For a Value target that is so much at each ready replica, and not six times as many.
    let modifiers = Some(Modifiers { value: true, ..modifiers("a ?? nil") });
    let mut each = rig(Keda { modifiers, ..keda() }, 5);
    each.error("a");
    each.value("b", 500.0);
    assert_eq!(each.tick().replicas(), 6);
}

#[test]
fn any_other_fallback_speaks_for_the_whole_formula() {
    for (value, ready) in [(false, 5), (true, 5), (true, 2)] {
        let modifiers = Some(Modifiers { value, ..modifiers("a + b") });
        let keda = Keda { fallback: fallback(0, 6, B::Static), modifiers, ..keda() };
        let mut rig = rig(keda, 5);
        rig.send(&Event::Fleet(Fleet { spec: 5, status: 5, ready, starting: 5 - ready }));
        rig.error("a");
        rig.value("b", 500.0);
        let ticked = rig.tick();
        assert_eq!(ticked.step(Rule::Signal).map(|step| step.to), Some(6), "Value {value}, {ready} ready");
        assert!(ticked.step(Rule::Formula).is_none());
    }
}

#[test]
fn cpu_is_kept_beside_the_formula() {
    let goal = ResourceGoal::Utilization(50);
    let metric = Metric::Resource { resource: "cpu".into(), container: Some("engine".into()), goal };
    let cpu = tidegate_core::scale::spec::Signal {
        activation: Activation::Never,
        in_formula: false,
        scheduled: false,
        ..signal("cpu", metric)
    };
    let signals = vec![average("a", 0.1), cpu, average("b", 0.1)];
    let mut rig = Rig::compiled(spec(Kind::ScaledObject(rules("a + b")), signals), Arc::new(Toy));
    rig.fleet(4);
    rig.value("a", 30.0);
    rig.value("b", 20.0);
    rig.value("cpu", 100.0);
    let ticked = rig.tick();
    // The formula asks for 5, the container's cpu (100 % of 50 %) for 8.
    assert_eq!((ticked.replicas(), ticked.decision.rule), (8, Rule::Highest));
    rig.fleet(4);
    rig.pass(1);
    rig.error("cpu");
    rig.value("a", 30.0);
    rig.value("b", 0.0);
    let ticked = rig.tick();
    let reason = ticked.decision.conditions.scaling_active;
    assert_eq!(reason, Some((Status::False, "FailedGetContainerResourceMetric")));
    assert_eq!(ticked.replicas(), 4);
}

#[test]
fn a_formula_may_name_only_what_is_in_it() {
    let mut lone = average("a", 10.0);
    lone.in_formula = false;
    let bad = spec(Kind::ScaledObject(rules("a + b")), vec![lone, average("b", 10.0)]);
    let refused = tidegate_core::scale::Scaler::new(bad, Arc::new(Toy));
    assert_eq!(refused.unwrap_err().to_string(), "formula of default/llm: unknown name a");
}

#[test]
fn a_new_spec_brings_its_formula() {
    let mut rig = rig(rules("a + b"), 5);
    rig.value("a", 30.0);
    rig.value("b", 10.0);
    let next: Spec = spec(Kind::ScaledObject(rules("a - b")), vec![average("a", 0.1), average("b", 0.1)]);
    rig.send(&Event::Spec(Box::new(next)));
    assert_eq!(*rig.tick().because(Rule::Formula), Because::FormulaValue { value: 20.0 });
}
