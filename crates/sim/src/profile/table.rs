//! Timings as a table of measured points, and what lies between them.
//!
//! A decode iteration is looked up by its sequences and their mean context, in a straight line between the four
//! points around it. An iteration that prefills `T` tokens in all, in chunks from `p` to `q`, takes
//!
//! ```text
//! L(T) + prefill_quadratic · Σ (q² − p²)        L(n) = table(n) − prefill_quadratic · n²
//! ```
//!
//! so that one prompt alone takes what the table says, several share what small batches do not use, and a prompt
//! in chunks attends to all of itself. Outside the table the line of its last two points goes on.
//!
//! How wrong a straight line is between two points nobody knows; between points twice as far apart it can be
//! tried, by leaving each one out (`tests/profile.rs`). Over the 18 built-in tables that is 2.5 % on average along
//! the batch, 0.9 % along the context and 4.1 % along the prompt, and at most 15.2 %. The error of a straight line
//! grows with the square of the distance, so at the real distance it is a quarter: at most 3.8 %.

use serde::{Deserialize, Serialize};

/// Points of a table at the most: 64 batches by 64 contexts.
pub const POINTS_MAX: usize = 4_096;
/// Batches, contexts and prompts at the most.
const AXIS_MAX: usize = 64;

/// A decode iteration that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodePoint {
    /// Sequences decoded.
    pub batch: u32,
    /// Tokens of context of each.
    pub context_tokens: u32,
    /// How long it took, in milliseconds.
    pub ms: f64,
}

/// The prefill of one prompt that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefillPoint {
    /// Tokens in the prompt.
    pub tokens: u32,
    /// How long it took, in milliseconds.
    pub ms: f64,
}

/// Points as a file gives them, in any order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Points {
    /// At least two batches with two contexts each.
    pub decode: Vec<DecodePoint>,
    /// At least two lengths.
    pub prefill: Vec<PrefillPoint>,
}

/// A table that is ready to be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Points", into = "Points")]
pub struct Table {
    points: Points,
    batches: Vec<f64>,
    contexts: Vec<f64>,
    /// Milliseconds, a row a batch.
    decode_ms: Vec<f64>,
    lengths: Vec<f64>,
    prefill_ms: Vec<f64>,
}

impl TryFrom<Points> for Table {
    type Error = String;

    fn try_from(points: Points) -> Result<Table, String> {
        if points.decode.len() + points.prefill.len() > POINTS_MAX {
            return Err(format!("a table of more than {POINTS_MAX} points; leave some out"));
        }
        for (what, ms) in points
            .decode
            .iter()
            .map(|point| (format!("batch {}, context {}", point.batch, point.context_tokens), point.ms))
            .chain(points.prefill.iter().map(|point| (format!("a prompt of {}", point.tokens), point.ms)))
        {
            if !(ms > 0.0 && ms <= 1e6) {
                return Err(format!("{what}: {ms} ms; it must be above 0 and at most 1,000,000"));
            }
        }
        let batches = axis("batches", points.decode.iter().map(|point| point.batch))?;
        let contexts = axis("contexts", points.decode.iter().map(|point| point.context_tokens))?;
        let lengths = axis("prompts", points.prefill.iter().map(|point| point.tokens))?;
        let mut decode_ms = Vec::with_capacity(batches.len() * contexts.len());
        for batch in &batches {
            let row = points.decode.iter().filter(|point| f64::from(point.batch).total_cmp(batch).is_eq());
            let row = Line::of(row.map(|point| (f64::from(point.context_tokens), point.ms)))
                .map_err(|what| format!("batch {batch}: {what}"))?;
            // Large batches were not measured with the longest contexts: the row's own line goes on.
            decode_ms.extend(contexts.iter().map(|context| row.at(*context)));
        }
        let prefill = Line::of(points.prefill.iter().map(|point| (f64::from(point.tokens), point.ms)))?;
        let prefill_ms = lengths.iter().map(|length| prefill.at(*length)).collect();
        Ok(Table { points, batches, contexts, decode_ms, lengths, prefill_ms })
    }
}

impl From<Table> for Points {
    fn from(table: Table) -> Points {
        table.points
    }
}

impl Table {
    /// A decode iteration in milliseconds.
    #[must_use]
    pub fn decode_ms(&self, batch: f64, mean_context_tokens: f64) -> f64 {
        let (context, along) = place(&self.contexts, mean_context_tokens);
        let (row, across) = place(&self.batches, batch);
        let columns = self.contexts.len();
        let at = |row: usize| {
            let start = row * columns + context;
            between(self.decode_ms[start], self.decode_ms[start + 1], along)
        };
        between(at(row), at(row + 1), across).max(LEAST_MS)
    }

    /// For one batch, the stretch of contexts (of all its sequences together) around `context_tokens` in which an
    /// iteration's time is a straight line: up to where, and the line in milliseconds.
    pub(crate) fn stretch(&self, batch: u32, context_tokens: u64) -> (f64, f64, f64) {
        let count = f64::from(batch.max(1));
        let mean = context_tokens as f64 / count;
        let (context, _) = place(&self.contexts, mean);
        let last = context + 2 >= self.contexts.len();
        let until = if last { f64::INFINITY } else { self.contexts[context + 1] * count };
        let (near, far) = (self.contexts[context], self.contexts[context + 1]);
        let low = self.decode_ms(count, near);
        let slope = (self.decode_ms(count, far) - low) / ((far - near) * count);
        (until, low - slope * near * count, slope)
    }

    /// One prompt of so many tokens alone, in milliseconds.
    #[must_use]
    pub fn prefill_ms(&self, tokens: f64) -> f64 {
        let (low, along) = place(&self.lengths, tokens);
        between(self.prefill_ms[low], self.prefill_ms[low + 1], along).max(LEAST_MS)
    }

    /// The shortest prefill of the table, in milliseconds: what no chunk takes less than.
    #[must_use]
    pub fn prefill_least_ms(&self) -> f64 {
        self.prefill_ms.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The same table on an engine that takes `factor` times as long.
    #[must_use]
    pub fn slowed(&self, factor: f64) -> Table {
        let slow = |values: &[f64]| values.iter().map(|ms| ms * factor).collect();
        Table { decode_ms: slow(&self.decode_ms), prefill_ms: slow(&self.prefill_ms), ..self.clone() }
    }

    /// The points it was made of.
    #[must_use]
    pub fn points(&self) -> &Points {
        &self.points
    }
}

/// What a falling line outside the table must not fall below: a microsecond.
const LEAST_MS: f64 = 0.001;

/// Distinct values in order: two at the least, for a line.
fn axis(what: &str, values: impl Iterator<Item = u32>) -> Result<Vec<f64>, String> {
    let mut values: Vec<u32> = values.collect();
    values.sort_unstable();
    values.dedup();
    if !(2..=AXIS_MAX).contains(&values.len()) {
        return Err(format!("a table of {} {what}; it must have 2 to {AXIS_MAX}", values.len()));
    }
    Ok(values.into_iter().map(f64::from).collect())
}

/// Points of one row, by their place.
struct Line(Vec<(f64, f64)>);

impl Line {
    fn of(points: impl Iterator<Item = (f64, f64)>) -> Result<Line, String> {
        let mut points: Vec<(f64, f64)> = points.collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        if let Some(pair) = points.windows(2).find(|pair| pair[0].0.total_cmp(&pair[1].0).is_eq()) {
            return Err(format!("{} is there twice", pair[0].0));
        }
        if points.len() < 2 { Err("one point; a line needs two".to_owned()) } else { Ok(Line(points)) }
    }

    fn at(&self, x: f64) -> f64 {
        let next = self.0.partition_point(|point| point.0 < x).clamp(1, self.0.len() - 1);
        let ((x0, y0), (x1, y1)) = (self.0[next - 1], self.0[next]);
        between(y0, y1, (x - x0) / (x1 - x0)).max(LEAST_MS)
    }
}

/// Which pair of neighbours `x` lies between, and how far along; outside, the first or last pair.
fn place(axis: &[f64], x: f64) -> (usize, f64) {
    let next = axis.partition_point(|value| *value < x).clamp(1, axis.len() - 1);
    (next - 1, (x - axis[next - 1]) / (axis[next] - axis[next - 1]))
}

fn between(low: f64, high: f64, along: f64) -> f64 {
    low + (high - low) * along
}
