//! Which series a selector means, now or over a window.

use promql_parser::label::Matcher;
use promql_parser::parser::{MatrixSelector, VectorSelector};
use tidegate_core::time::{Span, Time};

use super::{ELEMENTS_MAX, Evaluation};
use crate::dialect::{SCRAPE_LABELS, SCRAPE_PREFIXES, same_name};
use crate::promql::metric_name;
use crate::store::{LabelSet, Series};

impl Evaluation<'_> {
    /// The selector's series with their newest values.
    pub(super) fn instant(&self, selector: &VectorSelector) -> Vec<(LabelSet, f64)> {
        let name = metric_name(selector).unwrap_or_default();
        if name == "up" {
            let up: Vec<(&LabelSet, bool)> = self.store.up(self.now).collect();
            let matchers = counting(&selector.matchers.matchers, || up.iter().map(|(labels, _)| *labels));
            let value = |answers: bool| f64::from(u8::from(answers));
            let mine = up.iter().filter(|(labels, _)| matches(&matchers, labels));
            return mine.map(|(labels, answers)| ((*labels).clone(), value(*answers))).collect();
        }
        let named: Vec<&Series> =
            self.store.current(self.now).filter(|series| is_named(series, name)).take(ELEMENTS_MAX).collect();
        let matchers = counting(&selector.matchers.matchers, || named.iter().map(|series| series.labels()));
        let found = named.into_iter().filter(|series| matches(&matchers, series.labels()));
        found.filter_map(|series| Some((series.labels().clone(), series.latest()?.1))).collect()
    }

    /// The selector's series with their points in the window.
    pub(super) fn window(&self, matrix: &MatrixSelector) -> Vec<(LabelSet, Vec<(Time, f64)>)> {
        let name = metric_name(&matrix.vs).unwrap_or_default();
        let start = self.now - span(matrix);
        let named: Vec<&Series> =
            self.store.all().filter(|series| is_named(series, name)).take(ELEMENTS_MAX).collect();
        let matchers = counting(&matrix.vs.matchers.matchers, || named.iter().map(|series| series.labels()));
        let found = named.into_iter().filter(|series| matches(&matchers, series.labels()));
        found
            .map(|series| (series.labels().clone(), series.since(start).collect::<Vec<_>>()))
            .filter(|(_, points)| !points.is_empty())
            .collect()
    }
}

/// The length of a window.
pub(super) fn span(matrix: &MatrixSelector) -> Span {
    Span::from_micros(i64::try_from(matrix.range.as_micros()).unwrap_or(i64::MAX))
}

fn is_named(series: &Series, name: &str) -> bool {
    same_name(series.name(), name) || same_name(name, series.name())
}

/// The matchers that count: all but those on labels which scraping would have added and nobody has here.
fn counting<'m, 's, I: Iterator<Item = &'s LabelSet>>(
    matchers: &'m [Matcher],
    series: impl Fn() -> I,
) -> Vec<&'m Matcher> {
    let counts = |matcher: &&Matcher| {
        if matcher.name == "__name__" {
            return false;
        }
        let added = SCRAPE_LABELS.contains(&matcher.name.as_str())
            || SCRAPE_PREFIXES.iter().any(|prefix| matcher.name.starts_with(prefix));
        !added || series().any(|labels| value(labels, &matcher.name).is_some())
    };
    matchers.iter().filter(counts).collect()
}

fn matches(matchers: &[&Matcher], labels: &LabelSet) -> bool {
    // A label that is not there is an empty one, as in Prometheus.
    matchers.iter().all(|matcher| matcher.is_match(value(labels, &matcher.name).unwrap_or_default()))
}

pub(super) fn value<'l>(labels: &'l LabelSet, name: &str) -> Option<&'l str> {
    labels.iter().find(|(label, _)| &**label == name).map(|(_, value)| &**value)
}
