//! `sum`, `avg`, `min`, `max`, `count` and `group`.

use std::collections::BTreeMap;

use promql_parser::parser::LabelModifier;
use promql_parser::parser::token::{T_AVG, T_COUNT, T_GROUP, T_MAX, T_MIN, TokenType};

use crate::store::LabelSet;

struct Group {
    sum: f64,
    count: f64,
    least: f64,
    greatest: f64,
}

pub(super) fn aggregate(
    operator: TokenType,
    modifier: Option<&LabelModifier>,
    elements: Vec<(LabelSet, f64)>,
) -> Vec<(LabelSet, f64)> {
    let mut groups: BTreeMap<LabelSet, Group> = BTreeMap::new();
    for (labels, value) in elements {
        let group = groups.entry(kept(labels, modifier)).or_insert(Group {
            sum: 0.0,
            count: 0.0,
            least: f64::NAN,
            greatest: f64::NAN,
        });
        group.sum += value;
        group.count += 1.0;
        // `min` and `max` pass over NaN unless there is nothing else.
        group.least = group.least.min(value);
        group.greatest = group.greatest.max(value);
    }
    let result = |group: &Group| match operator.id() {
        T_AVG => group.sum / group.count,
        T_MIN => group.least,
        T_MAX => group.greatest,
        T_COUNT => group.count,
        T_GROUP => 1.0,
        _ => group.sum,
    };
    groups.into_iter().map(|(labels, group)| (labels, result(&group))).collect()
}

/// The labels that tell groups apart.
pub(super) fn kept(mut labels: LabelSet, modifier: Option<&LabelModifier>) -> LabelSet {
    match modifier {
        None => return LabelSet::new(),
        Some(LabelModifier::Include(by)) => {
            labels.retain(|(name, _)| by.labels.iter().any(|listed| **listed == **name));
        }
        Some(LabelModifier::Exclude(without)) => {
            labels.retain(|(name, _)| !without.labels.iter().any(|listed| **listed == **name));
        }
    }
    labels
}
