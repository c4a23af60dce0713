//! What the types' JSON schemas know: which fields there are, and which values are text.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value as Json;

use crate::load::unquoted;
use crate::node::{Node, Segment, Value};

thread_local! {
    /// One schema a type: generating Deployment's takes milliseconds, and a directory has many.
    static SCHEMAS: RefCell<BTreeMap<String, Rc<Json>>> = const { RefCell::new(BTreeMap::new()) };
}

fn schema_of<T: schemars::JsonSchema>() -> Rc<Json> {
    let key = T::schema_id().into_owned();
    if let Some(known) = SCHEMAS.with_borrow(|schemas| schemas.get(&key).cloned()) {
        return known;
    }
    let schema = Rc::new(schemars::schema_for!(T).to_value());
    SCHEMAS.with_borrow_mut(|schemas| schemas.insert(key, Rc::clone(&schema)));
    schema
}

/// The fields the type has at a path; empty where the schema does not say.
pub(crate) fn fields_at<T: schemars::JsonSchema>(path: &[Segment]) -> Vec<String> {
    let schema = schema_of::<T>();
    let node = path.iter().try_fold(&*schema, |node, segment| step(&schema, node, segment));
    let Some(node) = node else { return Vec::new() };
    let mut fields: Vec<String> = alternatives(&schema, node)
        .into_iter()
        .filter_map(|node| node.get("properties")?.as_object())
        .flat_map(|properties| properties.keys().cloned())
        .collect();
    fields.sort();
    fields.dedup();
    fields
}

fn step<'a>(schema: &'a Json, node: &'a Json, segment: &Segment) -> Option<&'a Json> {
    alternatives(schema, node).into_iter().find_map(|node| match segment {
        Segment::Index(_) => node.get("items"),
        Segment::Key(key) => {
            let property = node.get("properties").and_then(|properties| properties.get(key));
            property.or_else(|| node.get("additionalProperties").filter(|node| node.is_object()))
        }
    })
}

/// The node itself, what it refers to, and every branch of its `anyOf`, `allOf`, `oneOf`.
fn alternatives<'a>(schema: &'a Json, node: &'a Json) -> Vec<&'a Json> {
    let mut found = vec![node];
    // References in these schemas do not form chains longer than a handful.
    for _ in 0..8 {
        let more: Vec<&Json> = found
            .iter()
            .flat_map(|node| {
                let reference = node.get("$ref").and_then(Json::as_str);
                let target = reference.and_then(|text| schema.pointer(text.strip_prefix('#')?));
                let branches = ["anyOf", "allOf", "oneOf"]
                    .into_iter()
                    .filter_map(|word| node.get(word)?.as_array())
                    .flatten();
                target.into_iter().chain(branches)
            })
            .filter(|candidate| !found.iter().any(|known| std::ptr::eq(*known, *candidate)))
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    found
}

/// Mappings whose values must be text, by the end of their path. Kubernetes has few of them, and they
/// are where people forget the quotes.
fn holds_text(path: &[Segment]) -> bool {
    let keys: Vec<&str> = path
        .iter()
        .map(|segment| match segment {
            Segment::Key(key) => key.as_str(),
            Segment::Index(_) => "[]",
        })
        .collect();
    matches!(
        keys.as_slice(),
        [.., "metadata", "annotations" | "labels", _]
            | [.., "triggers", "[]", "metadata", _]
            | [.., "matchLabels" | "nodeSelector", _]
            | [.., "env", "[]", "value"]
            | ["data", _]
            | ["spec", "selector", _]
            | [.., "scalingModifiers", "target" | "activationTarget" | "formula"]
    ) && !matches!(keys.as_slice(), ["spec", "selector", "matchLabels" | "matchExpressions"])
}

/// Puts quotes where the schema wants text and the author wrote a number or a boolean, telling each.
pub(crate) fn quote_scalars(root: &Node, json: &mut Json, mut tell: impl FnMut(&[Segment], &str)) {
    walk(root, json, &mut Vec::new(), &mut tell);
}

fn walk(node: &Node, json: &mut Json, path: &mut Vec<Segment>, tell: &mut impl FnMut(&[Segment], &str)) {
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                let Some(inner) = json.get_mut(&key.text) else { continue };
                path.push(Segment::Key(key.text.clone()));
                if unquoted(value) && holds_text(path) {
                    if let Some(text) = value.scalar_text() {
                        tell(path, &text);
                        *inner = Json::String(text);
                    }
                } else {
                    walk(value, inner, path, tell);
                }
                path.pop();
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let Some(inner) = json.get_mut(index) else { continue };
                path.push(Segment::Index(index));
                walk(item, inner, path, tell);
                path.pop();
            }
        }
        _ => {}
    }
}

pub(crate) fn segments_of_error(path: &serde_path_to_error::Path) -> Vec<Segment> {
    path.iter()
        .filter_map(|segment| match segment {
            serde_path_to_error::Segment::Seq { index } => Some(Segment::Index(*index)),
            serde_path_to_error::Segment::Map { key } => Some(Segment::Key(key.clone())),
            serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => None,
        })
        .collect()
}

pub(crate) fn segments_of_ignored(path: &serde_ignored::Path<'_>) -> Vec<Segment> {
    use serde_ignored::Path;
    let (parent, segment) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, Some(Segment::Index(*index))),
        Path::Map { parent, key } => (parent, Some(Segment::Key(key.clone()))),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            (parent, None)
        }
    };
    let mut segments = segments_of_ignored(parent);
    segments.extend(segment);
    segments
}

/// Serde's sentence with the YAML reader's words for types.
pub(crate) fn plain_words(message: &str) -> String {
    message
        .replace("invalid type: ", "")
        .replace("invalid value: ", "")
        .replace(" `null`", " nothing")
        .replace("expected a sequence", "expected a list")
        .replace("expected a map", "expected a mapping")
        .replace("expected i32", "expected a whole number")
        .replace("expected i64", "expected a whole number")
        .replace("expected a string", "expected text")
}
