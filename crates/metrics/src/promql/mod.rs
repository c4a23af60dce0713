//! What a PromQL query means to a scaler, told from its text alone.
//!
//! KEDA, an HPA adapter and our own signal reader all want one number from an instant query. Whether
//! they get one, whether it is a total or a mean over replicas, and whether it is still there when
//! the last replica is gone follows from the query, so a mistake can be shown before it costs
//! anything. Every answer is conservative: what does not follow is [`Aggregation::Unknown`],
//! [`Shape::Many`] or `None`.
//!
//! ```
//! use tidegate_metrics::promql::{Aggregation, Shape, parse};
//!
//! let query = parse(r#"sum(vllm:num_requests_waiting{namespace="chat"})"#)?;
//! assert_eq!(query.shape(), Shape::AtMostOne);
//! assert_eq!(query.aggregation(), Aggregation::Total);
//! assert!(query.empty_at_zero_replicas());
//! # Ok::<(), tidegate_metrics::promql::Error>(())
//! ```

mod absent;
mod aggregation;
mod range;
mod scan;
mod selectors;
mod shape;

use std::collections::BTreeSet;

use promql_parser::parser::Expr;

use crate::dialect::{Engine, Writer, lookup};

pub use absent::AtZero;
pub use aggregation::Aggregation;
pub(crate) use selectors::metric_name;
pub use selectors::{MatchOp, Matcher, RangeUse, Selector};
pub use shape::Shape;

/// Why a query is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Longer than 16 KiB.
    #[error("the query has {bytes} bytes, more than the {} allowed", scan::QUERY_BYTES_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Nested deeper than 64 brackets.
    #[error("the query nests more than {} brackets", scan::NESTING_MAX)]
    TooDeep {
        /// Byte offset of the first bracket too many.
        at: usize,
    },
    /// More than 256 operators.
    #[error("the query has more than {} operators", scan::OPERATORS_MAX)]
    TooManyOperators {
        /// Byte offset of the first operator too many.
        at: usize,
    },
    /// More than 32 regular expressions.
    #[error("the query has more than {} regular expressions", scan::REGEXES_MAX)]
    TooManyRegexes {
        /// Byte offset of the first match operator too many.
        at: usize,
    },
    /// A closing bracket without its opening one.
    #[error("nothing is open that this `{bracket}` could close")]
    Unopened {
        /// The bracket.
        bracket: char,
        /// Its byte offset.
        at: usize,
    },
    /// An opening bracket without its closing one.
    #[error("this `{bracket}` is never closed")]
    Unclosed {
        /// The bracket.
        bracket: char,
        /// Its byte offset.
        at: usize,
    },
    /// A quoted string without its end.
    #[error("this string is never closed")]
    OpenString {
        /// Byte offset of the opening quote.
        at: usize,
    },
    /// A window or an offset that is not a length of time.
    #[error("this window or offset is no usable length of time")]
    Window {
        /// Its byte offset.
        at: usize,
    },
    /// No expression at all.
    #[error("the query is empty")]
    Empty,
    /// Not PromQL.
    #[error("not valid PromQL: {reason}")]
    Syntax {
        /// What the parser said.
        reason: String,
    },
}

impl Error {
    /// Byte offset in the query of the thing complained about, if known.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        match self {
            Error::TooDeep { at }
            | Error::TooManyOperators { at }
            | Error::TooManyRegexes { at }
            | Error::Unopened { at, .. }
            | Error::Unclosed { at, .. }
            | Error::OpenString { at }
            | Error::Window { at } => Some(*at),
            Error::TooLong { .. } | Error::Empty | Error::Syntax { .. } => None,
        }
    }
}

/// A query that parses.
#[derive(Clone, Debug)]
pub struct Query {
    expr: Expr,
    selectors: Vec<Selector>,
    range_uses: Vec<RangeUse>,
}

/// Parses `query`.
///
/// # Errors
///
/// When it is not PromQL, or larger, deeper or longer than the limits in [`Error`].
pub fn parse(query: &str) -> Result<Query, Error> {
    let tokens = scan::scan(query)?;
    if tokens.is_empty() {
        return Err(Error::Empty);
    }
    let expr = promql_parser::parser::parse(query).map_err(|said| Error::Syntax { reason: reason(&said) })?;
    let (selectors, range_uses) = selectors::collect(&expr, query, &tokens);
    Ok(Query { expr, selectors, range_uses })
}

/// Where `word` (a name, an operator, the beginning of a string) first stands in `query`, strings and
/// comments aside.
pub(crate) fn place(query: &str, word: &str) -> Option<usize> {
    let tokens = scan::scan(query).ok()?;
    let is = |token: &&scan::Token| {
        let text = token.text(query);
        text.eq_ignore_ascii_case(word) || word == "\"" && text.starts_with(['"', '\'', '`'])
    };
    tokens.iter().find(is).map(|token| token.span.start)
}

/// The parser's generic message repeats our prefix; some others span lines.
fn reason(said: &str) -> String {
    match said {
        "invalid promql query" => {
            "an operator, bracket, label or argument is missing or out of place".to_owned()
        }
        other => other.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

impl Query {
    /// The tree.
    pub(crate) const fn expr(&self) -> &Expr {
        &self.expr
    }

    /// The series the query reads, in the order they are written.
    #[must_use]
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The metric names the query reads, sorted, each once.
    #[must_use]
    pub fn metric_names(&self) -> Vec<&str> {
        let names: BTreeSet<&str> =
            self.selectors.iter().filter_map(|selector| selector.metric.as_deref()).collect();
        names.into_iter().collect()
    }

    /// Each use of a function over a window, with the selector it reads.
    #[must_use]
    pub fn rate_windows(&self) -> &[RangeUse] {
        &self.range_uses
    }

    /// What an instant evaluation can return.
    #[must_use]
    pub fn shape(&self) -> Shape {
        shape::of(&self.expr)
    }

    /// What the value stands for: a total, a mean over replicas, one series' own value, …
    #[must_use]
    pub fn aggregation(&self) -> Aggregation {
        aggregation::of(&self.expr)
    }

    /// The lowest and the highest value possible, as far as the engine tables and the arithmetic
    /// tell: `(0.0, Some(1.0))` for `avg(vllm:kv_cache_usage_perc)`, `(0.0, None)` for its `sum`.
    ///
    /// `None` when nothing is known, and when the end is a number of slots the query does not show
    /// ([`Query::capped_by_slots`]).
    #[must_use]
    pub fn value_range(&self) -> Option<(f64, Option<f64>)> {
        let known = range::of(&self.expr);
        (known.low.is_finite() && !known.capped)
            .then(|| (known.low, known.high.is_finite().then_some(known.high)))
    }

    /// Whether the value can never exceed one replica's number of slots: `avg` or `max` of a
    /// running-requests gauge. A threshold above that number never fires.
    #[must_use]
    pub fn capped_by_slots(&self) -> bool {
        range::of(&self.expr).capped
    }

    /// What the query returns while no selector matches anything.
    #[must_use]
    pub fn at_zero(&self) -> AtZero {
        absent::of(&self.expr)
    }

    /// Whether the query still has a value when no selector matches anything: `… or vector(0)`,
    /// `absent(…)` and the like.
    #[must_use]
    pub fn guarded(&self) -> bool {
        !self.selectors.is_empty() && matches!(self.at_zero(), AtZero::Value(_))
    }

    /// Whether everything the query reads is written by the scaled replicas themselves, so that at
    /// zero replicas no reading can ever say that work is waiting. A guard does not change this: it
    /// only turns nothing into a number that never moves.
    #[must_use]
    pub fn only_seen_from_replicas(&self) -> bool {
        !self.selectors.is_empty() && self.selectors.iter().all(from_replica)
    }

    /// Whether the result is empty while the target has no replicas.
    #[must_use]
    pub fn empty_at_zero_replicas(&self) -> bool {
        self.only_seen_from_replicas() && self.at_zero() == AtZero::Nothing
    }
}

/// Labels whose presence in a matcher ties a node's GPU series to a pod.
const POD_LABELS: &[&str] = &["pod", "exported_pod", "container", "exported_container", "pod_name"];

fn from_replica(selector: &Selector) -> bool {
    let Some(name) = selector.metric.as_deref() else {
        return false;
    };
    let of_pod = || selector.matchers.iter().any(|matcher| POD_LABELS.contains(&matcher.label.as_str()));
    match (lookup(name).map(|metric| metric.writer), Engine::of_metric(name)) {
        (Some(Writer::Replica), _) => true,
        (Some(Writer::Frontend), _) => false,
        (Some(Writer::Node), _) | (None, Some(Engine::Dcgm)) => of_pod(),
        (None, Some(Engine::Dynamo)) => {
            !name.starts_with("dynamo_frontend_") && !name.starts_with("dynamo_planner_")
        }
        (None, engine) => engine.is_some(),
    }
}
