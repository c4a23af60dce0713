//! The labels of a sample: checked once, read as often as wanted.

use std::borrow::Cow;

use super::{LABELS_MAX, LabelProblem};

const BLANKS: [char; 2] = [' ', '\t'];

/// Labels as they stand on the page, without the braces; known to be well formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Labels<'t>(&'t str);

impl<'t> Labels<'t> {
    /// Each name with its value, in the order written.
    #[must_use]
    pub fn iter(&self) -> Iter<'t> {
        Iter(self.0)
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'t, str>> {
        self.iter().find(|(label, _)| *label == name).map(|(_, value)| value)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<'t> IntoIterator for Labels<'t> {
    type Item = (&'t str, Cow<'t, str>);
    type IntoIter = Iter<'t>;

    fn into_iter(self) -> Iter<'t> {
        self.iter()
    }
}

/// Names and values of [`Labels`].
#[derive(Clone, Debug)]
pub struct Iter<'t>(&'t str);

impl<'t> Iterator for Iter<'t> {
    type Item = (&'t str, Cow<'t, str>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value, rest) = pair(self.0).ok().flatten()?;
        self.0 = rest;
        Some((name, unescaped(value)))
    }
}

/// Checks the labels that follow an opening brace: they, and what follows the closing one.
pub(super) fn split(inside: &str) -> Result<(Labels<'_>, &str), LabelProblem> {
    let mut rest = inside;
    for _ in 0..=LABELS_MAX {
        match pair(rest)? {
            Some((_, _, after)) => rest = after,
            None => {
                let rest = rest.trim_start_matches(BLANKS);
                let labels = &inside[..inside.len() - rest.len()];
                // `pair` stops only at the brace or at the end of the line.
                let after = rest.strip_prefix('}').ok_or(LabelProblem::Open)?;
                return Ok((Labels(labels), after));
            }
        }
    }
    Err(LabelProblem::TooMany)
}

/// The next `name="value"` with the comma after it; `None` where the labels end.
fn pair(text: &str) -> Result<Option<(&str, &str, &str)>, LabelProblem> {
    let text = text.trim_start_matches(BLANKS);
    if text.is_empty() || text.starts_with('}') {
        return Ok(None);
    }
    let (name, rest) = label_name(text)?;
    let rest = rest.trim_start_matches(BLANKS).strip_prefix('=').ok_or(LabelProblem::Form)?;
    let rest = rest.trim_start_matches(BLANKS).strip_prefix('"').ok_or(LabelProblem::Form)?;
    let end = value_end(rest).ok_or(LabelProblem::Open)?;
    let after = rest[end + 1..].trim_start_matches(BLANKS);
    let next = match after.strip_prefix(',') {
        Some(next) => next,
        None if after.is_empty() || after.starts_with('}') => after,
        None => return Err(LabelProblem::Form),
    };
    Ok(Some((name, &rest[..end], next)))
}

/// A plain word, or a quoted name, which may hold anything.
fn label_name(text: &str) -> Result<(&str, &str), LabelProblem> {
    if let Some(inside) = text.strip_prefix('"') {
        let end = value_end(inside).ok_or(LabelProblem::Open)?;
        return Ok((&inside[..end], &inside[end + 1..]));
    }
    let bytes = text.as_bytes();
    let end = bytes.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    if end == 0 || bytes[0].is_ascii_digit() {
        return Err(if text.is_empty() { LabelProblem::Open } else { LabelProblem::Form });
    }
    Ok(text.split_at(end))
}

/// The place of the quote that closes a value.
pub(super) fn value_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// `\\`, `\"` and `\n`. Any other backslash stands for itself, as Prometheus reads it.
fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match (character, characters.clone().next()) {
            ('\\', Some(escaped @ ('\\' | '"' | 'n'))) => {
                plain.push(if escaped == 'n' { '\n' } else { escaped });
                characters.next();
            }
            _ => plain.push(character),
        }
    }
    Cow::Owned(plain)
}
