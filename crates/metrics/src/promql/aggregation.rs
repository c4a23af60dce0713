//! What the value of a query stands for.
//!
//! KEDA divides a value by its target to get a replica count (`AverageValue`), which is right for a
//! total only: dividing a mean over replicas by a target gives a number between nothing and two,
//! whatever the load. So a total must be told from a mean.
//!
//! | query | stands for |
//! |---|---|
//! | `sum(q)`, `count(q)`, `sum by (model) (q)`, `sum(a) + sum(b)`, `avg(q) * count(q)` | total |
//! | `avg(q)`, `sum(q) / count(q)`, `sum(q) / sum(up)`, `avg(q) * 100` | mean |
//! | `max(q)`, `quantile(0.9, q)`, `topk(1, q)` | extreme |
//! | `histogram_quantile(…)`, `sum(rate(x_sum[5m])) / sum(rate(x_count[5m]))`, `stddev(q)` | statistic |
//! | `sum(rate(errors[5m])) / sum(rate(all[5m]))`, `used / total` | ratio |
//! | `q`, `rate(q[1m])` | one series' own value |
//! | `1`, `vector(1)`, `time()`, `absent(q)` | constant |
//!
//! Brackets, sorting, relabelling, rounding, clamping, `_over_time`, filters (`> 5`, `and`, `unless`),
//! `or` with a constant and arithmetic with a constant change none of these. An aggregation over
//! something that is one series already changes nothing either: `max(sum(q))` is a total.

use promql_parser::parser::token::{
    T_ADD, T_AVG, T_BOTTOMK, T_COUNT, T_COUNT_VALUES, T_DIV, T_GROUP, T_LAND, T_LIMIT_RATIO, T_LIMITK, T_LOR,
    T_LUNLESS, T_MAX, T_MIN, T_MUL, T_QUANTILE, T_STDDEV, T_STDVAR, T_SUB, T_SUM, T_TOPK,
};
use promql_parser::parser::{AggregateExpr, BinaryExpr, Call, Expr};

use super::Shape;
use super::selectors::metric_name;

/// What the value of a query stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// A sum or a count over all replicas: grows with the load.
    Total,
    /// Already a mean per replica.
    Mean,
    /// The value of the most or least loaded.
    Extreme,
    /// A latency, a quantile or a spread: says nothing about how many.
    Statistic,
    /// One quantity divided by another.
    Ratio,
    /// Each series for itself.
    PerSeries,
    /// Does not depend on any series' value.
    Constant,
    /// None of these, or a mixture.
    Unknown,
}

pub(super) fn of(expr: &Expr) -> Aggregation {
    match expr {
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Aggregation::Constant,
        Expr::VectorSelector(_) | Expr::MatrixSelector(_) => Aggregation::PerSeries,
        Expr::Paren(paren) => of(&paren.expr),
        Expr::Unary(unary) => of(&unary.expr),
        Expr::Subquery(subquery) => of(&subquery.expr),
        Expr::Aggregate(aggregate) => of_aggregate(aggregate),
        Expr::Call(call) => of_call(call),
        Expr::Binary(binary) => of_binary(binary),
        Expr::Extension(_) => Aggregation::Unknown,
    }
}

fn of_aggregate(aggregate: &AggregateExpr) -> Aggregation {
    let changes_nothing =
        matches!(aggregate.op.id(), T_SUM | T_AVG | T_MAX | T_MIN | T_TOPK | T_BOTTOMK | T_QUANTILE);
    if changes_nothing && super::shape::of(&aggregate.expr) == Shape::AtMostOne {
        return of(&aggregate.expr);
    }
    match aggregate.op.id() {
        T_SUM | T_COUNT | T_COUNT_VALUES => Aggregation::Total,
        T_AVG => Aggregation::Mean,
        T_MAX | T_MIN | T_QUANTILE | T_TOPK | T_BOTTOMK => Aggregation::Extreme,
        T_STDDEV | T_STDVAR => Aggregation::Statistic,
        T_LIMITK | T_LIMIT_RATIO => of(&aggregate.expr),
        T_GROUP => Aggregation::Constant,
        _ => Aggregation::Unknown,
    }
}

/// Functions that leave what the value stands for as it is.
const TRANSPARENT: &[&str] = &[
    "abs",
    "avg_over_time",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "delta",
    "deriv",
    "double_exponential_smoothing",
    "first_over_time",
    "floor",
    "holt_winters",
    "idelta",
    "increase",
    "irate",
    "label_join",
    "label_replace",
    "last_over_time",
    "max_over_time",
    "min_over_time",
    "predict_linear",
    "quantile_over_time",
    "rate",
    "round",
    "scalar",
    "sort",
    "sort_by_label",
    "sort_by_label_desc",
    "sort_desc",
    "sum_over_time",
    "vector",
];

fn of_call(call: &Call) -> Aggregation {
    let args = &call.args.args;
    match call.func.name {
        "histogram_quantile"
        | "histogram_quantiles"
        | "histogram_fraction"
        | "histogram_avg"
        | "histogram_stddev"
        | "histogram_stdvar" => Aggregation::Statistic,
        "absent" | "absent_over_time" => Aggregation::Constant,
        name => {
            let subject = args.iter().map(|arg| of(arg)).find(|kind| *kind != Aggregation::Constant);
            match subject {
                None => Aggregation::Constant,
                Some(kind) if TRANSPARENT.contains(&name) => kind,
                Some(_) => Aggregation::Unknown,
            }
        }
    }
}

fn of_binary(binary: &BinaryExpr) -> Aggregation {
    use Aggregation::{Constant, Mean, PerSeries, Ratio, Total, Unknown};
    let (left, right) = (of(&binary.lhs), of(&binary.rhs));
    let op = binary.op.id();
    if binary.op.is_comparison_operator() {
        return match (binary.return_bool(), left) {
            (true, _) => Unknown,
            (false, Constant) => right,
            (false, left) => left,
        };
    }
    match (op, left, right) {
        (T_LAND | T_LUNLESS, left, _) => left,
        (T_LOR, kind, Constant) | (T_LOR, Constant, kind) => kind,
        (T_LOR, left, right) if left == right => left,
        (T_LOR, _, _) => Unknown,
        (T_DIV, left, right) if left != Constant && right != Constant => quotient(binary, left),
        (T_DIV, Constant, right) if right != Constant => Unknown,
        (_, Constant, kind) | (_, kind, Constant) => kind,
        (T_MUL, Mean, Total) if counts_replicas(&binary.rhs) => Total,
        (T_MUL, Total, Mean) if counts_replicas(&binary.lhs) => Total,
        (T_ADD | T_SUB, left, right) if left == right => left,
        (T_MUL, PerSeries, PerSeries) => PerSeries,
        (T_MUL, Ratio, Ratio) => Ratio,
        _ => Unknown,
    }
}

fn quotient(binary: &BinaryExpr, left: Aggregation) -> Aggregation {
    if counts_replicas(&binary.rhs) {
        return match left {
            Aggregation::Total => Aggregation::Mean,
            _ => Aggregation::Unknown,
        };
    }
    match (only_metric(&binary.lhs), only_metric(&binary.rhs)) {
        (Some(sum), Some(count))
            if sum.strip_suffix("_sum").is_some_and(|base| count.strip_suffix("_count") == Some(base)) =>
        {
            Aggregation::Statistic
        }
        _ => Aggregation::Ratio,
    }
}

/// Whether the value is a number of replicas: a count of series, or a sum of a metric that is one a
/// replica.
fn counts_replicas(expr: &Expr) -> bool {
    match expr {
        Expr::Aggregate(aggregate) if aggregate.op.id() == T_COUNT => true,
        Expr::Aggregate(aggregate) => {
            matches!(aggregate.op.id(), T_SUM | T_MAX | T_MIN) && counts_replicas(&aggregate.expr)
        }
        Expr::Paren(paren) => counts_replicas(&paren.expr),
        Expr::Call(call) if TRANSPARENT.contains(&call.func.name) => {
            call.args.args.iter().any(|arg| counts_replicas(arg))
        }
        Expr::Binary(binary)
            if matches!(binary.op.id(), T_LOR | T_LAND) || binary.op.is_comparison_operator() =>
        {
            counts_replicas(&binary.lhs)
        }
        Expr::VectorSelector(_) => only_metric(expr).is_some_and(|name| {
            name == "up"
                || (name.starts_with("kube_") && (name.contains("replicas") || name.starts_with("kube_pod_")))
        }),
        _ => false,
    }
}

/// The one metric an expression reads.
fn only_metric(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::VectorSelector(selector) => metric_name(selector),
        Expr::MatrixSelector(matrix) => metric_name(&matrix.vs),
        Expr::Paren(paren) => only_metric(&paren.expr),
        Expr::Subquery(subquery) => only_metric(&subquery.expr),
        Expr::Aggregate(aggregate) => only_metric(&aggregate.expr),
        Expr::Call(call) => {
            let mut named = call.args.args.iter().filter_map(|arg| only_metric(arg));
            named.next().filter(|_| named.next().is_none())
        }
        _ => None,
    }
}
