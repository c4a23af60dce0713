//! A trigger's values, wherever they stand.

use tidegate_manifest::trigger::{Given, Origin, Secret};

/// Why a value is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It stands where nobody can look.
    #[error("{what} stands in {place}, which is not at hand; give its object among the files")]
    Unknown {
        /// The parameter.
        what: &'static str,
        /// Where.
        place: String,
    },
}

/// A text that may be there. Blanks alone count as nothing, as upstream.
pub(crate) fn given(
    what: &'static str,
    given: Option<&Given<String>>,
    value: &impl Fn(&Origin) -> Option<String>,
) -> Result<Option<String>, Error> {
    match given {
        None => Ok(None),
        Some(Given::Value(text)) => Ok(said(text)),
        Some(Given::Elsewhere(origin)) => at(what, origin, value),
    }
}

/// A secret that may be there.
pub(crate) fn secret(
    what: &'static str,
    secret: Option<&Secret>,
    value: &impl Fn(&Origin) -> Option<String>,
) -> Result<Option<String>, Error> {
    secret.map_or(Ok(None), |Secret(origin)| at(what, origin, value))
}

fn at(
    what: &'static str,
    origin: &Origin,
    value: &impl Fn(&Origin) -> Option<String>,
) -> Result<Option<String>, Error> {
    match value(origin) {
        Some(text) => Ok(said(&text)),
        None => Err(Error::Unknown { what, place: place(origin) }),
    }
}

fn said(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn place(origin: &Origin) -> String {
    match origin {
        Origin::Metadata(key) => format!("the trigger's metadata {key}"),
        Origin::Authentication(name) => format!("the TriggerAuthentication's {name}"),
        Origin::Environment(name) => format!("the environment variable {name}"),
    }
}

/// What a server said, no longer than a line of a log: it may say anything.
pub(crate) fn brief(text: impl std::fmt::Display) -> String {
    /// Two lines of a terminal.
    const CHARACTERS_MAX: usize = 160;
    let text = text.to_string();
    let mut brief: String = text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(CHARACTERS_MAX)
        .collect();
    if brief.len() < text.len() {
        brief.push('…');
    }
    brief
}

/// The innermost error: "Connection refused" says more than "client error (Connect)".
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    brief(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_one_bounded_line() {
        assert_eq!(brief("no\nsuch\ttable"), "no such table");
        let long = brief("ü".repeat(100_000));
        assert_eq!(long.chars().count(), 161);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn a_value_that_is_nowhere_at_hand_is_told_with_its_place() {
        let origin = Secret(Origin::Authentication("password".to_owned()));
        let told = secret("password", Some(&origin), &|_: &Origin| None).expect_err("nobody has it");
        assert_eq!(
            told.to_string(),
            "password stands in the TriggerAuthentication's password, which is not at hand; give its object \
             among the files"
        );
        assert_eq!(secret("password", Some(&origin), &|_: &Origin| Some("  ".to_owned())), Ok(None));
    }
}
