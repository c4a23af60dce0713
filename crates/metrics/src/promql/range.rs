//! The values a query can take, by interval arithmetic over the engine tables.
//!
//! `avg(vllm:kv_cache_usage_perc)` lies between 0 and 1, so a threshold of 80 never fires; its `sum`
//! has no upper end, so a threshold of 0.8 means something else with every replica added. A gauge of
//! running requests ends at the engine's slots, a number the query does not show: it is marked
//! instead of bounded.

use promql_parser::parser::token::{
    T_ADD, T_AVG, T_BOTTOMK, T_COUNT, T_DIV, T_GROUP, T_LAND, T_LIMIT_RATIO, T_LIMITK, T_LOR, T_LUNLESS,
    T_MAX, T_MIN, T_MUL, T_QUANTILE, T_STDDEV, T_STDVAR, T_SUB, T_SUM, T_TOPK,
};
use promql_parser::parser::{AggregateExpr, BinaryExpr, Call, Expr, VectorSelector};

use super::selectors::metric_name;
use super::shape::number;
use crate::dialect::{Kind, Range, lookup};

/// The ends of an interval, infinite where there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    pub(super) low: f64,
    pub(super) high: f64,
    /// Ends at one replica's slots.
    pub(super) capped: bool,
}

const ANY: Interval = Interval::between(f64::NEG_INFINITY, f64::INFINITY);
const NON_NEGATIVE: Interval = Interval::between(0.0, f64::INFINITY);
const FRACTION: Interval = Interval::between(0.0, 1.0);

impl Interval {
    const fn between(low: f64, high: f64) -> Interval {
        Interval { low, high, capped: false }
    }

    const fn exactly(value: f64) -> Interval {
        if value.is_nan() { ANY } else { Interval::between(value, value) }
    }

    fn is_constant(self) -> bool {
        self.low.is_finite() && self.low.total_cmp(&self.high).is_eq()
    }

    fn capped(self, capped: bool) -> Interval {
        Interval { capped: capped && self.high.is_infinite(), ..self }
    }

    fn hull(self, other: Interval) -> Interval {
        let below = |a: Interval, b: Interval| a.capped && (b.capped || b.is_constant());
        let capped = below(self, other) || below(other, self);
        Interval::between(self.low.min(other.low), self.high.max(other.high)).capped(capped)
    }

    fn negated(self) -> Interval {
        Interval::between(-self.high, -self.low)
    }

    /// The smallest interval that holds all of `ends`; an undefined product counts as zero, because
    /// an infinite end stands for "no bound", not for infinity.
    fn around(ends: [f64; 4]) -> Interval {
        let ends = ends.map(|end| if end.is_nan() { 0.0 } else { end });
        let low = ends.into_iter().fold(f64::INFINITY, f64::min);
        let high = ends.into_iter().fold(f64::NEG_INFINITY, f64::max);
        Interval::between(low, high)
    }

    /// A sum over an unknown number of series, at least one.
    fn summed(self) -> Interval {
        let low = if self.low >= 0.0 { self.low } else { f64::NEG_INFINITY };
        let high = if self.high <= 0.0 { self.high } else { f64::INFINITY };
        Interval::between(low, high)
    }
}

pub(super) fn of(expr: &Expr) -> Interval {
    match expr {
        Expr::NumberLiteral(number) => Interval::exactly(number.val),
        Expr::StringLiteral(_) | Expr::Extension(_) => ANY,
        Expr::VectorSelector(selector) => of_selector(selector),
        Expr::MatrixSelector(matrix) => of_selector(&matrix.vs),
        Expr::Paren(paren) => of(&paren.expr),
        Expr::Unary(unary) => of(&unary.expr).negated(),
        Expr::Subquery(subquery) => of(&subquery.expr),
        Expr::Aggregate(aggregate) => of_aggregate(aggregate),
        Expr::Call(call) => of_call(call),
        Expr::Binary(binary) => of_binary(binary),
    }
}

fn of_selector(selector: &VectorSelector) -> Interval {
    let Some(name) = metric_name(selector) else { return ANY };
    if name == "up" {
        return FRACTION;
    }
    let Some(metric) = lookup(name) else { return ANY };
    match metric.range {
        Range::ZeroToOne if metric.kind == Kind::Gauge => FRACTION,
        Range::ZeroToHundred if metric.kind == Kind::Gauge => Interval::between(0.0, 100.0),
        Range::CappedBySlots => NON_NEGATIVE.capped(true),
        Range::ZeroToOne | Range::ZeroToHundred | Range::Unbounded => NON_NEGATIVE,
    }
}

fn of_aggregate(aggregate: &AggregateExpr) -> Interval {
    let inner = of(&aggregate.expr);
    match aggregate.op.id() {
        T_AVG | T_MIN | T_MAX | T_QUANTILE | T_TOPK | T_BOTTOMK | T_LIMITK | T_LIMIT_RATIO => inner,
        T_SUM if super::shape::of(&aggregate.expr) == super::Shape::AtMostOne => inner,
        T_SUM => inner.summed(),
        T_COUNT => Interval::between(1.0, f64::INFINITY),
        T_GROUP => Interval::exactly(1.0),
        T_STDDEV | T_STDVAR => NON_NEGATIVE,
        _ => ANY,
    }
}

fn of_call(call: &Call) -> Interval {
    let args = &call.args.args;
    let arg = |index: usize| args.get(index).map_or(ANY, |arg| of(arg));
    match call.func.name {
        "avg_over_time" | "min_over_time" | "max_over_time" | "last_over_time" | "first_over_time"
        | "scalar" | "vector" | "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc"
        | "label_replace" | "label_join" => arg(0),
        "quantile_over_time" => arg(1),
        "sum_over_time" => arg(0).summed(),
        "rate" | "irate" | "increase" | "changes" | "resets" | "count_over_time" | "stddev_over_time"
        | "stdvar_over_time" | "time" | "timestamp" => NON_NEGATIVE,
        "present_over_time" | "absent" | "absent_over_time" => Interval::exactly(1.0),
        "histogram_quantile" if arg(1).low >= 0.0 => NON_NEGATIVE,
        "histogram_fraction" => FRACTION,
        "abs" => magnitude(arg(0)),
        "ceil" | "floor" | "round" if args.len() == 1 => {
            let inner = arg(0);
            Interval::between(inner.low.floor(), inner.high.ceil()).capped(inner.capped)
        }
        "clamp" => clamped(arg(0), arg(1), arg(2)),
        "clamp_min" => clamped(arg(0), arg(1), ANY),
        "clamp_max" => clamped(arg(0), ANY, arg(1)),
        "sgn" => Interval::between(-1.0, 1.0),
        _ => ANY,
    }
}

fn magnitude(inner: Interval) -> Interval {
    if inner.low >= 0.0 {
        return inner;
    }
    let low = if inner.high < 0.0 { -inner.high } else { 0.0 };
    Interval::between(low, inner.high.max(-inner.low))
}

fn clamped(inner: Interval, floor: Interval, ceiling: Interval) -> Interval {
    let low = inner.low.max(floor.low).min(ceiling.high);
    let high = inner.high.min(ceiling.high).max(floor.low);
    Interval::between(low, high.max(low)).capped(inner.capped)
}

fn of_binary(binary: &BinaryExpr) -> Interval {
    let (left, right) = (of(&binary.lhs), of(&binary.rhs));
    if binary.op.is_comparison_operator() {
        let keeps_right = number(&binary.lhs).is_some() && number(&binary.rhs).is_none();
        return match (binary.return_bool(), keeps_right) {
            (true, _) => FRACTION,
            (false, true) => right,
            (false, false) => left,
        };
    }
    let scaled = (left.capped && right.is_constant()) || (right.capped && left.is_constant());
    match binary.op.id() {
        T_LAND | T_LUNLESS => left,
        T_LOR => left.hull(right),
        T_ADD => Interval::between(left.low + right.low, left.high + right.high).capped(scaled),
        T_SUB => {
            Interval::between(left.low - right.high, left.high - right.low).capped(scaled && left.capped)
        }
        T_MUL => product(left, right).capped(scaled),
        T_DIV if is_mean(binary) => summand(&binary.lhs),
        T_DIV => quotient(left, right).capped(left.capped && right.is_constant()),
        _ => ANY,
    }
}

fn product(a: Interval, b: Interval) -> Interval {
    Interval::around([a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high])
}

fn quotient(a: Interval, b: Interval) -> Interval {
    if b.low > 0.0 {
        Interval::around([a.low / b.low, a.low / b.high, a.high / b.low, a.high / b.high])
    } else if a.low >= 0.0 && b.low >= 0.0 {
        NON_NEGATIVE
    } else {
        ANY
    }
}

/// `sum(x) / count(x)` of one and the same selector.
fn is_mean(binary: &BinaryExpr) -> bool {
    match (bare(&binary.lhs), bare(&binary.rhs)) {
        (Expr::Aggregate(sum), Expr::Aggregate(count)) => {
            sum.op.id() == T_SUM
                && count.op.id() == T_COUNT
                && sum.modifier == count.modifier
                && sum.expr == count.expr
        }
        _ => false,
    }
}

fn summand(expr: &Expr) -> Interval {
    match bare(expr) {
        Expr::Aggregate(sum) => of(&sum.expr),
        other => of(other),
    }
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(paren) => bare(&paren.expr),
        other => other,
    }
}
