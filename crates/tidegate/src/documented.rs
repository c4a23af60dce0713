//! Whatever a page tells people to type, this program takes.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::Cli;

/// Bytes of a page: the longest has 40 KB.
const PAGE_BYTES_MAX: u64 = 1 << 20;

/// Pages of a directory.
const PAGES_MAX: usize = 500;

/// Bytes of a command in the running text: what is longer has no closing tick.
const SPAN_BYTES_MAX: usize = 400;

/// A command as it stands on a page.
struct Told {
    page: PathBuf,
    text: String,
    /// Whether it stands in a block, so is meant as a whole; in running text it may be only a mention.
    whole: bool,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn pages() -> Vec<PathBuf> {
    let mut all = vec![root().join("README.md"), root().join("deploy/README.md")];
    for directory in ["docs/runbooks", "docs/reference", "docs/dev"] {
        let listed = fs::read_dir(root().join(directory)).unwrap().take(PAGES_MAX);
        let files = listed.map(|entry| entry.unwrap().path());
        all.extend(files.filter(|path| path.extension().is_some_and(|ext| ext == "md")));
    }
    all.sort();
    all
}

/// The commands of a page: lines of its blocks, and what stands between ticks.
fn told(page: &Path) -> Vec<Told> {
    assert!(fs::metadata(page).unwrap().len() <= PAGE_BYTES_MAX, "{}", page.display());
    let text = fs::read_to_string(page).unwrap();
    let of = |text: &str, whole| Told { page: page.to_owned(), text: text.to_owned(), whole };
    let (mut all, mut running, mut block, mut carried) = (Vec::new(), String::new(), false, String::new());
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            block = !block;
        } else if !block {
            running.push_str(line.trim());
            running.push(' ');
        } else {
            let line = line.trim().strip_prefix("$ ").unwrap_or(line.trim());
            if let Some(begun) = line.strip_suffix('\\') {
                carried.push_str(begun);
                continue;
            }
            let line = std::mem::take(&mut carried) + line;
            // In the checkout it is run by cargo.
            if let Some((_, arguments)) = line.split_once("-p tidegate -- ") {
                all.push(of(&format!("tidegate {arguments}"), true));
            } else if line.starts_with("tidegate ") {
                all.push(of(&line, true));
            }
        }
    }
    for (at, _) in running.match_indices("`tidegate ") {
        let rest = &running[at + 1..];
        if let Some(end) = rest.find('`').filter(|end| *end <= SPAN_BYTES_MAX) {
            all.push(of(&rest[..end], false));
        }
    }
    all
}

/// The words of a command, up to where the shell would begin another, with something in the place of placeholders.
fn words(text: &str) -> (Vec<String>, bool) {
    let (mut words, mut word, mut quote, mut guessed) = (Vec::new(), String::new(), None, false);
    for letter in text.chars().chain([' ']) {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, ' ') if word.is_empty() => {}
            (None, ' ') => words.push(std::mem::take(&mut word)),
            (None, '[' | ']') => {}
            (_, letter) => word.push(letter),
        }
    }
    let end = words.iter().position(|word| matches!(word.as_str(), "|" | ">" | "<" | "&&" | "&" | ";" | "#"));
    words.truncate(end.unwrap_or(words.len()));
    words.retain(|word| word != "…" && word != "...");
    for word in &mut words {
        let placeholder = word.chars().all(|one| one.is_ascii_uppercase() || "|/:_-.…".contains(one));
        if placeholder && word.chars().any(|one| one.is_ascii_uppercase()) {
            guessed = true;
            *word = "1".to_owned();
        } else if let Some((first, _)) = word.split_once('|') {
            *word = first.to_owned();
        }
    }
    (words, guessed)
}

/// What the program would say to a command; nothing where it takes it.
fn refused(told: &Told) -> Option<String> {
    let (words, guessed) = words(&told.text);
    let error = Cli::try_parse_from(&words).err()?;
    let fine = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
        // A mention names a command, and leaves out what it is about.
        ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            !told.whole
        }
        // No word stands for every kind of value.
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => guessed || (!told.whole && ends_open(&words)),
        _ => false,
    };
    (!fine).then(|| format!("{}: `{}`: {error}", told.page.display(), told.text))
}

/// Whether it only names a flag, and no value of it.
fn ends_open(words: &[String]) -> bool {
    words.last().is_some_and(|word| word.starts_with("--"))
}

#[test]
fn every_command_on_a_page_is_one_that_this_program_takes() {
    let all: Vec<Told> = pages().iter().flat_map(|page| told(page)).collect();
    assert!(all.len() > 30 && all.iter().any(|told| told.whole), "{} commands were found", all.len());
    let refused: Vec<String> = all.iter().filter_map(refused).collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn a_flag_that_is_not_there_is_found_in_a_block_and_in_running_text() {
    let refused = |text: &str, whole| refused(&Told { page: PathBuf::new(), text: text.to_owned(), whole });
    assert!(refused("tidegate why NAMESPACE/NAME --admin URL", false).is_some());
    assert!(refused("tidegate wy NAME", false).is_some());
    assert!(refused("tidegate lint", true).is_some(), "a block means what it says");
    assert_eq!(refused("tidegate lint", false), None);
    assert_eq!(refused("tidegate why TARGET [--at TIME] | less", true), None);
}
