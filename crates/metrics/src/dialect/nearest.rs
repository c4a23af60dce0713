//! The metric most likely meant by a name that does not exist.
//!
//! Wrong names are rarely typing errors: they are another engine's name, an older one, or a
//! plausible invention (`tgi_request_queue_size`). So words count more than letters, and words that
//! mean the same count as one.

use super::{Engine, Kind, Metric, Signal, Status, metrics, same_name};

/// Below this two names have no more in common than any two metrics of one engine.
const ALIKE: f64 = 0.45;

/// A name longer than any metric's is not compared: the work is the product of both lengths.
const NAME_BYTES_MAX: usize = 128;

/// Words that mean the same in metric names; the first of each row stands for all.
const SAME: &[&[&str]] = &[
    &["waiting", "queue", "queued", "pending", "deferred", "backlog"],
    &["running", "active", "processing", "inflight", "current", "concurrent"],
    &["perc", "percent", "percentage", "ratio", "fraction"],
    &["usage", "used", "util", "utilization", "utilisation"],
    &["request", "requests", "req", "reqs"],
    &["time", "latency", "duration", "seconds", "ms"],
    &["kv", "gpu"],
    &["generation", "generated", "output", "completion", "predicted"],
    &["prompt", "input"],
    &["success", "finished", "completed"],
    &["hit", "hits"],
];

/// Words that say little.
const FILLERS: &[&str] = &["num", "total", "size", "count", "of", "the", "number"];

/// The current metric of `engine` most likely meant by `name`, if any comes near.
///
/// A renamed metric leads to its new name; a suffix of a histogram's series is ignored, so the
/// answer for `…_bucket` is the family's name. A name that is right has no nearest.
#[must_use]
pub fn nearest(engine: Engine, name: &str) -> Option<&'static str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    if let Some(known) = metrics(engine).iter().find(|metric| metric.answers_to(name)) {
        return match known.status {
            Status::Renamed { to } => Some(to),
            Status::Current | Status::Removed { .. } => None,
        };
    }
    if let Some(exact) = with_or_without_total(engine, name) {
        return Some(exact);
    }
    let asked = Words::of(name);
    let alike = metrics(engine).iter().filter_map(|metric| {
        Some((asked.likeness(&Words::of(metric.name)) + sought(metric), lasting_name(metric)?))
    });
    alike
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
        .or_else(|| by_signal(engine, &asked))
}

/// A name with nothing in common but its meaning: `queue_size`. Tables list the plainest metric of a
/// signal first.
fn by_signal(engine: Engine, asked: &Words) -> Option<&'static str> {
    let means = |word: &str| asked.meaning.iter().any(|meaning| meaning == word);
    let signal = match () {
        () if means("time") => return None,
        () if means("waiting") => Signal::Waiting,
        () if means("running") => Signal::Running,
        () if means("cache") && (means("usage") || means("perc")) => Signal::KvUse,
        () => return None,
    };
    let mut current = metrics(engine).iter().filter(|metric| metric.status == Status::Current);
    current.find(|metric| metric.signal == Some(signal)).map(|metric| metric.name)
}

/// People who scale ask for signals: of two names equally near, the one that is a signal is meant.
fn sought(metric: &Metric) -> f64 {
    if metric.signal.is_some() { 0.05 } else { 0.0 }
}

fn lasting_name(metric: &Metric) -> Option<&'static str> {
    match metric.status {
        Status::Current => Some(metric.name),
        Status::Renamed { to } => Some(to),
        Status::Removed { .. } => None,
    }
}

/// Python's client adds `_total` to a counter on the wire, so the source and the wire differ by it.
fn with_or_without_total(engine: Engine, name: &str) -> Option<&'static str> {
    let found = metrics(engine).iter().find(|metric| {
        let base = metric.name.strip_suffix("_total").filter(|_| metric.kind == Kind::Counter);
        base.is_some_and(|base| same_name(base, name))
            || name.strip_suffix("_total").is_some_and(|base| same_name(metric.name, base))
    })?;
    lasting_name(found)
}

/// A name taken apart.
struct Words {
    plain: Vec<String>,
    meaning: Vec<String>,
    text: String,
}

impl Words {
    fn of(name: &str) -> Words {
        let name = ["_bucket", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        let text = name.to_ascii_lowercase();
        let text = text
            .split_once([':', '_'])
            .map_or(text.as_str(), |(_, rest)| rest)
            .replace("ttft", "time_to_first_token");
        let plain: Vec<String> =
            text.split(['_', ':']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let mut meaning: Vec<String> = plain
            .iter()
            .filter(|word| !FILLERS.contains(&word.as_str()))
            .map(|word| meaning_of(word))
            .collect();
        meaning.sort_unstable();
        meaning.dedup();
        Words { plain, meaning, text }
    }

    /// 0 to 1: shared words, shared meanings and shared letters, less when one of the two is a time
    /// and the other is not.
    fn likeness(&self, other: &Words) -> f64 {
        let longest = self.text.len().max(other.text.len()).max(1);
        let letters = 1.0 - edits(&self.text, &other.text) as f64 / longest as f64;
        let is_time = |words: &Words| words.meaning.iter().any(|word| word == "time");
        let unlike = if is_time(self) == is_time(other) { 0.0 } else { 0.15 };
        0.4 * shared(&self.plain, &other.plain) + 0.4 * shared(&self.meaning, &other.meaning) + 0.2 * letters
            - unlike
    }
}

fn meaning_of(word: &str) -> String {
    let row = SAME.iter().find(|row| row.contains(&word));
    row.and_then(|row| row.first()).map_or_else(|| word.to_owned(), |first| (*first).to_owned())
}

/// Dice's coefficient.
fn shared(a: &[String], b: &[String]) -> f64 {
    let both = a.iter().filter(|word| b.contains(word)).count();
    let all = a.len() + b.len();
    if all == 0 { 0.0 } else { 2.0 * both as f64 / all as f64 }
}

/// Levenshtein's distance, in bytes.
pub(super) fn edits(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &byte) in a.as_bytes().iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(byte != other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
