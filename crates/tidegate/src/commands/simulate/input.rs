//! What a simulation reads: manifests, profile, fleet, trace.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use flate2::bufread::MultiGzDecoder;
use tidegate_core::time::Span;
use tidegate_journal::{Journal, manifest_hash};
use tidegate_manifest::{Manifests, Severity, Target, load, lower};
use tidegate_sim::Profile;
use tidegate_sim::fleet::{Fleet, Setup};
use tidegate_sim::policy::{Choice, Policy};
use tidegate_sim::trace::{
    Error, Lengths, Part, Scaled, ServeGen, Spread, Stretch, Synth, Trace, TraceRequest,
};

use super::{What, past};
use crate::files;
use crate::journals::Directory;
use crate::output;

/// Bytes of a profile or a fleet: some dozens of numbers.
const JSON_BYTES_MAX: u64 = 1 << 20;

/// The target that is simulated, and what it stands in.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) manifests: Manifests,
    pub(crate) target: Target,
    hash: String,
}

impl Rules {
    /// The target and its manifests.
    pub(crate) fn of_target(&self) -> (&Target, &Manifests) {
        (&self.target, &self.manifests)
    }

    /// The policy, with a journal of what it did where it is the manifest's own.
    pub(crate) fn recorded(
        &self,
        choice: Choice,
        setup: &Setup,
        directory: &Path,
    ) -> Result<Box<dyn Policy>> {
        let Some(keda) = choice.ruled(setup, &self.target, &self.manifests)? else {
            return Ok(choice.policy(setup, Some(self.of_target()))?);
        };
        let journal = Journal::new(Directory::fresh(directory)?, self.hash.clone(), 0);
        Ok(Box::new(keda.recorded(Box::new(journal))))
    }
}

/// The rules of the manifests; `None` where no manifest was named.
pub(crate) fn rules(what: &What) -> Result<Option<Rules>> {
    if what.file.is_empty() {
        return Ok(None);
    }
    let sources = files::manifests(&what.file)?;
    let manifests = load(&sources);
    let lowered = lower(&manifests);
    let mut findings: Vec<_> = manifests.findings.iter().chain(&lowered.findings).cloned().collect();
    findings.retain(|finding| finding.severity == Severity::Error);
    if !findings.is_empty() {
        findings.sort_by(|a, b| a.order().cmp(&b.order()));
        output::complain_findings(&findings, &sources);
        bail!("the manifests are refused whole; `tidegate lint` tells more");
    }
    let named = |target: &&Target| what.target.as_ref().is_none_or(|name| **name == *target.spec.target);
    let mut found: Vec<&Target> = lowered.targets.iter().filter(named).collect();
    let target = match (found.pop(), found.is_empty()) {
        (Some(target), true) => target.clone(),
        (None, _) => bail!("no such target in the files; there are {}", names(&lowered.targets)),
        (Some(_), false) => {
            bail!("several targets; say which with --target: {}", names(&lowered.targets))
        }
    };
    let hash = manifest_hash(sources.iter().map(|source| source.bytes.as_slice()));
    Ok(Some(Rules { manifests, target, hash }))
}

fn names(targets: &[Target]) -> String {
    let names: Vec<&str> = targets.iter().map(|target| &*target.spec.target).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The world as the arguments describe it.
pub(crate) fn setup(what: &What, rules: Option<&Rules>) -> Result<Setup> {
    let mut setup = Setup::new(profile(&what.profile)?);
    if let Some(Rules { target, .. }) = rules {
        setup.max = target.spec.max;
        setup.initial = target.spec.min;
    }
    if let Some(past) = past::of(what, &setup.profile)? {
        past.apply(&mut setup);
    }
    if let Some(initial) = what.initial {
        setup.initial = initial;
    }
    if let Some(seconds) = what.start_s {
        setup.start = setup.start.scaled_to(seconds);
    }
    if let Some(path) = &what.fleet {
        let fleet: Fleet = serde_json::from_str(&text(path)?)
            .with_context(|| format!("cannot read the fleet {}", path.display()))?;
        setup.fleet = fleet;
    }
    let span = |seconds: f64| Span::try_from_secs_f64(seconds).context("a time is out of range");
    setup.slo_ttft = span(what.slo_ttft_s)?;
    setup.slo_itl = what.slo_itl_s.map(span).transpose()?;
    setup.seed = what.seed;
    setup.check()?;
    Ok(setup)
}

fn profile(name: &str) -> Result<Profile> {
    let path = Path::new(name);
    if path.is_file() {
        return Profile::parse(&text(path)?).with_context(|| format!("cannot read the profile {name}"));
    }
    Ok(Profile::named(name)?)
}

fn text(path: &Path) -> Result<String> {
    let context = || format!("cannot read {}", path.display());
    let mut text = String::new();
    File::open(path)
        .with_context(context)?
        .take(JSON_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(context)?;
    Ok(text)
}

/// The requests of a trace as they come, scaled.
pub(crate) struct Requests {
    requests: Box<dyn Iterator<Item = Result<TraceRequest, Error>>>,
    read: Arc<AtomicU64>,
    length: Option<u64>,
}

type Boxed = Box<dyn Iterator<Item = Result<TraceRequest, Error>>>;

impl Requests {
    /// Opens the trace; a gzipped one by its first two bytes.
    pub(crate) fn open(what: &What) -> Result<Requests> {
        let read = Arc::new(AtomicU64::new(0));
        let (mut requests, length): (Boxed, Option<u64>) = match &what.trace {
            Some(path) if synthetic(path).is_some() => {
                let text = synthetic(path).unwrap_or_default();
                (Box::new(Synth::parse(text, what.seed).context("cannot make a trace")?), None)
            }
            Some(path) if path.is_dir() => {
                return Ok(Requests { requests: tables(path, what)?, read, length: None });
            }
            Some(path) => {
                let name = || format!("cannot read the trace {}", path.display());
                let length = fs::metadata(path).ok().map(|data| data.len());
                let trace = Trace::open(unzipped(path, &read).with_context(name)?).with_context(name)?;
                let coarse = trace.is_coarse();
                let boxed: Boxed = if coarse { Box::new(Spread::new(trace)) } else { Box::new(trace) };
                (boxed, length)
            }
            None => {
                let past =
                    past::of(what, &profile(&what.profile)?)?.context("neither a trace nor a journal")?;
                (Box::new(past.requests()), None)
            }
        };
        if what.from_s > 0.0 || what.for_s.is_some() {
            let span = |seconds: f64| Span::try_from_secs_f64(seconds).context("a time is out of range");
            let until = what.for_s.map(|for_s| span(what.from_s + for_s)).transpose()?;
            requests = Box::new(Stretch::new(requests, span(what.from_s)?, until));
        }
        if (what.scale - 1.0).abs() > f64::EPSILON {
            requests = Box::new(Scaled::new(requests, what.scale, what.seed)?);
        }
        Ok(Requests { requests, read, length })
    }

    /// The file's length in bytes, where it has one.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Bytes read so far.
    pub(crate) fn read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }
}

impl Iterator for Requests {
    type Item = Result<TraceRequest, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.requests.next()
    }
}

/// The shape and settings of a trace that is drawn, not read.
pub(super) fn synthetic(path: &Path) -> Option<&str> {
    path.to_str()?.strip_prefix("synth:")
}

/// ServeGen's tables in a directory.
fn tables(directory: &Path, what: &What) -> Result<Boxed> {
    let name = || format!("cannot read ServeGen's tables in {}", directory.display());
    let unread = Arc::new(AtomicU64::new(0));
    let open = |end: &str| -> Result<Box<dyn BufRead>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory).with_context(name)? {
            let path = entry.with_context(name)?.path();
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if file.strip_suffix(".gz").unwrap_or(&file).ends_with(end) {
                found.push(path);
            }
        }
        match found.as_slice() {
            [path] => Ok(unzipped(path, &unread).with_context(name)?),
            _ => bail!("{}: {} files end in {end}; there must be one", name(), found.len()),
        }
    };
    let prompts = Lengths::read(open("_input_tokens_pdf.csv")?).with_context(name)?;
    let outputs = Lengths::read(open("_output_tokens_pdf.csv")?).with_context(name)?;
    // Past the table's end nobody sends anything.
    let part = Part { from_s: what.from_s, for_s: what.for_s.unwrap_or(1e12), factor: what.scale };
    let made = ServeGen::read(open("_clients.csv")?, prompts, outputs, part, what.seed).with_context(name)?;
    Ok(Box::new(made))
}

fn unzipped(path: &Path, read: &Arc<AtomicU64>) -> io::Result<Box<dyn BufRead>> {
    let file = File::open(path)?;
    let mut reader = BufReader::new(Counted { file, read: Arc::clone(read) });
    let zipped = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if zipped { Box::new(BufReader::new(MultiGzDecoder::new(reader))) } else { Box::new(reader) })
}

/// A file that counts what was read of it, for the progress bar.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
