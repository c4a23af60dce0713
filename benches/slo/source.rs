//! Traces, opened as often as they are played.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use tidegate_core::time::Span;
use tidegate_sim::score::Requests;
use tidegate_sim::trace::{Error, Lengths, Part, Scaled, ServeGen, Stretch, Trace, TraceRequest, demo_trace};

use crate::arguments::Arguments;

/// A trace and how it is played.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    path: Option<PathBuf>,
    /// From this second on, for so many.
    stretch: (f64, Option<f64>),
    /// Every rate times this.
    pub(crate) factor: f64,
    tokens: f64,
    tokens_max: u32,
}

fn broken(what: impl std::fmt::Display) -> Error {
    Error::Line { line: 0, what: what.to_string() }
}

impl Source {
    /// The trace of the arguments.
    pub(crate) fn of(arguments: &Arguments, stretch: (f64, Option<f64>)) -> Source {
        let Arguments { tokens, tokens_max, .. } = *arguments;
        Source { path: arguments.trace.clone(), stretch, factor: 1.0, tokens, tokens_max }
    }

    /// The same trace in another stretch.
    pub(crate) fn with_stretch(&self, stretch: (f64, Option<f64>)) -> Source {
        Source { stretch, ..self.clone() }
    }

    /// The same trace at other rates.
    pub(crate) fn with_factor(&self, factor: f64) -> Source {
        Source { factor, ..self.clone() }
    }

    /// Its requests, drawn with this seed.
    pub(crate) fn open(&self, seed: u64) -> Result<Requests<'static>, Error> {
        let requests = match &self.path {
            Some(path) if path.is_dir() => self.tables(path, seed)?,
            Some(path) => self.scaled(Box::new(Trace::open(reader(path)?)?), seed)?,
            None => self.scaled(Box::new(demo_trace()?.into_iter().map(Ok)), seed)?,
        };
        let (factor, most) = (self.tokens, self.tokens_max);
        let longer = move |tokens: u32| ((f64::from(tokens) * factor) as u32).clamp(1, most);
        Ok(Box::new(requests.map(move |request| {
            let request = request?;
            let (prompt, output) = (longer(request.prompt_tokens), longer(request.output_tokens));
            Ok(TraceRequest { prompt_tokens: prompt, output_tokens: output, ..request })
        })))
    }

    fn scaled(&self, requests: Requests<'static>, seed: u64) -> Result<Requests<'static>, Error> {
        let span =
            |seconds: f64| Span::try_from_secs_f64(seconds).ok_or_else(|| broken("a time out of range"));
        let (from_s, for_s) = self.stretch;
        let until = for_s.map(|for_s| span(from_s + for_s)).transpose()?;
        let stretch = Stretch::new(requests, span(from_s)?, until);
        Ok(Box::new(Scaled::new(stretch, self.factor, seed).map_err(broken)?))
    }

    /// ServeGen's three tables in a directory.
    fn tables(&self, directory: &Path, seed: u64) -> Result<Requests<'static>, Error> {
        let open = |end: &str| -> Result<Box<dyn BufRead>, Error> {
            let files = fs::read_dir(directory).map_err(broken)?.filter_map(Result::ok);
            let mut paths = files.map(|file| file.path());
            let name = |path: &PathBuf| path.to_string_lossy().trim_end_matches(".gz").ends_with(end);
            let path = paths.find(name).ok_or_else(|| broken(format!("no file ends in {end}")))?;
            reader(&path)
        };
        let prompts = Lengths::read(open("_input_tokens_pdf.csv")?)?;
        let outputs = Lengths::read(open("_output_tokens_pdf.csv")?)?;
        let (from_s, for_s) = self.stretch;
        let part = Part { from_s, for_s: for_s.unwrap_or(1e12), factor: self.factor };
        Ok(Box::new(ServeGen::read(open("_clients.csv")?, prompts, outputs, part, seed)?))
    }
}

fn reader(path: &Path) -> Result<Box<dyn BufRead>, Error> {
    let mut reader = BufReader::new(File::open(path).map_err(broken)?);
    let zipped = reader.fill_buf().map_err(broken)?.starts_with(&[0x1f, 0x8b]);
    Ok(if zipped { Box::new(BufReader::new(MultiGzDecoder::new(reader))) } else { Box::new(reader) })
}
