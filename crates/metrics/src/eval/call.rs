//! Functions.

use promql_parser::label::MatchOp;
use promql_parser::parser::{Call, Expr, VectorSelector};

use super::check::bare;
use super::window::{KEEPS_NAME, WINDOWED};
use super::{Error, Evaluation, Value, Vector, date, element, labels, math, quantile, window};
use crate::store::{LabelSet, NAME};

impl Evaluation<'_> {
    pub(super) fn call(&self, call: &Call) -> Result<Value, Error> {
        let name = call.func.name;
        if WINDOWED.contains(&name) {
            return self.windowed(call).map(Value::Vector);
        }
        let args = &call.args.args;
        let vector = |at: usize| match args.get(at) {
            Some(arg) => self.value(arg).map(Value::vector),
            None => Ok(Vec::new()),
        };
        let number = |at: usize, default: f64| match args.get(at) {
            None => Ok(default),
            Some(arg) => self.value(arg).map(Value::scalar),
        };
        if let Some(change) = math::plain(name) {
            return element::map(name, vector(0)?, change).map(Value::Vector);
        }
        if let Some(part) = date::part(name) {
            let instants = if args.is_empty() {
                vec![(LabelSet::new(), self.now_ms as f64 / 1000.0)]
            } else {
                vector(0)?
            };
            return element::map(name, instants, part).map(Value::Vector);
        }
        let found = match name {
            "time" => return Ok(Value::Scalar(self.now_ms as f64 / 1000.0)),
            "pi" => return Ok(Value::Scalar(std::f64::consts::PI)),
            "scalar" => return Ok(Value::Scalar(Value::Vector(vector(0)?).scalar())),
            "vector" => vec![(LabelSet::new(), number(0, f64::NAN)?)],
            "timestamp" => self.timestamps(args.first().map(|arg| &**arg))?,
            "absent" => absent(args.first().map(|arg| &**arg), vector(0)?.is_empty()),
            "histogram_quantile" => {
                let elements = quantile::of_buckets(number(0, f64::NAN)?, vector(1)?);
                element::distinct(name, elements)?
            }
            "histogram_fraction" => {
                let elements = quantile::fractions(number(0, f64::NAN)?, number(1, f64::NAN)?, vector(2)?);
                element::distinct(name, elements)?
            }
            "round" => {
                // To the nearest multiple, halves up.
                let inverse = 1.0 / number(1, 1.0)?;
                element::map(name, vector(0)?, |value| (value * inverse + 0.5).floor() / inverse)?
            }
            "clamp" | "clamp_min" | "clamp_max" => {
                let low = if name == "clamp_max" { f64::NEG_INFINITY } else { number(1, f64::NAN)? };
                let high = match name {
                    "clamp_min" => f64::INFINITY,
                    "clamp_max" => number(1, f64::NAN)?,
                    _ => number(2, f64::NAN)?,
                };
                clamped(name, vector(0)?, low, high)?
            }
            "sort" => sorted(vector(0)?, false),
            "sort_desc" => sorted(vector(0)?, true),
            "label_replace" => labels::replace(vector(0)?, &texts(args))?,
            "label_join" => labels::join(vector(0)?, &texts(args))?,
            // `compile` has refused the rest.
            _ => vector(0)?,
        };
        Ok(Value::Vector(found))
    }

    fn windowed(&self, call: &Call) -> Result<Vector, Error> {
        let name = call.func.name;
        let args = &call.args.args;
        let is_window = |arg: &Expr| matches!(bare(arg), Expr::MatrixSelector(_) | Expr::Subquery(_));
        let Some(over) = args.iter().find(|arg| is_window(arg)) else { return Ok(Vec::new()) };
        let number = match args.iter().find(|arg| !is_window(arg)) {
            Some(number) => self.value(number)?.scalar(),
            None => f64::NAN,
        };
        let keeps_name = KEEPS_NAME.contains(&name);
        let mut found = Vec::new();
        self.windows(over, &mut |labels, points, bounds| {
            if let Some(value) = window::of(name, points, bounds, self.now_ms, number) {
                found.push((labels.clone(), value));
            }
        })?;
        if name == "absent_over_time" {
            return Ok(absent(Some(over), found.is_empty()));
        }
        if keeps_name { Ok(found) } else { element::map(name, found, |value| value) }
    }

    fn timestamps(&self, arg: Option<&Expr>) -> Result<Vector, Error> {
        let Some(arg) = arg else { return Ok(Vec::new()) };
        if let Expr::VectorSelector(selector) = bare(arg) {
            let timed = self.timed(selector)?;
            let elements = timed.into_iter().map(|(labels, (at_ms, _))| (labels, at_ms as f64 / 1000.0));
            return element::map("timestamp", elements.collect(), |value| value);
        }
        element::map("timestamp", self.value(arg)?.vector(), |_| self.now_ms as f64 / 1000.0)
    }
}

fn texts(args: &[Box<Expr>]) -> Vec<&str> {
    args.iter()
        .skip(1)
        .map(|arg| match bare(arg) {
            Expr::StringLiteral(text) => text.val.as_str(),
            _ => "",
        })
        .collect()
}

/// One element, with the labels that the selector fixes, where nothing was found.
fn absent(arg: Option<&Expr>, empty: bool) -> Vector {
    if !empty {
        return Vec::new();
    }
    let labels = match arg {
        Some(Expr::VectorSelector(selector)) => fixed(selector),
        Some(Expr::MatrixSelector(matrix)) => fixed(&matrix.vs),
        _ => LabelSet::new(),
    };
    vec![(labels, 1.0)]
}

/// Labels with one `=` matcher and no other.
fn fixed(selector: &VectorSelector) -> LabelSet {
    let matchers = &selector.matchers.matchers;
    let mut labels = LabelSet::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name != NAME) {
        let alone = matchers.iter().filter(|other| other.name == matcher.name).count() == 1;
        if alone && matches!(matcher.op, MatchOp::Equal) {
            element::set(&mut labels, &matcher.name, &matcher.value);
        }
    }
    labels
}

fn clamped(name: &str, elements: Vector, low: f64, high: f64) -> Result<Vector, Error> {
    // PromQL returns nothing at all where the limits cross.
    if low > high {
        return Ok(Vec::new());
    }
    let unknown = low.is_nan() || high.is_nan();
    element::map(
        name,
        elements,
        |value| {
            if unknown || value.is_nan() { f64::NAN } else { value.max(low).min(high) }
        },
    )
}

/// By value, NaN last both ways.
fn sorted(mut elements: Vector, falling: bool) -> Vector {
    elements.sort_by(|(_, a), (_, b)| {
        let order = a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
        a.is_nan().cmp(&b.is_nan()).then(if falling { order.reverse() } else { order })
    });
    elements
}
