//! Reading Markdown: fences, tables, cells.

use super::Failure;

/// A part of a scenario that means something.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// A manifest.
    Manifest(String),
    /// A timeline.
    Timeline(Timeline),
}

/// A table whose first column is `t`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Timeline {
    pub(super) columns: Vec<String>,
    /// Line number and cells of each row.
    pub(super) rows: Vec<(usize, Vec<String>)>,
}

/// Ticks one range may have.
const TICKS_MAX: usize = 100_000;

pub(super) fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut fence: Option<(bool, String)> = None;
    let mut timeline = Timeline::default();
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if let Some((yaml, mut body)) = fence.take() {
            if trimmed.starts_with("```") {
                if yaml {
                    parts.push(Part::Manifest(body));
                }
            } else {
                body.push_str(line);
                body.push('\n');
                fence = Some((yaml, body));
            }
        } else if let Some(language) = trimmed.strip_prefix("```") {
            fence = Some((language.trim() == "yaml", String::new()));
        } else if trimmed.starts_with('|') {
            let cells = cells(trimmed);
            if timeline.columns.is_empty() {
                timeline.columns = cells;
            } else if !cells.iter().all(|cell| cell.chars().all(|c| matches!(c, '-' | ':'))) {
                timeline.rows.push((index + 1, cells));
            }
            continue;
        }
        close(&mut timeline, &mut parts);
    }
    close(&mut timeline, &mut parts);
    parts
}

fn close(timeline: &mut Timeline, parts: &mut Vec<Part>) {
    let done = std::mem::take(timeline);
    if done.columns.first().is_some_and(|column| column == "t") {
        parts.push(Part::Timeline(done));
    }
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
}

/// The ticks of a `t` cell, in seconds.
pub(super) fn ticks(cell: &str, line: usize) -> Result<Vec<f64>, Failure> {
    let fail = |message: String| Failure { line, message };
    let seconds = |text: &str| seconds(text).ok_or_else(|| fail(format!("{text:?} is no time")));
    let Some((from, rest)) = cell.split_once("..") else { return Ok(vec![seconds(cell)?]) };
    let (to, step) = rest.split_once('/').ok_or_else(|| fail("a range needs a step: 0s..5m /15s".into()))?;
    let (from, to, step) = (seconds(from)?, seconds(to)?, seconds(step)?);
    if step <= 0.0 || (to - from) / step > TICKS_MAX as f64 {
        return Err(fail(format!("a step of {step} s from {from} to {to} s is not a range")));
    }
    let count = ((to - from) / step).floor() as usize;
    Ok((0..=count).map(|n| from + n as f64 * step).collect())
}

/// `90`, `90s`, `2m30s`, `1h` in seconds.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(plain) = text.parse::<f64>() {
        return Some(plain);
    }
    let mut total = 0.0;
    let mut number = String::new();
    for character in text.chars() {
        let unit = match character {
            'd' => 86_400.0,
            'h' => 3600.0,
            'm' => 60.0,
            's' => 1.0,
            digit => {
                number.push(digit);
                continue;
            }
        };
        total += number.parse::<f64>().ok()? * unit;
        number.clear();
    }
    number.is_empty().then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_units() {
        assert_eq!(seconds("90"), Some(90.0));
        assert_eq!(seconds("2m30s"), Some(150.0));
        assert_eq!(seconds("1d"), Some(86_400.0));
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn a_range_has_both_its_ends() {
        assert_eq!(ticks("0s..30s /15s", 1).unwrap(), [0.0, 15.0, 30.0]);
        ticks("0s..30s", 1).unwrap_err();
        ticks("0s..30s /0s", 1).unwrap_err();
    }

    #[test]
    fn only_tables_whose_first_column_is_t_are_timelines() {
        let text = "| a | b |\n|---|---|\n| 1 | 2 |\n\n| t | x |\n|--|--|\n| 0 | 1 |\n";
        let parts = parts(text);
        assert_eq!(parts.len(), 1);
        assert!(
            matches!(&parts[0], Part::Timeline(t) if t.rows == [(7, vec!["0".to_owned(), "1".to_owned()])])
        );
    }
}
