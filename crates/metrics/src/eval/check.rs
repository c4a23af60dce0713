//! What is evaluated and what is not, told before anything is asked.

use std::collections::BTreeSet;

use promql_parser::parser::token::{
    T_ADD, T_AVG, T_COUNT, T_DIV, T_EQLC, T_GROUP, T_GTE, T_GTR, T_LAND, T_LOR, T_LSS, T_LTE, T_LUNLESS,
    T_MAX, T_MIN, T_MOD, T_MUL, T_NEQ, T_POW, T_SUB, T_SUM,
};
use promql_parser::parser::{BinaryExpr, Call, Expr, VectorMatchCardinality, VectorSelector};
use tidegate_core::time::Span;

use super::Error;
use crate::dialect::{Writer, lookup};
use crate::promql::metric_name;

const ASK_PROMETHEUS: &str = "simplify the query, or ask a Prometheus: remove tidegate.dev/prometheus";

/// Functions over a window, all of which take it as their last argument.
pub(super) const WINDOWED: [&str; 11] = [
    "rate",
    "irate",
    "increase",
    "delta",
    "idelta",
    "avg_over_time",
    "max_over_time",
    "min_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
];

const PLAIN: [&str; 13] = [
    "abs",
    "absent",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "floor",
    "histogram_quantile",
    "round",
    "scalar",
    "sort",
    "time",
    "vector",
];

/// Engines whose names have a colon.
const WITH_COLON: [&str; 4] = ["vllm", "sglang", "llamacpp", "lmdeploy"];

/// What a query needs.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) names: Vec<String>,
    pub(super) window: Span,
}

pub(super) fn check(expr: &Expr) -> Result<Needs, Error> {
    let mut checker = Checker::default();
    checker.walk(expr)?;
    Ok(Needs { names: checker.names.into_iter().collect(), window: checker.window })
}

#[derive(Default)]
struct Checker {
    names: BTreeSet<String>,
    window: Span,
}

fn unsupported<T>(what: impl Into<String>, instead: &'static str) -> Result<T, Error> {
    Err(Error::Unsupported { what: what.into(), instead })
}

impl Checker {
    fn walk(&mut self, expr: &Expr) -> Result<(), Error> {
        match expr {
            Expr::NumberLiteral(_) => Ok(()),
            Expr::Paren(paren) => self.walk(&paren.expr),
            Expr::Unary(unary) => self.walk(&unary.expr),
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(_) => {
                unsupported("a window outside a function", "wrap it: rate(x[1m]), max_over_time(x[1m])")
            }
            Expr::Subquery(_) => unsupported("a subquery", ASK_PROMETHEUS),
            Expr::StringLiteral(_) => unsupported("a string", ASK_PROMETHEUS),
            Expr::Extension(_) => unsupported("an extension", ASK_PROMETHEUS),
            Expr::Aggregate(aggregate) => {
                let known = [T_SUM, T_AVG, T_MIN, T_MAX, T_COUNT, T_GROUP];
                if !known.contains(&aggregate.op.id()) {
                    return unsupported(format!("`{}`", aggregate.op), "use sum, avg, min, max or count");
                }
                self.walk(&aggregate.expr)
            }
            Expr::Binary(operation) => self.binary(operation),
            Expr::Call(call) => self.call(call),
        }
    }

    fn selector(&mut self, selector: &VectorSelector) -> Result<(), Error> {
        if selector.offset.is_some() || selector.at.is_some() {
            return unsupported("`offset` or `@`", "leave it out: only the present is kept");
        }
        if !selector.matchers.or_matchers.is_empty() {
            return unsupported("`or` between matchers", "write two selectors with `or` between them");
        }
        let Some(name) = metric_name(selector) else {
            return unsupported("a selector without a metric name", "name the metric");
        };
        let writer = match lookup(name).map(|metric| metric.writer) {
            Some(Writer::Frontend) => Some("a frontend or router"),
            Some(Writer::Node) => Some("an exporter on the node"),
            Some(Writer::Replica) | None => None,
        };
        if let Some(writer) = writer {
            return Err(Error::NotOurs { metric: name.to_owned(), writer });
        }
        self.names.insert(name.to_owned());
        // Whoever asks for `vllm_x` means what the engine writes as `vllm:x`.
        if let Some((engine, rest)) = name.split_once('_').filter(|(engine, _)| WITH_COLON.contains(engine)) {
            self.names.insert(format!("{engine}:{rest}"));
        }
        Ok(())
    }

    fn binary(&mut self, operation: &BinaryExpr) -> Result<(), Error> {
        const KNOWN: [promql_parser::parser::token::TokenId; 15] = [
            T_ADD, T_SUB, T_MUL, T_DIV, T_MOD, T_POW, T_EQLC, T_NEQ, T_GTR, T_LSS, T_GTE, T_LTE, T_LAND,
            T_LOR, T_LUNLESS,
        ];
        if !KNOWN.contains(&operation.op.id()) {
            return unsupported(format!("`{}`", operation.op), ASK_PROMETHEUS);
        }
        if let Some(modifier) = &operation.modifier {
            let grouped = matches!(
                modifier.card,
                VectorMatchCardinality::ManyToOne(_) | VectorMatchCardinality::OneToMany(_)
            );
            if grouped {
                return unsupported(
                    "`group_left` or `group_right`",
                    "aggregate both sides by the same labels",
                );
            }
            if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
                return unsupported("`fill`", "use `or vector(0)`");
            }
        }
        self.walk(&operation.lhs)?;
        self.walk(&operation.rhs)
    }

    fn call(&mut self, call: &Call) -> Result<(), Error> {
        let name = call.func.name;
        if WINDOWED.contains(&name) {
            let Some(Expr::MatrixSelector(matrix)) = call.args.args.first().map(|arg| bare(arg)) else {
                return unsupported(format!("`{name}` over anything but a plain selector"), ASK_PROMETHEUS);
            };
            let micros = i64::try_from(matrix.range.as_micros()).unwrap_or(i64::MAX);
            self.window = self.window.max(Span::from_micros(micros));
            if self.window > WINDOW_MAX {
                return unsupported(format!("a window above {WINDOW_MAX}"), "shorten it");
            }
            return self.selector(&matrix.vs);
        }
        if !PLAIN.contains(&name) {
            return unsupported(format!("`{name}()`"), ASK_PROMETHEUS);
        }
        call.args.args.iter().try_for_each(|arg| self.walk(arg))
    }
}

/// A day: with 240 points a series that is one each six minutes, and a restart forgets it all anyway.
const WINDOW_MAX: Span = Span::from_secs(86_400);

pub(super) fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(paren) => bare(&paren.expr),
        other => other,
    }
}
