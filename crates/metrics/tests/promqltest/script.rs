//! The language: `load`, `clear`, `eval`.

/// One command with the lines that belong to it.
#[derive(Debug)]
pub(crate) struct Command<'t> {
    pub(crate) line: usize,
    pub(crate) head: &'t str,
    pub(crate) body: Vec<&'t str>,
}

/// Takes a script apart: a command begins at the margin, its lines are indented, `#` begins a comment.
pub(crate) fn commands(text: &str) -> Vec<Command<'_>> {
    let mut commands: Vec<Command<'_>> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let begins = ["load", "clear", "eval"].iter().any(|word| trimmed.starts_with(word));
        match commands.last_mut() {
            Some(command) if line.starts_with([' ', '\t']) || !begins => command.body.push(trimmed),
            _ => commands.push(Command { line: at + 1, head: trimmed, body: Vec::new() }),
        }
    }
    commands
}

/// `5m`, `1h30m`, `-10s`, or a number of seconds; in milliseconds.
pub(crate) fn duration_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Some((seconds * 1000.0).round() as i64);
    }
    let (sign, mut rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let mut total = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| at + digits);
        let ms = match &rest[digits..unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            _ => return None,
        };
        total += rest[..digits].parse::<i64>().ok()? * ms;
        rest = &rest[unit..];
    }
    Some(sign * total)
}

/// Labels, `__name__` among them, sorted.
pub(crate) type Labels = Vec<(String, String)>;

/// A series and what follows it: `name{a="b"} 1 2 3` or `{"name", a="b"} 1`.
pub(crate) fn series(line: &str) -> Option<(Labels, &str)> {
    let mut labels = Vec::new();
    let name = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
    if name > 0 && !is_number(&line[..name]) {
        labels.push(("__name__".to_owned(), line[..name].to_owned()));
    } else if name > 0 {
        return Some((labels, line));
    }
    let mut rest = line[name..].trim_start();
    if let Some(inside) = rest.strip_prefix('{').filter(|inside| !inside.starts_with('{')) {
        rest = inside;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            if rest.starts_with(['"', '\'', '`']) {
                let (text, after) = quoted(rest)?;
                rest = after.trim_start();
                match rest.strip_prefix('=') {
                    None => labels.push(("__name__".to_owned(), text)),
                    Some(after) => {
                        let (value, after) = quoted(after.trim_start())?;
                        labels.push((text, value));
                        rest = after;
                    }
                }
                continue;
            }
            let (label, after) = rest.split_once('=')?;
            let (value, after) = quoted(after.trim_start())?;
            labels.push((label.trim().to_owned(), value));
            rest = after;
        }
    }
    labels.sort();
    Some((labels, rest.trim()))
}

fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) || ["NaN", "Inf"].contains(&text)
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| "\"'`".contains(*c))?;
    let mut made = String::new();
    let mut chars = text[1..].char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((made, &text[at + 2..]));
        }
        if c == '\\' && quote != '`' {
            match chars.next()?.1 {
                'n' => made.push('\n'),
                't' => made.push('\t'),
                'x' => {
                    let digits: String = chars.by_ref().take(2).map(|(_, c)| c).collect();
                    made.push(char::from(u8::from_str_radix(&digits, 16).ok()?));
                }
                'u' => {
                    let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    made.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                other => made.push(other),
            }
        } else {
            made.push(c);
        }
    }
    None
}

/// One point of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Point {
    Value(f64),
    Missing,
    Stale,
}

/// `1 2+1x3 _x2 stale`: the points, `None` where one is a native histogram.
pub(crate) fn points(text: &str) -> Option<Vec<Point>> {
    if text.contains("{{") {
        return None;
    }
    let mut points = Vec::new();
    for word in text.split_whitespace() {
        let (base, times) = match word.rsplit_once('x') {
            Some((base, times)) => (base, times.parse::<usize>().ok()?),
            None => (word, 0),
        };
        if base == "_" {
            points.extend(std::iter::repeat_n(Point::Missing, times.max(1)));
            continue;
        }
        if base == "stale" {
            points.push(Point::Stale);
            continue;
        }
        let (start, step) = match number(base) {
            Some(start) => (start, 0.0),
            None => {
                // `1e+3-2x4`: the sign that is not at the beginning nor after an exponent.
                let signs = base
                    .char_indices()
                    .skip(1)
                    .filter(|(at, c)| "+-".contains(*c) && !base[..*at].ends_with(['e', 'E', '+', '-']));
                let (at, sign) = signs.last()?;
                let step = number(&base[at + 1..])?;
                (number(&base[..at])?, if sign == '-' { -step } else { step })
            }
        };
        points.extend((0..=times).map(|at| Point::Value(start + step * at as f64)));
    }
    Some(points)
}

pub(crate) fn number(text: &str) -> Option<f64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok().map(|whole| whole as f64);
    }
    text.parse().ok()
}
