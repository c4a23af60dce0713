//! Operators between two values.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::parser::token::{
    T_ADD, T_ATAN2, T_DIV, T_EQLC, T_GTE, T_GTR, T_LAND, T_LOR, T_LSS, T_LTE, T_LUNLESS, T_MOD, T_MUL, T_NEQ,
    T_POW, T_SUB, TokenId,
};
use promql_parser::parser::{BinModifier, BinaryExpr, LabelModifier, VectorMatchCardinality};

use super::element::{distinct, nameless, set, several_names};
use super::{Error, Value, Vector};
use crate::store::{LabelSet, label};

/// Operators that are evaluated.
pub(super) const KNOWN: [TokenId; 16] = [
    T_ADD, T_SUB, T_MUL, T_DIV, T_MOD, T_POW, T_ATAN2, T_EQLC, T_NEQ, T_GTR, T_LSS, T_GTE, T_LTE, T_LAND,
    T_LOR, T_LUNLESS,
];

pub(super) fn binary(operation: &BinaryExpr, left: Value, right: Value) -> Result<Value, Error> {
    let operator = operation.op.id();
    match (left, right) {
        (Value::Scalar(a), Value::Scalar(b)) => Ok(Value::Scalar(
            compare(operator, a, b)
                .map_or_else(|| arithmetic(operator, a, b), |holds| f64::from(u8::from(holds))),
        )),
        (Value::Vector(elements), Value::Scalar(b)) => {
            each(operation, elements, |a| kept(operation, a, b, a))
        }
        // A comparison keeps the series' own value, on whichever side it stands.
        (Value::Scalar(a), Value::Vector(elements)) => {
            each(operation, elements, |b| kept(operation, a, b, b))
        }
        (Value::Vector(left), Value::Vector(right)) => match operator {
            T_LAND | T_LOR | T_LUNLESS => Ok(Value::Vector(sets(operation, left, right))),
            _ => matched(operation, left, right).map(Value::Vector),
        },
    }
}

fn each(
    operation: &BinaryExpr,
    mut elements: Vector,
    change: impl Fn(f64) -> Option<f64>,
) -> Result<Value, Error> {
    let drops = drops_name(operation);
    let several = drops && several_names(&elements);
    elements.retain_mut(|(labels, value)| {
        if drops {
            nameless(labels);
        }
        change(*value).map(|changed| *value = changed).is_some()
    });
    let elements = if several { distinct(&operation.op.to_string(), elements)? } else { elements };
    Ok(Value::Vector(elements))
}

/// Whether the result is another quantity than the operands: all but a comparison that only filters.
fn drops_name(operation: &BinaryExpr) -> bool {
    !operation.op.is_comparison_operator() || operation.return_bool()
}

/// What an operator makes of two numbers; `None` where a comparison filters it out. `value` is what a
/// comparison keeps.
fn kept(operation: &BinaryExpr, a: f64, b: f64, value: f64) -> Option<f64> {
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
        T_ATAN2 => libm::atan2(a, b),
        _ => f64::NAN,
    }
}

/// The labels by which elements of both sides find each other.
fn signature(modifier: Option<&BinModifier>, labels: &LabelSet) -> LabelSet {
    let mut labels = labels.clone();
    match modifier.and_then(|modifier| modifier.matching.as_ref()) {
        None => nameless(&mut labels),
        Some(LabelModifier::Include(on)) => {
            labels.retain(|(name, _)| on.labels.iter().any(|listed| **listed == **name));
        }
        Some(LabelModifier::Exclude(ignored)) => {
            nameless(&mut labels);
            labels.retain(|(name, _)| !ignored.labels.iter().any(|listed| **listed == **name));
        }
    }
    labels
}

fn sets(operation: &BinaryExpr, left: Vector, right: Vector) -> Vector {
    let modifier = operation.modifier.as_ref();
    let signatures = |side: &Vector| -> BTreeSet<LabelSet> {
        side.iter().map(|(labels, _)| signature(modifier, labels)).collect()
    };
    match operation.op.id() {
        T_LOR => {
            let known = signatures(&left);
            let more = right.into_iter().filter(|(labels, _)| !known.contains(&signature(modifier, labels)));
            left.into_iter().chain(more).collect()
        }
        operator => {
            let other = signatures(&right);
            let wanted = operator == T_LAND;
            left.into_iter()
                .filter(|(labels, _)| other.contains(&signature(modifier, labels)) == wanted)
                .collect()
        }
    }
}

fn matched(operation: &BinaryExpr, left: Vector, right: Vector) -> Result<Vector, Error> {
    if left.is_empty() || right.is_empty() {
        return Ok(Vec::new());
    }
    let modifier = operation.modifier.as_ref();
    let ambiguous = || Error::Ambiguous { operator: operation.op.to_string() };
    let card = modifier.map_or(&VectorMatchCardinality::OneToOne, |modifier| &modifier.card);
    let swapped = matches!(card, VectorMatchCardinality::OneToMany(_));
    let one_to_one = matches!(card, VectorMatchCardinality::OneToOne);
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let mut by_signature: BTreeMap<LabelSet, (LabelSet, f64)> = BTreeMap::new();
    for (labels, value) in one {
        if by_signature.insert(signature(modifier, &labels), (labels, value)).is_some() {
            return Err(ambiguous());
        }
    }
    let mut seen = BTreeSet::new();
    let mut result = Vec::with_capacity(many.len());
    for (labels, of_many) in many {
        let found = signature(modifier, &labels);
        let Some((of_one_labels, of_one)) = by_signature.get(&found) else { continue };
        let (a, b) = if swapped { (*of_one, of_many) } else { (of_many, *of_one) };
        // One to one, a group may have one pair, even if a comparison would drop it; else one result of
        // each set of labels.
        if one_to_one && !seen.insert(found) {
            return Err(ambiguous());
        }
        let Some(value) = kept(operation, a, b, a) else { continue };
        let labels = joined(operation, labels, of_one_labels, card);
        if !one_to_one && !seen.insert(labels.clone()) {
            return Err(ambiguous());
        }
        result.push((labels, value));
    }
    Ok(result)
}

/// The labels of a pair: those of the many side, less what did not match, plus what `group_left` names.
fn joined(
    operation: &BinaryExpr,
    mut labels: LabelSet,
    one: &LabelSet,
    card: &VectorMatchCardinality,
) -> LabelSet {
    if drops_name(operation) {
        nameless(&mut labels);
    }
    let matching = operation.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref());
    match (card, matching) {
        (VectorMatchCardinality::OneToOne, Some(LabelModifier::Include(on))) => {
            labels.retain(|(name, _)| on.labels.iter().any(|listed| **listed == **name));
        }
        (VectorMatchCardinality::OneToOne, Some(LabelModifier::Exclude(ignored))) => {
            labels.retain(|(name, _)| !ignored.labels.iter().any(|listed| **listed == **name));
        }
        _ => {}
    }
    for name in card.labels().into_iter().flat_map(|included| &included.labels) {
        set(&mut labels, name, label(one, name).unwrap_or_default());
    }
    labels
}
