//! Answers PromQL over the store.
//!
//! For a `prometheus` trigger on a machine without a Prometheus, or where its 15 to 60 s of lag are too
//! many, and for whoever reads the store as if it were one. Instant queries as Prometheus 3 evaluates
//! them: windows open at their left end, the metric's name dropped by what changes the value. What is
//! not understood (native histograms, experimental functions) is refused when the query is
//! compiled, with its place and what to do instead: nothing is answered nearly right.
//!
//! # Two ways of asking
//! [`Compiled::ask`] is a trigger's: it reads the series of its own target and those that were written
//! to us, and is [lenient](Scope::Target) where a query was written for somebody else's Prometheus. No
//! NaN or infinity comes out: such an element is left out of the answer, so `0 / 0` is an absent reading
//! and not a wrong one. [`Compiled::evaluate`] is Prometheus': all series, every matcher, IEEE numbers.
//!
//! # Bounds
//! A query reads at most [`SAMPLES_MAX`] samples, steps of subqueries included; it is an error to want
//! more. The elements of a step are bounded by the store's own limit on series.

mod aggregate;
mod binary;
mod call;
mod check;
mod date;
mod element;
mod labels;
mod math;
mod quantile;
mod regress;
mod select;
mod subquery;
mod summary;
mod window;

use std::cell::Cell;
use std::sync::Arc;

use promql_parser::parser::Expr;
use tidegate_core::time::{Span, Time};

pub(crate) use aggregate::written;
pub use select::{Selected, Selection};

use crate::exposition::Wanted;
use crate::promql;
use crate::store::{LabelSet, Store, millis};

/// Samples one query may read: 1,000 series of 15 minutes of seconds, five times over. At 10 ns each,
/// 50 ms.
pub const SAMPLES_MAX: u64 = 5_000_000;

/// Instants one range query may ask for, as in Prometheus.
pub const STEPS_MAX: i64 = 11_000;

/// Why a query cannot be answered here.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not PromQL.
    #[error(transparent)]
    Query(#[from] promql::Error),
    /// PromQL that is not evaluated here.
    #[error("{what} at character {} is not evaluated over own scrapes; {instead}", .at + 1)]
    Unsupported {
        /// What, as it is written.
        what: String,
        /// Its byte offset in the query.
        at: usize,
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
    /// Two elements of an answer with the same labels.
    #[error("`{what}` gives several elements the labels {labels}: keep what tells them apart")]
    SameLabels {
        /// What made them.
        what: String,
        /// The labels.
        labels: String,
    },
    /// An argument without a meaning.
    #[error("{argument:?} is no {wanted} for `{function}`")]
    Argument {
        /// The function.
        function: &'static str,
        /// What it wants.
        wanted: &'static str,
        /// What it got.
        argument: String,
    },
    /// More samples than [`SAMPLES_MAX`].
    #[error("the query reads more than {SAMPLES_MAX} samples; shorten its windows or name fewer series")]
    TooMuch,
    /// More steps than [`STEPS_MAX`].
    #[error("{steps} steps are more than the {STEPS_MAX} allowed; ask for a longer step")]
    TooManySteps {
        /// How many were asked for.
        steps: i64,
    },
}

impl Error {
    /// Byte offset in the query of the thing complained about, if known.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        match self {
            Error::Query(error) => error.position(),
            Error::Unsupported { at, .. } => Some(*at),
            _ => None,
        }
    }
}

/// A query ready to be asked again and again.
#[derive(Clone, Debug)]
pub struct Compiled {
    text: Arc<str>,
    expr: Expr,
    names: Vec<String>,
    reach: Span,
}

/// What a query answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A bare number. KEDA's prometheus trigger refuses it.
    Scalar(f64),
    /// Series with their values; a name, where it has one, is the label `__name__`.
    Vector(Vec<(LabelSet, f64)>),
}

/// Which series a query may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'t> {
    /// All of them, as Prometheus would.
    All,
    /// What a trigger of this target reads: its own replicas' series and those that were written to us.
    ///
    /// A name with a colon finds series written with `_` in its place, and the other way round. A
    /// matcher on a label that only Prometheus' set-up would have added
    /// ([`SCRAPE_LABELS`](crate::dialect::SCRAPE_LABELS), `service="chat"`) is **ignored where no series
    /// of that name carries the label**, and one on `job`, where none has that value: within one target
    /// there is nobody else it could keep out. A selector that names another `deployment` reads that one.
    Target(Option<&'t str>),
}

/// Compiles a trigger's `query`: what it reads must be named, and written by replicas.
///
/// # Errors
/// When it does not parse, or asks for what is not evaluated here.
pub fn compile(query: &str) -> Result<Compiled, Error> {
    compiled(query, check::Purpose::Trigger)
}

/// Compiles any `query` that is evaluated here.
///
/// # Errors
/// When it does not parse, or asks for what is not evaluated here.
pub fn compile_any(query: &str) -> Result<Compiled, Error> {
    compiled(query, check::Purpose::Any)
}

fn compiled(query: &str, purpose: check::Purpose) -> Result<Compiled, Error> {
    let parsed = promql::parse(query)?;
    let found = check::check(query, parsed.expr(), purpose)?;
    Ok(Compiled { text: query.into(), expr: parsed.expr().clone(), names: found.names, reach: found.reach })
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

    /// How far back it looks: windows, offsets and subqueries, one inside the other.
    #[must_use]
    pub const fn reach(&self) -> Span {
        self.reach
    }

    /// Answers it as of `now` for a trigger of `target`: sorted by labels, all finite.
    ///
    /// # Errors
    /// When the series at hand do not fit the query, or are too many.
    pub fn ask(&self, store: &Store, target: Option<&str>, now: Time) -> Result<Answer, Error> {
        let at_ms = millis(now);
        let budget = Cell::new(SAMPLES_MAX);
        let evaluation = Evaluation {
            store,
            scope: Scope::Target(target),
            now_ms: at_ms,
            ends_ms: (at_ms, at_ms),
            budget: &budget,
        };
        match evaluation.value(&self.expr)? {
            Value::Scalar(value) if value.is_finite() => Ok(Answer::Scalar(value)),
            Value::Scalar(_) => Ok(Answer::Vector(Vec::new())),
            Value::Vector(mut elements) => {
                elements.retain(|(_, value)| value.is_finite());
                elements.sort_by(|a, b| a.0.cmp(&b.0));
                Ok(Answer::Vector(elements))
            }
        }
    }

    /// Answers it as Prometheus would at `at_ms`: over all series, elements in the order the query gives.
    ///
    /// # Errors
    /// When the series at hand do not fit the query, or are too many.
    pub fn evaluate(&self, store: &Store, at_ms: i64) -> Result<Answer, Error> {
        let budget = Cell::new(SAMPLES_MAX);
        self.step(store, at_ms, (at_ms, at_ms), &budget)
    }

    /// Answers it at every step from `start_ms` to `end_ms`, both included.
    ///
    /// # Errors
    /// As [`Compiled::evaluate`], for all steps together, and when they are too many.
    pub fn evaluate_range(
        &self,
        store: &Store,
        (start_ms, end_ms): (i64, i64),
        step_ms: i64,
    ) -> Result<Vec<(i64, Answer)>, Error> {
        let steps = end_ms.saturating_sub(start_ms) / step_ms.max(1) + 1;
        if steps > STEPS_MAX {
            return Err(Error::TooManySteps { steps });
        }
        let budget = Cell::new(SAMPLES_MAX);
        let instants = (0..steps).map(|at| start_ms + at * step_ms.max(1));
        instants.map(|at_ms| Ok((at_ms, self.step(store, at_ms, (start_ms, end_ms), &budget)?))).collect()
    }

    fn step(
        &self,
        store: &Store,
        now_ms: i64,
        ends_ms: (i64, i64),
        budget: &Cell<u64>,
    ) -> Result<Answer, Error> {
        let evaluation = Evaluation { store, scope: Scope::All, now_ms, ends_ms, budget };
        Ok(match evaluation.value(&self.expr)? {
            Value::Scalar(value) => Answer::Scalar(value),
            Value::Vector(elements) => Answer::Vector(elements),
        })
    }
}

/// The names that several queries want kept.
#[must_use]
pub fn wanted<'q>(queries: impl IntoIterator<Item = &'q Compiled>) -> Wanted<()> {
    queries.into_iter().flat_map(|query| query.names()).map(|name| (name, ())).collect()
}

type Vector = Vec<(LabelSet, f64)>;

/// A value inside an evaluation; windows exist only as arguments.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Scalar(f64),
    Vector(Vector),
}

impl Value {
    fn vector(self) -> Vector {
        match self {
            Value::Vector(elements) => elements,
            Value::Scalar(value) => vec![(LabelSet::new(), value)],
        }
    }

    /// The value of a scalar, or of a single series; NaN for none and for several.
    fn scalar(self) -> f64 {
        match self {
            Value::Scalar(value) => value,
            Value::Vector(elements) => match elements.as_slice() {
                [(_, value)] => *value,
                _ => f64::NAN,
            },
        }
    }
}

#[derive(Clone, Copy)]
struct Evaluation<'s> {
    store: &'s Store,
    scope: Scope<'s>,
    now_ms: i64,
    /// What `start()` and `end()` are.
    ends_ms: (i64, i64),
    budget: &'s Cell<u64>,
}

impl Evaluation<'_> {
    /// Counts what is read.
    fn pay(&self, samples: usize) -> Result<(), Error> {
        let left = self.budget.get().checked_sub(samples as u64).ok_or(Error::TooMuch)?;
        self.budget.set(left);
        Ok(())
    }

    fn value(&self, expr: &Expr) -> Result<Value, Error> {
        match expr {
            Expr::NumberLiteral(number) => Ok(Value::Scalar(number.val)),
            Expr::Paren(paren) => self.value(&paren.expr),
            Expr::Unary(unary) => match self.value(&unary.expr)? {
                Value::Scalar(value) => Ok(Value::Scalar(-value)),
                Value::Vector(elements) => element::map("-", elements, |value| -value).map(Value::Vector),
            },
            Expr::VectorSelector(selector) => self.instant(selector).map(Value::Vector),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate).map(Value::Vector),
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
