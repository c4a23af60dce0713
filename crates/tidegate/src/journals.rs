//! Journals as files: segments `journal-000001.jsonl`, `journal-000002.jsonl`, … in a directory.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tidegate_core::formula::Compiler;
use tidegate_journal::{Recovered, Segments, recover};

/// Segments kept of runs that write for ever: 8 × 64 MiB, which is six days of one busy target.
const SEGMENTS_KEPT: usize = 8;

/// Where segments are made.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// The oldest go when there are more.
    kept: Option<usize>,
}

impl Directory {
    /// A new or empty directory, all of whose segments stay.
    pub(crate) fn fresh(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make the directory {}", path.display()))?;
        let mut entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        if entries.next().is_some() {
            bail!("{} is not empty; name a new directory, so that no journal is overwritten", path.display());
        }
        Ok(Directory { path: path.to_owned(), kept: None })
    }

    /// The directory of a program that comes back: what the last run left is cut to its last whole line.
    /// Beside it what the last segment led to, and its number.
    pub(crate) fn resume(
        path: &Path,
        compiler: &Arc<dyn Compiler>,
    ) -> Result<(Self, Result<Recovered, tidegate_journal::Error>, u32)> {
        fs::create_dir_all(path).with_context(|| format!("cannot make the directory {}", path.display()))?;
        let directory = Directory { path: path.to_owned(), kept: Some(SEGMENTS_KEPT) };
        let Some(last) = list(path)?.pop() else { return Ok((directory, Ok(Recovered::default()), 0)) };
        let context = || format!("cannot read the journal {}", last.display());
        let file = File::open(&last).with_context(context)?;
        let number = number(&last).unwrap_or(0);
        let recovered = recover(BufReader::new(file), compiler);
        if recovered.is_err() {
            // Of another version, or damaged: kept for whoever wants to look, and no part of what follows.
            for segment in list(path)? {
                let aside = segment.with_extension("jsonl.old");
                fs::rename(&segment, aside).with_context(context)?;
            }
        }
        if let Ok(recovered) = &recovered {
            let file = File::options().write(true).open(&last).with_context(context)?;
            file.set_len(recovered.whole_bytes).with_context(context)?;
        }
        Ok((directory, recovered, number))
    }
}

impl Segments for Directory {
    type Out = BufWriter<File>;

    fn open(&mut self, number: u32) -> io::Result<BufWriter<File>> {
        let file = File::create_new(self.path.join(format!("journal-{number:06}.jsonl")))?;
        if let Some(kept) = self.kept {
            let found = list(&self.path).map_err(io::Error::other)?;
            for old in found.iter().rev().skip(kept) {
                fs::remove_file(old)?;
            }
        }
        Ok(BufWriter::new(file))
    }
}

/// The segments of a directory in order.
pub(crate) fn list(path: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot read the directory {}", path.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(context)? {
        let entry = entry.with_context(context)?.path();
        if number(&entry).is_some() {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

fn number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("journal-")?.strip_suffix(".jsonl")?.parse().ok()
}
