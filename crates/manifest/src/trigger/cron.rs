//! `cron`: a number of replicas during a window of time.

use super::params::{Reader, int, text};
use super::{FaultKind, Parsed, Source};
use crate::cron::{CronWindow, Edge, Error};
use tidegate_core::units::REPLICAS_MAX;

/// The parameters of a `cron` trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct Cron {
    /// `timezone`, `start` and `end`.
    pub window: CronWindow,
    /// `desiredReplicas` while the window is open: a floor, never a ceiling.
    pub desired_replicas: u32,
}

pub(super) fn parse(reader: &mut Reader<'_>) -> Option<Parsed> {
    let timezone: String = reader.needed("timezone", text);
    let start: String = reader.needed("start", text);
    let end: String = reader.needed("end", text);
    let desired = reader.needed("desiredReplicas", int);
    let desired_replicas = u32::try_from(desired).ok().filter(|count| (1..=REPLICAS_MAX).contains(count));
    if desired_replicas.is_none()
        && !reader.faults.iter().any(|fault| fault.key.as_deref() == Some("desiredReplicas"))
    {
        reader.fault(
            "desiredReplicas",
            FaultKind::BadValue,
            format!("desiredReplicas is {desired}; it must be a count of at least 1"),
            "Set the fewest replicas wanted while the window is open.",
        );
    }
    if timezone.is_empty() || start.is_empty() || end.is_empty() {
        return None;
    }
    let window = match CronWindow::parse_all(&timezone, &start, &end) {
        Ok(window) => window,
        Err(errors) => {
            for error in errors {
                refuse(reader, &error);
            }
            return None;
        }
    };
    let name = format!("cron-{timezone}-{}-{}", in_name(&start), in_name(&end));
    let goal = reader.goal_int("desiredReplicas", 1);
    Some(Parsed::new(name, goal, 0.0, Source::Cron(Cron { window, desired_replicas: desired_replicas? })))
}

fn refuse(reader: &mut Reader<'_>, error: &Error) {
    let (key, kind, help) = match error {
        Error::UnknownZone(_) => {
            ("timezone", FaultKind::BadValue, "Use an exact name from the IANA database; capitals count.")
        }
        Error::BadExpression { which, .. } | Error::NeverFires { which, .. } => (
            if *which == Edge::Start { "start" } else { "end" },
            FaultKind::BadValue,
            "Write five fields: minute, hour, day of month, month, day of week, as in `0 8 * * 1-5`.",
        ),
        Error::Same(_) => ("end", FaultKind::Conflict, "Set end to when the replicas are no longer wanted."),
    };
    reader.fault(key, kind, error.to_string(), help);
}

/// An expression as KEDA writes it in a metric's name.
fn in_name(expression: &str) -> String {
    expression.replace(' ', "").replace('*', "x").replace('/', "Sl").replace('?', "Qm").replace(',', "Cm")
}

#[cfg(test)]
#[path = "tests/cron.rs"]
mod tests;
