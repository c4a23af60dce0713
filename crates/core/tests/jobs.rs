//! ScaledJobs: how many jobs, and when.

mod common;

use common::{Rig, average, scaled_job, spec};
use tidegate_core::scale::jobs::{Counts, count};
use tidegate_core::scale::spec::{Combine, Jobs, Kind, Strategy};
use tidegate_core::scale::{Event, Fleet, Job, JobPod, Phase, Rule, Spec};

fn job(phase: Phase, conditions: &[&str]) -> Job {
    let conditions = conditions.iter().map(|condition| (*condition).to_owned()).collect();
    Job { finished: false, pods: vec![JobPod { phase, conditions }] }
}

fn jobs_of(running: usize, pending: usize) -> Event {
    let mut jobs = vec![job(Phase::Running, &[]); running - pending];
    jobs.extend(vec![job(Phase::Pending, &[]); pending]);
    Event::Jobs(jobs)
}

const CUSTOM: Strategy = Strategy::Custom { deduction: 1, running_fraction: 0.5 };

/// What each strategy creates for this queue, with so many running of which so many pending.
fn created(strategy: Strategy, queue: f64, running: usize, pending: usize) -> u32 {
    let mut rig = Rig::new(Spec { max: 10, ..scaled_job(strategy) });
    rig.send(&jobs_of(running, pending));
    rig.value("q", queue);
    rig.tick().create
}

#[test]
fn the_strategies_differ_in_what_they_take_for_covered() {
    for (strategy, few, some) in
        [(Strategy::Default, 2, 0), (Strategy::Accurate, 4, 3), (Strategy::Eager, 4, 3), (CUSTOM, 3, 1)]
    {
        assert_eq!(created(strategy, 6.0, 4, 2), few, "{strategy:?}, 6 wait, 4 run, 2 of them pending");
        assert_eq!(created(strategy, 3.0, 3, 0), some, "{strategy:?}, 3 wait, 3 run");
    }
}

#[test]
fn a_batch_counts_as_running_and_pending_until_the_jobs_are_counted_again() {
    for (strategy, left) in [(Strategy::Default, 0), (Strategy::Accurate, 0)] {
        let mut rig = Rig::new(scaled_job(strategy));
        rig.send(&jobs_of(0, 0));
        rig.value("q", 5.0);
        let first = rig.tick();
        assert_eq!((first.create, first.replicas()), (5, 5));
        rig.pass(31);
        rig.value("q", 5.0);
        let second = rig.tick();
        assert_eq!((second.create, second.replicas()), (left, 5), "{strategy:?}");
    }
}

#[test]
fn jobs_are_not_created_before_they_were_counted() {
    let mut rig = Rig::new(scaled_job(Strategy::Default));
    rig.value("q", 5.0);
    assert!(rig.try_tick().is_none());
}

#[test]
fn every_tick_is_a_poll_of_its_own() {
    let mut rig = Rig::new(scaled_job(Strategy::Default));
    let mut created = Vec::new();
    for queue in [1.0, 3.0, 7.0] {
        rig.send(&jobs_of(created.iter().sum::<u32>() as usize, 0));
        rig.value("q", queue);
        created.push(rig.tick().create);
        rig.pass(1);
    }
    assert_eq!(created, [1, 2, 4]);
}

#[test]
fn a_batch_that_could_not_be_created_is_tried_again_at_once() {
    let mut rig = Rig::new(scaled_job(Strategy::Eager));
    rig.send(&jobs_of(0, 0));
    rig.value("q", 3.0);
    assert_eq!(rig.tick().create, 3);
    rig.send(&Event::ScaleFailed);
    rig.pass(1);
    let again = rig.tick();
    assert_eq!((again.create, again.replicas()), (3, 3));
}

#[test]
fn below_the_minimum_it_is_filled_whatever_waits() {
    let mut rig = Rig::new(Spec { min: 3, ..scaled_job(Strategy::Eager) });
    rig.send(&jobs_of(1, 0));
    rig.value("q", 0.0);
    let ticked = rig.tick();
    assert_eq!((ticked.create, ticked.decision.rule), (2, Rule::Min));
    // One of them ends.
    rig.pass(1);
    rig.send(&jobs_of(2, 0));
    assert_eq!(rig.tick().create, 1);
}

#[test]
fn a_minimum_above_the_maximum_counts_as_the_maximum() {
    let mut rig = Rig::new(Spec { min: 9, max: 4, ..scaled_job(Strategy::Default) });
    rig.send(&jobs_of(0, 0));
    rig.value("q", 50.0);
    assert_eq!(rig.tick().create, 4);
}

#[test]
fn never_more_than_the_maximum_runs() {
    for strategy in [Strategy::Default, Strategy::Accurate, Strategy::Eager] {
        for running in 0..=10 {
            for pending in 0..=running {
                let created = created(strategy, 99.0, running, pending);
                // Accurate may top up what is pending, as upstream.
                let most = if strategy == Strategy::Accurate { 10 + pending } else { 10 };
                assert!(running + created as usize <= most, "{strategy:?} {running} {pending}: {created}");
            }
        }
    }
}

#[test]
fn several_triggers_are_combined_as_the_spec_says() {
    for (combine, jobs) in [(Combine::Max, 6), (Combine::Min, 2), (Combine::Avg, 4), (Combine::Sum, 8)] {
        let how = Jobs { combine, ..common::jobs(Strategy::Default) };
        let mut rig = Rig::new(spec(Kind::ScaledJob(how), vec![average("a", 1.0), average("b", 2.0)]));
        rig.send(&jobs_of(0, 0));
        rig.value("a", 6.0);
        rig.value("b", 4.0);
        assert_eq!(rig.tick().create, jobs, "{combine:?}");
    }
}

#[test]
fn a_trigger_that_cannot_be_read_is_left_out() {
    let how = common::jobs(Strategy::Default);
    let mut rig = Rig::new(spec(Kind::ScaledJob(how), vec![average("a", 1.0), average("b", 1.0)]));
    rig.send(&jobs_of(0, 0));
    rig.error("a");
    rig.value("b", 4.0);
    assert_eq!(rig.tick().create, 4);
    rig.pass(1);
    rig.error("b");
    let ticked = rig.tick();
    assert_eq!((ticked.create, ticked.decision.rule), (0, Rule::Steady));
}

#[test]
fn a_job_is_pending_until_a_pod_of_it_runs_or_meets_every_condition() {
    let with = |conditions: &[&str]| conditions.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let jobs = [
        job(Phase::Running, &[]),
        job(Phase::Succeeded, &["Ready"]),
        job(Phase::Pending, &["Ready", "PodScheduled"]),
        Job { finished: true, pods: Vec::new() },
        Job { finished: false, pods: Vec::new() },
    ];
    assert_eq!(count(&jobs, &[]), Counts { running: 4, pending: 2 });
    assert_eq!(count(&jobs, &with(&["Ready"])), Counts { running: 4, pending: 2 });
    assert_eq!(count(&jobs, &with(&["Ready", "PodScheduled"])), Counts { running: 4, pending: 3 });
    assert_eq!(count(&jobs, &with(&["Ready", "Ready"])), Counts { running: 4, pending: 2 });
}

#[test]
fn pending_pod_conditions_reach_the_strategy() {
    let mut how = common::jobs(Strategy::Accurate);
    how.pending_pod_conditions = vec!["Ready".into()];
    let mut rig = Rig::new(spec(Kind::ScaledJob(how), vec![average("q", 1.0)]));
    rig.send(&Event::Jobs(vec![job(Phase::Running, &[]), job(Phase::Running, &["Ready"])]));
    rig.value("q", 5.0);
    assert_eq!(rig.tick().create, 4);
}

#[test]
fn a_plain_count_of_jobs_will_do() {
    let mut rig = Rig::new(scaled_job(Strategy::Accurate));
    rig.send(&Event::Fleet(Fleet { spec: 3, status: 3, ready: 1, starting: 2 }));
    rig.value("q", 5.0);
    assert_eq!(rig.tick().create, 3);
}

#[test]
fn paused_nothing_is_created_and_nothing_is_taken_away() {
    let how = Jobs { paused: true, ..common::jobs(Strategy::Default) };
    let mut rig = Rig::new(Spec { min: 2, ..spec(Kind::ScaledJob(how), vec![average("q", 1.0)]) });
    rig.send(&jobs_of(1, 0));
    rig.value("q", 50.0);
    let ticked = rig.tick();
    assert_eq!((ticked.create, ticked.replicas(), ticked.decision.rule), (0, 1, Rule::Paused));
}
