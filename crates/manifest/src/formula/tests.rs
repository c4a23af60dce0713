use super::*;
use serde_json::Value as Json;

const CASES: &str = include_str!("../../../../conformance/keda/formula_cases.json");

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn compile(source: &str, variables: &[&str]) -> Result<Box<dyn Formula>, Error> {
    ExprLang.compile(source, &names(variables))
}

fn cases(kind: &str) -> Vec<Json> {
    let table: Json = serde_json::from_str(CASES).unwrap();
    let cases = table["cases"].as_array().unwrap().clone();
    let of_kind: Vec<Json> = cases.into_iter().filter(|case| case["kind"] == kind).collect();
    assert!(!of_kind.is_empty(), "no cases of kind {kind}");
    of_kind
}

/// Cases where ours refuses or accepts more than KEDA, each with its reason.
const DIFFERENT: &[(&str, &str)] = &[(
    "formula-070",
    "KEDA does not wrap what begins with float(, and then fails on the integer: 5 is 5 here",
)];

#[test]
fn every_formula_of_the_conformance_table_has_its_value() {
    let mut wrong = Vec::new();
    for case in cases("formula") {
        let id = case["id"].as_str().unwrap();
        if DIFFERENT.iter().any(|(known, _)| *known == id) {
            continue;
        }
        let variables: Vec<(String, Option<f64>)> = case["input"]["variables"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_f64()))
            .collect();
        let known: Vec<Arc<str>> = variables.iter().map(|(name, _)| Arc::from(name.as_str())).collect();
        let values: Vec<Variable<'_>> =
            variables.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let source = case["input"]["formula"].as_str().unwrap();
        let ours = ExprLang.compile(source, &known).and_then(|formula| formula.evaluate(&values));
        let agrees = match (&case["expected"], &ours) {
            (Json::Null, Ok(None)) => true,
            (Json::Number(expected), Ok(Some(value))) => {
                let expected = expected.as_f64().unwrap();
                (expected - value).abs() <= 1e-12 * expected.abs().max(1.0)
            }
            (Json::Object(_), Err(_)) => true,
            _ => false,
        };
        if !agrees {
            wrong.push(format!(
                "{id}: {source} with {:?}: {ours:?}, expected {}",
                variables, case["expected"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_name_that_is_no_trigger_is_refused_wherever_it_stands() {
    let error = compile("queue > 5 ? queue : quue", &["queue"]).unwrap_err();
    assert!(error.message.contains("did you mean queue?"), "{}", error.message);
}

#[test]
fn a_boolean_result_is_refused_at_admission() {
    compile("a > 1", &["a"]).unwrap_err();
}

#[test]
fn division_by_zero_is_an_error_of_that_moment_not_of_the_formula() {
    let formula = compile("a / b", &["a", "b"]).unwrap();
    assert_eq!(formula.evaluate(&[("a", Some(6.0)), ("b", Some(2.0))]), Ok(Some(3.0)));
    formula.evaluate(&[("a", Some(6.0)), ("b", Some(0.0))]).unwrap_err();
}

#[test]
fn a_remainder_of_zero_is_of_that_moment_too() {
    let formula = compile("int(a) % int(b)", &["a", "b"]).unwrap();
    assert_eq!(formula.evaluate(&[("a", Some(7.0)), ("b", Some(4.0))]), Ok(Some(3.0)));
    formula.evaluate(&[("a", Some(7.0)), ("b", Some(0.0))]).unwrap_err();
}

#[test]
fn what_follows_a_coalesced_value_must_stand_outside_parentheses() {
    // KEDA's engine refuses the first, and takes the second for a + (b ?? 1) + 10.
    for mixed in ["a ?? b + 1", "a + b ?? 1 + 10", "a ?? b > 1 ? 10 : 20", "a ?? b and true ? 1 : 2"] {
        let error = compile(mixed, &["a", "b"]).unwrap_err();
        assert!(error.message.contains("needs parentheses"), "{mixed}: {}", error.message);
    }
    let nil = |source: &str| compile(source, &["a", "b"]).unwrap().evaluate(&[("a", None), ("b", Some(3.0))]);
    assert_eq!(nil("(a ?? b) + 1"), Ok(Some(4.0)));
    assert_eq!(nil("b + a ?? 1.5e-1"), Ok(Some(3.15)));
    assert_eq!(nil("max(a ?? 0, b) + 1"), Ok(Some(4.0)));
    assert_eq!(nil("a ?? -b"), Ok(Some(-3.0)));
    assert_eq!(nil("b > 1 ? a ?? 5 : b + 1"), Ok(Some(5.0)));
    assert_eq!(nil("let x = a ?? 2; x * b"), Ok(Some(6.0)));
}

#[test]
fn a_trigger_may_be_called_what_begins_like_a_word_of_the_language() {
    for name in
        ["not_ready", "notifications", "nilpotent", "true_rate", "falsehoods", "inflight", "order", "iffy"]
    {
        let formula = compile(&format!("let letter = {name} * 2; letter + {name}"), &[name]).unwrap();
        assert_eq!(formula.evaluate(&[(name, Some(2.0))]), Ok(Some(6.0)), "{name}");
    }
    compile("notes", &["notes", "_otes"]).unwrap_err();
}

#[test]
fn a_name_with_a_hyphen_is_told_apart_from_a_slip() {
    let error = compile("kv-cache / 2", &["kv-cache"]).unwrap_err();
    assert!(error.message.contains("rename it"), "{}", error.message);
}

#[test]
fn a_formula_that_cannot_be_read_is_told_by_its_place() {
    let error = compile("a +", &["a"]).unwrap_err();
    assert_eq!(error.message, "not readable from line 1, character 4 on");
}

#[test]
fn hostile_formulas_are_refused_before_they_are_parsed() {
    let thousand = |part: &str, end: &str| format!("{}{end}", part.repeat(1000));
    let nested =
        |open: &str, close: &str, depth: usize| format!("{}a{}", open.repeat(depth), close.repeat(depth));
    let hostile = [
        nested("(", ")", 100_000),
        nested("[", "]", 100_000),
        nested("(", ")", 1000),
        nested("[", "]", 1000),
        nested("max(1,", ")", 400),
        nested("[0][", "]", 20),
        thousand("-", "a"),
        thousand("!", "true"),
        thousand("a??", "1"),
        thousand("a?", "1"),
        thousand("1?2:", "1"),
        thousand("a+", "1"),
        thousand("a", "[0]"),
        format!("a{}", "[0]".repeat(1000)),
        // Brackets that a comment hides.
        "((((((/*))))))*/".repeat(200),
        nested("if (", ") {1}", 20),
        // The engine panics on these.
        "{a: a}".to_owned(),
        "max({a: a}, 1)".to_owned(),
        "count([a], {a: a})".to_owned(),
        "sum(1..1000000000)".to_owned(),
        "repeat(\"x\", 1000000000)".to_owned(),
        "len('x')".to_owned(),
        "(]".to_owned(),
        "(a".to_owned(),
        "a)".to_owned(),
        "(a]".to_owned(),
        "\u{e9}\"".to_owned(),
    ];
    for formula in &hostile {
        compile(formula, &["a"]).unwrap_err();
    }
}

#[test]
fn the_deepest_formulas_let_in_fit_the_stack_of_a_thread() {
    let nested =
        |open: &str, mid: &str, close: &str, d: usize| format!("{}{mid}{}", open.repeat(d), close.repeat(d));
    let builders: [&dyn Fn(usize) -> String; 13] = [
        &|d| nested("(", "a", ")", d),
        &|d| nested("-(", "a", ")", d),
        &|d| nested("[", "a", "]", d) + "[0]",
        &|d| nested("max(1,", "a", ")", d),
        &|d| nested("sum(map([1],{", "#", "}))", d),
        &|d| nested("a<5?1:", "1", "", d),
        &|d| nested("a>5?", "1", ":1", d),
        &|d| nested("a??", "1", "", d),
        &|d| nested("1+", "a", "", d),
        &|d| nested("(1+", "a", ")", d),
        &|d| nested("1**", "1", "", d),
        &|d| format!("{} ? 1 : 2", nested("a>1&&", "a>1", "", d)),
        &|d| format!("a{}", " | abs()".repeat(d)),
    ];
    for build in builders {
        let deepest = (1..64).rev().find(|depth| shape::check(&build(*depth), &names(&["a"])).is_ok());
        let depth = deepest.unwrap_or_else(|| panic!("none of {} is let in", build(1)));
        assert!(depth >= 12, "{}", build(depth));
        if let Ok(formula) = compile(&build(depth), &["a"]) {
            let _ = formula.evaluate(&[("a", Some(2.0))]);
        }
    }
}
