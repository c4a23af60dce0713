//! A first look at a query: its tokens with their places, and the limits.
//!
//! The parser works on a tree: it recurses to check it, to walk it and to drop it, and its tree
//! carries no positions. So before it sees a query, this pass refuses what could exhaust a stack or
//! make it panic, and remembers where things are. It reads strings and comments exactly as the
//! parser does, or a bracket could hide in one from the other.

use std::ops::Range;

use super::Error;

/// The longest query accepted. Prometheus' own rules files stay a hundred times below.
pub(super) const QUERY_BYTES_MAX: usize = 16 * 1024;

/// The deepest nesting of brackets. Each level costs the parser a few stack frames.
pub(super) const NESTING_MAX: usize = 64;

/// The most operators and subqueries. A chain `a + a + …` is a tree as deep as it is long, so this
/// and [`NESTING_MAX`] bound the tree at about 400 levels: at 1 KiB a frame, a fifth of a thread's
/// 2 MiB stack.
pub(super) const OPERATORS_MAX: usize = 256;

/// The most regular expressions. The dearest of a few bytes (`(x{1000}){1000}`) take 20 ms to
/// compile, so all of them together stay below a second.
pub(super) const REGEXES_MAX: usize = 32;

/// The longest bare number of seconds as a window or an offset: about three thousand years.
const WINDOW_S_MAX: f64 = 1e11;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Number,
    Text,
    Sign,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Range<usize>,
}

impl Token {
    pub(super) fn text<'q>(&self, query: &'q str) -> &'q str {
        &query[self.span.clone()]
    }
}

/// Takes `query` apart, or says why it is refused.
pub(super) fn scan(query: &str) -> Result<Vec<Token>, Error> {
    if query.len() > QUERY_BYTES_MAX {
        return Err(Error::TooLong { bytes: query.len() });
    }
    let tokens = tokens(query)?;
    check_brackets(query, &tokens)?;
    check_operators(query, &tokens)?;
    check_regexes(query, &tokens)?;
    check_windows(query, &tokens)?;
    Ok(tokens)
}

fn tokens(query: &str) -> Result<Vec<Token>, Error> {
    let bytes = query.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    // A colon belongs to a name, except between window and step of a subquery.
    let mut in_window = false;
    while let Some(&byte) = bytes.get(at) {
        let end = match byte {
            b'#' => {
                at += bytes[at..].iter().take_while(|b| !matches!(b, b'\r' | b'\n')).count();
                continue;
            }
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'"' | b'\'' | b'`' => text_end(bytes, at)?,
            b':' if in_window => at + 1,
            b if is_word(b) && !b.is_ascii_digit() => {
                at + bytes[at..].iter().take_while(|b| is_word(**b)).count()
            }
            b if b.is_ascii_digit() || (b == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)) => {
                number_end(bytes, at)
            }
            b'=' | b'!' | b'<' | b'>' if matches!(bytes.get(at + 1), Some(b'=' | b'~')) => at + 2,
            _ => at + query[at..].chars().next().map_or(1, char::len_utf8),
        };
        let kind = match byte {
            b'"' | b'\'' | b'`' => Kind::Text,
            b':' if in_window => Kind::Sign,
            b if is_word(b) && !b.is_ascii_digit() => Kind::Word,
            b if b.is_ascii_digit() || (b == b'.' && end > at + 1) => Kind::Number,
            _ => Kind::Sign,
        };
        in_window = byte == b'[' || (in_window && byte != b']');
        tokens.push(Token { kind, span: at..end });
        at = end;
    }
    Ok(tokens)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

/// The parser reads a backslash as an escape in all three kinds of string.
fn text_end(bytes: &[u8], start: usize) -> Result<usize, Error> {
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b if b == bytes[start] => return Ok(at + 1),
            _ => at += 1,
        }
    }
    Err(Error::OpenString { at: start })
}

/// Numbers and durations alike: `1e+5`, `0x1f`, `.5`, `1h30m`.
fn number_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        let signed_exponent = matches!(byte, b'+' | b'-')
            && at > start
            && matches!(bytes[at - 1], b'e' | b'E')
            && bytes[start..at - 1].iter().all(|b| b.is_ascii_digit() || *b == b'.');
        if !(byte.is_ascii_alphanumeric() || byte == b'.' || signed_exponent) {
            break;
        }
        at += 1;
    }
    at
}

fn check_brackets(query: &str, tokens: &[Token]) -> Result<(), Error> {
    let mut open: Vec<(char, usize)> = Vec::new();
    for token in tokens.iter().filter(|token| token.kind == Kind::Sign) {
        let at = token.span.start;
        let closed = match token.text(query) {
            text @ ("(" | "[" | "{") => {
                open.push((text.chars().next().unwrap_or('('), at));
                if open.len() > NESTING_MAX {
                    return Err(Error::TooDeep { at });
                }
                continue;
            }
            ")" => ('(', ')'),
            "]" => ('[', ']'),
            "}" => ('{', '}'),
            _ => continue,
        };
        if open.pop().is_none_or(|(opened, _)| opened != closed.0) {
            return Err(Error::Unopened { bracket: closed.1, at });
        }
    }
    match open.pop() {
        Some((bracket, at)) => Err(Error::Unclosed { bracket, at }),
        None => Ok(()),
    }
}

fn check_operators(query: &str, tokens: &[Token]) -> Result<(), Error> {
    let operators = tokens.iter().filter(|token| match token.kind {
        Kind::Sign => {
            !matches!(token.text(query), "(" | ")" | "]" | "{" | "}" | "," | ":" | "=" | "=~" | "!~" | "@")
        }
        Kind::Word => {
            ["and", "or", "unless", "atan2"].iter().any(|word| token.text(query).eq_ignore_ascii_case(word))
        }
        Kind::Number | Kind::Text => false,
    });
    match operators.map(|token| token.span.start).nth(OPERATORS_MAX) {
        Some(at) => Err(Error::TooManyOperators { at }),
        None => Ok(()),
    }
}

fn check_regexes(query: &str, tokens: &[Token]) -> Result<(), Error> {
    let regexes = tokens.iter().filter(|token| matches!(token.text(query), "=~" | "!~"));
    match regexes.map(|token| token.span.start).nth(REGEXES_MAX) {
        Some(at) => Err(Error::TooManyRegexes { at }),
        None => Ok(()),
    }
}

/// The parser turns a bare number of seconds into a duration without checking that it fits.
fn check_windows(query: &str, tokens: &[Token]) -> Result<(), Error> {
    let mut after = "";
    for token in tokens {
        let text = token.text(query);
        let is_window = matches!(after, "[" | ":") || after.eq_ignore_ascii_case("offset");
        let seconds = text.parse::<f64>().unwrap_or(0.0);
        if is_window && (seconds.is_nan() || seconds > WINDOW_S_MAX) {
            return Err(Error::Window { at: token.span.start });
        }
        if !(is_window && matches!(text, "+" | "-")) {
            after = text;
        }
    }
    Ok(())
}
