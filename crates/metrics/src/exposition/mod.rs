//! What a `/metrics` page says: Prometheus text and OpenMetrics, read in one pass.
//!
//! A page of 50 KB holds a dozen lines that matter. So the reader asks for each new name whether it is
//! wanted, takes apart only the lines that are, and hands out slices of the page: nothing is copied
//! unless a label value holds an escape.
//!
//! What is refused is refused whole, with its line: half a page would look like a fall in load. Lines
//! of unwanted families are looked at no further than their name.
//!
//! # Not a number
//! No NaN or infinity is handed out. An engine writes `nan` where it has nothing to say yet (llama.cpp
//! before its first token), so such a sample counts as not written; [`Seen::not_finite`] tells how many.
//! The bucket bound `+Inf` is a label and stays.
//!
//! ```
//! use tidegate_metrics::exposition::{Format, read};
//!
//! let page = "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{engine=\"0\"} 7\n";
//! let mut waiting = 0.0;
//! read(page, Format::Text, |name| (name == "vllm:num_requests_waiting").then_some(()), |(), sample| {
//!     waiting += sample.value;
//! })?;
//! assert_eq!(waiting, 7.0);
//! # Ok::<(), tidegate_metrics::exposition::Error>(())
//! ```

mod labels;
mod line;
mod wanted;

pub use labels::{Iter, Labels};
pub use wanted::Wanted;

use line::Line;

/// The longest page: 160 times vLLM's 50 KB, so eight engines of twenty times as many series still fit.
pub const PAGE_BYTES_MAX: usize = 8 << 20;

/// The longest line. vLLM's `cache_config_info` with 37 labels has 1.3 KB.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// The most labels of one sample. vLLM's `cache_config_info` has 37; Prometheus' own usual limit is 30.
pub const LABELS_MAX: usize = 128;

/// The most wanted samples of one page: 40 families of 30 buckets of 16 engines are 19,200.
pub const SAMPLES_MAX: usize = 20_000;

/// The two forms of a page. They differ in the unit of timestamps and in how a page ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// Prometheus text: timestamps in milliseconds, the page ends anywhere.
    #[default]
    Text,
    /// OpenMetrics: timestamps in seconds, the page ends with `# EOF`.
    OpenMetrics,
}

impl Format {
    /// The form a `Content-Type` names. Anything but OpenMetrics is read as text, as Prometheus does.
    #[must_use]
    pub fn of_content_type(content_type: &str) -> Format {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("application/openmetrics-text") {
            Format::OpenMetrics
        } else {
            Format::Text
        }
    }
}

/// One sample of a page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'t> {
    /// Name and labels as written: the same from page to page, so it can tell series apart unparsed.
    pub series: &'t str,
    /// The whole name, with `_total`, `_bucket` and the like.
    pub name: &'t str,
    /// The labels.
    pub labels: Labels<'t>,
    /// The value; finite.
    pub value: f64,
    /// The sample's own time in milliseconds since the Unix epoch, where the page gives one.
    pub timestamp_ms: Option<i64>,
}

/// What a pass saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Lines.
    pub lines: usize,
    /// Samples handed out.
    pub samples: usize,
    /// Wanted samples left out because they are NaN or infinite.
    pub not_finite: usize,
}

/// Why a page is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Longer than [`PAGE_BYTES_MAX`].
    #[error("the page has {bytes} bytes, more than the {PAGE_BYTES_MAX} that are read; export less")]
    PageTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A line longer than [`LINE_BYTES_MAX`].
    #[error("line {line} has {bytes} bytes, more than {LINE_BYTES_MAX}")]
    LineTooLong {
        /// From 1.
        line: usize,
        /// Its length.
        bytes: usize,
    },
    /// A line that begins with no metric name.
    #[error("line {line} begins with no metric name but with {found:?}: is this a metrics page?")]
    Name {
        /// From 1.
        line: usize,
        /// Its beginning.
        found: String,
    },
    /// Labels that cannot be read.
    #[error("line {line}: {problem}")]
    Labels {
        /// From 1.
        line: usize,
        /// What is wrong with them.
        problem: LabelProblem,
    },
    /// A value that is no number.
    #[error("line {line}: {found:?} is not a number")]
    Value {
        /// From 1.
        line: usize,
        /// What stands there.
        found: String,
    },
    /// A time that is none, or something after it.
    #[error("line {line}: {found:?} is not a timestamp")]
    Timestamp {
        /// From 1.
        line: usize,
        /// What stands there.
        found: String,
    },
    /// More than [`SAMPLES_MAX`] wanted samples.
    #[error("line {line}: more than {SAMPLES_MAX} wanted samples on one page")]
    TooManySamples {
        /// From 1.
        line: usize,
    },
    /// An OpenMetrics page without its last line.
    #[error("the page does not end with # EOF, so a part of it is missing; the next scrape may be whole")]
    CutShort,
}

/// What can be wrong with labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelProblem {
    /// A name, `=`, `"`, `,` or `}` is missing.
    #[error("the labels are not of the form name=\"value\"")]
    Form,
    /// The line ends inside a value or before the brace closes.
    #[error("the labels are never closed")]
    Open,
    /// More than [`LABELS_MAX`].
    #[error("more than {LABELS_MAX} labels")]
    TooMany,
}

/// Reads `page`: `wants` is asked once for each run of lines with one name, `each` gets every wanted
/// sample with what `wants` said, in the order of the page.
///
/// # Errors
/// When the page breaks the format or a limit. `each` may have been called by then: use what it
/// collected only after `Ok`.
pub fn read<'t, W: Copy>(
    page: &'t str,
    format: Format,
    mut wants: impl FnMut(&'t str) -> Option<W>,
    mut each: impl FnMut(W, Sample<'t>),
) -> Result<Seen, Error> {
    if page.len() > PAGE_BYTES_MAX {
        return Err(Error::PageTooLong { bytes: page.len() });
    }
    let mut seen = Seen::default();
    let mut last: (&'t str, Option<W>) = ("", None);
    let mut rest = page;
    let mut ended = false;
    while !rest.is_empty() && !ended {
        let end = memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        let text = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        seen.lines += 1;
        if text.len() > LINE_BYTES_MAX {
            return Err(Error::LineTooLong { line: seen.lines, bytes: text.len() });
        }
        let Some(line) = Line::begin(text, last.0, seen.lines)? else {
            ended = format == Format::OpenMetrics && text.trim_end() == "# EOF";
            continue;
        };
        if line.name != last.0 {
            last = (line.name, wants(line.name));
        }
        let Some(want) = last.1 else { continue };
        match line.finish(format)? {
            None => seen.not_finite += 1,
            Some(_) if seen.samples == SAMPLES_MAX => {
                return Err(Error::TooManySamples { line: seen.lines });
            }
            Some(sample) => {
                seen.samples += 1;
                each(want, sample);
            }
        }
    }
    if format == Format::OpenMetrics && !ended {
        return Err(Error::CutShort);
    }
    Ok(seen)
}
