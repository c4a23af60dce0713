//! What is checked of a formula's text before the engine sees it.
//!
//! The engine descends by recursion, parses an index twice for each level it is nested in, and gives
//! `??` everything to its right. So depth is limited, and what it would read otherwise than KEDA's
//! engine is refused with a sentence. Names are looked up here, wherever they stand: the engine would
//! miss a wrong one only when it reaches it.

use std::borrow::Cow;
use std::sync::Arc;

use tidegate_core::formula::Error;

use super::error;

/// A formula is at most this long: the longest in KEDA's documentation has 80 characters.
const LENGTH_MAX: usize = 4_096;
/// Brackets and operators on one path from the whole formula to a value. Unoptimised, a level takes at
/// most 20 KiB of the stack: 48 of them are half of a thread's 2 MiB.
const DEPTH_MAX: usize = 48;
/// Indexes within indexes; each is parsed twice, so the innermost 2³ times.
const INDEX_DEPTH_MAX: usize = 3;
/// Conditions that begin with `if`; one without `else` is parsed twice, so at worst 2⁶ times.
const IFS_MAX: usize = 6;

/// What a formula may name besides its triggers: arithmetic over numbers and lists. Text, ranges and
/// dates have no use here and could take memory without bound.
const WORDS: &[&str] = &[
    "abs",
    "all",
    "and",
    "any",
    "bitand",
    "bitnand",
    "bitnot",
    "bitor",
    "bitshl",
    "bitshr",
    "bitushr",
    "bitxor",
    "ceil",
    "concat",
    "count",
    "else",
    "false",
    "filter",
    "find",
    "findIndex",
    "findLast",
    "findLastIndex",
    "first",
    "flatten",
    "float",
    "floor",
    "get",
    "groupBy",
    "if",
    "in",
    "int",
    "last",
    "len",
    "let",
    "map",
    "max",
    "mean",
    "median",
    "min",
    "nil",
    "none",
    "not",
    "one",
    "or",
    "reduce",
    "reverse",
    "round",
    "sort",
    "sortBy",
    "sum",
    "take",
    "true",
    "uniq",
];

/// Words the engine's grammar takes for the beginning of every name that begins with them.
const GREEDY: &[&str] = &["false", "nil", "not", "true"];

const PAIRS: &[&str] = &["**", "&&", "||", "==", "!=", "<=", ">=", "??", "?.", "//", "/*"];

/// The name under which the engine knows a name: of the same length, so that its places stay true.
pub(super) fn alias(name: &str) -> Cow<'_, str> {
    if GREEDY.iter().any(|word| name.len() > word.len() && name.starts_with(word)) {
        Cow::Owned(format!("_{}", &name[1..]))
    } else {
        Cow::Borrowed(name)
    }
}

/// The text for the engine.
pub(super) fn check(source: &str, variables: &[Arc<str>]) -> Result<String, Error> {
    if source.len() > LENGTH_MAX {
        return Err(error(format!("the formula has {} bytes, more than {LENGTH_MAX}", source.len())));
    }
    if let Some(at) = source.find(['"', '\'', '`']) {
        let before = source.get(..at).unwrap_or_default().chars().count();
        return Err(error(format!("text has no place in a formula (character {})", before + 1)));
    }
    if source.contains("..") {
        return Err(error("ranges (..) have no place in a formula"));
    }
    let alike =
        |name: &&Arc<str>| *alias(name) != ***name && variables.iter().any(|other| **other == *alias(name));
    if let Some(name) = variables.iter().find(alike) {
        return Err(error(format!("a formula cannot tell {name} and {}: rename one", alias(name))));
    }
    let mut text = String::with_capacity(source.len());
    let mut walk =
        Walk { variables, locals: Vec::new(), levels: vec![Level::default()], ifs: 0, previous: "" };
    let mut end = 0;
    for (start, token) in (Tokens { source, at: 0 }) {
        let named = walk.take(token)?;
        text.push_str(source.get(end..start).unwrap_or_default());
        text.push_str(&if named { alias(token) } else { Cow::Borrowed(token) });
        end = start + token.len();
    }
    if walk.levels.len() > 1 {
        return Err(error("a bracket is not closed"));
    }
    if walk.levels.pop().is_some_and(|level| level.depth() > DEPTH_MAX) {
        return Err(too_deep());
    }
    Ok(text)
}

fn too_deep() -> Error {
    error(format!("brackets and operators nest deeper than {DEPTH_MAX}"))
}

/// What stands between two brackets, or in the whole.
#[derive(Debug, Default)]
struct Level {
    closer: &'static str,
    index: bool,
    /// Operators since the last comma or semicolon.
    operators: usize,
    /// The deepest bracket since then.
    inner: usize,
    /// The deepest of what was before.
    before: usize,
    /// Conditions (`?`) whose `:` is to come.
    conditions: usize,
    /// Whether a `??` was the last operator.
    coalesced: bool,
}

impl Level {
    fn depth(&self) -> usize {
        self.before.max(self.operators + self.inner)
    }

    fn next_item(&mut self) {
        *self = Level { closer: self.closer, index: self.index, before: self.depth(), ..Level::default() };
    }
}

struct Walk<'a> {
    variables: &'a [Arc<str>],
    locals: Vec<&'a str>,
    levels: Vec<Level>,
    ifs: usize,
    previous: &'a str,
}

impl<'a> Walk<'a> {
    /// Takes one token; whether it is the name of a trigger or of a local value.
    fn take(&mut self, token: &'a str) -> Result<bool, Error> {
        let first = token.chars().next().unwrap_or(' ');
        let mut named = false;
        match token {
            "(" => self.open(")", false)?,
            "{" => self.open("}", false)?,
            "[" => {
                let value = self.previous.ends_with(|c: char| c.is_alphanumeric() || "_)]}#".contains(c));
                let index = value && !matches!(self.previous, "in" | "and" | "or" | "not" | "if");
                self.open("]", index)?;
            }
            ")" | "]" | "}" => self.close(token)?,
            "," | ";" => self.top().next_item(),
            ":" => self.colon()?,
            "//" | "/*" => return Err(error("comments have no place in a formula")),
            "and" | "or" | "in" => self.operator(token)?,
            "not" if self.previous != "." => self.operator(token)?,
            _ if first.is_alphabetic() || first == '_' => named = self.word(token)?,
            _ if first.is_alphanumeric() || matches!(token, "#" | "$") || first == '.' && token.len() > 1 => {
            }
            _ => self.operator(token)?,
        }
        self.previous = token;
        Ok(named)
    }

    fn top(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        let last = self.levels.len() - 1;
        &mut self.levels[last]
    }

    fn open(&mut self, closer: &'static str, index: bool) -> Result<(), Error> {
        self.top().operators += usize::from(index);
        self.levels.push(Level { closer, index, ..Level::default() });
        if self.levels.iter().filter(|level| level.index).count() > INDEX_DEPTH_MAX {
            return Err(error(format!("an index stands in more than {INDEX_DEPTH_MAX} others")));
        }
        if self.levels.len() > DEPTH_MAX { Err(too_deep()) } else { Ok(()) }
    }

    fn close(&mut self, token: &str) -> Result<(), Error> {
        let Some(level) = self.levels.pop().filter(|level| level.closer == token) else {
            return Err(error(format!("a {token} closes nothing")));
        };
        let parent = self.top();
        parent.inner = parent.inner.max(level.depth() + 1);
        Ok(())
    }

    fn colon(&mut self) -> Result<(), Error> {
        let level = self.top();
        level.coalesced = false;
        if level.conditions > 0 {
            level.conditions -= 1;
        } else if !level.index {
            return Err(error(
                "a : belongs to a condition (a ? b : c) or a slice; maps have no place in a formula",
            ));
        }
        Ok(())
    }

    fn operator(&mut self, token: &str) -> Result<(), Error> {
        let after_coalesce = self.previous == "??";
        let level = self.top();
        level.operators += 1;
        match token {
            "??" => level.coalesced = true,
            "." | "?." => {}
            "-" | "+" | "!" | "not" if after_coalesce => {}
            // KEDA's engine refuses most of these, and takes the rest otherwise than ours would.
            _ if level.coalesced => {
                return Err(error(format!("?? before {token} needs parentheses, as in (a ?? b) {token} c")));
            }
            "?" => level.conditions += 1,
            _ => {}
        }
        Ok(())
    }

    fn word(&mut self, word: &'a str) -> Result<bool, Error> {
        if word == "if" {
            self.ifs += 1;
            self.top().operators += 1;
            if self.ifs > IFS_MAX {
                return Err(error(format!("more than {IFS_MAX} times if")));
            }
        }
        let trigger = self.variables.iter().any(|name| **name == *word || *alias(name) == *word);
        let known = trigger || self.locals.contains(&word);
        if self.previous == "let" {
            if trigger || WORDS.contains(&word) {
                return Err(error(format!("let {word}: that name is taken")));
            }
            self.locals.push(word);
            return Ok(true);
        }
        if matches!(self.previous, "." | "?." | "#") {
            return Ok(false);
        }
        if known || WORDS.contains(&word) { Ok(known) } else { Err(error(unknown(word, self.variables))) }
    }
}

fn unknown(name: &str, variables: &[Arc<str>]) -> String {
    let known: Vec<&str> = variables.iter().map(|name| &**name).collect();
    let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if let Some(odd) = known.iter().find(|known| !plain(known) && known.starts_with(name)) {
        return format!(
            "{name} is no trigger, and {odd} is no name a formula can use: rename it with _ alone"
        );
    }
    let hint = match crate::nearest::nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None if known.is_empty() => "no trigger has a name".to_owned(),
        None => format!("triggers with a name: {}", known.join(", ")),
    };
    format!("{name} is no trigger of this object: {hint}")
}

/// Words, numbers and operators with their places. Good enough for names, brackets and operators; the
/// parser proper follows.
struct Tokens<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.source.get(self.at..)?;
        let start = self.at + (rest.len() - rest.trim_start().len());
        let rest = rest.trim_start();
        let mut characters = rest.chars();
        let first = characters.next()?;
        let second = characters.next().unwrap_or(' ');
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if first.is_ascii_digit() || (first == '.' && second.is_ascii_digit()) {
            number(rest)
        } else if word(first) {
            rest.find(|c| !word(c)).unwrap_or(rest.len())
        } else {
            PAIRS.iter().find(|pair| rest.starts_with(**pair)).map_or(first.len_utf8(), |pair| pair.len())
        };
        self.at = start + length;
        Some((start, rest.get(..length)?))
    }
}

/// The length of a number: `12`, `0x1f`, `1_000.5e-3`.
fn number(text: &str) -> usize {
    let hex = text.starts_with("0x") || text.starts_with("0X");
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        let sign = matches!(c, '+' | '-') && matches!(previous, 'e' | 'E') && !hex;
        if !(c.is_ascii_alphanumeric() || c == '_' || c == '.' || sign) {
            return at;
        }
        previous = c;
    }
    text.len()
}
