//! One number out of a body: JSON, YAML, XML or Prometheus' text format.

use roxmltree::{Document, Node, ParsingOptions};
use serde_json::Value;
use tidegate_manifest::trigger::Format;
use tidegate_manifest::{quantity, yaml};
use tidegate_metrics::exposition::{self, Sample};
use tidegate_metrics::promql::{self, MatchOp, Matcher};

use super::gjson::{self, Found, Path};
use crate::find::brief;

/// Elements and texts of an XML answer: 8 MiB of them would be 100 times as much memory.
const XML_NODES_MAX: u32 = 100_000;

/// Where the number stands, read once.
#[derive(Clone, Debug)]
pub struct Location {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Json(Path),
    Yaml(Vec<String>),
    Xml(Vec<String>),
    Prometheus { name: String, matchers: Vec<Matcher> },
}

/// Why there is no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The location itself.
    #[error("valueLocation {text} {reason}")]
    Location {
        /// As written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The body is not in the format.
    #[error("the answer is no {format}: {reason}")]
    Form {
        /// The format.
        format: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing stands there.
    #[error("value {text} not found in the answer")]
    Missing {
        /// The location.
        text: String,
    },
    /// Something else stands there.
    #[error(
        "valueLocation must point to value of type number or a string representing a Quantity got: '{got}'"
    )]
    Number {
        /// What.
        got: String,
    },
}

impl Location {
    /// Reads `valueLocation` as `format` takes it.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str, format: Format) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Location { text: brief(text), reason };
        let dotted = || {
            let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
            let whole = text.len() <= gjson::PATH_BYTES_MAX && parts.iter().all(|part| !part.is_empty());
            if whole { Ok(parts) } else { Err(wrong("is no path of the form a.b.c".to_owned())) }
        };
        let kind = match format {
            Format::Json => Kind::Json(Path::parse(text).map_err(|error| wrong(error.to_string()))?),
            Format::Yaml => Kind::Yaml(dotted()?),
            Format::Xml => Kind::Xml(dotted()?),
            Format::Prometheus => {
                let (name, matchers) = selector(text).map_err(wrong)?;
                Kind::Prometheus { name, matchers }
            }
        };
        Ok(Location { text: text.to_owned(), kind })
    }

    /// The number in `body`; finite.
    ///
    /// # Errors
    /// When the body is broken, or no number stands there.
    pub fn read(&self, body: &[u8]) -> Result<f64, Error> {
        let missing = || Error::Missing { text: brief(&self.text) };
        match &self.kind {
            Kind::Json(path) => {
                let document: Value = serde_json::from_slice(body).map_err(|error| form("JSON", error))?;
                match path.find(&document).ok_or_else(missing)? {
                    Found::Count(count) => Ok(count as f64),
                    Found::One(value) => number(value),
                    Found::Many(_) => Err(Error::Number { got: "JSON".to_owned() }),
                }
            }
            Kind::Yaml(path) => {
                let documents = yaml::parse(body).map_err(|error| form("YAML", error))?;
                let first = documents.first().ok_or_else(missing)?.to_json();
                number(path.iter().try_fold(&first, |value, key| child(value, key)).ok_or_else(missing)?)
            }
            Kind::Xml(path) => {
                let text = std::str::from_utf8(body).map_err(|error| form("XML", error))?;
                let options = ParsingOptions { nodes_limit: XML_NODES_MAX, ..ParsingOptions::default() };
                let document =
                    Document::parse_with_options(text, options).map_err(|error| form("XML", error))?;
                quantity_of(&in_xml(document.root_element(), path).ok_or_else(missing)?)
            }
            Kind::Prometheus { name, matchers } => {
                let text = std::str::from_utf8(body).map_err(|error| form("Prometheus text", error))?;
                // As KEDA takes it: the first series that fits, in the order of the page.
                let mut first = None;
                let wants = |known: &str| (known == name).then_some(());
                exposition::read(text, exposition::Format::Text, wants, |(), sample| {
                    if first.is_none() && fits(&sample, matchers) {
                        first = Some(sample.value);
                    }
                })
                .map_err(|error| form("Prometheus text", error))?;
                first.ok_or_else(missing)
            }
        }
    }
}

fn form(format: &'static str, error: impl std::fmt::Display) -> Error {
    Error::Form { format, reason: brief(error) }
}

/// One selector, with nothing around it and only comparisons that KEDA knows.
fn selector(text: &str) -> Result<(String, Vec<Matcher>), String> {
    let query = promql::parse(text).map_err(|error| brief(format!("is no metric selector: {error}")))?;
    let only = "is no bare metric selector such as name{label=\"value\"}".to_owned();
    let [selector] = query.selectors() else { return Err(only) };
    let bare = selector.window_s.is_none() && selector.function.is_none() && !selector.at;
    let ends = text.trim_end().ends_with('}') || selector.matchers.is_empty();
    let (Some(name), true, true) = (&selector.metric, bare, ends) else { return Err(only) };
    // What stands before the name or the brace would be an operator or a function.
    if !text.trim_start().starts_with(name.as_str()) && !text.trim_start().starts_with('{') {
        return Err(only);
    }
    if text.trim().len() > name.len() && selector.matchers.is_empty() && !text.contains('{') {
        return Err(only);
    }
    if selector.matchers.iter().any(|matcher| !matches!(matcher.op, MatchOp::Equal | MatchOp::NotEqual)) {
        return Err("compares with a regular expression; name the label's value".to_owned());
    }
    Ok((name.clone(), selector.matchers.clone()))
}

fn fits(sample: &Sample<'_>, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| {
        let equal = sample.labels.get(&matcher.label).unwrap_or_default() == matcher.value.as_str();
        equal == (matcher.op == MatchOp::Equal)
    })
}

fn child<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    match value {
        Value::Object(entries) => entries.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    }
}

/// Elements by their names, from the root or from what is inside it; a last part `-name` or `@name` is an
/// attribute, and a number between names is the element's place among those of one name.
fn in_xml(root: Node<'_, '_>, path: &[String]) -> Option<String> {
    let inside = path.split_first().filter(|(first, _)| *first == root.tag_name().name());
    inside.and_then(|(_, rest)| below(root, rest)).or_else(|| below(root, path))
}

fn below(mut node: Node<'_, '_>, mut path: &[String]) -> Option<String> {
    while let Some((name, mut rest)) = path.split_first() {
        if let (Some(attribute), []) = (name.strip_prefix(['-', '@']), rest) {
            return node.attribute(attribute).map(str::to_owned);
        }
        let mut place = 0;
        if let Some((next, after)) = rest.split_first()
            && let Ok(number) = next.parse()
        {
            (place, rest) = (number, after);
        }
        let parent = node;
        let named = |child: &Node<'_, '_>| child.is_element() && child.tag_name().name() == name;
        node = parent.children().filter(named).nth(place)?;
        path = rest;
    }
    node.text().map(str::to_owned)
}

fn number(value: &Value) -> Result<f64, Error> {
    match value {
        Value::Number(number) => {
            let number = number.as_f64().filter(|number| number.is_finite());
            number.ok_or_else(|| Error::Number { got: "a number beyond 64 bits".to_owned() })
        }
        Value::String(text) => quantity_of(text),
        Value::Null => Err(Error::Number { got: "Null".to_owned() }),
        Value::Bool(value) => Err(Error::Number { got: if *value { "True" } else { "False" }.to_owned() }),
        Value::Array(_) | Value::Object(_) => Err(Error::Number { got: "JSON".to_owned() }),
    }
}

/// A text as Kubernetes writes quantities. A plain number keeps all its digits.
fn quantity_of(text: &str) -> Result<f64, Error> {
    let text = text.trim();
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
    let number = match text.parse::<f64>() {
        Ok(number) if plain => Some(number).filter(|number| number.is_finite()),
        _ => quantity::parse(text).ok().map(tidegate_core::units::Milli::as_f64),
    };
    number.ok_or_else(|| Error::Number { got: brief(text) })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
