//! Runs a script and compares.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::time::Span;
use tidegate_metrics::eval::{Answer, compile_any};
use tidegate_metrics::store::{LabelSet, Past, STALE_BITS, Store};

use crate::script::{Command, Labels, Point, commands, duration_ms, number, points, series};

/// How a script went.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) unsupported: usize,
    pub(crate) failed: Vec<String>,
}

impl Count {
    pub(crate) fn add(&mut self, other: Count) {
        self.passed += other.passed;
        self.unsupported += other.unsupported;
        self.failed.extend(other.failed);
    }
}

enum Outcome {
    Passed,
    Unsupported,
    Failed(String),
}

struct World {
    store: Store,
    /// Metrics that were loaded as native histograms.
    native: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        let past = Past { retention: Span::from_secs(40 * 86_400), samples_max: u32::MAX };
        World { store: Store::with_past(past), native: BTreeSet::new() }
    }
}

pub(crate) fn run(name: &str, text: &str) -> Count {
    let mut count = Count::default();
    let mut world = World::new();
    for command in commands(text) {
        let word = command.head.split_whitespace().next().unwrap_or_default();
        match word {
            "clear" => world = World::new(),
            "load" | "load_with_nhcb" => load(&mut world, &command),
            _ => match eval(&world, &command) {
                Outcome::Passed => count.passed += 1,
                Outcome::Unsupported => count.unsupported += 1,
                Outcome::Failed(why) => {
                    count.failed.push(format!("{name}:{}: {}: {why}", command.line, command.head));
                }
            },
        }
    }
    count
}

fn load(world: &mut World, command: &Command<'_>) {
    let step = command.head.split_whitespace().nth(1).unwrap_or_default();
    let step_ms = duration_ms(step).unwrap_or_else(|| panic!("line {}: {step}", command.line));
    // Of two lines with the same labels the later one holds.
    let mut loaded: BTreeMap<Labels, Vec<Point>> = BTreeMap::new();
    for line in &command.body {
        let Some((labels, rest)) = series(line) else { panic!("line {}: {line}", command.line) };
        let name = labels.iter().find(|(name, _)| name == "__name__").map(|(_, value)| value.clone());
        if command.head.starts_with("load_with_nhcb") {
            // The buckets become native histograms under the bare name.
            world
                .native
                .extend(name.as_deref().and_then(|name| name.strip_suffix("_bucket")).map(str::to_owned));
        }
        let Some(points) = points(rest) else {
            world.native.extend(name);
            continue;
        };
        loaded.insert(labels, points);
    }
    for (labels, points) in &loaded {
        let labels: Vec<(&str, &str)> =
            labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for (at, point) in points.iter().enumerate() {
            let value = match point {
                Point::Value(value) => *value,
                Point::Missing => continue,
                Point::Stale => f64::from_bits(STALE_BITS),
            };
            world.store.push(&labels, at as i64 * step_ms, value);
        }
    }
}

fn eval(world: &World, command: &Command<'_>) -> Outcome {
    let words: Vec<&str> = command.head.split_whitespace().collect();
    let range = words.get(1) == Some(&"range");
    let taken = if range { 8 } else { 4 };
    let mut query = command.head;
    for _ in 0..taken {
        query = query.trim_start().split_once(char::is_whitespace).map_or("", |(_, rest)| rest);
    }
    let query = query.trim();
    let annotated = |word: &str| command.body.iter().any(|line| line.starts_with(word));
    let fails = words[0] == "eval_fail" || annotated("expect fail");
    let expected: Vec<&str> = command
        .body
        .iter()
        .filter(|line| !line.starts_with("expect") && !line.starts_with("expected_fail"))
        .copied()
        .collect();
    let is_native = |name: &String| query.contains(name.as_str());
    if world.native.iter().any(is_native)
        || annotated("expect string")
        || annotated("expect range vector")
        || expected.iter().any(|line| line.contains("{{"))
    {
        return Outcome::Unsupported;
    }
    let compiled = match compile_any(query) {
        Ok(compiled) => compiled,
        Err(_) if fails => return Outcome::Passed,
        Err(_) => return Outcome::Unsupported,
    };
    let at = |index: usize| words.get(index).and_then(|word| duration_ms(word)).unwrap_or_default();
    let answer = if range {
        let found = compiled.evaluate_range(&world.store, (at(3), at(5)), at(7));
        found.map(|steps| compare_range(&steps, &expected, at(3), at(7)))
    } else {
        let ordered = words[0] == "eval_ordered" || annotated("expect ordered");
        compiled.evaluate(&world.store, at(3)).map(|answer| compare(&answer, &expected, ordered))
    };
    match answer {
        Err(_) if fails => Outcome::Passed,
        Err(error) => Outcome::Failed(error.to_string()),
        Ok(_) if fails => Outcome::Failed("it should have failed".to_owned()),
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(why)) => Outcome::Failed(why),
    }
}

fn owned(labels: &LabelSet) -> Labels {
    labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn close(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan())
        || a.total_cmp(&b).is_eq()
        || (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
        || (a - b).abs() < f64::MIN_POSITIVE
}

fn expectation(line: &str) -> Result<(Labels, Vec<Point>), String> {
    let (labels, rest) = series(line).ok_or_else(|| format!("cannot read {line}"))?;
    let points = points(rest).ok_or_else(|| format!("cannot read the points of {line}"))?;
    Ok((labels, points))
}

fn compare(answer: &Answer, expected: &[&str], ordered: bool) -> Result<(), String> {
    let elements = match answer {
        Answer::Scalar(found) => {
            let wanted = expected.first().and_then(|line| number(line.trim()));
            let wanted = wanted.ok_or_else(|| format!("found the scalar {found}, expected {expected:?}"))?;
            return if close(*found, wanted) { Ok(()) } else { Err(format!("{found}, not {wanted}")) };
        }
        Answer::Vector(elements) => elements,
    };
    let mut found: Vec<(Labels, f64)> =
        elements.iter().map(|(labels, value)| (owned(labels), *value)).collect();
    let mut wanted = Vec::new();
    for line in expected {
        let (labels, points) = expectation(line)?;
        let Some(Point::Value(value)) = points.first() else { return Err(format!("no value in {line}")) };
        wanted.push((labels, *value));
    }
    if !ordered {
        found.sort_by(|a, b| a.0.cmp(&b.0));
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let same = found.len() == wanted.len()
        && found.iter().zip(&wanted).all(|(found, wanted)| found.0 == wanted.0 && close(found.1, wanted.1));
    if same { Ok(()) } else { Err(format!("found {found:?}, expected {wanted:?}")) }
}

fn compare_range(
    steps: &[(i64, Answer)],
    expected: &[&str],
    start_ms: i64,
    step_ms: i64,
) -> Result<(), String> {
    let mut found: Vec<(Labels, i64, f64)> = Vec::new();
    for (at_ms, answer) in steps {
        match answer {
            Answer::Scalar(value) => found.push((Labels::new(), *at_ms, *value)),
            Answer::Vector(elements) => {
                found.extend(elements.iter().map(|(labels, value)| (owned(labels), *at_ms, *value)));
            }
        }
    }
    let mut wanted = Vec::new();
    for line in expected {
        let (labels, points) = expectation(line)?;
        for (at, point) in points.iter().enumerate() {
            if let Point::Value(value) = point {
                wanted.push((labels.clone(), start_ms + at as i64 * step_ms, *value));
            }
        }
    }
    found.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    wanted.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let same = found.len() == wanted.len()
        && found.iter().zip(&wanted).all(|(f, w)| f.0 == w.0 && f.1 == w.1 && close(f.2, w.2));
    if same { Ok(()) } else { Err(format!("found {found:?}, expected {wanted:?}")) }
}
