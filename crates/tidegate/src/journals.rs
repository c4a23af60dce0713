//! Journals as files: segments `journal-000001.jsonl`, `journal-000002.jsonl`, … in a directory.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tidegate_core::formula::Compiler;
use tidegate_journal::{Journal, Recovered, SEGMENT_BYTES_MAX, Segments, recover};

/// Segments kept of runs that write for ever: 8 × 64 MiB, which is six days of one busy target.
const SEGMENTS_KEPT: usize = 8;

/// Least bytes that a directory of so many bytes must have: four segments, each of which opens with what every target
/// remembers, 2 KB of each of some thousand.
const DIRECTORY_BYTES_MIN: u64 = 64 << 20;

/// Where segments are made.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    kept: Keep,
}

/// Which segments stay.
#[derive(Debug)]
enum Keep {
    All,
    /// The newest.
    Newest(usize),
    /// The newest that, with one more of so many bytes, fit so many.
    Within {
        segment: u64,
        bytes: u64,
    },
}

impl Directory {
    /// A new or empty directory, all of whose segments stay.
    pub(crate) fn fresh(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make the directory {}", path.display()))?;
        let mut entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        if entries.next().is_some() {
            bail!("{} is not empty; name a new directory, so that no journal is overwritten", path.display());
        }
        Ok(Directory { path: path.to_owned(), kept: Keep::All })
    }

    /// A journal that one run after another goes on with, in a directory of so many bytes: the oldest segments go, and
    /// a tenth stays free, since a file system counts blocks and not bytes.
    pub(crate) fn rolling(path: &Path, bytes: u64) -> Result<Journal<Self>> {
        if bytes < DIRECTORY_BYTES_MIN {
            bail!("a journal of {bytes} bytes is too small; give it 64Mi at least");
        }
        fs::create_dir_all(path).with_context(|| format!("cannot make the directory {}", path.display()))?;
        let bytes = bytes - bytes / 10;
        let segment = SEGMENT_BYTES_MAX.min(bytes / 4);
        let mut number = 0;
        if let Some(last) = list(path)?.pop() {
            number = self::number(&last).unwrap_or(0);
            cut(&last).with_context(|| format!("cannot cut the journal {}", last.display()))?;
        }
        let directory = Directory { path: path.to_owned(), kept: Keep::Within { segment, bytes } };
        // What is decided is the objects of a cluster, which have no one text; each segment opens with the specs.
        Ok(Journal::new(directory, String::new(), 0).with_segment_bytes_max(segment).after(number).anew())
    }

    /// The oldest segments go, where there are too many for one more.
    fn make_room(&self) -> io::Result<()> {
        let found = list(&self.path).map_err(io::Error::other)?;
        let goes = match self.kept {
            Keep::All => 0,
            Keep::Newest(kept) => (found.len() + 1).saturating_sub(kept),
            Keep::Within { segment, bytes } => {
                let mut left = bytes.saturating_sub(segment);
                let mut stay = 0;
                for path in found.iter().rev() {
                    let Some(after) = left.checked_sub(fs::metadata(path)?.len()) else { break };
                    left = after;
                    stay += 1;
                }
                found.len() - stay
            }
        };
        found.iter().take(goes).try_for_each(fs::remove_file)
    }

    /// The directory of a program that comes back: what the last run left is cut to its last whole line.
    /// Beside it what the last segment led to, and its number.
    pub(crate) fn resume(
        path: &Path,
        compiler: &Arc<dyn Compiler>,
    ) -> Result<(Self, Result<Recovered, tidegate_journal::Error>, u32)> {
        fs::create_dir_all(path).with_context(|| format!("cannot make the directory {}", path.display()))?;
        let directory = Directory { path: path.to_owned(), kept: Keep::Newest(SEGMENTS_KEPT) };
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
        self.make_room()?;
        let file = File::create_new(self.path.join(format!("journal-{number:06}.jsonl")))?;
        Ok(BufWriter::new(file))
    }
}

/// Cuts a file to its last whole line: what a run that was killed had not written out.
fn cut(path: &Path) -> io::Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let mut end = file.metadata()?.len();
    let mut piece = [0; 64 << 10];
    while end > 0 {
        let begin = end.saturating_sub(piece.len() as u64);
        let Some(piece) = piece.get_mut(..usize::try_from(end - begin).unwrap_or(usize::MAX)) else { break };
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            end = begin + at as u64 + 1;
            break;
        }
        end = begin;
    }
    file.set_len(end)
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

#[cfg(test)]
mod tests {

    use tidegate_core::scale::Event;
    use tidegate_core::time::Time;
    use tidegate_journal::Opening;

    use super::*;

    /// Events of some bytes each, as a run writes them.
    fn run(path: &Path, bytes: u64, events: usize) {
        let mut journal = Directory::rolling(path, bytes).unwrap();
        let text: std::sync::Arc<str> = "x".repeat(200_000).into();
        let reading = tidegate_core::scale::Reading::Error(text);
        for _ in 0..events {
            journal.prepare(Opening::default).unwrap();
            let event = Event::Reading { signal: "q".into(), reading: reading.clone() };
            journal.record(Time::ORIGIN, "prod/llama", &event, &[]).unwrap();
        }
        journal.finish().unwrap();
    }

    fn size(path: &Path) -> u64 {
        list(path).unwrap().iter().map(|path| fs::metadata(path).unwrap().len()).sum()
    }

    #[test]
    fn one_run_after_another_goes_on_in_the_same_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        run(path, DIRECTORY_BYTES_MIN, 1);
        // The first was killed in the middle of a line.
        let first = list(path).unwrap().remove(0);
        let whole = fs::read(&first).unwrap();
        fs::write(&first, [&whole[..], &vec![b'{'; 100_000]].concat()).unwrap();
        run(path, DIRECTORY_BYTES_MIN, 1);
        run(path, DIRECTORY_BYTES_MIN, 1);
        let numbers: Vec<u32> = list(path).unwrap().iter().filter_map(|path| number(path)).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(fs::read(&first).unwrap(), whole);
    }

    #[test]
    fn the_oldest_segments_go_before_the_directory_is_full() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        // 500 lines of 200 KB are 100 MB, in two runs.
        run(path, DIRECTORY_BYTES_MIN, 250);
        run(path, DIRECTORY_BYTES_MIN, 250);
        let left = list(path).unwrap();
        assert!(number(&left[0]) > Some(1) && left.len() >= 3, "{left:?}");
        assert!(size(path) < DIRECTORY_BYTES_MIN && size(path) > DIRECTORY_BYTES_MIN / 2, "{}", size(path));
    }

    #[test]
    fn a_directory_too_small_for_a_journal_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = Directory::rolling(directory.path(), 1 << 20).unwrap_err();
        assert!(error.to_string().contains("64Mi"), "{error}");
    }
}
