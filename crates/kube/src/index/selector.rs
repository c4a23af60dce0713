//! Label selectors: which pods a workload has.

use std::collections::BTreeMap;

use serde_json::Value;

/// A selector; one without requirements chooses nothing, as no workload has it on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Selector {
    /// Of a workload's `spec.selector`. One it cannot read chooses nothing.
    #[must_use]
    pub fn of(json: &Value) -> Self {
        let mut requirements = Vec::new();
        for (key, value) in json.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::In(key.clone(), vec![value]));
        }
        for expression in json.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |at: &str| expression.get(at).and_then(Value::as_str).unwrap_or_default();
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(|value| Some(value.as_str()?.to_owned())).collect();
            let key = text("key").to_owned();
            requirements.push(match text("operator") {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::Missing(key),
                _ => return Selector::default(),
            });
        }
        Selector(requirements)
    }

    /// Of the text that `/scale` gives: `app=a,tier!=b,c in (d,e),f,!g`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut requirements = Vec::new();
        for part in split(text) {
            let part = part.trim();
            let list = |text: &str| {
                let inner = text.trim().trim_start_matches('(').trim_end_matches(')');
                inner.split(',').map(|value| value.trim().to_owned()).collect()
            };
            let one = |value: &str| vec![value.trim().to_owned()];
            let requirement = if let Some((key, values)) = part.split_once(" notin ") {
                Requirement::NotIn(key.trim().to_owned(), list(values))
            } else if let Some((key, values)) = part.split_once(" in ") {
                Requirement::In(key.trim().to_owned(), list(values))
            } else if let Some((key, value)) = part.split_once("!=") {
                Requirement::NotIn(key.trim().to_owned(), one(value))
            } else if let Some((key, value)) = part.split_once('=') {
                Requirement::In(key.trim().to_owned(), one(value.trim_start_matches('=')))
            } else if let Some(key) = part.strip_prefix('!') {
                Requirement::Missing(key.trim().to_owned())
            } else if part.is_empty() {
                continue;
            } else {
                Requirement::Exists(part.to_owned())
            };
            requirements.push(requirement);
        }
        Selector(requirements)
    }

    /// Labels with the one value that it asks of them: whatever it chooses has them all.
    pub(super) fn exact(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|requirement| match requirement {
            Requirement::In(key, values) => match values.as_slice() {
                [value] => Some((key.as_str(), value.as_str())),
                _ => None,
            },
            _ => None,
        })
    }

    /// Whether it chooses something with these labels.
    #[must_use]
    pub fn chooses(&self, labels: &BTreeMap<String, String>) -> bool {
        let holds = |requirement: &Requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Missing(key) => !labels.contains_key(key),
        };
        !self.0.is_empty() && self.0.iter().all(holds)
    }
}

/// At commas that are not within parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0_u32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_object_and_the_text_of_scale_choose_the_same() {
        let object = Selector::of(&json!({
            "matchLabels": {"app": "a"},
            "matchExpressions": [
                {"key": "tier", "operator": "NotIn", "values": ["x"]},
                {"key": "zone", "operator": "In", "values": ["b", "c"]},
                {"key": "gpu", "operator": "Exists"},
                {"key": "canary", "operator": "DoesNotExist"},
            ],
        }));
        let text = Selector::parse("app=a,tier notin (x),zone in (b,c),gpu,!canary");
        for (pairs, chosen) in [
            (vec![("app", "a"), ("zone", "c"), ("gpu", "")], true),
            (vec![("app", "a"), ("zone", "d"), ("gpu", "")], false),
            (vec![("app", "a"), ("zone", "b"), ("gpu", ""), ("tier", "x")], false),
            (vec![("app", "a"), ("zone", "b")], false),
            (vec![("app", "a"), ("zone", "b"), ("gpu", ""), ("canary", "")], false),
            (vec![("app", "b"), ("zone", "b"), ("gpu", "")], false),
        ] {
            assert_eq!(object.chooses(&labels(&pairs)), chosen, "{pairs:?}");
            assert_eq!(text.chooses(&labels(&pairs)), chosen, "{pairs:?}");
        }
    }

    #[test]
    fn a_selector_without_requirements_chooses_nothing() {
        assert!(!Selector::parse("").chooses(&labels(&[("a", "b")])));
        assert!(!Selector::of(&json!({})).chooses(&labels(&[("a", "b")])));
    }
}
