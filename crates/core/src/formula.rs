//! Expressions come in from outside.
//!
//! `scalingModifiers.formula` is written in expr-lang. The core does not parse languages; it holds a
//! compiled [`Formula`] and keeps its source in the spec, so that a journal can be replayed by
//! compiling the same text again.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

/// What a formula may name: a signal and its value, `None` when it could not be read.
pub type Variable<'a> = (&'a str, Option<f64>);

/// A compiled expression over signal values.
pub trait Formula: fmt::Debug + Send + Sync {
    /// The value, or `None` when the expression itself evaluates to nil.
    ///
    /// # Errors
    /// When the expression fails on these values, or its result is not a finite number.
    fn evaluate(&self, variables: &[Variable<'_>]) -> Result<Option<f64>, Error>;
}

/// Compiles formulas. Each driver passes the one from the manifest crate.
pub trait Compiler: fmt::Debug + Send + Sync {
    /// Compiles `source`, which may name exactly `variables`.
    ///
    /// # Errors
    /// When the text is not an expression or names something else.
    fn compile(&self, source: &str, variables: &[Arc<str>]) -> Result<Box<dyn Formula>, Error>;
}

/// Why a formula gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// One sentence, naming the place in the formula where known.
    pub message: String,
}

/// For targets without formulas: refuses every one.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFormulas;

impl Compiler for NoFormulas {
    fn compile(&self, _source: &str, _variables: &[Arc<str>]) -> Result<Box<dyn Formula>, Error> {
        Err(Error { message: "this driver was built without a formula compiler".into() })
    }
}
