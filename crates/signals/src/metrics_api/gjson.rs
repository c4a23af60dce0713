//! Paths into JSON, as GJSON writes them.
//!
//! | path | finds |
//! |---|---|
//! | `a.b` | a key of a key; `a\.b` a key with a dot |
//! | `a.0` | the first element |
//! | `a*`, `a?` | the first key that fits |
//! | `a.#` | how many elements |
//! | `a.#.b` | `b` of every element |
//! | `a.#(name=="x").b`, `a.#(n>1)#.b` | `b` of the first, of every element that fits |
//! | <code>a.#.b&#124;0</code> | the first of what was found so far |
//!
//! Modifiers (`@reverse`), several values at once (`{a,b}`) and lines of JSON (`..`) have no number to
//! point to, and are refused where the path is read.

use std::cmp::Ordering;

use serde_json::Value;

/// The longest path; the longest seen in manifests has 90 letters.
pub const PATH_BYTES_MAX: usize = 1 << 10;

/// Queries inside queries, and lists inside lists.
const DEPTH_MAX: usize = 8;

/// What is wrong with a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Longer than [`PATH_BYTES_MAX`].
    #[error("is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
    /// Deeper than anybody means.
    #[error("has more than {DEPTH_MAX} lists inside each other")]
    TooDeep,
    /// A part without a name.
    #[error("has an empty part")]
    Empty,
    /// A query that is not closed, or has no end.
    #[error("has a query that is not of the form #(name==\"value\")")]
    Query,
    /// What GJSON knows and a number does not need.
    #[error("uses {0}, which is not read here; point to one number")]
    Unsupported(&'static str),
}

/// A path, read once and followed often.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// What bars keep apart: each goes on with what the one before has found.
    stages: Vec<Vec<Step>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Pattern(String),
    Count,
    /// Of every element that fits, what the rest finds. `None` fits all.
    Each(Option<Test>, Vec<Step>),
    /// The first element that fits.
    First(Test),
}

#[derive(Clone, Debug, PartialEq)]
struct Test {
    path: Vec<Step>,
    compare: Option<(Compare, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
    NotLike,
}

/// What a path has found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<'v> {
    /// A value of the document.
    One(&'v Value),
    /// A number of elements.
    Count(usize),
    /// A list that is not in the document.
    Many(Vec<Found<'v>>),
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// As [`Error`] lists.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > PATH_BYTES_MAX {
            return Err(Error::TooLong);
        }
        let mut parser = Parser { rest: text, depth: 0 };
        let mut stages = vec![parser.steps(&['|'])?];
        while parser.take('|') {
            stages.push(parser.steps(&['|'])?);
        }
        if parser.rest.is_empty() { Ok(Path { stages }) } else { Err(Error::Query) }
    }

    /// What stands there in `value`.
    #[must_use]
    pub fn find<'v>(&self, value: &'v Value) -> Option<Found<'v>> {
        self.stages.iter().try_fold(Found::One(value), |found, steps| follow(found, steps))
    }
}

struct Parser<'t> {
    rest: &'t str,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn take(&mut self, letter: char) -> bool {
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Steps up to one of `ends`, which is left.
    fn steps(&mut self, ends: &[char]) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::new();
        loop {
            if self.rest.starts_with('#') {
                return self.list(steps, ends);
            }
            match self.rest.chars().next() {
                Some('@' | '!') => return Err(Error::Unsupported("a modifier")),
                Some('{' | '[') => return Err(Error::Unsupported("several values at once")),
                Some('.') => return Err(Error::Unsupported("lines of JSON")),
                _ => steps.push(self.key(ends)?),
            }
            if !self.take('.') {
                return Ok(steps);
            }
        }
    }

    /// `#` and what follows it: the last step, with the rest inside it where it goes through a list.
    fn list(&mut self, mut steps: Vec<Step>, ends: &[char]) -> Result<Vec<Step>, Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::TooDeep);
        }
        self.take('#');
        let test = if self.take('(') { Some(self.test()?) } else { None };
        let every = test.is_none() || self.take('#');
        let more = self.take('.');
        match (test, every) {
            (None, _) if !more => steps.push(Step::Count),
            (test, true) => {
                let rest = if more { self.steps(ends)? } else { Vec::new() };
                steps.push(Step::Each(test, rest));
            }
            (Some(test), false) => {
                steps.push(Step::First(test));
                if more {
                    steps.extend(self.steps(ends)?);
                }
            }
            (None, false) => return Err(Error::Query),
        }
        self.depth -= 1;
        Ok(steps)
    }

    fn key(&mut self, ends: &[char]) -> Result<Step, Error> {
        let (mut key, mut pattern) = (String::new(), false);
        let mut letters = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => key.push(letters.next().ok_or(Error::Empty)?.1),
                '.' => {
                    end = at;
                    break;
                }
                letter if ends.contains(&letter) => {
                    end = at;
                    break;
                }
                letter => {
                    pattern |= matches!(letter, '*' | '?');
                    key.push(letter);
                }
            }
        }
        self.rest = &self.rest[end..];
        match (key.is_empty(), pattern) {
            (true, _) => Err(Error::Empty),
            (false, true) => Ok(Step::Pattern(key)),
            (false, false) => Ok(Step::Key(key)),
        }
    }

    /// `name=="value")`, after the opening bracket.
    fn test(&mut self) -> Result<Test, Error> {
        const ENDS: [char; 7] = ['=', '!', '<', '>', '%', ')', ' '];
        // A bare comparison is of the element itself.
        let path = if self.rest.starts_with(ENDS) { Vec::new() } else { self.steps(&ENDS)? };
        self.rest = self.rest.trim_start();
        let operators = [
            ("==", Compare::Equal),
            ("!=", Compare::NotEqual),
            ("<=", Compare::LessOrEqual),
            (">=", Compare::GreaterOrEqual),
            ("!%", Compare::NotLike),
            ("=", Compare::Equal),
            ("<", Compare::Less),
            (">", Compare::Greater),
            ("%", Compare::Like),
        ];
        let found = operators.iter().find(|(text, _)| self.rest.starts_with(text));
        let Some((text, compare)) = found else {
            return if self.take(')') { Ok(Test { path, compare: None }) } else { Err(Error::Query) };
        };
        self.rest = self.rest[text.len()..].trim_start();
        let (value, rest) = self.value().ok_or(Error::Query)?;
        self.rest = rest.trim_start();
        if self.take(')') { Ok(Test { path, compare: Some((*compare, value)) }) } else { Err(Error::Query) }
    }

    /// A text, a number or a word of JSON, and what follows it.
    fn value(&self) -> Option<(Value, &'t str)> {
        if !self.rest.starts_with('"') {
            let end = self.rest.find(')')?;
            let value: Value = serde_json::from_str(self.rest[..end].trim()).ok()?;
            let plain = !value.is_array() && !value.is_object();
            return plain.then_some((value, &self.rest[end..]));
        }
        // JSON's own reader says where a text ends.
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<Value>();
        let value = values.next()?.ok()?;
        Some((value, &self.rest[values.byte_offset()..]))
    }
}

fn follow<'v>(mut found: Found<'v>, steps: &[Step]) -> Option<Found<'v>> {
    for step in steps {
        found = match step {
            Step::Key(key) => match found {
                Found::One(Value::Object(entries)) => Found::One(entries.get(key)?),
                list => elements(list)?.into_iter().nth(key.parse().ok()?)?,
            },
            Step::Pattern(pattern) => match found {
                Found::One(Value::Object(entries)) => {
                    Found::One(entries.iter().find(|(key, _)| like(key, pattern))?.1)
                }
                _ => return None,
            },
            Step::Count => Found::Count(elements(found)?.len()),
            Step::First(test) => elements(found)?.into_iter().find(|element| test.fits(element))?,
            Step::Each(test, rest) => {
                let fits = |element: &Found<'v>| test.as_ref().is_none_or(|test| test.fits(element));
                let all = elements(found)?.into_iter().filter(fits);
                Found::Many(all.filter_map(|element| follow(element, rest)).collect())
            }
        };
    }
    Some(found)
}

fn elements(found: Found<'_>) -> Option<Vec<Found<'_>>> {
    match found {
        Found::One(Value::Array(items)) => Some(items.iter().map(Found::One).collect()),
        Found::Many(items) => Some(items),
        Found::One(_) | Found::Count(_) => None,
    }
}

impl Test {
    fn fits(&self, element: &Found<'_>) -> bool {
        let Some(Found::One(value)) = follow(element.clone(), &self.path) else { return false };
        let Some((compare, wanted)) = &self.compare else { return true };
        let order = match (value, wanted) {
            (Value::String(value), Value::String(wanted)) => match compare {
                Compare::Like => return like(value, wanted),
                Compare::NotLike => return !like(value, wanted),
                _ => Some(value.cmp(wanted)),
            },
            (Value::Number(value), Value::Number(wanted)) => {
                value.as_f64().zip(wanted.as_f64()).and_then(|(value, wanted)| value.partial_cmp(&wanted))
            }
            (value, wanted) => (value == wanted).then_some(Ordering::Equal),
        };
        match compare {
            Compare::Equal => order == Some(Ordering::Equal),
            Compare::NotEqual => order != Some(Ordering::Equal),
            Compare::Less => order == Some(Ordering::Less),
            Compare::LessOrEqual => order.is_some_and(Ordering::is_le),
            Compare::Greater => order == Some(Ordering::Greater),
            Compare::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
            Compare::Like | Compare::NotLike => false,
        }
    }
}

/// Whether `text` fits a pattern of `*` and `?`. Goes back only to the last star, so the time is the
/// product of both lengths at the worst.
fn like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut want, mut star) = (0, 0, None);
    while at < text.len() {
        match pattern.get(want) {
            Some('*') => {
                star = Some((want, at));
                want += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[at] => {
                at += 1;
                want += 1;
            }
            _ => {
                let Some((back, from)) = star else { return false };
                star = Some((back, from + 1));
                (at, want) = (from + 1, back + 1);
            }
        }
    }
    pattern[want..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "name": { "first": "Ann", "a.b": 3 },
            "children": ["x", "y", "z"],
            "models": [
                { "name": "chat", "waiting": 4, "queues": [1, 2] },
                { "name": "code", "waiting": 9, "queues": [] },
                { "name": "chat-long", "waiting": 1, "queues": [3], "paused": true },
            ],
            "42": 7,
        })
    }

    fn number(path: &str) -> Option<f64> {
        let document = document();
        match Path::parse(path).expect(path).find(&document)? {
            Found::One(value) => value.as_f64(),
            Found::Count(count) => Some(count as f64),
            Found::Many(_) => None,
        }
    }

    #[test]
    fn each_form_of_path_finds_its_number() {
        for (path, value) in [
            (r"name.a\.b", 3.0),
            ("42", 7.0),
            ("children.#", 3.0),
            ("models.1.waiting", 9.0),
            ("mod*.0.wait???", 4.0),
            ("models.#.waiting|2", 1.0),
            ("models.#.waiting|#", 3.0),
            (r#"models.#(name=="code").waiting"#, 9.0),
            (r#"models.#(name%"chat-*").waiting"#, 1.0),
            ("models.#(waiting>3)#|#", 2.0),
            ("models.#(waiting>=1)#.queues|1|#", 0.0),
            ("models.#(waiting < 4).queues.0", 3.0),
            ("models.#(paused==true).waiting", 1.0),
            ("models.#(paused).waiting", 1.0),
            ("models.#(queues.#(==2)).waiting", 4.0),
        ] {
            assert_eq!(number(path), Some(value), "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in
            ["nothing", "name.last", "models.3.waiting", "children.x", "name.#", "name.first.x", "42.0"]
        {
            assert_eq!(number(path), None, "{path}");
        }
        assert_eq!(number("models.#.waiting"), None, "a list is no number");
    }

    #[test]
    fn a_path_that_makes_no_sense_is_refused_when_it_is_read() {
        for (path, error) in [
            ("", Error::Empty),
            ("a.", Error::Empty),
            ("a|", Error::Empty),
            ("a.#(b==", Error::Query),
            ("a.#(b==1", Error::Query),
            ("a.#(b==nothing)", Error::Query),
            ("a.@reverse", Error::Unsupported("a modifier")),
            ("{a,b}", Error::Unsupported("several values at once")),
            ("..#", Error::Unsupported("lines of JSON")),
        ] {
            assert_eq!(Path::parse(path), Err(error), "{path}");
        }
        assert_eq!(Path::parse(&"#.".repeat(9)), Err(Error::TooDeep));
        assert_eq!(Path::parse(&"a".repeat(PATH_BYTES_MAX + 1)), Err(Error::TooLong));
    }

    #[test]
    fn patterns_take_no_time_that_explodes() {
        assert!(!like(&"a".repeat(2_000), &format!("{}b", "a*".repeat(400))));
        assert!(like("a*b", "a*b") && like("", "*") && !like("", "?") && like("äb", "?b"));
    }
}
