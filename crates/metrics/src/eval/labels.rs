//! Functions that change labels.

use regex::Regex;

use super::element::{distinct, set};
use super::{Error, Vector};
use crate::store::label;

/// The largest compiled pattern; a label's pattern has a few hundred bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// `label_replace(v, destination, replacement, source, pattern)`.
pub(super) fn replace(mut elements: Vector, texts: &[&str]) -> Result<Vector, Error> {
    let [destination, replacement, source, pattern] = *texts else { return Ok(elements) };
    let argument = |wanted, argument: &str| Error::Argument {
        function: "label_replace",
        wanted,
        argument: argument.to_owned(),
    };
    let built = regex::RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build();
    let pattern: Regex = built.map_err(|_| argument("regular expression", pattern))?;
    if !is_label(destination) {
        return Err(argument("label name", destination));
    }
    let replacement = braced(replacement);
    for (labels, _) in &mut elements {
        let value = label(labels, source).unwrap_or_default().to_owned();
        let Some(groups) = pattern.captures(&value) else { continue };
        let mut made = String::new();
        groups.expand(&replacement, &mut made);
        set(labels, destination, &made);
    }
    distinct("label_replace", elements)
}

/// `label_join(v, destination, separator, source, …)`.
pub(super) fn join(mut elements: Vector, texts: &[&str]) -> Result<Vector, Error> {
    let [destination, separator, sources @ ..] = texts else { return Ok(elements) };
    if !is_label(destination) {
        return Err(Error::Argument {
            function: "label_join",
            wanted: "label name",
            argument: (*destination).to_owned(),
        });
    }
    for (labels, _) in &mut elements {
        let values: Vec<&str> =
            sources.iter().map(|source| label(labels, source).unwrap_or_default()).collect();
        let joined = values.join(separator);
        set(labels, destination, &joined);
    }
    distinct("label_join", elements)
}

fn is_label(name: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(begins) && name.chars().all(|c| begins(c) || c.is_ascii_digit())
}

/// The template with every name of a group in braces. Both languages read `$1_x` as a group called
/// `1_x`; a dollar before anything else stays a dollar in Go and would vanish here.
fn braced(template: &str) -> String {
    let mut made = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        let (before, tail) = rest.split_at(at);
        made.push_str(before);
        let after = &tail[1..];
        let word = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let skipped = if after.starts_with('$') || after.starts_with('{') && after.contains('}') {
            let end = if after.starts_with('$') { 1 } else { after.find('}').map_or(0, |end| end + 1) };
            made.push('$');
            made.push_str(&after[..end]);
            end
        } else if word > 0 {
            made.push_str("${");
            made.push_str(&after[..word]);
            made.push('}');
            word
        } else {
            made.push_str("$$");
            0
        };
        rest = &after[skipped..];
    }
    made.push_str(rest);
    made
}
