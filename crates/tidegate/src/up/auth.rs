//! Credentials in files: what a ClusterTriggerAuthentication's `filePath` names, under one directory.
//!
//! Each file is a JSON object of parameters. All of them are read with the manifests, so that a manifest
//! names a file and never opens one, and a rotated secret is an edit like any other.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tidegate_manifest::bound::Files;

/// Files there may be: one a source, and this is more sources than a machine has targets.
const FILES_MAX: usize = 256;

/// Bytes of one: a certificate with its chain, its key and an authority are 12 KB.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// Directories below the first. A mounted Secret links its files through one.
const DEPTH_MAX: u32 = 4;

/// The parameters by file, as `filePath` writes it: relative, with slashes.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct AuthFiles(Files);

impl fmt::Debug for AuthFiles {
    /// The names: what stands there is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl AuthFiles {
    /// Every `.json` file below `root`; none without one.
    pub(crate) fn read(root: Option<&Path>) -> Result<Self> {
        let mut files = AuthFiles::default();
        let Some(root) = root else { return Ok(files) };
        let root = fs::canonicalize(root).with_context(|| format!("cannot find {}", root.display()))?;
        files.add(&root, &root, "", DEPTH_MAX)?;
        Ok(files)
    }

    /// The parameters by file.
    pub(crate) const fn all(&self) -> &Files {
        &self.0
    }

    fn add(&mut self, root: &Path, directory: &Path, prefix: &str, depth: u32) -> Result<()> {
        let entries =
            fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            // A link may lead anywhere; only what lies below the root is taken.
            let Ok(path) = fs::canonicalize(entry.path()) else { continue };
            // Kubernetes keeps the old and the new side by side under names with two dots.
            if !path.starts_with(root) || name.starts_with("..") {
                continue;
            }
            if path.is_dir() {
                if depth > 0 {
                    self.add(root, &path, &format!("{prefix}{name}/"), depth - 1)?;
                }
            } else if name.ends_with(".json") {
                if self.0.len() == FILES_MAX {
                    bail!("more than {FILES_MAX} files in {}; keep those that are needed", root.display());
                }
                self.0.insert(format!("{prefix}{name}"), parameters(&path)?);
            }
        }
        Ok(())
    }
}

fn parameters(path: &PathBuf) -> Result<BTreeMap<String, String>> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {shown}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bail!("{shown} has more than {FILE_BYTES_MAX} bytes; it should hold a few parameters");
    }
    // The parser's own words might show what stands there.
    match serde_json::from_slice(&bytes) {
        Ok(parameters) => Ok(parameters),
        Err(error) => bail!(
            "{shown} is no JSON object of texts (line {}, column {}); write {{\"password\": \"…\"}}",
            error.line(),
            error.column()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_by_file_and_name_and_nothing_outside_is_read() {
        let outside = tempfile::tempdir().expect("a directory");
        fs::write(outside.path().join("other.json"), "{\"password\": \"stolen\"}").expect("a file");
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join("queues")).expect("a directory");
        fs::write(root.path().join("queues/redis.json"), "{\"password\": \"hunter2\"}").expect("a file");
        std::os::unix::fs::symlink(outside.path().join("other.json"), root.path().join("link.json"))
            .expect("a link");
        let files = AuthFiles::read(Some(root.path())).expect("they are good");
        assert_eq!(files.all()["queues/redis.json"]["password"], "hunter2");
        assert_eq!(files.all().len(), 1, "the link leads outside");
        assert!(!format!("{files:?}").contains("hunter2"));
    }

    #[test]
    fn a_file_that_is_none_is_refused_without_being_shown() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("redis.json"), "{\"password\": hunter2}").expect("a file");
        let refused = AuthFiles::read(Some(root.path())).expect_err("it is no JSON").to_string();
        assert!(refused.contains("redis.json") && !refused.contains("hunter2"), "{refused}");
    }
}
