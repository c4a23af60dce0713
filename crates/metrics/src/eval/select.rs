//! Which series a selector means, now or over a window.

use std::time::UNIX_EPOCH;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{AtModifier, Expr, MatrixSelector, Offset, VectorSelector};

use super::check::bare;
use super::{Compiled, Error, Evaluation, Scope, Vector};
use crate::dialect::{SCRAPE_LABELS, SCRAPE_PREFIXES};
use crate::store::{LabelSet, NAME, Series, Store, is_stale, label};

/// The ends of a window, in milliseconds: open on the left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

/// Elements with the sample that counts for them.
pub(super) type Timed = Vec<(LabelSet, (i64, f64))>;

/// What is done with each series of a window.
pub(super) type Each<'e> = &'e mut dyn FnMut(&LabelSet, &[(i64, f64)], Bounds);

impl Evaluation<'_> {
    /// The selector's series with their values at its instant.
    pub(super) fn instant(&self, selector: &VectorSelector) -> Result<Vector, Error> {
        Ok(self.timed(selector)?.into_iter().map(|(labels, (_, value))| (labels, value)).collect())
    }

    /// The same with the samples' own times.
    pub(super) fn timed(&self, selector: &VectorSelector) -> Result<Timed, Error> {
        let at_ms = self.instant_of(selector.at.as_ref(), selector.offset.as_ref());
        let found = self.select(selector);
        self.pay(found.len())?;
        Ok(found
            .into_iter()
            .filter_map(|series| Some((series.labels().clone(), series.at(at_ms)?)))
            .collect())
    }

    /// Hands out the series of a window, those with a sample in it. `expr` is a window or a subquery.
    pub(super) fn windows(&self, expr: &Expr, each: Each<'_>) -> Result<(), Error> {
        match bare(expr) {
            Expr::MatrixSelector(matrix) => self.samples(matrix, each),
            Expr::Subquery(subquery) => self.subquery(subquery, each),
            _ => Ok(()),
        }
    }

    fn samples(&self, matrix: &MatrixSelector, each: Each<'_>) -> Result<(), Error> {
        let end_ms = self.instant_of(matrix.vs.at.as_ref(), matrix.vs.offset.as_ref());
        let bounds = Bounds { start_ms: end_ms.saturating_sub(whole_ms(matrix.range)), end_ms };
        let mut points = Vec::new();
        for series in self.select(&matrix.vs) {
            points.clear();
            points.extend(
                series.between(bounds.start_ms, bounds.end_ms).filter(|(_, value)| !is_stale(*value)),
            );
            self.pay(points.len() + 1)?;
            if !points.is_empty() {
                each(series.labels(), &points, bounds);
            }
        }
        Ok(())
    }

    /// The instant that `@` and `offset` make of now.
    pub(super) fn instant_of(&self, at: Option<&AtModifier>, offset: Option<&Offset>) -> i64 {
        let base_ms = match at {
            None => self.now_ms,
            Some(AtModifier::Start) => self.ends_ms.0,
            Some(AtModifier::End) => self.ends_ms.1,
            Some(AtModifier::At(instant)) => match instant.duration_since(UNIX_EPOCH) {
                Ok(since) => whole_ms(since),
                Err(before) => -whole_ms(before.duration()),
            },
        };
        match offset {
            None => base_ms,
            Some(Offset::Pos(back)) => base_ms.saturating_sub(whole_ms(*back)),
            Some(Offset::Neg(forth)) => base_ms.saturating_add(whole_ms(*forth)),
        }
    }

    fn select(&self, selector: &VectorSelector) -> Vec<&Series> {
        let name = selector.name.as_deref();
        let sets = &selector.matchers;
        if sets.or_matchers.is_empty() {
            return chosen(self.store, self.scope, name, &sets.matchers);
        }
        // `{a="1" or b="2"}`: each series once, in the order of the store.
        let several = sets.or_matchers.iter();
        let several: Vec<&[Matcher]> = several.map(Vec::as_slice).collect();
        let candidates = chosen(self.store, self.scope, name, &[]);
        let holds = |series: &&Series| {
            several.iter().any(|set| set.iter().all(|matcher| holds(matcher, series.labels())))
        };
        candidates.into_iter().filter(holds).collect()
    }
}

pub(super) fn whole_ms(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn chosen<'s>(
    store: &'s Store,
    scope: Scope<'_>,
    name: Option<&str>,
    matchers: &[Matcher],
) -> Vec<&'s Series> {
    let equal = |matcher: &&Matcher| matcher.name == NAME && matches!(matcher.op, MatchOp::Equal);
    let exact = name.or_else(|| matchers.iter().find(equal).map(|matcher| matcher.value.as_str()));
    let mut found: Vec<&Series> = match exact {
        Some(name) => store.named(name).collect(),
        None => store.all().collect(),
    };
    let Scope::Target(target) = scope else {
        found.retain(|series| matchers.iter().all(|matcher| holds(matcher, series.labels())));
        return found;
    };
    if let Some(name) = exact {
        found.extend(spellings(name).iter().flat_map(|other| store.named(other)));
    }
    let elsewhere =
        matchers.iter().any(|matcher| matcher.name == "deployment" && matches!(matcher.op, MatchOp::Equal));
    if !elsewhere {
        found.retain(|series| series.target().is_none() || target.is_none() || series.target() == target);
    }
    let counting = counting(matchers, exact.is_some(), &found);
    found.retain(|series| counting.iter().all(|matcher| holds(matcher, series.labels())));
    found
}

/// `vllm_x` for `vllm:x`, and the other way round.
pub(super) fn spellings(name: &str) -> Option<String> {
    /// Engines whose names have a colon.
    const WITH_COLON: [&str; 4] = ["vllm", "sglang", "llamacpp", "lmdeploy"];
    let (engine, rest, between) = match name.split_once(':') {
        Some((engine, rest)) => (engine, rest, '_'),
        None => {
            let (engine, rest) = name.split_once('_')?;
            (engine, rest, ':')
        }
    };
    WITH_COLON.contains(&engine).then(|| format!("{engine}{between}{rest}"))
}

/// The matchers that count for a trigger: all but those on labels which scraping would have added and
/// nobody has here.
fn counting<'m>(matchers: &'m [Matcher], named: bool, series: &[&Series]) -> Vec<&'m Matcher> {
    let counts = |matcher: &&Matcher| {
        if matcher.name == NAME {
            return !named;
        }
        if matcher.name == "job" {
            return series.iter().any(|series| holds(matcher, series.labels()));
        }
        let added = SCRAPE_LABELS.contains(&matcher.name.as_str())
            || SCRAPE_PREFIXES.iter().any(|prefix| matcher.name.starts_with(prefix));
        !added || series.iter().any(|series| label(series.labels(), &matcher.name).is_some())
    };
    matchers.iter().filter(counts).collect()
}

fn holds(matcher: &Matcher, labels: &LabelSet) -> bool {
    // A label that is not there is an empty one.
    matcher.is_match(label(labels, &matcher.name).unwrap_or_default())
}

/// A selector on its own, for whoever asks which series there are.
#[derive(Clone, Debug)]
pub struct Selection(Compiled);

/// The labels of the series a selection found.
pub type Selected<'s> = Vec<&'s LabelSet>;

impl Selection {
    /// Reads a selector: `vllm:num_requests_waiting{pod="a"}`.
    ///
    /// # Errors
    /// When it is no selector.
    pub fn new(text: &str) -> Result<Self, Error> {
        let compiled = super::compile_any(text)?;
        match bare(&compiled.expr) {
            Expr::VectorSelector(_) => Ok(Selection(compiled)),
            _ => Err(Error::Argument {
                function: "match[]",
                wanted: "selector of series",
                argument: text.to_owned(),
            }),
        }
    }

    /// The series of `store` that it means and that have a sample in the window, both ends included.
    #[must_use]
    pub fn find<'s>(&self, store: &'s Store, (start_ms, end_ms): (i64, i64)) -> Selected<'s> {
        let Expr::VectorSelector(selector) = bare(&self.0.expr) else { return Vec::new() };
        let found = chosen(store, Scope::All, selector.name.as_deref(), &selector.matchers.matchers);
        let there =
            |series: &&Series| series.between(start_ms.saturating_sub(1), end_ms).any(|(_, v)| !is_stale(v));
        found.into_iter().filter(there).map(Series::labels).collect()
    }
}
