//! The names a reader wants.

/// Names on the wire, each with what it means to whoever asks. A name with a colon is also found with
/// `_` in its place: some paths (OpenTelemetry, cloud agents) cannot carry a colon.
#[derive(Clone, Debug)]
pub struct Wanted<T> {
    names: Vec<(Box<str>, T)>,
}

impl<T> Default for Wanted<T> {
    fn default() -> Self {
        Wanted { names: Vec::new() }
    }
}

impl<T: Copy> Wanted<T> {
    /// What `name` means, if it is wanted. Names match whole.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<T> {
        let at = self.names.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.names.get(at).map(|(_, meaning)| *meaning)
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

impl<S: AsRef<str>, T: Copy> FromIterator<(S, T)> for Wanted<T> {
    /// Of two meanings of one name the first holds.
    fn from_iter<I: IntoIterator<Item = (S, T)>>(names: I) -> Self {
        let mut all: Vec<(Box<str>, T)> = Vec::new();
        for (name, meaning) in names {
            let name = name.as_ref();
            all.push((name.into(), meaning));
            if let Some(plain) = without_colon(name) {
                all.push((plain.into(), meaning));
            }
        }
        // Stable, so that the first of equals stays first.
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|later, first| later.0 == first.0);
        Wanted { names: all }
    }
}

/// `vllm:x` as `vllm_x`. Only the first colon: what has two is a recording rule's name, and its author's.
fn without_colon(name: &str) -> Option<String> {
    name.contains(':').then(|| name.replacen(':', "_", 1))
}
