//! Operators over a whole vector.

use std::collections::BTreeMap;
use std::sync::Arc;

use promql_parser::parser::token::{
    T_AVG, T_BOTTOMK, T_COUNT, T_COUNT_VALUES, T_GROUP, T_MAX, T_MIN, T_QUANTILE, T_STDDEV, T_STDVAR, T_SUM,
    T_TOPK, TokenId,
};
use promql_parser::parser::{AggregateExpr, Expr, LabelModifier};

use super::summary::{self, Kahan};
use super::{Error, Evaluation, Vector, element, quantile};
use crate::store::LabelSet;

/// Operators that are evaluated.
pub(super) const KNOWN: [TokenId; 12] = [
    T_SUM,
    T_AVG,
    T_MIN,
    T_MAX,
    T_COUNT,
    T_GROUP,
    T_STDDEV,
    T_STDVAR,
    T_TOPK,
    T_BOTTOMK,
    T_QUANTILE,
    T_COUNT_VALUES,
];

impl Evaluation<'_> {
    pub(super) fn aggregate(&self, aggregate: &AggregateExpr) -> Result<Vector, Error> {
        let elements = self.value(&aggregate.expr)?.vector();
        let modifier = aggregate.modifier.as_ref();
        let param = || aggregate.param.as_deref();
        let number = || match param() {
            Some(param) => self.value(param).map(super::Value::scalar),
            None => Ok(f64::NAN),
        };
        match aggregate.op.id() {
            T_TOPK | T_BOTTOMK => {
                let k = number()?;
                if k.is_nan() {
                    let argument = "NaN".to_owned();
                    return Err(Error::Argument { function: "topk", wanted: "number", argument });
                }
                Ok(most(k, modifier, elements, aggregate.op.id() == T_TOPK))
            }
            T_COUNT_VALUES => match param().map(super::check::bare) {
                Some(Expr::StringLiteral(label)) => count_values(&label.val, modifier, elements),
                _ => Ok(Vec::new()),
            },
            operator => {
                let q = if operator == T_QUANTILE { number()? } else { f64::NAN };
                let groups = groups(modifier, elements);
                Ok(groups.into_iter().map(|(labels, values)| (labels, one(operator, q, values))).collect())
            }
        }
    }
}

fn groups(modifier: Option<&LabelModifier>, elements: Vector) -> BTreeMap<LabelSet, Vec<f64>> {
    let mut groups: BTreeMap<LabelSet, Vec<f64>> = BTreeMap::new();
    for (labels, value) in elements {
        groups.entry(kept(labels, modifier)).or_default().push(value);
    }
    groups
}

fn one(operator: TokenId, q: f64, values: Vec<f64>) -> f64 {
    let each = values.iter().copied();
    match operator {
        T_AVG => summary::mean(each),
        // `min` and `max` pass over NaN unless there is nothing else.
        T_MIN => each.reduce(f64::min).unwrap_or(f64::NAN),
        T_MAX => each.reduce(f64::max).unwrap_or(f64::NAN),
        T_COUNT => values.len() as f64,
        T_GROUP => 1.0,
        T_STDVAR => summary::variance(each),
        T_STDDEV => summary::variance(each).sqrt(),
        T_QUANTILE => quantile::of_values(q, values),
        _ => each.collect::<Kahan>().total(),
    }
}

/// The labels that tell groups apart.
pub(super) fn kept(mut labels: LabelSet, modifier: Option<&LabelModifier>) -> LabelSet {
    match modifier {
        None => return LabelSet::new(),
        Some(LabelModifier::Include(by)) => {
            labels.retain(|(name, _)| by.labels.iter().any(|listed| **listed == **name));
        }
        Some(LabelModifier::Exclude(without)) => {
            element::nameless(&mut labels);
            labels.retain(|(name, _)| !without.labels.iter().any(|listed| **listed == **name));
        }
    }
    labels
}

/// The `k` greatest or least of each group with all their labels, the first among equals; NaN last.
fn most(k: f64, modifier: Option<&LabelModifier>, elements: Vector, greatest: bool) -> Vector {
    let k = if k >= 1.0 { k as usize } else { return Vec::new() };
    let mut groups: BTreeMap<LabelSet, Vector> = BTreeMap::new();
    for element in elements {
        groups.entry(kept(element.0.clone(), modifier)).or_default().push(element);
    }
    let mut chosen = Vec::new();
    for (_, mut group) in groups {
        group.sort_by(|(_, a), (_, b)| {
            let order = a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
            a.is_nan().cmp(&b.is_nan()).then(if greatest { order.reverse() } else { order })
        });
        group.truncate(k);
        chosen.append(&mut group);
    }
    chosen
}

fn count_values(label: &str, modifier: Option<&LabelModifier>, elements: Vector) -> Result<Vector, Error> {
    if !label.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        || !label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    {
        return Err(Error::Argument {
            function: "count_values",
            wanted: "label name",
            argument: label.to_owned(),
        });
    }
    let mut counts: BTreeMap<LabelSet, f64> = BTreeMap::new();
    for (labels, value) in elements {
        let mut labels = kept(labels, modifier);
        element::set(&mut labels, label, &written(value));
        *counts.entry(labels).or_default() += 1.0;
    }
    Ok(counts.into_iter().collect())
}

/// A number as Prometheus writes it: shortest, never with an exponent.
pub(crate) fn written(value: f64) -> Arc<str> {
    if value == f64::INFINITY {
        "+Inf".into()
    } else if value == f64::NEG_INFINITY {
        "-Inf".into()
    } else {
        value.to_string().into()
    }
}
