//! `scalingModifiers.formula`: expr-lang behind [`tidegate_core::formula::Formula`].
//!
//! KEDA type-checks a formula by running it once with every trigger at -1, and wraps it so that its
//! result is a float (or nil, where the formula uses `??`). Ours does the same, and refuses besides
//! what upstream finds only in use: a boolean result, a name that is no trigger wherever it stands, a
//! value that is not finite, and what would exhaust the stack (`shape`). A formula that fails while
//! running is an error and holds the target; in KEDA it empties the metrics and may scale to zero.

use std::sync::Arc;

use tidegate_core::formula::{Compiler, Error, Formula, Variable};

mod shape;

/// Compiles expr-lang.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExprLang;

impl Compiler for ExprLang {
    fn compile(&self, source: &str, variables: &[Arc<str>]) -> Result<Box<dyn Formula>, Error> {
        Ok(Box::new(Compiled::new(source, variables)?))
    }
}

struct Compiled {
    source: String,
    program: expr::Program,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "formula {:?}", self.source)
    }
}

fn error(message: impl Into<String>) -> Error {
    Error { message: message.into() }
}

impl Compiled {
    fn new(source: &str, variables: &[Arc<str>]) -> Result<Self, Error> {
        let text = shape::check(source, variables)?;
        let program = expr::compile(&text).map_err(|fault| error(told(&fault.to_string())))?;
        let compiled = Compiled { source: source.to_owned(), program };
        // Upstream's own trial, and two more that reach other branches of a condition.
        for trial in [-1.0, 0.0, 1.0] {
            let values: Vec<Variable<'_>> = variables.iter().map(|name| (&**name, Some(trial))).collect();
            match compiled.run(&values) {
                Err(Fault::Type(message)) => return Err(error(message)),
                // 1 / x at zero is arithmetic, not a mistake in the text.
                Ok(_) | Err(Fault::Value(_)) => {}
            }
        }
        Ok(compiled)
    }

    fn run(&self, variables: &[Variable<'_>]) -> Result<Option<f64>, Fault> {
        let mut context = expr::Context::default();
        for (name, value) in variables {
            match value {
                Some(value) => context.insert(shape::alias(name).into_owned(), *value),
                None => context.insert(shape::alias(name).into_owned(), expr::Value::Nil),
            };
        }
        let result = expr::run(&self.program, &context).map_err(|fault| match told(&fault.to_string()) {
            division if division.contains("divide by zero") => Fault::Value(division),
            other => Fault::Type(other),
        })?;
        let number = match result {
            expr::Value::Nil if self.source.contains("??") => return Ok(None),
            expr::Value::Float(value) => value,
            expr::Value::Integer(value) => value as f64,
            other => return Err(Fault::Type(format!("the result must be a number, and {other} is none"))),
        };
        if number.is_finite() {
            Ok(Some(number))
        } else {
            Err(Fault::Value(format!("the result is {number}, not a finite number")))
        }
    }
}

enum Fault {
    /// The expression is wrong.
    Type(String),
    /// The expression is right and these values have no result.
    Value(String),
}

impl Formula for Compiled {
    fn evaluate(&self, variables: &[Variable<'_>]) -> Result<Option<f64>, Error> {
        self.run(variables).map_err(|fault| match fault {
            Fault::Type(message) | Fault::Value(message) => error(message),
        })
    }
}

/// The engine's fault in one line. Its parser draws a picture, of which the place is told.
fn told(fault: &str) -> String {
    let first = fault.lines().next().unwrap_or_default().trim();
    match first.strip_prefix("--> ").and_then(|place| place.split_once(':')) {
        Some((line, column)) => format!("not readable from line {line}, character {column} on"),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests;
