//! Signals a target is decided by that cannot be trusted.

use super::Rule;
use crate::evidence::{Evidence, Life};
use crate::finding::Finding;

/// A finding for each signal that lives so.
fn each(rule: &Rule, evidence: &Evidence, life: Life, message: &str, fix: &str, out: &mut Vec<Finding>) {
    for target in &evidence.targets {
        for signal in target.signals.iter().filter(|signal| signal.life == life) {
            let message = format!("{} {message}", signal.name);
            out.push(rule.finding(&target.name, message, vec![signal.text.clone()], fix.to_owned()));
        }
    }
}

pub(super) fn absent(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    // With nothing running there is nobody who could export it.
    let serving = Evidence {
        targets: evidence.targets.iter().filter(|target| target.ready > 0).cloned().collect(),
        ..Evidence::default()
    };
    let message =
        "answers with nothing though replicas serve: the name or a label is not what the engine exports";
    let fix = "compare the query with what the engine exports at its /metrics; `tidegate lint` knows renamed metrics";
    each(rule, &serving, Life::Absent, message, fix, out);
}

pub(super) fn stale(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let message = "is too old to decide by, so its fallback speaks or nothing changes";
    let fix = "look whether its source still answers, and in time";
    each(rule, evidence, Life::Stale, message, fix, out);
}

pub(super) fn failing(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let message = "cannot be read, so its fallback speaks or nothing changes";
    let fix = "mend what the error names: address, credentials or query";
    each(rule, evidence, Life::Failing, message, fix, out);
}

pub(super) fn not_moving(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let message = "has had one value all along while requests came and went: it does not measure this load";
    let fix = "check that the query selects this target's replicas and not another's";
    each(rule, evidence, Life::NotMoving, message, fix, out);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{codes, of, target};
    use crate::evidence::{Life, Signal};

    #[test]
    fn each_way_of_being_lost_has_its_code_and_a_signal_that_lives_has_none() {
        for (life, code) in [
            (Life::Absent, Some("TD201")),
            (Life::Stale, Some("TD202")),
            (Life::Failing, Some("TD203")),
            (Life::NotMoving, Some("TD204")),
            (Life::Found, None),
        ] {
            let mut one = target();
            one.signals = vec![Signal { name: "s0".to_owned(), life, text: "as read".to_owned() }];
            let found = of(one);
            assert_eq!(codes(&found), code.into_iter().collect::<Vec<_>>());
            assert!(found.iter().all(|finding| finding.evidence == ["as read"]));
        }
    }

    #[test]
    fn at_zero_an_absent_signal_is_as_it_should_be() {
        let mut zero = target();
        zero.ready = 0;
        zero.signals = vec![Signal { name: "s0".to_owned(), life: Life::Absent, text: String::new() }];
        assert_eq!(codes(&of(zero)), [""; 0]);
    }
}
