//! A query asked again and again over a window.

use std::collections::BTreeMap;

use promql_parser::parser::SubqueryExpr;

use super::select::{Bounds, Each, whole_ms};
use super::{Error, Evaluation, STEPS_MAX};
use crate::store::LabelSet;

/// The step of a subquery that gives none: Prometheus' default evaluation interval.
const STEP_MS: i64 = 60_000;

impl Evaluation<'_> {
    /// Hands out what the inner query answered at each step, series by series. Steps stand at multiples
    /// of their length since the epoch, whatever the instant of the query.
    pub(super) fn subquery(&self, subquery: &SubqueryExpr, each: Each<'_>) -> Result<(), Error> {
        let end_ms = self.instant_of(subquery.at.as_ref(), subquery.offset.as_ref());
        let start_ms = end_ms.saturating_sub(whole_ms(subquery.range));
        let step_ms = subquery.step.map(whole_ms).filter(|step| *step > 0).unwrap_or(STEP_MS);
        let first_ms = start_ms.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
        let steps = if first_ms > end_ms { 0 } else { (end_ms - first_ms) / step_ms + 1 };
        if steps > STEPS_MAX {
            return Err(Error::TooManySteps { steps });
        }
        let mut series: BTreeMap<LabelSet, Vec<(i64, f64)>> = BTreeMap::new();
        for step in 0..steps {
            let now_ms = first_ms + step * step_ms;
            let elements = Evaluation { now_ms, ..*self }.value(&subquery.expr)?.vector();
            self.pay(elements.len() + 1)?;
            for (labels, value) in elements {
                series.entry(labels).or_default().push((now_ms, value));
            }
        }
        let bounds = Bounds { start_ms, end_ms };
        for (labels, points) in &series {
            each(labels, points, bounds);
        }
        Ok(())
    }
}
