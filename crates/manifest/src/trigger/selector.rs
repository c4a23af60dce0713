//! Label selectors as text: `app=web, tier in (a, b), !canary`.

/// Longest selector that is read; an object's labels and annotations together may have 256 KiB, and
/// nobody writes a selector of a hundredth of that.
const TEXT_MAX: usize = 2048;

/// A label selector; every requirement has to hold, and none at all matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    Exists,
    DoesNotExist,
    In(Vec<String>),
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

impl Selector {
    /// Reads a selector as Kubernetes' `labels.Parse` does.
    ///
    /// # Errors
    /// Why the text is not a selector, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Selector, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("is longer than {TEXT_MAX} characters"));
        }
        let mut tokens = Tokens { rest: text };
        let mut requirements = Vec::new();
        if tokens.peek() == Token::End {
            return Ok(Selector { requirements });
        }
        loop {
            requirements.push(requirement(&mut tokens)?);
            match tokens.next() {
                Token::End => return Ok(Selector { requirements }),
                Token::Symbol(",") => {}
                other => return Err(format!("has {other} where a comma or the end is due")),
            }
        }
    }

    /// Whether an object whose label of a name `label` gives is selected.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = label(&requirement.key);
            let is_one_of =
                |values: &[String]| value.is_some_and(|value| values.iter().any(|one| one == value));
            let number = || value.and_then(|value| value.parse::<i64>().ok());
            match &requirement.operator {
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
                Operator::In(values) => is_one_of(values),
                // An object without the label is not in any set.
                Operator::NotIn(values) => !is_one_of(values),
                Operator::Above(bound) => number().is_some_and(|value| value > *bound),
                Operator::Below(bound) => number().is_some_and(|value| value < *bound),
            }
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    End,
    Symbol(&'a str),
    Word(&'a str),
}

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::End => f.write_str("the end"),
            Token::Symbol(text) | Token::Word(text) => write!(f, "\"{text}\""),
        }
    }
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Token<'a> {
        self.rest = self.rest.trim_start();
        let is_symbol = |c: char| "(),!=<>".contains(c);
        let (length, symbol) = match self.rest.chars().next() {
            None => return Token::End,
            Some('=' | '!') if self.rest[1..].starts_with('=') => (2, true),
            Some(c) if is_symbol(c) => (1, true),
            Some(_) => (
                self.rest.find(|c: char| is_symbol(c) || c.is_whitespace()).unwrap_or(self.rest.len()),
                false,
            ),
        };
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        if symbol { Token::Symbol(token) } else { Token::Word(token) }
    }

    fn peek(&self) -> Token<'a> {
        Tokens { rest: self.rest }.next()
    }
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, String> {
    let mut token = tokens.next();
    let absent = token == Token::Symbol("!");
    if absent {
        token = tokens.next();
    }
    let Token::Word(key) = token else { return Err(format!("has {token} where a label's name is due")) };
    check_key(key)?;
    let ends = |token: Token<'_>| matches!(token, Token::End | Token::Symbol(","));
    let operator = if absent {
        Operator::DoesNotExist
    } else if ends(tokens.peek()) {
        Operator::Exists
    } else {
        match tokens.next() {
            Token::Symbol("=" | "==") => Operator::In(vec![exact(tokens, ends)?]),
            Token::Symbol("!=") => Operator::NotIn(vec![exact(tokens, ends)?]),
            Token::Symbol(">") => Operator::Above(bound(tokens)?),
            Token::Symbol("<") => Operator::Below(bound(tokens)?),
            Token::Word("in") => Operator::In(set(tokens)?),
            Token::Word("notin") => Operator::NotIn(set(tokens)?),
            other => {
                return Err(format!("has {other} after \"{key}\"; operators are =, !=, in, notin, > and <"));
            }
        }
    };
    Ok(Requirement { key: key.to_owned(), operator })
}

/// One value, which may be empty.
fn exact(tokens: &mut Tokens<'_>, ends: impl Fn(Token<'_>) -> bool) -> Result<String, String> {
    if ends(tokens.peek()) {
        return Ok(String::new());
    }
    match tokens.next() {
        Token::Word(value) => checked_value(value),
        other => Err(format!("has {other} where a label's value is due")),
    }
}

fn bound(tokens: &mut Tokens<'_>) -> Result<i64, String> {
    match tokens.next() {
        Token::Word(value) => {
            value.parse().map_err(|_| format!("compares with \"{value}\", which is no whole number"))
        }
        other => Err(format!("has {other} where a whole number is due")),
    }
}

/// `(a, b)`; values may be empty, and the set may not.
fn set(tokens: &mut Tokens<'_>) -> Result<Vec<String>, String> {
    let open = tokens.next();
    if open != Token::Symbol("(") {
        return Err(format!("has {open} where ( is due"));
    }
    if tokens.peek() == Token::Symbol(")") {
        return Err("has an empty set of values".to_owned());
    }
    let mut values = Vec::new();
    loop {
        let value = match tokens.peek() {
            Token::Word(value) => {
                tokens.next();
                checked_value(value)?
            }
            _ => String::new(),
        };
        values.push(value);
        match tokens.next() {
            Token::Symbol(",") => {}
            Token::Symbol(")") => return Ok(values),
            other => return Err(format!("has {other} in a set, where a comma or ) is due")),
        }
    }
}

fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let domain = |prefix: &str| {
        prefix.len() <= 253
            && prefix.split('.').all(|label| {
                let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
                !label.is_empty()
                    && label.bytes().all(|byte| plain(byte) || byte == b'-')
                    && label.bytes().next().is_some_and(plain)
                    && label.bytes().last().is_some_and(plain)
            })
    };
    if prefix.is_none_or(domain) && is_name(name) {
        Ok(())
    } else {
        Err(format!("has the name \"{key}\", which no label can have"))
    }
}

fn checked_value(value: &str) -> Result<String, String> {
    if is_name(value) {
        Ok(value.to_owned())
    } else {
        Err(format!("has the value \"{value}\", which no label can have"))
    }
}

/// At most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
fn is_name(text: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && ends(text.bytes().next())
        && ends(text.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_matches_what_kubernetes_matches() {
        let labels = |name: &str| match name {
            "app" => Some("web"),
            "example.com/tier" => Some("b"),
            "size" => Some("12"),
            "empty" => Some(""),
            _ => None,
        };
        for (text, expected) in [
            ("", true),
            ("  ", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("app=web", true),
            ("app == web", true),
            ("app=api", false),
            ("app!=api", true),
            ("other!=x", true),
            ("empty=", true),
            ("empty=,app=web", true),
            ("app=", false),
            ("example.com/tier in (a, b)", true),
            ("example.com/tier notin (a,b)", false),
            ("other notin (a)", true),
            ("other in (a)", false),
            ("empty in (,a)", true),
            ("size>11", true),
            ("size < 12", false),
            ("app > 1", false),
            ("app=web,!canary , size", true),
            ("app=web,canary", false),
            ("in", false),
        ] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.matches(labels), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_selector_is_refused() {
        for text in [
            ",",
            "=",
            "app=web,",
            ",app",
            "app web",
            "app in",
            "app in a",
            "app in ()",
            "app in (a",
            "app in (a b)",
            "!",
            "!app=web",
            "app=web=x",
            "app>x",
            "app=(a)",
            "-app",
            "a/b/c",
            "/app",
            "UP.com/app",
            "app=-x",
            "app=a/b",
            "app===web",
            "app!web",
            "()",
        ] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
        assert!(Selector::parse(&"a".repeat(64)).is_err());
        assert!(Selector::parse(&"a,".repeat(2000)).is_err());
    }
}
