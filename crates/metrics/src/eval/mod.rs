//! Answers PromQL over what we scraped ourselves.
//!
//! For a `prometheus` trigger on a machine without a Prometheus, or where its 15 to 60 s of lag are too
//! many. What is understood: selectors, `sum`, `avg`, `min`, `max`, `count`, `group` with `by` and
//! `without`; arithmetic, comparisons, `and`, `or`, `unless`; `rate`, `irate`, `increase`, `delta` and
//! the `_over_time` family over a selector; `histogram_quantile`, `vector`, `scalar`, `absent`, `time`,
//! `abs`, `ceil`, `floor`, `round`, `clamp`, `clamp_min`, `clamp_max`. The rest is refused when the
//! query is compiled, with what to do instead: nothing is answered nearly right.
//!
//! # Labels
//! Series carry the engine's labels and those the driver gave the replica (`pod`, `namespace`,
//! `instance`, …). A matcher on a label that only Prometheus' set-up would have added
//! ([`SCRAPE_LABELS`](crate::dialect::SCRAPE_LABELS), `job="vllm"`) is **ignored where no series of that
//! name carries the label**: the store holds this target's replicas and nobody else's, which is what
//! such matchers are written for. Every other matcher counts, on a label that is missing too.
//!
//! # Names
//! A name with a colon finds series written with `_` in its place, and the other way round.
//!
//! # Not a number
//! Inside, arithmetic follows IEEE as PromQL's does. No NaN or infinity comes out: such an element is
//! left out of the answer, so `0 / 0` is an absent reading and not a wrong one.

mod aggregate;
mod binary;
mod call;
mod check;
mod select;

use std::sync::Arc;

use promql_parser::parser::Expr;
use tidegate_core::time::{Span, Time};

use crate::exposition::Wanted;
use crate::promql;
use crate::store::{LabelSet, Store};

/// Elements one step of an evaluation may hold: the store's own limit on series.
const ELEMENTS_MAX: usize = crate::store::SERIES_MAX;

/// Why a query cannot be answered here.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not PromQL.
    #[error(transparent)]
    Query(#[from] promql::Error),
    /// PromQL that is not evaluated here.
    #[error("{what} is not evaluated over own scrapes; {instead}")]
    Unsupported {
        /// What, as it is written.
        what: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// It reads a metric that the target's replicas do not write.
    #[error(
        "{metric} is written by {writer}, not by the replicas that are scraped; ask a Prometheus that \
             scrapes it"
    )]
    NotOurs {
        /// Its name.
        metric: String,
        /// Who writes it.
        writer: &'static str,
    },
    /// Two series that cannot be told apart where one is needed.
    #[error("several series match on one side of `{operator}`: aggregate both sides by the same labels")]
    Ambiguous {
        /// The operator.
        operator: String,
    },
}

/// A query ready to be asked again and again.
#[derive(Clone, Debug)]
pub struct Compiled {
    text: Arc<str>,
    expr: Expr,
    names: Vec<String>,
    window: Span,
}

/// What a query answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A bare number. KEDA's prometheus trigger refuses it.
    Scalar(f64),
    /// Series with their values, sorted by labels; all finite.
    Vector(Vec<(LabelSet, f64)>),
}

/// Compiles `query`.
///
/// # Errors
/// When it does not parse, or asks for what is not evaluated here.
pub fn compile(query: &str) -> Result<Compiled, Error> {
    let parsed = promql::parse(query)?;
    let found = check::check(parsed.expr())?;
    Ok(Compiled { text: query.into(), expr: parsed.expr().clone(), names: found.names, window: found.window })
}

impl Compiled {
    /// The query as written.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The names to be kept for it, as on the wire.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How far back it looks.
    #[must_use]
    pub const fn window(&self) -> Span {
        self.window
    }

    /// Answers it as of `now`.
    ///
    /// # Errors
    /// [`Error::Ambiguous`], when the series at hand do not fit the query.
    pub fn ask(&self, store: &Store, now: Time) -> Result<Answer, Error> {
        match (Evaluation { store, now }).value(&self.expr)? {
            Value::Scalar(value) if value.is_finite() => Ok(Answer::Scalar(value)),
            Value::Scalar(_) => Ok(Answer::Vector(Vec::new())),
            Value::Vector(mut elements) => {
                elements.retain(|(_, value)| value.is_finite());
                elements.sort_by(|a, b| a.0.cmp(&b.0));
                Ok(Answer::Vector(elements))
            }
        }
    }
}

/// The names that several queries want kept.
#[must_use]
pub fn wanted<'q>(queries: impl IntoIterator<Item = &'q Compiled>) -> Wanted<()> {
    queries.into_iter().flat_map(|query| query.names()).map(|name| (name, ())).collect()
}

/// A value inside an evaluation; windows exist only as arguments.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Scalar(f64),
    Vector(Vec<(LabelSet, f64)>),
}

impl Value {
    fn vector(self) -> Vec<(LabelSet, f64)> {
        match self {
            Value::Vector(elements) => elements,
            Value::Scalar(value) => vec![(LabelSet::new(), value)],
        }
    }

    fn map(self, change: impl Fn(f64) -> f64) -> Value {
        match self {
            Value::Scalar(value) => Value::Scalar(change(value)),
            Value::Vector(elements) => {
                Value::Vector(elements.into_iter().map(|(labels, value)| (labels, change(value))).collect())
            }
        }
    }
}

struct Evaluation<'s> {
    store: &'s Store,
    now: Time,
}

impl Evaluation<'_> {
    fn value(&self, expr: &Expr) -> Result<Value, Error> {
        match expr {
            Expr::NumberLiteral(number) => Ok(Value::Scalar(number.val)),
            Expr::Paren(paren) => self.value(&paren.expr),
            Expr::Unary(unary) => Ok(self.value(&unary.expr)?.map(|value| -value)),
            Expr::VectorSelector(selector) => Ok(Value::Vector(self.instant(selector))),
            Expr::Aggregate(aggregate) => {
                let elements = self.value(&aggregate.expr)?.vector();
                Ok(Value::Vector(aggregate::aggregate(aggregate.op, aggregate.modifier.as_ref(), elements)))
            }
            Expr::Binary(operation) => {
                let (left, right) = (self.value(&operation.lhs)?, self.value(&operation.rhs)?);
                binary::binary(operation, left, right)
            }
            Expr::Call(call) => self.call(call),
            // `compile` has refused the rest.
            Expr::MatrixSelector(_) | Expr::Subquery(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {
                Ok(Value::Vector(Vec::new()))
            }
        }
    }
}
