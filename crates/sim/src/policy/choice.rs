//! Policies by name.

use std::fmt;

use tidegate_manifest::{Manifests, Target};

use super::{Fixed, Keda, Policy};

/// A policy that somebody asked for by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// The manifest's rules on the beat of KEDA, HPA and Prometheus.
    Keda,
    /// The manifest's rules as `tidegate up` runs them.
    Live,
    /// Always so many.
    Fixed(u32),
}

/// A name that is none, or a policy that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such policy.
    #[error("there is no policy {name}; known are {}", KNOWN.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// A setting behind the colon that is none.
    #[error("policy {policy}: {setting} is not {must}")]
    Setting {
        /// Which.
        policy: String,
        /// What stands there.
        setting: String,
        /// What should.
        must: &'static str,
    },
    /// It needs a manifest.
    #[error("policy {policy} runs a manifest's rules; give one with -f")]
    NoManifest {
        /// Which.
        policy: String,
    },
    /// It could not be made.
    #[error(transparent)]
    Policy(#[from] super::Error),
}

/// What there is, with the settings each takes.
pub const KNOWN: &[&str] = &["keda", "live", "fixed:N"];

impl Choice {
    /// A policy by its name, with its setting behind a colon where it has one.
    ///
    /// # Errors
    /// [`Error::Unknown`] lists what there is.
    pub fn parse(text: &str) -> Result<Choice, Error> {
        let (name, setting) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let bad = |must| Error::Setting {
            policy: name.to_owned(),
            setting: setting.unwrap_or("nothing").to_owned(),
            must,
        };
        match (name, setting) {
            ("keda", None) => Ok(Choice::Keda),
            ("live", None) => Ok(Choice::Live),
            ("fixed", setting) => {
                let count = setting.and_then(|setting| setting.parse().ok());
                count.map(Choice::Fixed).ok_or_else(|| bad("a number of replicas, as in fixed:8"))
            }
            ("keda" | "live", Some(_)) => Err(bad("empty: its settings are the manifest's")),
            _ => Err(Error::Unknown { name: text.to_owned() }),
        }
    }

    /// Makes the policy. `rules` are the target and the manifests it stands in, where there are any.
    ///
    /// # Errors
    /// When it needs rules and there are none, or they do not compile.
    pub fn policy(&self, rules: Option<(&Target, &Manifests)>) -> Result<Box<dyn Policy>, Error> {
        let needed = || rules.ok_or_else(|| Error::NoManifest { policy: self.to_string() });
        Ok(match *self {
            Choice::Keda => {
                let (target, manifests) = needed()?;
                Box::new(Keda::stack(target, manifests, 0)?)
            }
            Choice::Live => {
                let (target, manifests) = needed()?;
                Box::new(Keda::live(target, manifests, 0)?)
            }
            Choice::Fixed(replicas) => Box::new(Fixed::new(replicas)),
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Keda => f.write_str("keda"),
            Choice::Live => f.write_str("live"),
            Choice::Fixed(replicas) => write!(f, "fixed:{replicas}"),
        }
    }
}
