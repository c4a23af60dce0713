//! How many series an instant evaluation can return.
//!
//! KEDA's prometheus trigger wants exactly one: it fails on several, and on a scalar. Which labels
//! survive decides, so this follows label sets through the tree: an aggregation without grouping
//! leaves one series without labels, `by (le)` under `histogram_quantile` leaves one too, and a
//! selector leaves any number.

use std::collections::BTreeSet;

use promql_parser::parser::token::{
    T_BOTTOMK, T_COUNT_VALUES, T_LAND, T_LIMIT_RATIO, T_LIMITK, T_LOR, T_LUNLESS, T_TOPK,
};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality};

/// What an instant evaluation can return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A bare number, not a series: `1`, `scalar(…)`, `time()`.
    Scalar,
    /// One series, or none.
    AtMostOne,
    /// Possibly several series.
    Many,
    /// A whole window of samples a series: a range selector or subquery on its own.
    Matrix,
    /// A string.
    String,
}

pub(super) fn of(expr: &Expr) -> Shape {
    match expr.value_type() {
        ValueType::Scalar => Shape::Scalar,
        ValueType::String => Shape::String,
        ValueType::Matrix => Shape::Matrix,
        ValueType::Vector => match series(expr) {
            Series::Bare | Series::One => Shape::AtMostOne,
            Series::Many(_) => Shape::Many,
        },
    }
}

/// The series an expression can have, scalars counted as one without labels.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Series {
    /// At most one, without labels.
    Bare,
    /// At most one, with some labels.
    One,
    /// Any number.
    Many(Labels),
}

/// What is known of the labels by which many series differ.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Labels {
    /// All labels there can be; `None` when any can.
    closed: Option<BTreeSet<String>>,
    /// Labels that have the same value in every series.
    pinned: BTreeSet<String>,
}

impl Series {
    /// Many series told apart by `labels` only; those pinned to one value tell nothing apart.
    fn told_apart_by(labels: BTreeSet<String>, pinned: &BTreeSet<String>) -> Series {
        if labels.is_empty() {
            Series::Bare
        } else if labels.is_subset(pinned) {
            Series::One
        } else {
            let pinned = labels.intersection(pinned).cloned().collect();
            Series::Many(Labels { closed: Some(labels), pinned })
        }
    }

    fn any() -> Series {
        Series::Many(Labels::default())
    }

    fn is_many(&self) -> bool {
        matches!(self, Series::Many(_))
    }
}

fn series(expr: &Expr) -> Series {
    match expr {
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Series::Bare,
        Expr::VectorSelector(selector) => pinned_by(&selector.matchers),
        Expr::MatrixSelector(matrix) => pinned_by(&matrix.vs.matchers),
        Expr::Paren(paren) => series(&paren.expr),
        Expr::Unary(unary) => series(&unary.expr),
        Expr::Subquery(subquery) => series(&subquery.expr),
        Expr::Aggregate(aggregate) => of_aggregate(aggregate),
        Expr::Call(call) => of_call(call),
        Expr::Binary(binary) => of_binary(binary),
        Expr::Extension(_) => Series::any(),
    }
}

fn pinned_by(matchers: &promql_parser::label::Matchers) -> Series {
    let equal = matchers.matchers.iter().filter(|m| matches!(m.op, promql_parser::label::MatchOp::Equal));
    Series::Many(Labels { closed: None, pinned: equal.map(|m| m.name.clone()).collect() })
}

fn of_aggregate(aggregate: &AggregateExpr) -> Series {
    let inner = series(&aggregate.expr);
    match aggregate.op.id() {
        T_TOPK | T_BOTTOMK | T_LIMITK if aggregate.modifier.is_none() && inner.is_many() => {
            let at_most_one = aggregate.param.as_deref().and_then(number).is_some_and(|k| k < 2.0);
            if at_most_one { Series::One } else { inner }
        }
        T_TOPK | T_BOTTOMK | T_LIMITK | T_LIMIT_RATIO => inner,
        T_COUNT_VALUES => Series::any(),
        _ => grouped(inner, aggregate.modifier.as_ref()),
    }
}

fn grouped(inner: Series, modifier: Option<&LabelModifier>) -> Series {
    let (inner, modifier) = match (inner, modifier) {
        (_, None) => return Series::Bare,
        (Series::Many(labels), Some(modifier)) => (labels, modifier),
        (one, Some(_)) => return one,
    };
    let listed: BTreeSet<String> = modifier.labels().labels.iter().cloned().collect();
    match (modifier, inner.closed) {
        (LabelModifier::Include(_), None) => Series::told_apart_by(listed, &inner.pinned),
        (LabelModifier::Include(_), Some(closed)) => {
            Series::told_apart_by(closed.intersection(&listed).cloned().collect(), &inner.pinned)
        }
        (LabelModifier::Exclude(_), None) => {
            Series::Many(Labels { closed: None, pinned: inner.pinned.difference(&listed).cloned().collect() })
        }
        (LabelModifier::Exclude(_), Some(closed)) => {
            Series::told_apart_by(closed.difference(&listed).cloned().collect(), &inner.pinned)
        }
    }
}

fn of_call(call: &Call) -> Series {
    let args = &call.args.args;
    let vector = || {
        args.iter()
            .find(|arg| !matches!(arg.value_type(), ValueType::Scalar | ValueType::String))
            .map(|arg| series(arg))
    };
    match call.func.name {
        "vector" | "scalar" => Series::Bare,
        "absent" | "absent_over_time" => match vector() {
            Some(Series::Bare) => Series::Bare,
            _ => Series::One,
        },
        "histogram_quantile" | "histogram_fraction" => without_le(vector().unwrap_or(Series::Bare)),
        "histogram_quantiles" | "info" => Series::any(),
        "label_replace" | "label_join" => match vector() {
            Some(Series::Many(_)) | None => Series::any(),
            Some(_) => Series::One,
        },
        _ => vector().unwrap_or(Series::Bare),
    }
}

fn without_le(buckets: Series) -> Series {
    match buckets {
        Series::Many(Labels { closed: Some(mut closed), pinned }) => {
            closed.remove("le");
            Series::told_apart_by(closed, &pinned)
        }
        other => other,
    }
}

fn of_binary(binary: &BinaryExpr) -> Series {
    let is_scalar = |expr: &Expr| expr.value_type() == ValueType::Scalar;
    let (left, right) = (series(&binary.lhs), series(&binary.rhs));
    match (is_scalar(&binary.lhs), is_scalar(&binary.rhs)) {
        (true, true) => return Series::Bare,
        (true, false) => return right,
        (false, true) => return left,
        (false, false) => {}
    }
    match binary.op.id() {
        T_LAND | T_LUNLESS => left,
        T_LOR => either(binary, left, right),
        _ => matched(binary, left, right),
    }
}

/// `or` adds the right side's series whose matching labels the left side lacks.
fn either(binary: &BinaryExpr, left: Series, right: Series) -> Series {
    let matching = binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref());
    let on_nothing = matches!(matching, Some(LabelModifier::Include(labels)) if labels.labels.is_empty());
    match (left, right) {
        (Series::Bare, Series::Bare) => Series::Bare,
        (Series::Many(_), _) | (_, Series::Many(_)) => Series::any(),
        (Series::Bare | Series::One, Series::Bare | Series::One) if on_nothing => Series::One,
        (Series::Bare | Series::One, Series::Bare | Series::One) => Series::any(),
    }
}

/// Arithmetic and comparison: a result for each pair of series that match.
fn matched(binary: &BinaryExpr, left: Series, right: Series) -> Series {
    let modifier = binary.modifier.as_ref();
    match modifier.map(|modifier| &modifier.card) {
        Some(VectorMatchCardinality::ManyToOne(_)) => return widened(left),
        Some(VectorMatchCardinality::OneToMany(_)) => return widened(right),
        Some(VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany) | None => {}
    }
    let (left, right) = match (left, right) {
        (Series::Many(left), Series::Many(right)) => (left, right),
        (Series::Bare, _) | (_, Series::Bare) => return Series::Bare,
        _ => return Series::One,
    };
    let pinned: BTreeSet<String> = left.pinned.union(&right.pinned).cloned().collect();
    match modifier.and_then(|modifier| modifier.matching.as_ref()) {
        Some(LabelModifier::Include(labels)) => {
            Series::told_apart_by(labels.labels.iter().cloned().collect(), &pinned)
        }
        Some(LabelModifier::Exclude(_)) => Series::any(),
        None => match left.closed.or(right.closed) {
            Some(closed) => Series::told_apart_by(closed, &pinned),
            None => Series::Many(Labels { closed: None, pinned }),
        },
    }
}

/// `group_left` can copy labels onto the many side.
fn widened(many: Series) -> Series {
    match many {
        Series::Many(_) => Series::any(),
        Series::Bare | Series::One => Series::One,
    }
}

pub(super) fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::NumberLiteral(number) => Some(number.val),
        Expr::Paren(paren) => number(&paren.expr),
        Expr::Unary(unary) => number(&unary.expr).map(|value| -value),
        _ => None,
    }
}
