//! YAML text to a tree that remembers where everything stood.
//!
//! The parser is serde-saphyr behind this one module. Its budgets make hostile files cheap: what goes
//! over a limit is refused with its place, in bounded time and memory.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::node::{Key, Mark, Node, Value};

/// A file is at most 4 MiB: the largest CRD bundles people keep are under 2.
pub const FILE_BYTES_MAX: usize = 4 << 20;
/// Nodes of one file, aliases expanded: a thousand Deployments of 200 nodes each.
const NODES_MAX: usize = 200_000;
/// Nesting: Kubernetes' deepest published schema is 20 levels.
const DEPTH_MAX: usize = 64;
/// Stack the parser gets: it recurses, by up to 100 KB a level without optimisation, and a thread may
/// have only 2 MiB. 64 levels are 6.4 MB.
const STACK_BYTES: usize = 16 << 20;
/// Documents in one file.
const DOCUMENTS_MAX: usize = 10_000;

/// Why text is not YAML we take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Where, as far as it is known.
    pub mark: Mark,
    /// One sentence.
    pub message: String,
}

impl Error {
    fn at_start(message: impl Into<String>) -> Self {
        Error { mark: Mark::START, message: message.into() }
    }
}

/// Parses every document of a file; empty documents are left out.
///
/// # Errors
/// The first thing that is not YAML, a duplicate key, bytes that are not UTF-8, or a limit.
pub fn parse(bytes: &[u8]) -> Result<Vec<Node>, Error> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Error::at_start(format!(
            "the file has {} bytes, more than {FILE_BYTES_MAX}",
            bytes.len()
        )));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
        Error { mark: Mark::new(line, column), message: "bytes that are not UTF-8".into() }
    })?;
    let parse = || serde_saphyr::from_multiple_with_options::<Spanned<Tree>>(text, options());
    let documents = stacker::grow(STACK_BYTES, parse)
        .map_err(|error| Error { mark: mark_of(error.location()), message: first_line(&error) })?;
    if documents.len() > DOCUMENTS_MAX {
        return Err(Error::at_start(format!("the file has more than {DOCUMENTS_MAX} documents")));
    }
    Ok(documents.into_iter().map(node).filter(|node| !matches!(node.value, Value::Null)).collect())
}

/// Writes documents one after another, each behind `---`. Comments and places are no part of a value, so
/// they are not kept.
///
/// # Errors
/// A value YAML cannot hold.
pub fn write(documents: &[serde_json::Value]) -> Result<String, Error> {
    let mut text = String::new();
    for document in documents {
        let yaml = serde_saphyr::to_string(document).map_err(|error| Error::at_start(error.to_string()))?;
        text.push_str("---\n");
        text.push_str(&yaml);
    }
    Ok(text)
}

fn options() -> serde_saphyr::Options {
    let mut budget = serde_saphyr::Budget::default();
    budget.max_events = NODES_MAX * 2;
    budget.max_nodes = NODES_MAX;
    budget.max_depth = DEPTH_MAX;
    budget.max_documents = DOCUMENTS_MAX;
    budget.max_aliases = 1_000;
    budget.max_anchors = 1_000;
    budget.max_recorded_anchor_events = NODES_MAX;
    budget.flow_nesting_limit = DEPTH_MAX;
    let mut options = serde_saphyr::Options::default();
    options.budget = Some(budget);
    options
}

/// The parser's own words without its source picture: the caller draws that.
fn first_line(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    // "line 3 column 1: what happened": the place is told apart.
    let message = match line.split_once(": ") {
        Some((place, message)) if place.starts_with("line ") => message,
        _ => line,
    };
    if message.contains("budget breached") || message.contains("recursion limit") {
        return format!(
            "too large or too deep: at most {NODES_MAX} values, {DEPTH_MAX} levels and {DOCUMENTS_MAX} documents a file"
        );
    }
    message.split(", set DuplicateKeyPolicy").next().unwrap_or(message).to_owned()
}

fn mark_of(location: Option<serde_saphyr::Location>) -> Mark {
    location.map_or(Mark::START, |at| Mark::new(at.line() as usize, at.column() as usize))
}

fn node(tree: Spanned<Tree>) -> Node {
    let mark = mark_of(Some(tree.referenced));
    let value = match tree.value {
        Tree::Null => Value::Null,
        Tree::Bool(value) => Value::Bool(value),
        Tree::Int(value) => Value::Int(value),
        Tree::Float(value) => Value::Float(value),
        Tree::Text(value) => Value::Text(value),
        Tree::List(items) => Value::List(items.into_iter().map(node).collect()),
        Tree::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    (Key { mark: mark_of(Some(key.referenced)), text: key.value }, node(value))
                })
                .collect(),
        ),
    };
    Node { mark, value }
}

enum Tree {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Tree>>),
    Map(Vec<(Spanned<String>, Spanned<Tree>)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(i64::try_from(value).map_or(Tree::Float(value as f64), Tree::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Tree::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path;

    fn refused(text: &[u8]) -> Error {
        parse(text).expect_err("should be refused")
    }

    #[test]
    fn every_value_knows_its_line_and_column() {
        let documents = parse(b"a: 1\nb:\n- {x: 'y'}\n---\nc: d\n").unwrap();
        assert_eq!(documents.len(), 2);
        let x = documents[0].at(path!["b", 0, "x"]).unwrap();
        assert_eq!((x.mark, x.as_str()), (Mark::new(3, 7), Some("y")));
        assert_eq!(documents[1].at(path!["c"]).unwrap().mark, Mark::new(5, 4));
    }

    #[test]
    fn quoted_numbers_are_text_and_plain_ones_are_not() {
        let node = &parse(b"quoted: \"5\"\nplain: 5\n").unwrap()[0];
        assert_eq!(node.at(path!["quoted"]).unwrap().value, Value::Text("5".into()));
        assert_eq!(node.at(path!["plain"]).unwrap().value, Value::Int(5));
    }

    #[test]
    fn a_duplicate_key_is_refused_at_its_second_place() {
        let error = refused(b"a: 1\nb: 2\na: 3\n");
        assert_eq!(error.mark, Mark::new(3, 1));
        assert!(error.message.contains("duplicate mapping key: a"), "{}", error.message);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused_with_their_place() {
        assert_eq!(refused(b"a: 1\nb: \xff\n").mark, Mark::new(2, 4));
    }

    #[test]
    fn an_alias_bomb_is_refused_within_its_budget() {
        let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
        for (before, name) in "abcdefgh".chars().zip("bcdefghi".chars()) {
            bomb.push_str(&format!("{name}: &{name} [{}]\n", format!("*{before},").repeat(9)));
        }
        refused(bomb.as_bytes());
    }

    #[test]
    fn deep_nesting_is_refused_in_both_styles_and_what_is_let_in_fits_the_stack() {
        let deepest = format!("{}{}", "[".repeat(DEPTH_MAX - 4), "]".repeat(DEPTH_MAX - 4));
        parse(deepest.as_bytes()).unwrap();
        refused("[".repeat(100_000).as_bytes());
        let block: String = (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        refused(block.as_bytes());
    }

    #[test]
    fn huge_numbers_become_floats_and_do_not_wrap() {
        let node = &parse(b"n: 123456789012345678901234567890\n").unwrap()[0];
        assert!(matches!(node.at(path!["n"]).unwrap().value, Value::Float(value) if value > 1e29));
    }

    #[test]
    fn a_file_over_the_limit_is_refused_before_it_is_parsed() {
        let error = refused(&vec![b'#'; FILE_BYTES_MAX + 1]);
        assert!(error.message.contains("more than"), "{}", error.message);
    }

    #[test]
    fn merge_keys_and_aliases_are_expanded() {
        let node = &parse(b"base: &b {x: 1}\nuse: {<<: *b, y: 2}\n").unwrap()[0];
        assert_eq!(node.at(path!["use", "x"]).unwrap().value, Value::Int(1));
    }
}
