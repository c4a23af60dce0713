//! Reads parameters from the places where KEDA looks for them.
//!
//! A parameter has an ordered list of places. The first that holds more than blanks wins, and blanks
//! around a value do not count. What a TriggerAuthentication or a Secret holds is not at hand here, so
//! a value from there stays [`Given::Elsewhere`]; a secret's value is never kept, wherever it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tidegate_core::time::Span;

use super::{Declared, Fault, FaultKind};
use crate::duration;

/// Where a parameter's value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the trigger's metadata, under this key.
    Metadata(String),
    /// In the TriggerAuthentication, as this parameter.
    Authentication(String),
    /// In this environment variable of the target's container.
    Environment(String),
}

/// A parameter that is there: its value, or where to find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given<T> {
    /// The value.
    Value(T),
    /// It stands where this program cannot look while it reads a manifest.
    Elsewhere(Origin),
}

impl<T> Given<T> {
    /// The value, where it is known.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        match self {
            Given::Value(value) => Some(value),
            Given::Elsewhere(_) => None,
        }
    }
}

/// Where a password, a key, a token or a connection string stands. Its value is never kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret(pub Origin);

/// A URL or host that may hold a password; [`fmt::Debug`] hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(pub String);

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme_end = self.0.find("://").map_or(0, |at| at + 3);
        // The authority ends at the first slash; a password may itself hold an @.
        let (scheme, rest) = self.0.split_at(scheme_end);
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_end);
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        match authority.rsplit_once('@') {
            Some((_, host)) => write!(f, "\"{scheme}…@{host}{path}\""),
            None => write!(f, "\"{scheme}{authority}{path}\""),
        }
    }
}

/// Names with values, any of which may be a secret; [`fmt::Debug`] shows the names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pairs(pub BTreeMap<String, String>);

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Where a parameter may stand, as KEDA names it in its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Metadata,
    Auth,
    Env,
}

pub(super) const M: &[Place] = &[Place::Metadata];
pub(super) const A: &[Place] = &[Place::Auth];
pub(super) const MA: &[Place] = &[Place::Metadata, Place::Auth];
pub(super) const AM: &[Place] = &[Place::Auth, Place::Metadata];
pub(super) const AME: &[Place] = &[Place::Auth, Place::Metadata, Place::Env];
pub(super) const ME: &[Place] = &[Place::Metadata, Place::Env];
pub(super) const AE: &[Place] = &[Place::Auth, Place::Env];
pub(super) const MAE: &[Place] = &[Place::Metadata, Place::Auth, Place::Env];
pub(super) const MEA: &[Place] = &[Place::Metadata, Place::Env, Place::Auth];

/// A parameter: its names, the first of which is the one to write, and its places in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Param {
    pub(super) names: &'static [&'static str],
    pub(super) places: &'static [Place],
}

pub(super) const fn param(names: &'static [&'static str], places: &'static [Place]) -> Param {
    Param { names, places }
}

/// What a look at all places found.
enum Found<'a> {
    Text(&'a str, Origin),
    Elsewhere(Origin),
    /// Nowhere at hand, but a TriggerAuthentication that is not at hand may have it.
    Perhaps(String),
    Nowhere,
}

/// Why a text is not a value, as the end of a sentence: `is not a whole number`.
pub(super) type Reason = String;

/// Reads one trigger's parameters and collects what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) declared: &'a Declared<'a>,
    pub(super) faults: Vec<Fault>,
    pub(super) read: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(declared: &'a Declared<'a>) -> Self {
        Reader { declared, faults: Vec::new(), read: BTreeSet::new() }
    }

    /// Adds a fault about a metadata key.
    pub(super) fn fault(&mut self, key: &str, kind: FaultKind, message: String, help: &str) {
        self.faults.push(Fault {
            key: Some(key.to_owned()),
            field: None,
            kind,
            message,
            help: help.to_owned(),
        });
    }

    /// Metadata keys that something other than a parameter reads.
    pub(super) fn also_reads(&mut self, keys: &[&str]) {
        self.read.extend(keys.iter().map(|key| (*key).to_owned()));
    }

    /// The metadata keys nobody read.
    pub(super) fn unread(&self) -> impl Iterator<Item = &'a String> {
        self.declared.metadata.keys().filter(|key| !self.read.contains(*key))
    }

    fn find(&mut self, param: Param) -> Found<'a> {
        let mut found = None;
        let mut perhaps = None;
        for place in param.places {
            for name in param.names {
                let here = match place {
                    Place::Metadata => {
                        self.metadata(name).map(|text| Found::Text(text, Origin::Metadata((*name).into())))
                    }
                    Place::Auth => match self.declared.auth_parameters {
                        Some(known) => known
                            .contains(*name)
                            .then(|| Found::Elsewhere(Origin::Authentication((*name).into()))),
                        None => {
                            perhaps.get_or_insert_with(|| (*name).to_owned());
                            None
                        }
                    },
                    Place::Env => self.environment(name),
                };
                // Goes on to the end even so, to know every key that is read.
                if found.is_none() {
                    found = here;
                }
            }
        }
        found.or_else(|| perhaps.map(Found::Perhaps)).unwrap_or(Found::Nowhere)
    }

    fn metadata(&mut self, key: &str) -> Option<&'a str> {
        self.read.insert(key.to_owned());
        self.declared.metadata.get(key).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    fn environment(&mut self, name: &str) -> Option<Found<'a>> {
        // KEDA does not trim a variable's name.
        let key = format!("{name}FromEnv");
        let variable = self.declared.metadata.get(&key).filter(|variable| !variable.is_empty());
        self.read.insert(key);
        let variable = variable?;
        let origin = Origin::Environment(variable.clone());
        match self.declared.environment {
            None => Some(Found::Elsewhere(origin)),
            Some(environment) => match environment.get(variable)? {
                None => Some(Found::Elsewhere(origin)),
                Some(value) if value.trim().is_empty() => None,
                Some(value) => Some(Found::Text(value.trim(), origin)),
            },
        }
    }

    /// Whether the parameter is nowhere, for certain.
    pub(super) fn lacks(&mut self, param: Param) -> bool {
        matches!(self.find(param), Found::Nowhere)
    }

    /// A parameter that must be there. `None` after a fault.
    pub(super) fn required<T>(
        &mut self,
        param: Param,
        convert: impl FnOnce(&str) -> Result<T, Reason>,
    ) -> Option<Given<T>> {
        match self.find(param) {
            Found::Text(text, origin) => self.converted(text, &origin, true, convert).map(Given::Value),
            Found::Elsewhere(origin) => Some(Given::Elsewhere(origin)),
            Found::Perhaps(name) => Some(Given::Elsewhere(Origin::Authentication(name))),
            Found::Nowhere => {
                self.missing(param.names, param.places);
                None
            }
        }
    }

    /// A parameter that may be there. `None` also after a fault, and where only a TriggerAuthentication
    /// that is not at hand might have it.
    pub(super) fn optional<T>(
        &mut self,
        param: Param,
        convert: impl FnOnce(&str) -> Result<T, Reason>,
    ) -> Option<Given<T>> {
        match self.find(param) {
            Found::Text(text, origin) => self.converted(text, &origin, true, convert).map(Given::Value),
            Found::Elsewhere(origin) => Some(Given::Elsewhere(origin)),
            Found::Perhaps(_) | Found::Nowhere => None,
        }
    }

    /// A secret that may be there.
    pub(super) fn secret(&mut self, param: Param) -> Option<Secret> {
        match self.find(param) {
            Found::Text(_, origin) | Found::Elsewhere(origin) => Some(Secret(origin)),
            Found::Perhaps(_) | Found::Nowhere => None,
        }
    }

    /// A metadata parameter that must be there; the type's default after a fault.
    pub(super) fn needed<T: Default>(
        &mut self,
        name: &'static str,
        convert: impl FnOnce(&str) -> Result<T, Reason>,
    ) -> T {
        match self.metadata(name) {
            Some(text) => self.converted(text, &Origin::Metadata(name.into()), true, convert),
            None => {
                self.missing(&[name], M);
                None
            }
        }
        .unwrap_or_default()
    }

    /// A metadata parameter that may be there.
    pub(super) fn maybe<T>(
        &mut self,
        name: &str,
        convert: impl FnOnce(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        let text = self.metadata(name)?;
        self.converted(text, &Origin::Metadata(name.into()), true, convert)
    }

    /// A metadata parameter with a default.
    pub(super) fn or<T>(
        &mut self,
        name: &str,
        default: T,
        convert: impl FnOnce(&str) -> Result<T, Reason>,
    ) -> T {
        self.maybe(name, convert).unwrap_or(default)
    }

    /// Metadata of the form `name=value,name=value`, never quoted in a fault.
    pub(super) fn pairs(&mut self, name: &str) -> Pairs {
        let text = self.metadata(name);
        text.and_then(|text| self.converted(text, &Origin::Metadata(name.into()), false, pairs))
            .unwrap_or_default()
    }

    fn converted<T>(
        &mut self,
        text: &str,
        origin: &Origin,
        quote: bool,
        convert: impl FnOnce(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        let reason = match convert(text) {
            Ok(value) => return Some(value),
            Err(reason) => reason,
        };
        let message = match origin {
            // Long texts are cut: a query or a file may stand in the wrong place.
            Origin::Metadata(key) if quote => {
                let shown: String = text.chars().take(80).collect();
                format!("{key}: \"{shown}\" {reason}")
            }
            Origin::Metadata(key) => format!("{key} {reason}"),
            Origin::Authentication(name) => format!("{name} from the TriggerAuthentication {reason}"),
            Origin::Environment(name) => format!("the environment variable {name} {reason}"),
        };
        let key = match origin {
            Origin::Metadata(key) => key.clone(),
            Origin::Authentication(name) => name.clone(),
            // The key that names the variable.
            Origin::Environment(name) => {
                let names = self
                    .declared
                    .metadata
                    .iter()
                    .find(|(key, value)| *value == name && key.ends_with("FromEnv"));
                names.map_or_else(|| name.clone(), |(key, _)| key.clone())
            }
        };
        self.fault(
            &key,
            FaultKind::BadValue,
            message,
            "Correct the value; in metadata every value is a string.",
        );
        None
    }

    fn missing(&mut self, names: &[&str], places: &[Place]) {
        let listed: Vec<&str> = places
            .iter()
            .map(|place| match place {
                Place::Metadata => "triggerMetadata",
                Place::Auth => "authParams",
                Place::Env => "resolvedEnv",
            })
            .collect();
        let name = names[0];
        let ways: Vec<String> = places
            .iter()
            .map(|place| match place {
                Place::Metadata => format!("{name} in the trigger's metadata"),
                Place::Auth => format!("the parameter {name} in a TriggerAuthentication"),
                Place::Env => format!("{name}FromEnv with a variable that the target's container has"),
            })
            .collect();
        let message = format!("missing required parameter \"{}\" in [{}]", names.join(","), listed.join(" "));
        self.fault(name, FaultKind::MissingRequired, message, &format!("Set {}.", ways.join(", or ")));
    }
}

/// Any text.
pub(super) fn text(text: &str) -> Result<String, Reason> {
    Ok(text.to_owned())
}

/// A URL or host that may hold a password.
pub(super) fn address(text: &str) -> Result<Address, Reason> {
    Ok(Address(text.to_owned()))
}

/// A whole number as JSON writes it: no `+`, no leading zeros, no decimals.
pub(super) fn int(text: &str) -> Result<i64, Reason> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is not a whole number".into());
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return Err("is not a whole number as KEDA reads it: it begins with 0".into());
    }
    text.parse().map_err(|_| "does not fit in 64 bits".into())
}

/// A finite number as JSON writes it: digits on both sides of the point, no `+`, no leading zeros.
pub(super) fn float(text: &str) -> Result<f64, Reason> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (digits, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    if !all_digits(whole)
        || leading_zero
        || !fraction.is_none_or(all_digits)
        || !exponent.is_none_or(all_digits)
    {
        return Err("is not a number as KEDA reads it; write it as 12 or 0.5".into());
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err("is too large for a number".into()),
    }
}

/// A boolean as Go's `strconv.ParseBool` reads it.
pub(super) fn boolean(text: &str) -> Result<bool, Reason> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("is neither true nor false".into()),
    }
}

/// A duration, or a plain number of milliseconds; never negative.
pub(super) fn span(text: &str) -> Result<Span, Reason> {
    let span = match duration::parse(text) {
        Ok(span) => span,
        Err(error) => {
            let millis = text.strip_prefix('+').unwrap_or(text).parse::<i64>();
            let micros = millis.ok().and_then(|millis| millis.checked_mul(1000));
            Span::from_micros(micros.ok_or_else(|| error.to_string())?)
        }
    };
    if span < Span::ZERO { Err("is negative".into()) } else { Ok(span) }
}

/// A list split at commas. Empty elements stay, as they do upstream.
pub(super) fn list(text: &str) -> Result<Vec<String>, Reason> {
    Ok(text.split(',').map(|item| item.trim().to_owned()).collect())
}

fn pairs(text: &str) -> Result<Pairs, Reason> {
    let mut all = BTreeMap::new();
    for pair in text.split(',') {
        let (name, value) = pair
            .split_once('=')
            .filter(|(_, value)| !value.contains('='))
            .ok_or_else(|| Reason::from("needs the form name=value,name=value, with one = in each pair"))?;
        all.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(Pairs(all))
}

/// Whole numbers and ranges of them, `1-4,7`, each with both ends.
pub(super) fn ranges(text: &str) -> Result<Vec<(i32, i32)>, Reason> {
    let one = |text: &str| text.trim().parse::<i32>().ok();
    let mut all = Vec::new();
    for item in text.split(',').map(str::trim) {
        let range = match item.split_once('-') {
            Some((first, last)) => one(first).zip(one(last)),
            None => one(item).map(|only| (only, only)),
        };
        let (first, last) = range.ok_or("is not a list of whole numbers and ranges such as 1-4,7")?;
        if first > last {
            return Err(format!("has the range {first}-{last}, which ends before it begins"));
        }
        all.push((first, last));
    }
    Ok(all)
}

/// One of a fixed set of words.
pub(super) trait Choice: Copy + 'static {
    const ALL: &'static [(&'static str, Self)];
}

/// Reads one of a type's words.
pub(super) fn choice<T: Choice>(text: &str) -> Result<T, Reason> {
    T::ALL.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = T::ALL.iter().map(|(word, _)| *word).collect();
        format!("must be one of {}", words.join(", "))
    })
}

/// Reads a list of a type's words.
pub(super) fn choices<T: Choice>(text: &str) -> Result<Vec<T>, Reason> {
    text.split(',').map(|item| choice(item.trim())).collect()
}

/// Declares an enum whose values are words in a manifest.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_meta])* $variant),+ }

        impl $name {
            /// The word in the manifest.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// What a word found elsewhere than in the manifest means.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                $crate::trigger::params::choice(word.trim()).ok()
            }
        }

        impl $crate::trigger::params::Choice for $name {
            const ALL: &'static [(&'static str, Self)] = &[$(($word, $name::$variant)),+];
        }
    };
}
pub(super) use words;

#[cfg(test)]
#[path = "tests/params.rs"]
mod tests;
