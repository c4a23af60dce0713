//! What is evaluated and what is not, told before anything is asked.

use std::collections::BTreeSet;

use promql_parser::parser::{BinaryExpr, Call, Expr, Offset, SubqueryExpr, VectorSelector};
use tidegate_core::time::Span;

use super::select::spellings;
use super::window::WINDOWED;
use super::{Error, aggregate, binary, date, math};
use crate::dialect::{Writer, lookup};
use crate::promql::{metric_name, place};

const ASK_PROMETHEUS: &str = "simplify the query, or ask a Prometheus: remove tidegate.dev/prometheus";

/// Functions beside those of `math`, `date` and `window`.
const OTHERS: [&str; 17] = [
    "absent",
    "clamp",
    "clamp_max",
    "clamp_min",
    "histogram_fraction",
    "histogram_quantile",
    "label_join",
    "label_replace",
    "pi",
    "round",
    "scalar",
    "sort",
    "sort_desc",
    "time",
    "timestamp",
    "vector",
    "abs",
];

/// A day: with 1,800 samples a series that is one each 48 s, and a restart forgets it all anyway.
const REACH_MAX: Span = Span::from_secs(86_400);

/// What a query is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A trigger: its names are kept for it, so it must name them.
    Trigger,
    /// Anybody's question about what is there.
    Any,
}

/// What a query needs.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) names: Vec<String>,
    pub(super) reach: Span,
}

pub(super) fn check(query: &str, expr: &Expr, purpose: Purpose) -> Result<Needs, Error> {
    let mut checker = Checker { query, purpose, names: BTreeSet::new(), reach: Span::ZERO };
    checker.walk(expr, Span::ZERO)?;
    Ok(Needs { names: checker.names.into_iter().collect(), reach: checker.reach })
}

struct Checker<'q> {
    query: &'q str,
    purpose: Purpose,
    names: BTreeSet<String>,
    reach: Span,
}

impl Checker<'_> {
    fn unsupported<T>(&self, what: impl Into<String>, word: &str, instead: &'static str) -> Result<T, Error> {
        let at = place(self.query, word).unwrap_or_default();
        Err(Error::Unsupported { what: what.into(), at, instead })
    }

    /// `back` is how far back the instant stands that `expr` is asked for.
    fn walk(&mut self, expr: &Expr, back: Span) -> Result<(), Error> {
        match expr {
            Expr::NumberLiteral(_) => Ok(()),
            Expr::Paren(paren) => self.walk(&paren.expr, back),
            Expr::Unary(unary) => self.walk(&unary.expr, back),
            Expr::VectorSelector(selector) => self.selector(selector, back),
            Expr::MatrixSelector(_) | Expr::Subquery(_) => self.unsupported(
                "a window outside a function",
                "[",
                "wrap it: rate(x[1m]), max_over_time(x[1m])",
            ),
            Expr::StringLiteral(_) => self.unsupported("a bare string", "\"", ASK_PROMETHEUS),
            Expr::Extension(_) => self.unsupported("an extension", "", ASK_PROMETHEUS),
            Expr::Aggregate(aggregate) => {
                if !aggregate::KNOWN.contains(&aggregate.op.id()) {
                    let name = aggregate.op.to_string();
                    return self.unsupported(format!("`{name}`"), &name, "use topk, bottomk or quantile");
                }
                if let Some(param) = aggregate.param.as_deref()
                    && !matches!(bare(param), Expr::StringLiteral(_))
                {
                    self.walk(param, back)?;
                }
                self.walk(&aggregate.expr, back)
            }
            Expr::Binary(operation) => self.binary(operation, back),
            Expr::Call(call) => self.call(call, back),
        }
    }

    fn selector(&mut self, selector: &VectorSelector, back: Span) -> Result<(), Error> {
        let back = back + offset(selector.offset.as_ref());
        self.reach = self.reach.max(back);
        let Some(name) = metric_name(selector) else {
            if self.purpose == Purpose::Any {
                return Ok(());
            }
            return self.unsupported("a selector without a metric name", "{", "name the metric");
        };
        if self.purpose == Purpose::Trigger {
            let writer = match lookup(name).map(|metric| metric.writer) {
                Some(Writer::Frontend) => Some("a frontend or router"),
                Some(Writer::Node) => Some("an exporter on the node"),
                Some(Writer::Replica) | None => None,
            };
            if let Some(writer) = writer {
                return Err(Error::NotOurs { metric: name.to_owned(), writer });
            }
            if self.reach > REACH_MAX {
                return self.unsupported(format!("a look back above {REACH_MAX}"), "[", "shorten it");
            }
        }
        self.names.insert(name.to_owned());
        // Whoever asks for `vllm_x` means what the engine writes as `vllm:x`.
        self.names.extend(spellings(name));
        Ok(())
    }

    fn binary(&mut self, operation: &BinaryExpr, back: Span) -> Result<(), Error> {
        let operator = operation.op.to_string();
        if !binary::KNOWN.contains(&operation.op.id()) {
            return self.unsupported(format!("`{operator}`"), &operator, ASK_PROMETHEUS);
        }
        if let Some(modifier) = &operation.modifier
            && (modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some())
        {
            return self.unsupported("`fill`", "fill", "use `or vector(0)`");
        }
        self.walk(&operation.lhs, back)?;
        self.walk(&operation.rhs, back)
    }

    fn call(&mut self, call: &Call, back: Span) -> Result<(), Error> {
        let name = call.func.name;
        let windowed = WINDOWED.contains(&name);
        let known =
            windowed || OTHERS.contains(&name) || math::plain(name).is_some() || date::part(name).is_some();
        if !known {
            return self.unsupported(format!("`{name}()`"), name, ASK_PROMETHEUS);
        }
        for arg in &call.args.args {
            match bare(arg) {
                Expr::StringLiteral(_) => {}
                Expr::MatrixSelector(matrix) if windowed => {
                    self.selector(&matrix.vs, back + span(matrix.range))?;
                }
                Expr::Subquery(subquery) if windowed => self.subquery(subquery, back)?,
                other => self.walk(other, back)?,
            }
        }
        Ok(())
    }

    fn subquery(&mut self, subquery: &SubqueryExpr, back: Span) -> Result<(), Error> {
        self.walk(&subquery.expr, back + span(subquery.range) + offset(subquery.offset.as_ref()))
    }
}

fn span(duration: std::time::Duration) -> Span {
    Span::from_micros(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

fn offset(offset: Option<&Offset>) -> Span {
    match offset {
        Some(Offset::Pos(back)) => span(*back),
        // Into the future: nothing further back is needed.
        Some(Offset::Neg(_)) | None => Span::ZERO,
    }
}

/// The expression inside its brackets.
pub(super) fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(paren) => bare(&paren.expr),
        other => other,
    }
}
