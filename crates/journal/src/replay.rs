//! Reading and replaying.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::sync::Arc;

use tidegate_core::formula::Compiler;
use tidegate_core::journal::{Entry, FORMAT, Header, JOINS, Joined, Snapshot, Written};
use tidegate_core::scale::{Scaler, SpecError, State};
use tidegate_core::time::Time;

use crate::{LINE_BYTES_MAX, TARGETS_MAX};

/// Why a journal does not replay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read.
    #[error("line {line}: {source}; check that the file is readable")]
    Io {
        /// Line, from 1.
        line: u64,
        /// What happened.
        source: io::Error,
    },
    /// A line is not one of a journal.
    #[error("line {line} is no journal line: {message}; the file was cut or edited before it")]
    Malformed {
        /// Line, from 1.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// It was written by another version.
    #[error(
        "line {line}: journal format {found}, and this version reads {FORMAT}; use the version that wrote it"
    )]
    Format {
        /// Line, from 1.
        line: u64,
        /// The format found.
        found: u32,
    },
    /// A formula in it no longer compiles.
    #[error("line {line}: {source}; use the version that wrote the journal")]
    Spec {
        /// Line, from 1.
        line: u64,
        /// What happened.
        source: SpecError,
    },
    /// The machine now does something else.
    #[error("line {line}: replayed otherwise\nrecorded: {recorded}\nreplayed: {replayed}")]
    Differs {
        /// Line, from 1.
        line: u64,
        /// The line as written.
        recorded: String,
        /// The line as it would be written now.
        replayed: String,
    },
}

/// What a replay went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Segments.
    pub segments: u64,
    /// Targets that joined within a segment.
    pub joins: u64,
    /// Events.
    pub events: u64,
    /// Actions.
    pub actions: u64,
    /// Whether the last line was cut short, as a kill leaves it, and was left out.
    pub cut: bool,
}

/// What a run that ended, however it ended, left behind.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Every target as its last whole line left it.
    pub targets: BTreeMap<Arc<str>, Snapshot>,
    /// The time of the last whole line.
    pub last: Option<Time>,
    /// Bytes up to the end of the last whole line: what comes after was cut short by a kill.
    pub whole_bytes: u64,
}

/// Replays a journal (one segment, or several one after another) and compares.
///
/// # Errors
/// The first line that cannot be read or replays otherwise.
pub fn replay(journal: impl BufRead, compiler: &Arc<dyn Compiler>) -> Result<Replayed, Error> {
    Ok(run(journal, compiler)?.0)
}

/// Replays a segment to its last whole line, to go on from there.
///
/// # Errors
/// As [`replay`]: a journal that replays otherwise is of another version, and no ground to go on from.
pub fn recover(journal: impl BufRead, compiler: &Arc<dyn Compiler>) -> Result<Recovered, Error> {
    let (_, run) = run(journal, compiler)?;
    let of = |scaler: &Scaler| Snapshot { spec: scaler.spec().clone(), state: scaler.state().clone() };
    let targets = run.scalers.iter().map(|(name, scaler)| (Arc::clone(name), of(scaler))).collect();
    Ok(Recovered { targets, last: run.last, whole_bytes: run.whole_bytes })
}

/// Where a replay is.
#[derive(Default)]
struct Run {
    scalers: BTreeMap<Arc<str>, Scaler>,
    last: Option<Time>,
    whole_bytes: u64,
}

fn run(mut journal: impl BufRead, compiler: &Arc<dyn Compiler>) -> Result<(Replayed, Run), Error> {
    let mut done = Replayed::default();
    let mut run = Run::default();
    let mut number = 0;
    loop {
        number += 1;
        let Some(line) = read_line(&mut journal, number)? else { return Ok((done, run)) };
        let Ok(line) = line else {
            done.cut = true;
            return Ok((done, run));
        };
        if line.starts_with("{\"tidegate_journal\":") {
            open_segment(&line, number, compiler, &mut run.scalers)?;
            done.segments += 1;
        } else if line.starts_with(JOINS) {
            run.last = Some(join(&line, number, compiler, &mut run.scalers)?);
            done.joins += 1;
        } else {
            let (at, actions) = step(&line, number, &mut run.scalers)?;
            run.last = Some(at);
            done.actions += actions;
            done.events += 1;
        }
        run.whole_bytes += line.len() as u64 + 1;
    }
}

/// The next line without its end, or what is left of one that was cut short.
fn read_line(journal: &mut impl BufRead, number: u64) -> Result<Option<Result<String, Cut>>, Error> {
    let mut line = Vec::new();
    let mut limited = io::Read::take(journal, LINE_BYTES_MAX as u64 + 1);
    let read = limited.read_until(b'\n', &mut line).map_err(|source| Error::Io { line: number, source })?;
    if read > LINE_BYTES_MAX {
        let message = format!("longer than {LINE_BYTES_MAX} bytes");
        return Err(Error::Malformed { line: number, message });
    }
    if read == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Ok(Some(Err(Cut)));
    }
    let text = String::from_utf8(line);
    text.map(|text| Some(Ok(text)))
        .map_err(|error| Error::Malformed { line: number, message: error.to_string() })
}

/// A line without its end, as a kill leaves it: perhaps in the middle of a character.
struct Cut;

/// What every version's header has.
#[derive(serde::Deserialize)]
struct Version {
    tidegate_journal: u32,
}

fn open_segment(
    line: &str,
    number: u64,
    compiler: &Arc<dyn Compiler>,
    scalers: &mut BTreeMap<Arc<str>, Scaler>,
) -> Result<(), Error> {
    let malformed = |error: serde_json::Error| Error::Malformed { line: number, message: error.to_string() };
    let version: Version = serde_json::from_str(line).map_err(malformed)?;
    if version.tidegate_journal != FORMAT {
        return Err(Error::Format { line: number, found: version.tidegate_journal });
    }
    let header: Header = serde_json::from_str(line).map_err(malformed)?;
    for (target, snapshot) in &header.targets {
        // A segment that follows another must begin where that one ended, unless it begins another run or the target
        // joins with it.
        if let Some(running) = scalers.get(target).filter(|_| !header.anew && !header.joined.contains(target))
            && (running.state() != &snapshot.state || running.spec() != &snapshot.spec)
        {
            let text = |state: &State| serde_json::to_string(state).unwrap_or_default();
            return Err(Error::Differs {
                line: number,
                recorded: format!("{target}: {}", text(&snapshot.state)),
                replayed: format!("{target}: {}", text(running.state())),
            });
        }
    }
    scalers.clear();
    for (target, snapshot) in header.targets {
        let scaler = Scaler::resume(snapshot.spec, snapshot.state, Arc::clone(compiler))
            .map_err(|source| Error::Spec { line: number, source })?;
        scalers.insert(target, scaler);
    }
    Ok(())
}

/// A target joins: what was before under its name was another's.
fn join(
    line: &str,
    number: u64,
    compiler: &Arc<dyn Compiler>,
    scalers: &mut BTreeMap<Arc<str>, Scaler>,
) -> Result<Time, Error> {
    let joined: Joined = serde_json::from_str(line)
        .map_err(|error| Error::Malformed { line: number, message: error.to_string() })?;
    let Joined { joins, t, target } = joined;
    if scalers.len() >= TARGETS_MAX && !scalers.contains_key(&target) {
        let message = format!("more than {TARGETS_MAX} targets in one segment");
        return Err(Error::Malformed { line: number, message });
    }
    let scaler = Scaler::resume(joins.spec, joins.state, Arc::clone(compiler))
        .map_err(|source| Error::Spec { line: number, source })?;
    scalers.insert(target, scaler);
    Ok(t)
}

fn step(line: &str, number: u64, scalers: &mut BTreeMap<Arc<str>, Scaler>) -> Result<(Time, u64), Error> {
    let malformed = |message: String| Error::Malformed { line: number, message };
    let entry: Entry = serde_json::from_str(line).map_err(|error| malformed(error.to_string()))?;
    let Some(scaler) = scalers.get_mut(&entry.target) else {
        return Err(malformed(format!(
            "target {} is not in the segment's header, and has not joined",
            entry.target
        )));
    };
    let mut actions = Vec::new();
    scaler.step(entry.t, &entry.event, &mut actions);
    let written = Written { t: entry.t, target: &entry.target, event: &entry.event, actions: &actions };
    let replayed = serde_json::to_string(&written).map_err(|error| malformed(error.to_string()))?;
    if replayed != line {
        return Err(Error::Differs { line: number, recorded: line.to_owned(), replayed });
    }
    Ok((entry.t, actions.len() as u64))
}
