//! `tidegate decide`: observations in, explained decisions out.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use tidegate_decide::observation::LINE_BYTES_MAX;
use tidegate_decide::{Recorder, Session};
use tidegate_journal::{Journal, manifest_hash};
use tidegate_manifest::{Severity, Source, load, lower};

use crate::args::{Decide, TextOrJson};
use crate::files;
use crate::journals::Directory;
use crate::output::{self, table::DecisionTable};

pub(crate) fn run(args: &Decide) -> Result<ExitCode> {
    let sources = files::manifests(&args.file)?;
    let Some(mut session) = session(&sources)? else { return Ok(ExitCode::from(1)) };
    let mut journal = match &args.journal {
        None => None,
        Some(directory) => {
            let segments = Directory::fresh(directory)?;
            let hash = manifest_hash(sources.iter().map(|source| source.bytes.as_slice()));
            Some(Journal::new(segments, hash, 0))
        }
    };
    let reader = open(&args.observations)?;
    let clean = decide_lines(&mut session, reader, journal.as_mut(), args.format)?;
    if let Some(journal) = &mut journal {
        journal.finish().context("cannot finish the journal")?;
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The targets of the manifests; `None` after telling why they are refused.
fn session(sources: &[Source]) -> Result<Option<Session>> {
    let manifests = load(sources);
    let lowered = lower(&manifests);
    let mut findings: Vec<_> = manifests.findings.iter().chain(&lowered.findings).cloned().collect();
    findings.retain(|finding| finding.severity == Severity::Error);
    if !findings.is_empty() {
        findings.sort_by(|a, b| a.order().cmp(&b.order()));
        output::complain_findings(&findings, sources);
        output::complain("the manifests are refused whole; `tidegate lint` tells more");
        return Ok(None);
    }
    if lowered.targets.is_empty() {
        bail!("no ScaledObject, ScaledJob or HorizontalPodAutoscaler in the files; name one that has one");
    }
    Ok(Some(Session::new(lowered.targets)?))
}

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file =
        File::open(path).with_context(|| format!("cannot read the observations {}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

/// Decides line by line; whether every line was good. A decision is written out before the next line
/// is read, so that a pipe can be answered as it goes.
fn decide_lines(
    session: &mut Session,
    mut reader: Box<dyn BufRead>,
    mut journal: Option<&mut Journal<Directory>>,
    format: TextOrJson,
) -> Result<bool> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut table = DecisionTable::default();
    let mut clean = true;
    let mut number = 0_u64;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        number += 1;
        let limit = LINE_BYTES_MAX as u64 + 2;
        let read = reader
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut bytes)
            .context("cannot read the observations")?;
        if read == 0 {
            break;
        }
        if read as u64 == limit && !bytes.ends_with(b"\n") {
            skip_line(&mut reader)?;
        }
        let Some(line) = text_of(&bytes, number, &mut clean) else { continue };
        let recorder = journal.as_deref_mut().map(|journal| journal as &mut dyn Recorder);
        match session.line(line, recorder) {
            Ok(decided) => match format {
                TextOrJson::Json => {
                    serde_json::to_writer(&mut out, &decided)?;
                    out.write_all(b"\n")?;
                }
                TextOrJson::Text => out.write_all(table.rows(&decided).as_bytes())?,
            },
            Err(tidegate_decide::Error::Line(error)) => {
                clean = false;
                output::complain(&format!("line {number}: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
        out.flush()?;
    }
    Ok(clean)
}

/// The line's text; `None` for an empty one, and after complaining about bytes that are none.
fn text_of<'a>(bytes: &'a [u8], number: u64, clean: &mut bool) -> Option<&'a str> {
    match std::str::from_utf8(bytes) {
        // A byte order mark is how some editors begin a file; it is no part of the line.
        Ok(text) => Some(text.trim_start_matches('\u{feff}').trim()).filter(|text| !text.is_empty()),
        Err(error) => {
            *clean = false;
            output::complain(&format!("line {number}: not UTF-8 from byte {}", error.valid_up_to() + 1));
            None
        }
    }
}

fn skip_line(reader: &mut dyn BufRead) -> Result<()> {
    loop {
        let buffer = reader.fill_buf().context("cannot read the observations")?;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let (used, done) = match end {
            Some(position) => (position + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(used);
        if done {
            return Ok(());
        }
    }
}
