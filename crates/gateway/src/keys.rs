//! The keys clients must show. Only their hashes are kept.

use std::collections::HashMap;
use std::path::Path;

use ring::digest;

/// Longest key file read: 1 MiB holds 10,000 keys of 100 bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read the API keys file {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is too large to be a list of keys.
    #[error("the API keys file {path} is larger than 1 MiB; give a file with one key a line")]
    TooLarge {
        /// The file.
        path: String,
    },
    /// It holds no key: nobody could get in.
    #[error("the API keys file {path} holds no key; write one a line, or leave --api-keys out")]
    Empty {
        /// The file.
        path: String,
    },
}

/// SHA-256 of a key.
type Hash = [u8; 32];

/// The keys that are let in, as hashes.
///
/// A shown key is hashed and the hash looked up: how long that takes tells of the hash, which nobody can
/// steer, and not of the key.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    names: HashMap<Hash, String>,
}

impl Keys {
    /// Reads a file: a key a line, a name after it where wanted, `#` comments and empty lines.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than 1 MiB or holds no key.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let read = |source| Error::Read { path: shown.clone(), source };
        if std::fs::metadata(path).map_err(read)?.len() > FILE_BYTES_MAX {
            return Err(Error::TooLarge { path: shown });
        }
        let keys = Self::parse(&std::fs::read_to_string(path).map_err(read)?);
        if keys.names.is_empty() {
            return Err(Error::Empty { path: shown });
        }
        Ok(keys)
    }

    /// Reads the text of such a file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut names = HashMap::new();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (key, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            names.insert(hash(key.as_bytes()), name.trim().to_owned());
        }
        Keys { names }
    }

    /// The tenant a key stands for; `None` where it is not one of ours.
    pub(crate) fn tenant(&self, key: &[u8]) -> Option<u64> {
        let hash = hash(key);
        self.names.contains_key(&hash).then(|| short(&hash))
    }
}

/// A tenant's number from whatever names it: the first eight bytes of its SHA-256, never 0.
pub(crate) fn tenant(name: &[u8]) -> u64 {
    short(&hash(name))
}

fn hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

fn short(hash: &Hash) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(first).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_a_line_with_an_optional_name() {
        let keys = Keys::parse("# people\nsk-one alice\n\n  sk-two\n");
        assert!(keys.tenant(b"sk-one").is_some());
        assert!(keys.tenant(b"sk-two").is_some());
        assert_eq!(keys.tenant(b"alice"), None);
        assert_eq!(keys.tenant(b"# people"), None);
    }

    #[test]
    fn a_file_without_a_key_is_refused_because_nobody_could_get_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        std::fs::write(&path, "# none yet\n").unwrap();
        assert!(matches!(Keys::load(&path), Err(Error::Empty { .. })));
    }
}
