//! Replicas that do not run, and starts that take longer than they must.

use super::Rule;
use crate::evidence::{Evidence, Replica, Start, State, Target};
use crate::finding::Finding;

/// Restarts that are no accident any more: a node's hiccup makes one, a bad deploy goes on.
const RESTARTS: u32 = 3;

/// A start is stuck after so many times its usual length: p99 of a start is seldom above twice its median.
const STUCK_FACTOR: f64 = 3.0;
/// And where no start was measured, after this: the slowest published starts of large models take five minutes.
const STUCK_UNMEASURED_S: f64 = 900.0;

/// A phase longer than this is worth an edit. vLLM's compilation takes 40 to 70 s cold and 5 to 10 s from its cache.
const COMPILE_S: f64 = 20.0;
/// Loading 16 GB from a local disk takes 2 to 16 s.
const LOAD_S: f64 = 60.0;

/// Log lines shown as evidence: a stack trace's end.
const LINES: usize = 3;

pub(super) fn in_trouble(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    for target in &evidence.targets {
        let Some(trouble) = &target.trouble else { continue };
        // A crash loop has a rule of its own, which shows the log.
        if target.replicas.iter().any(loops) {
            continue;
        }
        let message = format!("it has {} of {} replicas: {trouble}", target.ready, target.wanted);
        let seen = target
            .replicas
            .iter()
            .filter(|replica| replica.state != State::Ready)
            .filter_map(|replica| Some(format!("{}: {}", replica.name, replica.why.as_ref()?)))
            .collect();
        let fix =
            format!("mend what the reason names; `tidegate why {}` shows what waits for it", target.name);
        out.push(rule.finding(&target.name, message, seen, fix));
    }
}

fn loops(replica: &Replica) -> bool {
    replica.state == State::Failed && replica.restarts >= RESTARTS
}

pub(super) fn crash_loop(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    for target in &evidence.targets {
        let Some(replica) = target.replicas.iter().find(|replica| loops(replica)) else { continue };
        let why = replica.why.as_deref().unwrap_or("it ends");
        let message = format!("{} was restarted {} times: {why}", replica.name, replica.restarts);
        let kept = replica.last_lines.len().saturating_sub(LINES);
        let seen = replica.last_lines.get(kept..).unwrap_or_default().to_vec();
        let fix =
            "run the command by hand as the manifest has it, and mend what its last lines say".to_owned();
        out.push(rule.finding(&target.name, message, seen, fix));
    }
}

/// The middle one of the measured starts.
fn usual_s(starts: &[Start]) -> Option<f64> {
    let mut totals: Vec<f64> = starts.iter().map(|start| start.total_s).collect();
    totals.sort_by(f64::total_cmp);
    totals.get(totals.len() / 2).copied()
}

pub(super) fn stuck(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    for target in &evidence.targets {
        let usual = usual_s(&target.starts);
        let limit_s = usual.map_or(STUCK_UNMEASURED_S, |usual_s| (usual_s * STUCK_FACTOR).max(10.0));
        for replica in target.replicas.iter().filter(|replica| replica.state == State::Starting) {
            let Some(for_s) = replica.for_s.filter(|for_s| *for_s > limit_s) else { continue };
            let usually = match usual {
                Some(usual_s) => format!("a start takes {usual_s:.0} s as a rule"),
                None => "no start has been measured yet".to_owned(),
            };
            let message = format!("{} has been starting for {for_s:.0} s, and {usually}", replica.name);
            let phase = replica.why.iter().map(|phase| format!("it is in: {phase}"));
            let seen = phase.chain(replica.last_lines.last().cloned()).collect();
            let fix = "look at the end of its log; a startup probe with a failureThreshold ends such a start"
                .to_owned();
            out.push(rule.finding(&target.name, message, seen, fix));
        }
    }
}

/// The newest start in which a phase took longer than `limit_s`.
fn slow_phase<'t>(target: &'t Target, phase: &str, limit_s: f64) -> Option<(f64, &'t Start)> {
    let newest = target.starts.first()?;
    let (_, took_s) = newest.phases.iter().find(|(name, _)| name == phase)?;
    (*took_s > limit_s).then_some((*took_s, newest))
}

pub(super) fn compiles(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    for target in &evidence.targets {
        // The first start fills a cache; only a later one shows that there is none.
        if target.starts.len() < 2 {
            continue;
        }
        let Some((took_s, start)) = slow_phase(target, "compile", COMPILE_S) else { continue };
        let message =
            format!("{took_s:.0} s of its last start of {:.0} s went into compiling again", start.total_s);
        let seen = vec![phases(start)];
        let fix =
            "keep the engine's compile cache between starts: for vLLM a volume at VLLM_CACHE_ROOT".to_owned();
        out.push(rule.finding(&target.name, message, seen, fix));
    }
}

pub(super) fn loads(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    for target in &evidence.targets {
        let Some((took_s, start)) = slow_phase(target, "load", LOAD_S) else { continue };
        let message =
            format!("{took_s:.0} s of its last start of {:.0} s went into loading weights", start.total_s);
        let seen = vec![phases(start)];
        let fix = "keep the weights on a local disk, or use a streaming loader: for vLLM --load-format runai_streamer"
            .to_owned();
        out.push(rule.finding(&target.name, message, seen, fix));
    }
}

fn phases(start: &Start) -> String {
    let each: Vec<String> =
        start.phases.iter().map(|(name, took_s)| format!("{name} {took_s:.1} s")).collect();
    each.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{codes, of, target};
    use crate::evidence::{Replica, Start, State};

    fn replica(state: State) -> Replica {
        Replica { name: "chat-1".to_owned(), state, ..Replica::default() }
    }

    fn start(compile_s: f64, load_s: f64) -> Start {
        let phases = vec![("load".to_owned(), load_s), ("compile".to_owned(), compile_s)];
        Start { total_s: compile_s + load_s, phases }
    }

    #[test]
    fn a_target_that_cannot_run_is_an_error_with_each_replicas_reason() {
        let mut sick = target();
        sick.trouble = Some("chat-1: 3 GPUs wanted, 2 free".to_owned());
        sick.replicas = vec![Replica { why: Some("3 GPUs wanted".to_owned()), ..replica(State::Pending) }];
        let found = of(sick);
        assert_eq!(codes(&found), ["TD101"]);
        assert_eq!(found[0].evidence, ["chat-1: 3 GPUs wanted"]);
    }

    #[test]
    fn a_crash_loop_shows_its_last_lines_and_is_told_once() {
        let mut sick = target();
        sick.trouble = Some("chat-1: it ended: exit 1".to_owned());
        let lines = ["a", "b", "c", "no such file"].map(str::to_owned).to_vec();
        sick.replicas = vec![Replica { restarts: 3, last_lines: lines, ..replica(State::Failed) }];
        let found = of(sick.clone());
        assert_eq!(codes(&found), ["TD102"]);
        assert_eq!(found[0].evidence, ["b", "c", "no such file"]);
        sick.replicas[0].restarts = 2;
        assert_eq!(codes(&of(sick)), ["TD101"]);
    }

    #[test]
    fn a_start_is_stuck_by_what_starts_take_as_a_rule() {
        let mut slow = target();
        slow.replicas = vec![Replica { for_s: Some(100.0), ..replica(State::Starting) }];
        assert_eq!(codes(&of(slow.clone())), [""; 0]);
        slow.starts = vec![start(1.0, 29.0)];
        assert_eq!(codes(&of(slow.clone())), ["TD103"]);
        slow.starts = vec![start(1.0, 39.0)];
        assert_eq!(codes(&of(slow.clone())), [""; 0]);
        slow.starts.clear();
        slow.replicas[0].for_s = Some(901.0);
        assert_eq!(codes(&of(slow)), ["TD103"]);
    }

    #[test]
    fn compiling_again_is_told_from_the_second_start_on() {
        let mut slow = target();
        slow.starts = vec![start(42.0, 8.0)];
        assert_eq!(codes(&of(slow.clone())), [""; 0]);
        slow.starts.push(start(42.0, 8.0));
        assert_eq!(codes(&of(slow.clone())), ["TD104"]);
        slow.starts[0] = start(6.0, 90.0);
        assert_eq!(codes(&of(slow)), ["TD105"]);
    }
}
