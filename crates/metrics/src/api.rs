//! Answers in the shapes of Prometheus' HTTP API, so that Grafana and KEDA read the store as they read one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::eval::{self, Answer, Selection, compile_any};
use crate::store::{LabelSet, Store};

/// Points one range query answers with: 100 series of 11,000 steps are a graph nobody reads, half of it
/// is 15 MB.
pub const POINTS_MAX: usize = 500_000;

/// Selectors one request may give.
pub const SELECTORS_MAX: usize = 32;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The query cannot be answered.
    #[error(transparent)]
    Query(#[from] eval::Error),
    /// A parameter that is missing or wrong.
    #[error("{name}: {problem}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// More points than [`POINTS_MAX`].
    #[error("the answer has more than {POINTS_MAX} points; ask for a longer step or fewer series")]
    TooManyPoints,
}

impl Error {
    /// What Prometheus calls this kind of error.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Error::Query(
                eval::Error::Query(_)
                | eval::Error::Unsupported { .. }
                | eval::Error::Argument { .. }
                | eval::Error::TooManySteps { .. },
            )
            | Error::Parameter { .. } => "bad_data",
            Error::Query(_) | Error::TooManyPoints => "execution",
        }
    }

    /// The body that says so.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({ "status": "error", "errorType": self.kind(), "error": self.to_string() })
    }
}

/// The body around an answer.
#[must_use]
pub fn success(data: Value) -> Value {
    json!({ "status": "success", "data": data })
}

/// `/api/v1/query`.
///
/// # Errors
/// When the query cannot be answered.
pub fn query(store: &Store, query: &str, at_ms: i64) -> Result<Value, Error> {
    Ok(match compile_any(query)?.evaluate(store, at_ms)? {
        Answer::Scalar(value) => json!({ "resultType": "scalar", "result": point(at_ms, value) }),
        Answer::Vector(elements) => {
            let one = |(labels, value): &(LabelSet, f64)| json!({ "metric": metric(labels), "value": point(at_ms, *value) });
            json!({ "resultType": "vector", "result": elements.iter().map(one).collect::<Vec<_>>() })
        }
    })
}

/// `/api/v1/query_range`.
///
/// # Errors
/// When the query cannot be answered, or the answer is too long.
pub fn query_range(store: &Store, query: &str, window: (i64, i64), step_ms: i64) -> Result<Value, Error> {
    if step_ms <= 0 {
        return Err(Error::Parameter { name: "step", problem: "a step is longer than nothing".to_owned() });
    }
    if window.1 < window.0 {
        return Err(Error::Parameter { name: "end", problem: "the end lies before the start".to_owned() });
    }
    let mut points = 0;
    let mut series: BTreeMap<LabelSet, Vec<Value>> = BTreeMap::new();
    for (at_ms, answer) in compile_any(query)?.evaluate_range(store, window, step_ms)? {
        let elements = match answer {
            Answer::Scalar(value) => vec![(LabelSet::new(), value)],
            Answer::Vector(elements) => elements,
        };
        points += elements.len();
        if points > POINTS_MAX {
            return Err(Error::TooManyPoints);
        }
        for (labels, value) in elements {
            series.entry(labels).or_default().push(point(at_ms, value));
        }
    }
    let one =
        |(labels, values): (&LabelSet, &Vec<Value>)| json!({ "metric": metric(labels), "values": values });
    Ok(json!({ "resultType": "matrix", "result": series.iter().map(one).collect::<Vec<_>>() }))
}

/// `/api/v1/series`.
///
/// # Errors
/// When no selector is given, or one is none.
pub fn series(store: &Store, selectors: &[String], window: (i64, i64)) -> Result<Value, Error> {
    if selectors.is_empty() {
        return Err(Error::Parameter { name: "match[]", problem: "at least one is needed".to_owned() });
    }
    Ok(selected(store, selectors, window)?.into_iter().map(metric).collect::<Vec<_>>().into())
}

/// `/api/v1/labels`.
///
/// # Errors
/// When a selector is none.
pub fn labels(store: &Store, selectors: &[String], window: (i64, i64)) -> Result<Value, Error> {
    let found = selected(store, selectors, window)?;
    let names: BTreeSet<&str> = found.into_iter().flatten().map(|(name, _)| &**name).collect();
    Ok(json!(names))
}

/// `/api/v1/label/{name}/values`.
///
/// # Errors
/// When a selector is none.
pub fn label_values(
    store: &Store,
    name: &str,
    selectors: &[String],
    window: (i64, i64),
) -> Result<Value, Error> {
    let found = selected(store, selectors, window)?;
    let named = found.into_iter().flatten().filter(|(label, _)| &**label == name);
    let values: BTreeSet<&str> = named.map(|(_, value)| &**value).collect();
    Ok(json!(values))
}

fn selected<'s>(
    store: &'s Store,
    selectors: &[String],
    window: (i64, i64),
) -> Result<BTreeSet<&'s LabelSet>, Error> {
    if selectors.len() > SELECTORS_MAX {
        let problem = format!("more than {SELECTORS_MAX}");
        return Err(Error::Parameter { name: "match[]", problem });
    }
    if selectors.is_empty() {
        return Ok(store.all().map(crate::store::Series::labels).collect());
    }
    let mut found = BTreeSet::new();
    for selector in selectors {
        found.extend(Selection::new(selector)?.find(store, window));
    }
    Ok(found)
}

fn metric(labels: &LabelSet) -> Value {
    let pair = |(name, value): &(std::sync::Arc<str>, std::sync::Arc<str>)| {
        (name.to_string(), Value::from(&**value))
    };
    Value::Object(labels.iter().map(pair).collect::<Map<_, _>>())
}

fn point(at_ms: i64, value: f64) -> Value {
    json!([at_ms as f64 / 1000.0, &*eval::written(value)])
}
