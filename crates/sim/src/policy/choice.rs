//! Policies by name.

use std::fmt;

use tidegate_core::slo::Objective;
use tidegate_manifest::{Manifests, Target};

use super::{Aibrix, Fixed, Keda, Kpa, KubeAi, Policy, Ray, Wva, aibrix, kpa, kubeai, ray, slo};
use crate::fleet::Setup;

/// A policy that somebody asked for by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// The manifest's rules on the beat of KEDA, HPA and Prometheus.
    Keda,
    /// The manifest's rules as `tidegate up` runs them.
    Live,
    /// The work in tokens, one start ahead, by the core's `slo`.
    Slo,
    /// Always so many.
    Fixed(u32),
    /// Knative's, with concurrency a replica.
    Kpa(f64),
    /// AIBrix' APA, with a share of the KV cache.
    Aibrix(f64),
    /// KubeAI's, with active requests a replica.
    KubeAi(f64),
    /// Ray Serve's, with ongoing requests a replica.
    Ray(f64),
    /// llm-d's.
    Wva,
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
pub const KNOWN: &[&str] = &[
    "keda",
    "live",
    "slo",
    "fixed:N",
    "kpa[:CONCURRENCY]",
    "aibrix[:KV_SHARE]",
    "kubeai[:REQUESTS]",
    "ray[:REQUESTS]",
    "wva",
];

const NUMBER: &str = "a number above 0";

fn number(setting: Option<&str>, default: f64) -> Option<f64> {
    let Some(setting) = setting else { return Some(default) };
    setting.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0)
}

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
            ("slo", None) => Ok(Choice::Slo),
            ("slo", Some(_)) => Err(bad("empty: it learns what it needs")),
            ("fixed", setting) => {
                let count = setting.and_then(|setting| setting.parse().ok());
                count.map(Choice::Fixed).ok_or_else(|| bad("a number of replicas, as in fixed:8"))
            }
            ("kpa", setting) => Ok(Choice::Kpa(number(setting, kpa::TARGET).ok_or_else(|| bad(NUMBER))?)),
            ("aibrix", setting) => {
                Ok(Choice::Aibrix(number(setting, aibrix::TARGET).ok_or_else(|| bad(NUMBER))?))
            }
            ("kubeai", setting) => {
                Ok(Choice::KubeAi(number(setting, kubeai::TARGET).ok_or_else(|| bad(NUMBER))?))
            }
            ("ray", setting) => Ok(Choice::Ray(number(setting, ray::TARGET).ok_or_else(|| bad(NUMBER))?)),
            ("wva", None) => Ok(Choice::Wva),
            ("wva", Some(_)) => Err(bad("empty: it learns its capacity")),
            ("keda" | "live", Some(_)) => Err(bad("empty: its settings are the manifest's")),
            _ => Err(Error::Unknown { name: text.to_owned() }),
        }
    }

    /// The manifest's own rules for a world of this set-up; `None` for a policy that has none.
    ///
    /// # Errors
    /// When they do not compile.
    pub fn ruled(
        &self,
        setup: &Setup,
        target: &Target,
        manifests: &Manifests,
    ) -> Result<Option<Keda>, Error> {
        let keda = match self {
            Choice::Keda => Keda::stack(target, manifests, 0)?,
            Choice::Live => Keda::live(target, manifests, 0)?,
            Choice::Slo => Keda::slo(target, manifests, objective(setup), 0)?,
            _ => return Ok(None),
        };
        Ok(Some(keda.with_blocks_of(setup.profile.block_tokens).in_a_world_of(&setup.fleet.faults)))
    }

    /// Makes the policy for a world of this set-up. `rules` are the target and the manifests it stands in, where there are any.
    ///
    /// # Errors
    /// When it needs rules and there are none, or they do not compile.
    pub fn policy(
        &self,
        setup: &Setup,
        rules: Option<(&Target, &Manifests)>,
    ) -> Result<Box<dyn Policy>, Error> {
        if let Some((target, manifests)) = rules
            && let Some(keda) = self.ruled(setup, target, manifests)?
        {
            return Ok(Box::new(keda));
        }
        let bounds = (rules.map_or(1, |(target, _)| target.spec.min), setup.max);
        let no_manifest = || Error::NoManifest { policy: self.to_string() };
        Ok(match *self {
            Choice::Keda | Choice::Live => return Err(no_manifest()),
            Choice::Slo => {
                let bare = slo::without_manifest(objective(setup), bounds)?.ok_or_else(no_manifest)?;
                let bare = bare.with_blocks_of(setup.profile.block_tokens);
                Box::new(bare.in_a_world_of(&setup.fleet.faults))
            }
            Choice::Fixed(replicas) => Box::new(Fixed::new(replicas)),
            Choice::Kpa(target) => Box::new(Kpa::new(target, bounds)),
            Choice::Aibrix(target) => Box::new(Aibrix::new(target, bounds)),
            Choice::KubeAi(target) => Box::new(KubeAi::new(target, bounds)),
            Choice::Ray(target) => Box::new(Ray::new(target, bounds)),
            Choice::Wva => Box::new(Wva::new(setup.profile.block_tokens, bounds)),
        })
    }
}

fn objective(setup: &Setup) -> Objective {
    Objective { ttft: setup.slo_ttft, itl: setup.slo_itl }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Keda => f.write_str("keda"),
            Choice::Live => f.write_str("live"),
            Choice::Slo => f.write_str("slo"),
            Choice::Fixed(replicas) => write!(f, "fixed:{replicas}"),
            Choice::Kpa(target) => write!(f, "kpa:{target}"),
            Choice::Aibrix(target) => write!(f, "aibrix:{target}"),
            Choice::KubeAi(target) => write!(f, "kubeai:{target}"),
            Choice::Ray(target) => write!(f, "ray:{target}"),
            Choice::Wva => f.write_str("wva"),
        }
    }
}
