//! Files in, within limits.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tidegate_manifest::Source;
use tidegate_manifest::yaml::FILE_BYTES_MAX;

/// Files one run reads at the most.
const FILES_MAX: usize = 10_000;
/// Bytes of all of them: the manifests of a large organisation are a few megabytes.
const BYTES_MAX: usize = 256 << 20;
/// Directories below one another.
const DEPTH_MAX: usize = 32;

/// Reads manifests: files as they are named, directories for every `.yaml`, `.yml` and `.json` below
/// them, in the order of names; `-` is standard input.
pub(crate) fn manifests(paths: &[PathBuf]) -> Result<Vec<Source>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            below(path, 0, &mut files)?;
        } else {
            files.push(path.clone());
        }
        if files.len() > FILES_MAX {
            bail!("more than {FILES_MAX} files; name fewer directories");
        }
    }
    if files.is_empty() {
        bail!("no .yaml, .yml or .json file there; name a file or another directory");
    }
    let mut sources = Vec::with_capacity(files.len());
    let mut bytes = 0;
    for path in &files {
        let source = source(path)?;
        bytes += source.bytes.len();
        if bytes > BYTES_MAX {
            bail!("more than {} MiB in all; name fewer files", BYTES_MAX >> 20);
        }
        sources.push(source);
    }
    Ok(sources)
}

fn below(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    if depth > DEPTH_MAX {
        bail!("{}: more than {DEPTH_MAX} directories deep", directory.display());
    }
    let context = || format!("cannot read the directory {}", directory.display());
    let mut entries = fs::read_dir(directory)
        .with_context(context)?
        .collect::<io::Result<Vec<_>>>()
        .with_context(context)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        // A link to a directory could lead in a circle; one to a file is taken as the file.
        let kind = entry.file_type().with_context(context)?;
        let path = entry.path();
        let yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if hidden {
        } else if kind.is_dir() {
            below(&path, depth + 1, files)?;
        } else if yaml && path.is_file() {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            bail!("more than {FILES_MAX} files below {}; name fewer directories", directory.display());
        }
    }
    Ok(())
}

fn source(path: &Path) -> Result<Source> {
    let name = path.display().to_string();
    let context = || format!("cannot read {name}");
    let mut bytes = Vec::new();
    // One byte past the limit is enough for the reader to refuse the file by name.
    let limit = FILE_BYTES_MAX as u64 + 1;
    if name == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes).with_context(context)?;
        return Ok(Source::new("<stdin>", bytes));
    }
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).with_context(context)?;
    Ok(Source::new(&name, bytes))
}
