//! Operators between two values.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::parser::BinaryExpr;
use promql_parser::parser::token::{
    T_ADD, T_DIV, T_EQLC, T_GTE, T_GTR, T_LAND, T_LOR, T_LSS, T_LTE, T_LUNLESS, T_MOD, T_MUL, T_NEQ, T_POW,
    T_SUB, TokenId,
};

use super::aggregate::kept;
use super::{Error, Value};
use crate::store::LabelSet;

type Vector = Vec<(LabelSet, f64)>;

pub(super) fn binary(operation: &BinaryExpr, left: Value, right: Value) -> Result<Value, Error> {
    let operator = operation.op.id();
    let keeps = |a: f64, b: f64, value: f64| kept_value(operation, a, b, value);
    match (left, right) {
        (Value::Scalar(a), Value::Scalar(b)) => Ok(Value::Scalar(
            compare(operator, a, b)
                .map_or_else(|| arithmetic(operator, a, b), |holds| f64::from(u8::from(holds))),
        )),
        (Value::Vector(elements), Value::Scalar(b)) => {
            let each = |(labels, a): (LabelSet, f64)| Some((labels, keeps(a, b, a)?));
            Ok(Value::Vector(elements.into_iter().filter_map(each).collect()))
        }
        (Value::Scalar(a), Value::Vector(elements)) => {
            // A comparison keeps the series' own value, on whichever side it stands.
            let each = |(labels, b): (LabelSet, f64)| Some((labels, keeps(a, b, b)?));
            Ok(Value::Vector(elements.into_iter().filter_map(each).collect()))
        }
        (Value::Vector(left), Value::Vector(right)) => match operator {
            T_LAND | T_LOR | T_LUNLESS => Ok(Value::Vector(sets(operation, left, right))),
            _ => matched(operation, left, right).map(Value::Vector),
        },
    }
}

/// What an operator makes of two numbers; `None` where a comparison filters it out. `value` is what a
/// comparison keeps.
fn kept_value(operation: &BinaryExpr, a: f64, b: f64, value: f64) -> Option<f64> {
    match compare(operation.op.id(), a, b) {
        None => Some(arithmetic(operation.op.id(), a, b)),
        Some(holds) if operation.return_bool() => Some(f64::from(u8::from(holds))),
        Some(holds) => holds.then_some(value),
    }
}

#[expect(clippy::float_cmp, reason = "PromQL's == and != compare exactly")]
fn compare(operator: TokenId, a: f64, b: f64) -> Option<bool> {
    Some(match operator {
        T_EQLC => a == b,
        T_NEQ => a != b,
        T_GTR => a > b,
        T_LSS => a < b,
        T_GTE => a >= b,
        T_LTE => a <= b,
        _ => return None,
    })
}

fn arithmetic(operator: TokenId, a: f64, b: f64) -> f64 {
    match operator {
        T_ADD => a + b,
        T_SUB => a - b,
        T_MUL => a * b,
        T_DIV => a / b,
        T_MOD => a % b,
        T_POW => libm::pow(a, b),
        _ => f64::NAN,
    }
}

/// The labels by which elements of both sides find each other.
fn signature(operation: &BinaryExpr, labels: &LabelSet) -> LabelSet {
    match operation.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref()) {
        None => labels.clone(),
        matching => kept(labels.clone(), matching),
    }
}

fn sets(operation: &BinaryExpr, left: Vector, right: Vector) -> Vector {
    let signatures = |side: &Vector| -> BTreeSet<LabelSet> {
        side.iter().map(|(labels, _)| signature(operation, labels)).collect()
    };
    match operation.op.id() {
        T_LOR => {
            let known = signatures(&left);
            let more = right.into_iter().filter(|(labels, _)| !known.contains(&signature(operation, labels)));
            left.into_iter().chain(more).collect()
        }
        operator => {
            let other = signatures(&right);
            let wanted = operator == T_LAND;
            left.into_iter()
                .filter(|(labels, _)| other.contains(&signature(operation, labels)) == wanted)
                .collect()
        }
    }
}

fn matched(operation: &BinaryExpr, left: Vector, right: Vector) -> Result<Vector, Error> {
    let ambiguous = || Error::Ambiguous { operator: operation.op.to_string() };
    let mut by_signature: BTreeMap<LabelSet, f64> = BTreeMap::new();
    for (labels, value) in right {
        if by_signature.insert(signature(operation, &labels), value).is_some() {
            return Err(ambiguous());
        }
    }
    let mut seen = BTreeSet::new();
    let mut result = Vec::with_capacity(left.len());
    let on = operation.is_matching_on();
    for (labels, a) in left {
        let found = signature(operation, &labels);
        let Some(b) = by_signature.get(&found) else { continue };
        let Some(value) = kept_value(operation, a, *b, a) else { continue };
        if !seen.insert(found.clone()) {
            return Err(ambiguous());
        }
        let filters = operation.op.is_comparison_operator() && !operation.return_bool();
        // `on` and `ignoring` leave the labels that matched; a plain filter leaves the series as it is.
        let matching = operation.modifier.as_ref().is_some_and(|modifier| modifier.matching.is_some());
        let labels = if (on || matching) && !filters { found } else { labels };
        result.push((labels, value));
    }
    Ok(result)
}
