//! What every source beyond a network has in common: a question with an identity, and an answer.
//!
//! A reader is made once for a trigger, keeps its connection between ticks, has its own time-out, and is
//! asked by [`crate::asker`], which asks equal questions once for everybody. To plug one in: implement
//! [`Remote`] and add its arm to `sources::maker`.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use futures_util::future::BoxFuture;
use tidegate_core::scale::Reading;
use tokio::sync::watch;

/// A reader of one question.
///
/// Dropping it ends whatever it has: connections, tasks. An `ask` that is dropped half way leaves nothing
/// behind that a later one could mistake for its own answer.
pub trait Remote: fmt::Debug + Send + Sync + 'static {
    /// What is asked, of whom, as whom. Two readers with equal questions are asked once.
    fn question(&self) -> &Question;

    /// Asks now; done within the reader's own time-out. A value, [`Reading::Absent`] for an answer that
    /// says there is nothing, or a sentence that says what failed. No secret stands in that sentence.
    fn ask(&self) -> BoxFuture<'_, Result<Reading, String>>;

    /// Changes when there is news before anybody asks, where the source pushes: it is then asked at once.
    fn news(&self) -> Option<watch::Receiver<u64>> {
        None
    }
}

/// What tells a question from any other. Credentials are in it as a hash alone, keyed anew in every
/// process: equal ones are equal, and nobody can try passwords against it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    kind: &'static str,
    server: String,
    asked: Vec<(&'static str, String)>,
    secrets: Vec<(&'static str, u64)>,
}

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Question {
    /// A question to `server` (host and port, without user or password) by a reader of this kind.
    #[must_use]
    pub fn new(kind: &'static str, server: impl Into<String>) -> Self {
        Question { kind, server: server.into(), asked: Vec::new(), secrets: Vec::new() }
    }

    /// One more part of it: whatever changes the answer.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.asked.push((name, value.to_string()));
        self
    }

    /// One more part that nobody may see: a password, a key, a header's value.
    #[must_use]
    pub fn secret(mut self, name: &'static str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.secrets.push((name, KEY.hash_one(value)));
        }
        self
    }

    /// Whom it goes to: what is slow there may delay nobody else.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.kind, self.server)?;
        for (name, value) in &self.asked {
            write!(f, " {name}={value:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(password: Option<&str>) -> Question {
        Question::new("redis", "r:6379").with("list", "jobs").secret("password", password)
    }

    #[test]
    fn questions_differ_by_what_is_asked_and_by_whose_credentials() {
        assert_eq!(question(Some("hunter2")), question(Some("hunter2")));
        assert_ne!(question(Some("hunter2")), question(Some("hunter3")));
        assert_ne!(question(Some("")), question(None));
        assert_ne!(question(None), question(None).with("database", 3));
    }

    #[test]
    fn a_question_shows_no_secret() {
        assert_eq!(format!("{:?}", question(Some("hunter2"))), "redis at r:6379 list=\"jobs\"");
    }
}
