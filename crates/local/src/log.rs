//! A replica's output: a file that is turned over, and its last lines.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Lines remembered for "why": a Python traceback has 20 to 40.
pub(crate) const LINES_MAX: usize = 50;
/// A remembered line is cut here: 50 lines are 50 KiB at the most.
const LINE_BYTES_MAX: usize = 1024;

/// The last lines of a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    lines: VecDeque<Vec<u8>>,
    open: Vec<u8>,
}

impl Tail {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = LINE_BYTES_MAX.saturating_sub(self.open.len());
            self.open.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                let line = std::mem::take(&mut self.open);
                self.keep(line);
            }
        }
    }

    fn keep(&mut self, line: Vec<u8>) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The lines so far, an unfinished one included.
    pub(crate) fn lines(&self) -> Vec<String> {
        let open = (!self.open.is_empty()).then_some(&self.open);
        let text = |line: &Vec<u8>| String::from_utf8_lossy(line).trim_end_matches('\r').to_owned();
        self.lines.iter().chain(open).map(text).collect()
    }
}

/// A file of at most `bytes_max`, and older ones beside it as `NAME.1`, `NAME.2`, …
#[derive(Debug)]
pub(crate) struct Rotating {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    files_max: u32,
}

impl Rotating {
    /// Opens the file for appending.
    pub(crate) fn open(path: &Path, bytes_max: u64, files_max: u32) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Rotating { path: path.to_owned(), file, bytes, bytes_max, files_max })
    }

    /// Appends. The file is turned over before it would grow beyond its size, at the end of a line
    /// where there is one.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while self.bytes + bytes.len() as u64 > self.bytes_max {
            let room = usize::try_from(self.bytes_max.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
            let line_end = bytes[..room.min(bytes.len())].iter().rposition(|&byte| byte == b'\n');
            let head = match line_end {
                Some(end) => end + 1,
                // A line longer than a whole file is cut; otherwise it begins the next one.
                None if self.bytes == 0 => room.max(1).min(bytes.len()),
                None => 0,
            };
            self.file.write_all(&bytes[..head])?;
            bytes = &bytes[head..];
            self.turn_over()?;
        }
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn turn_over(&mut self) -> io::Result<()> {
        let older = |age: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{age}"));
            PathBuf::from(name)
        };
        // With three files, .1 becomes .2, which is lost, and the current one .1.
        for age in (1..self.files_max.saturating_sub(1)).rev() {
            if older(age).exists() {
                fs::rename(older(age), older(age + 1))?;
            }
        }
        if self.files_max > 1 {
            fs::rename(&self.path, older(1))?;
        }
        self.file = OpenOptions::new().create(true).write(true).truncate(true).open(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines_and_an_unfinished_one() {
        let mut tail = Tail::default();
        for number in 0..LINES_MAX + 10 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        tail.push(b"half a ");
        tail.push(b"line");
        let lines = tail.lines();
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert_eq!(lines[0], "line 10");
        assert_eq!(lines[LINES_MAX], "half a line");
    }

    #[test]
    fn a_line_without_end_takes_no_more_than_its_room() {
        let mut tail = Tail::default();
        for _ in 0..100 {
            tail.push(&[b'x'; 1000]);
        }
        assert_eq!(tail.lines()[0].len(), LINE_BYTES_MAX);
    }

    #[test]
    fn three_files_are_kept_and_none_is_too_large() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/one.log");
        let mut log = Rotating::open(&path, 100, 3).unwrap();
        for number in 0..50 {
            log.write(format!("this is line {number:03}\n").as_bytes()).unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(directory.path().join("logs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["one.log", "one.log.1", "one.log.2"]);
        for name in names {
            let text = fs::read_to_string(directory.path().join("logs").join(name)).unwrap();
            assert!(text.len() <= 100);
            assert!(text.lines().all(|line| line.len() == "this is line 000".len()), "{text}");
        }
        assert!(fs::read_to_string(&path).unwrap().ends_with("this is line 049\n"));
    }

    #[test]
    fn a_line_longer_than_a_file_is_cut_and_nothing_hangs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one.log");
        let mut log = Rotating::open(&path, 10, 2).unwrap();
        log.write(&[b'y'; 35]).unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), 5);
    }
}
