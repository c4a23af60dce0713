//! One line of a page: its name first, and the rest only if somebody wants it.

use super::labels::{self, Labels};
use super::{Error, Format, Sample};

/// How much of a wrong text an error shows.
const SHOWN_CHARS: usize = 40;

/// A line of which only the name has been read.
pub(super) struct Line<'t> {
    number: usize,
    text: &'t str,
    pub(super) name: &'t str,
    rest: Rest<'t>,
}

/// What follows the name.
enum Rest<'t> {
    /// Labels are still to come if this begins with `{`.
    Plain(&'t str),
    /// The name stood quoted inside the braces; this is what followed it there.
    Braced(&'t str),
}

impl<'t> Line<'t> {
    /// Reads the name. `None` for a comment or an empty line. `last` is the name of the line before:
    /// most lines repeat it, and comparing is cheaper than reading.
    pub(super) fn begin(text: &'t str, last: &'t str, number: usize) -> Result<Option<Self>, Error> {
        // Nearly half of all lines are comments.
        if text.starts_with('#') {
            return Ok(None);
        }
        let body = trimmed(text);
        if body.is_empty() || body.starts_with('#') {
            return Ok(None);
        }
        let wrong = || Error::Name { line: number, found: shown(body) };
        if let Some(inside) = body.strip_prefix('{') {
            let (name, rest) = quoted_name(inside).ok_or_else(wrong)?;
            return Ok(Some(Line { number, text: body, name, rest: Rest::Braced(rest) }));
        }
        let bytes = body.as_bytes();
        let ends_name = |at: usize| matches!(bytes.get(at), Some(b'{' | b' ' | b'\t'));
        let repeats = !last.is_empty() && body.starts_with(last) && ends_name(last.len());
        let end = if repeats { last.len() } else { name_end(bytes) };
        if end == 0 || !ends_name(end) {
            return Err(wrong());
        }
        let (name, rest) = body.split_at(end);
        Ok(Some(Line { number, text: body, name, rest: Rest::Plain(rest.trim_start_matches([' ', '\t'])) }))
    }

    /// Reads labels, value and timestamp. `None` if the value is not finite.
    pub(super) fn finish(self, format: Format) -> Result<Option<Sample<'t>>, Error> {
        let labelled = |inside: &'t str| {
            labels::split(inside).map_err(|problem| Error::Labels { line: self.number, problem })
        };
        let (labels, rest) = match self.rest {
            Rest::Braced(inside) => labelled(inside)?,
            Rest::Plain(rest) => match rest.strip_prefix('{') {
                Some(inside) => labelled(inside)?,
                None => (Labels::default(), rest),
            },
        };
        let series = self.text[..self.text.len() - rest.len()].trim_end_matches([' ', '\t']);
        let mut words = Words(rest);
        let written = words.next().unwrap_or_default();
        let value =
            number(written).ok_or_else(|| Error::Value { line: self.number, found: shown(written) })?;
        let timestamp_ms = match words.next() {
            None => None,
            Some(text) => Some(
                timestamp_ms(text, format)
                    .ok_or_else(|| Error::Timestamp { line: self.number, found: shown(text) })?,
            ),
        };
        if let Some(more) = words.next() {
            return Err(Error::Timestamp { line: self.number, found: shown(more) });
        }
        Ok(value.is_finite().then_some(Sample { series, name: self.name, labels, value, timestamp_ms }))
    }
}

/// The words of a line's end; an exemplar (`# {…} 0.5`) is none of them.
struct Words<'t>(&'t str);

impl<'t> Iterator for Words<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let text = self.0.trim_start_matches([' ', '\t']);
        if text.is_empty() || text.starts_with('#') {
            self.0 = "";
            return None;
        }
        let end = text.find([' ', '\t']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.0 = rest;
        Some(word)
    }
}

/// Without blanks and a carriage return at the ends. By bytes: no other character has one of these in it.
fn trimmed(text: &str) -> &str {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
    let bytes = text.as_bytes();
    let start = bytes.iter().take_while(|byte| blank(byte)).count();
    let end = bytes.len() - bytes[start..].iter().rev().take_while(|byte| blank(byte)).count();
    &text[start..end]
}

fn name_end(bytes: &[u8]) -> usize {
    if bytes.first().is_some_and(u8::is_ascii_digit) {
        return 0;
    }
    bytes.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')).count()
}

/// `"a.name"` or `"a.name", more`: the form for names that are not plain words. One with an escape is
/// no name of any engine, so it is left as written.
fn quoted_name(inside: &str) -> Option<(&str, &str)> {
    let text = inside.trim_start_matches([' ', '\t']).strip_prefix('"')?;
    let end = labels::value_end(text)?;
    let rest = text[end + 1..].trim_start_matches([' ', '\t']);
    match rest.strip_prefix(',') {
        Some(rest) => Some((&text[..end], rest)),
        None => rest.starts_with('}').then_some((&text[..end], rest)),
    }
}

/// As Go writes numbers: decimal, `NaN`, `+Inf`.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn timestamp_ms(text: &str, format: Format) -> Option<i64> {
    match format {
        Format::Text => text.parse().ok(),
        Format::OpenMetrics => {
            let ms = text.parse::<f64>().ok()? * 1000.0;
            // 9.2e18 is just below i64::MAX.
            (ms.is_finite() && ms.abs() < 9.2e18).then_some(ms as i64)
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}
