//! No change breaks a policy's window or a stabilisation window.
//!
//! The rules are written down a second time here, as upstream's formulas over a list of everything that
//! was ever recommended and done; the machine keeps only what can still matter.

mod common;

use std::cmp::Ordering;

use common::random::{Round, Run, World, any_behavior, any_goal, any_rounds, any_spec, any_world, rounds_of};
use common::{average, spec};
use proptest::prelude::*;
use tidegate_core::scale::hpa::behavior::{Done, down_limit, up_limit};
use tidegate_core::scale::spec::{Amount, Behavior, Kind, RatePolicy, Rules, Select};
use tidegate_core::scale::{Because, Decision, Reading, Rule, Spec, State};
use tidegate_core::time::{Span, Time};
use tidegate_core::window::ScaleEvents;

/// Events of one direction that a target remembers singly.
const REMEMBERED: usize = 32;

/// The changes of one direction.
#[derive(Debug, Default)]
struct Changes {
    /// All of them.
    ever: Vec<(Time, u32)>,
    /// Those that upstream remembers: it gives a new change the last slot that no policy of its own
    /// direction looks back to, though one of the other direction may.
    slots: Vec<(Time, u32)>,
}

impl Changes {
    fn done(&mut self, now: Time, change: u32, rules: &Rules) {
        let longest = rules.policies.iter().map(|policy| policy.period).max().unwrap_or(Span::ZERO);
        self.ever.push((now, change));
        match self.slots.iter().rposition(|(then, _)| now.since(*then) > longest) {
            Some(slot) => self.slots[slot] = (now, change),
            None => self.slots.push((now, change)),
        }
    }

    fn failed(&mut self) {
        self.ever.pop();
        if let Some(newest) = (0..self.slots.len()).max_by_key(|slot| self.slots[*slot].0) {
            self.slots.remove(newest);
        }
    }
}

/// Everything that was recommended and done.
#[derive(Debug, Default)]
struct History {
    recommended: Vec<(Time, u32)>,
    ups: Changes,
    downs: Changes,
    /// The direction of the last change, while it can still fail.
    last: Option<bool>,
    /// There was more than the machine remembers singly, so it may hold back more than upstream.
    crowded: bool,
}

fn within(list: &[(Time, u32)], now: Time, period: Span) -> impl Iterator<Item = u32> + '_ {
    list.iter().filter(move |(then, _)| now.since(*then) < period).map(|(_, amount)| *amount)
}

impl History {
    /// The furthest count the policies of one direction permit, by upstream's formula: over what upstream
    /// remembers, or over all that was ever done.
    fn permitted(&self, now: Time, current: u32, rules: &Rules, up: bool, ever: bool) -> i64 {
        let current = i64::from(current);
        let limit = |policy: &RatePolicy| {
            let sum = |changes: &Changes| {
                let list = if ever { &changes.ever } else { &changes.slots };
                within(list, now, policy.period).map(i64::from).sum::<i64>()
            };
            let start = current - sum(&self.ups) + sum(&self.downs);
            match (policy.amount, up) {
                (Amount::Pods(pods), true) => start + i64::from(pods),
                (Amount::Pods(pods), false) => start - i64::from(pods),
                (Amount::Percent(percent), true) => {
                    (start as f64 * (1.0 + f64::from(percent) / 100.0)).ceil() as i64
                }
                (Amount::Percent(percent), false) => {
                    (start as f64 * (1.0 - f64::from(percent) / 100.0)).trunc() as i64
                }
            }
        };
        let limits = rules.policies.iter().map(limit);
        match (rules.select, up) {
            (Select::Disabled, _) => current,
            (Select::Max, true) | (Select::Min, false) => limits.max().unwrap_or(current),
            (Select::Min, true) | (Select::Max, false) => limits.min().unwrap_or(current),
        }
    }

    /// The least in the window of ascent and the greatest in that of descent, the newest included.
    fn extremes(&self, now: Time, wanted: u32, behavior: &Behavior) -> (u32, u32) {
        let least = within(&self.recommended, now, behavior.up.window).fold(wanted, u32::min);
        let greatest = within(&self.recommended, now, behavior.down.window).fold(wanted, u32::max);
        (least, greatest)
    }

    fn done(&mut self, now: Time, from: u32, to: u32, behavior: &Behavior) {
        let up = to > from;
        let (changes, rules) =
            if up { (&mut self.ups, &behavior.up) } else { (&mut self.downs, &behavior.down) };
        changes.done(now, from.abs_diff(to), rules);
        self.crowded |= changes.slots.len() > REMEMBERED;
        self.last = Some(up);
    }

    fn failed(&mut self) {
        match self.last.take() {
            Some(true) => self.ups.failed(),
            Some(false) => self.downs.failed(),
            None => {}
        }
    }
}

/// Whether the world showed the count from before the last change at the first look since: then the
/// change was not carried out.
#[derive(Debug, Default)]
struct Looked {
    from: Option<u32>,
    since: bool,
}

impl Looked {
    fn after(&mut self, then: World, change: Option<(u32, u32)>) {
        if let Some((from, _)) = change {
            *self = Looked { from: Some(from), since: false };
        }
        match then {
            World::Fail => self.from = None,
            World::Follow(_) | World::Meddle(_) => self.since = true,
            World::Lag => {}
        }
    }

    fn contradicted(&mut self, count: u32) -> bool {
        self.since && self.from.take() == Some(count)
    }
}

/// What the signals asked for: the most of all proposals; `None` when what is lost forbids a change.
fn wanted(decision: &Decision, current: u32) -> Option<u32> {
    let proposals = decision.steps.iter().filter(|step| matches!(step.rule, Rule::Signal | Rule::Tolerance));
    let best = proposals.map(|step| step.to).max();
    let lost = decision.steps.iter().any(|step| step.rule == Rule::SignalLost);
    best.filter(|best| !lost || *best >= current)
}

/// Replays a run of an HPA with `behavior` beside its history. Gives whether the memory was ever crowded.
fn replay(spec: &Spec, start: u32, rounds: &[Round]) -> Result<bool, TestCaseError> {
    let behavior = spec.behavior.clone().expect("behavior");
    let mut run = Run::new(spec.clone(), start);
    let mut history = History::default();
    let mut looked = Looked::default();
    for round in rounds {
        run.before(round);
        if looked.contradicted(run.count) {
            history.failed();
        }
        let (decision, change) = run.tick();
        let (now, current, to) = (run.now, decision.steps[0].from, decision.replicas);
        if history.recommended.is_empty() {
            history.recommended.push((now, current));
        }
        if current == 0 {
            prop_assert_eq!(to, 0);
        } else if current > spec.max {
            prop_assert_eq!(to, spec.max);
        } else if current < spec.min {
            prop_assert_eq!(to, spec.min);
        } else if let Some(wanted) = wanted(&decision, current) {
            let (least, greatest) = history.extremes(now, wanted, &behavior);
            history.recommended.push((now, wanted));
            let stable = current.max(least).min(greatest);
            let expect = |ever: bool| {
                let rules = if stable > current { &behavior.up } else { &behavior.down };
                let furthest = history.permitted(now, current, rules, stable > current, ever);
                let (current, stable) = (i64::from(current), i64::from(stable));
                match stable.cmp(&current) {
                    Ordering::Greater => stable.min(furthest.max(current)).min(i64::from(spec.max)),
                    Ordering::Less => stable.max(furthest.min(current)).max(i64::from(spec.min)),
                    Ordering::Equal => current,
                }
            };
            let (from, to) = (i64::from(current), i64::from(to));
            if history.crowded {
                let most = expect(true);
                let inside = (from.min(most)..=from.max(most)).contains(&to);
                prop_assert!(inside, "{most} at most: {decision:#?}\n{history:#?}");
            } else {
                let upstream = expect(false);
                prop_assert!(to == upstream, "{upstream} upstream: {decision:#?}\n{history:#?}");
            }
        } else {
            prop_assert_eq!(to, current);
        }
        if let Some((from, to)) = change {
            history.done(now, from, to, &behavior);
        }
        if matches!(round.then, World::Fail) {
            history.failed();
        }
        looked.after(round.then, change);
        run.after(round.then, change);
    }
    Ok(history.crowded)
}

/// The same without `behavior`: the greatest of the window counts whatever the direction, and a rung is
/// twice the count at the start of the sync period, or 4.
fn replay_ladder(spec: &Spec, start: u32, rounds: &[Round]) -> Result<(), TestCaseError> {
    let mut run = Run::new(spec.clone(), start);
    let mut recommended: Vec<(Time, u32)> = Vec::new();
    let mut added: Vec<(Time, u32)> = Vec::new();
    let mut last_up = None;
    let mut looked = Looked::default();
    for round in rounds {
        run.before(round);
        if looked.contradicted(run.count) && last_up.take() == Some(true) {
            added.pop();
        }
        let (decision, change) = run.tick();
        let (now, current, to) = (run.now, decision.steps[0].from, decision.replicas);
        if recommended.is_empty() {
            recommended.push((now, current));
        }
        let expected = if current == 0 {
            0
        } else if current > spec.max {
            spec.max
        } else if current < spec.min {
            spec.min
        } else if let Some(wanted) = wanted(&decision, current) {
            recommended.push((now, wanted));
            let window = spec.tuning.downscale_stabilization;
            let in_window = recommended.iter().filter(|(then, _)| now.since(*then) <= window);
            let stable = in_window.map(|(_, count)| *count).fold(wanted, u32::max);
            let lately: u32 = within(&added, now, spec.tuning.sync_period).sum();
            let rung = (2 * current.saturating_sub(lately)).max(4).max(current);
            stable.min(rung).min(spec.max).max(spec.min)
        } else {
            current
        };
        prop_assert!(to == expected, "{expected} expected: {decision:#?}\n{recommended:?}\n{added:?}");
        if let Some((from, to)) = change {
            last_up = Some(to > from);
            if to > from {
                added.push((now, to - from));
            }
        }
        if matches!(round.then, World::Fail) && last_up.take() == Some(true) {
            added.pop();
        }
        looked.after(round.then, change);
        run.after(round.then, change);
    }
    Ok(())
}

/// An HPA with `behavior`. More than 100 % off a start below zero, which a count that somebody else has cut
/// can give, is a positive limit; it means nothing, and is left out.
fn any_autoscaler() -> impl Strategy<Value = Spec> {
    (any_spec(any_goal()), any_behavior()).prop_map(|(spec, mut behavior)| {
        for policy in &mut behavior.down.policies {
            if let Amount::Percent(percent) = &mut policy.amount {
                *percent = (*percent).min(100);
            }
        }
        Spec { kind: Kind::Autoscaler, min: spec.min.max(1), behavior: Some(behavior), ..spec }
    })
}

/// Up and down all the time, at policies that let nearly everything through.
fn restless() -> impl Strategy<Value = (Spec, Vec<Round>)> {
    let rules = (1..60_u32, 20..1800_i64, prop_oneof![Just(0), 1..20_i64]).prop_map(
        move |(amount, period, window)| {
            common::rules(window, vec![common::pods(amount, period), common::percent(amount, period / 2)])
        },
    );
    let spec = (rules.clone(), rules).prop_map(|(up, down)| Spec {
        min: 1,
        behavior: Some(Behavior { up, down }),
        ..spec(Kind::Autoscaler, vec![average("q0", 1.0)])
    });
    let reading = prop_oneof![0..40_u32, 0..100_u32]
        .prop_map(|value| Reading::Value { value: f64::from(value), active: None });
    let world = prop_oneof![30 => Just(World::Follow(0)), 1 => any_world()];
    let rounds = rounds_of(reading, world, 100..300).prop_map(|mut rounds| {
        for (index, round) in rounds.iter_mut().enumerate() {
            round.gap_ms = 1000;
            // Every other round asks for few.
            if index % 2 == 0 {
                round.readings = vec![(0, Reading::Value { value: 2.0, active: None })];
            }
        }
        rounds
    });
    (spec, rounds)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_change_is_what_windows_and_policies_permit(
        spec in any_autoscaler(),
        start in 0..70_u32,
        rounds in any_rounds(1..120),
    ) {
        replay(&spec, start, &rounds)?;
    }

    #[test]
    fn without_behavior_every_change_is_what_the_window_and_the_ladder_permit(
        spec in any_spec(any_goal()),
        start in 0..70_u32,
        rounds in any_rounds(1..120),
    ) {
        replay_ladder(&Spec { kind: Kind::Autoscaler, min: spec.min.max(1), behavior: None, ..spec }, start, &rounds)?;
    }

    #[test]
    fn a_crowded_memory_never_permits_more((spec, rounds) in restless(), start in 1..100_u32) {
        replay(&spec, start, &rounds)?;
    }
}

/// Forty asked for, thirty asked for, forty asked for, each second anew.
fn up_and_down(rounds: usize) -> Vec<Round> {
    let round = |round: usize| {
        let reading =
            Reading::Value { value: if round.is_multiple_of(2) { 40.0 } else { 30.0 }, active: None };
        Round { gap_ms: 1000, readings: vec![(0, reading)], then: World::Follow(0) }
    };
    (0..rounds).map(round).collect()
}

fn restless_spec(amount: u32, period: i64) -> Spec {
    let rules = common::rules(0, vec![common::pods(amount * 40, period), common::percent(amount, 60)]);
    let behavior = Behavior { up: rules.clone(), down: rules };
    Spec { min: 1, behavior: Some(behavior), ..spec(Kind::Autoscaler, vec![average("q0", 1.0)]) }
}

#[test]
fn up_and_down_each_second_crowds_the_memory_and_breaks_no_window() {
    let crowded = [(3, 300), (20, 120), (50, 1800)]
        .map(|(amount, period)| replay(&restless_spec(amount, period), 35, &up_and_down(600)).unwrap());
    assert!(crowded.contains(&true), "these rounds were meant to crowd the memory");
}

#[test]
fn a_crowded_memory_reads_back_as_it_was_written() {
    let mut run = Run::new(restless_spec(50, 1800), 35);
    for round in up_and_down(200) {
        run.round(&round);
    }
    let written = serde_json::to_string(run.scaler.state()).unwrap();
    assert!(written.contains("\"joined\":true"), "{written}");
    let read: State = serde_json::from_str(&written).unwrap();
    assert_eq!(read, *run.scaler.state());
}

/// Forty changes of one replica, a second apart, are more than is remembered singly: those of the first
/// nine seconds are one. Of all forty, 35 are younger than the period.
#[test]
fn what_is_remembered_together_slows_both_directions_and_hurries_neither() {
    let mut many = ScaleEvents::default();
    for second in 0..40 {
        many.record(common::at(second), 1, common::secs(300));
    }
    let (now, none) = (common::at(40), ScaleEvents::default());
    let rules = common::rules(0, vec![common::pods(10, 36)]);
    let added = Done { up: &many, down: &none };
    assert_eq!(up_limit(now, 50, added, &rules).replicas, 50);
    assert_eq!(up_limit(now, 50, added, &common::rules(0, vec![common::pods(45, 36)])).replicas, 55);
    assert_eq!(down_limit(now, 50, added, &rules).replicas, 9, "and not 5 or less");
    let removed = Done { up: &none, down: &many };
    assert_eq!(down_limit(now, 50, removed, &rules).replicas, 50);
    assert_eq!(down_limit(now, 50, removed, &common::rules(0, vec![common::pods(45, 36)])).replicas, 45);
    assert_eq!(up_limit(now, 50, removed, &rules).replicas, 91, "and not 95 or more");
}

/// Both kinds of rate are explained with what was added and removed in the period that binds.
#[test]
fn a_rate_tells_what_it_counted() {
    let behavior = Behavior {
        up: common::rules(0, vec![common::pods(3, 60), common::percent(10, 30)]),
        down: common::rules(0, vec![common::pods(1, 60)]),
    };
    let spec = Spec { min: 1, behavior: Some(behavior), ..spec(Kind::Autoscaler, vec![average("q0", 1.0)]) };
    let mut run = Run::new(spec, 10);
    let mut because = Vec::new();
    for value in [50.0, 1.0, 50.0] {
        let reading = Reading::Value { value, active: None };
        let round = Round { gap_ms: 1000, readings: vec![(0, reading)], then: World::Follow(0) };
        let decision = run.round(&round);
        because.push(decision.steps.last().expect("steps").because.clone());
    }
    let period = common::secs(60);
    assert_eq!(
        because,
        [
            Because::RateUp { limit: 13, added: 0, removed: 0, period },
            Because::RateDown { limit: 9, added: 3, removed: 0, period },
            Because::RateUp { limit: 13, added: 3, removed: 4, period },
        ]
    );
}
