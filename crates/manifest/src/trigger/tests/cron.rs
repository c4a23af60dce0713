use tidegate_core::scale::spec::{Absent, Activation};

use super::*;
use crate::trigger::tests::{Case, average, case};

fn minimal() -> Case {
    case(
        "cron",
        &[
            ("timezone", "Etc/UTC"),
            ("start", "0 0 * * Thu"),
            ("end", "59 23 * * Thu"),
            ("desiredReplicas", "10"),
        ],
    )
}

#[test]
fn a_window_becomes_a_source_that_aims_at_one_replica_each() {
    let trigger = minimal().trigger();
    assert_eq!(trigger.metric, average(1000));
    assert_eq!(trigger.activation, Activation::Above(0.0));
    assert_eq!(trigger.absent, Absent::Error);
    let window = CronWindow::parse("Etc/UTC", "0 0 * * Thu", "59 23 * * Thu").unwrap();
    assert_eq!(trigger.source, Source::Cron(Cron { window, desired_replicas: 10 }));
}

#[test]
fn the_metrics_name_is_upstreams() {
    for (start, end, name) in [
        ("0 0 * * Thu", "59 23 * * Thu", "s0-cron-Etc-UTC-00xxThu-5923xxThu"),
        ("0 */2 * * *", "0 1-23/2 * * *", "s0-cron-Etc-UTC-0xSl2xxx-01-23Sl2xxx"),
        ("0,30 * * * *", "15,45 * * * ?", "s0-cron-Etc-UTC-0Cm30xxxx-15Cm45xxxQm"),
    ] {
        assert_eq!(minimal().with(&[("start", start), ("end", end)]).trigger().metric_name, name);
    }
}

#[test]
fn what_is_missing_is_refused() {
    for key in ["timezone", "start", "end", "desiredReplicas"] {
        minimal().without(key).refused(key, "missing required parameter");
    }
}

#[test]
fn what_is_wrong_is_refused_where_it_stands() {
    for (key, value, part) in [
        ("timezone", "Europe/Atlantis", "is not a time zone"),
        ("start", "0 25 * * *", "the start expression \"0 25 * * *\" has the hour \"25\""),
        ("end", "0 0 31 2 *", "the end expression \"0 0 31 2 *\" never fires"),
        ("end", "0 0 * * Thu", "start and end are both"),
        ("start", "@daily", "is a macro"),
        ("desiredReplicas", "0", "at least 1"),
        ("desiredReplicas", "-1", "at least 1"),
        ("desiredReplicas", "3000000000", "at least 1"),
        ("desiredReplicas", "many", "not a whole number"),
    ] {
        minimal().with(&[(key, value)]).refused(key, part);
    }
}

#[test]
fn everything_wrong_with_a_window_is_found_at_once() {
    let wrong =
        minimal().with(&[("timezone", "Nowhere"), ("start", "x"), ("end", "y"), ("desiredReplicas", "0")]);
    let faults = wrong.parse().unwrap_err();
    let keys: Vec<&str> = faults.iter().filter_map(|fault| fault.key.as_deref()).collect();
    assert_eq!(keys, ["desiredReplicas", "timezone", "start", "end"]);
}
