//! How many jobs: kinds `effective_max_scale`, `scaling_decision`, `bounds`, `combine`, `pending` and `create`.

use serde_json::Value;
use tidegate_core::scale::jobs::{self, Counts, Permitted, Queue};
use tidegate_core::scale::spec::{Combine, Jobs, Kind, Strategy};
use tidegate_core::scale::{Event, Fleet, Job, JobPod, Phase, Reading, Rule, Spec};

use crate::common::data::{Case, count, flag, int, items, must, number, same, text};
use crate::common::{Rig, Ticked, average, spec};

/// What is here, where that is not what KEDA has: room and floor, or jobs pending.
pub(crate) const DIFFERENCES: [(&str, &[u32], &str); 3] = [
    (
        "scaledjob-051",
        &[99, 1],
        "an absent maximum is 100 in all, as a written one; in KEDA 100 above the minimum",
    ),
    ("scaledjob-055", &[100, 100], "an absent maximum bounds the minimum, as a written one does"),
    ("scaledjob-103", &[0], "a condition listed twice is one condition, not one that can never be met"),
];

fn ours(case: &Case) -> Option<&'static [u32]> {
    DIFFERENCES.iter().find(|(id, ..)| *id == case.id).map(|(_, ours, _)| *ours)
}

/// The strategy as the manifest crate chooses it.
fn strategy(input: &Value) -> Strategy {
    let fraction = text(input, "customScalingRunningJobPercentage").and_then(|percent| percent.parse().ok());
    match (text(input, "strategy"), fraction) {
        (Some("custom"), Some(running_fraction)) => {
            let deduction = int(input, "customScalingQueueLengthDeduction").unwrap_or(0) as i32;
            Strategy::Custom { deduction, running_fraction }
        }
        (Some("accurate"), _) => Strategy::Accurate,
        (Some("eager"), _) => Strategy::Eager,
        _ => Strategy::Default,
    }
}

pub(crate) fn effective_max_scale(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let field = |key: &str| must(count(input, key), key);
    let permitted = jobs::permit(
        strategy(input),
        field("maxScale")?,
        i64::from(field("runningJobCount")?),
        field("pendingJobCount")?,
        field("maxReplicaCount")?,
        field("scaleTo")?,
    );
    same("jobs permitted", Some(permitted.jobs), int(expected, "effectiveMaxScale"))?;
    match int(expected, "scaleTo") {
        Some(aim) => same("jobs aimed at", permitted.aim, aim),
        None => Ok(()),
    }
}

/// One tick over a backlog of `length`, which asks for `asked` jobs.
fn tick(how: Jobs, (min, max): (u32, u32), length: u32, asked: f64, running: u32, pending: u32) -> Ticked {
    let per_job = if asked > 0.0 { f64::from(length) / asked } else { 1.0 };
    let mut rig = Rig::new(Spec { min, max, ..spec(Kind::ScaledJob(how), vec![average("q", per_job)]) });
    let ready = running - pending;
    rig.send(&Event::Fleet(Fleet { spec: running, status: running, ready, starting: pending }));
    rig.read("q", Reading::Value { value: f64::from(length), active: Some(true) });
    rig.tick()
}

pub(crate) fn scaling_decision(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let field = |key: &str| must(count(input, key), key);
    let (min, max) = (field("minReplicaCount")?, field("maxReplicaCount")?);
    let (running, pending) = (field("runningJobCount")?, field("pendingJobCount")?);
    let (asked, aim) = (field("maxScale")?, field("scaleTo")?);
    let wanted = Permitted {
        jobs: must(int(expected, "effectiveMaxScale"), "effectiveMaxScale")?,
        aim: must(int(expected, "scaleTo"), "expected.scaleTo")?,
    };
    if running >= min {
        let above = i64::from(running - min);
        let permitted = jobs::permit(strategy(input), asked, above, pending, jobs::room(min, max), aim);
        same("jobs permitted", permitted, wanted)?;
    }
    let how = crate::common::jobs(strategy(input));
    let ticked = tick(how, (min, max), aim, f64::from(asked), running, pending);
    same("jobs created", i64::from(ticked.create), wanted.jobs.min(wanted.aim).max(0))
}

pub(crate) fn bounds(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    // Defaults as the manifest crate fills them in.
    let (min, max) =
        (count(input, "minReplicaCount").unwrap_or(0), count(input, "maxReplicaCount").unwrap_or(100));
    let upstream = [
        must(count(expected, "maxReplicaCount"), "expected.maxReplicaCount")?,
        must(count(expected, "minReplicaCount"), "expected.minReplicaCount")?,
    ];
    let wanted = ours(case).unwrap_or(&upstream);
    same("room above the minimum", jobs::room(min, max), wanted[0])?;
    // With nothing waiting, what is created is the minimum.
    let ticked = tick(crate::common::jobs(Strategy::Default), (min, max), 0, 0.0, 0, 0);
    same("jobs at the least", ticked.create, wanted[1])
}

pub(crate) fn combine(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let how = match text(input, "multipleScalersCalculation") {
        None | Some("max") => Combine::Max,
        Some("min") => Combine::Min,
        Some("avg") => Combine::Avg,
        Some("sum") => Combine::Sum,
        Some(other) => return Err(format!("unknown calculation {other}")),
    };
    let queue = |scaler: &Value| -> Result<Queue, String> {
        Ok(Queue {
            active: flag(scaler, "isActive"),
            length: must(number(scaler, "queueLength"), "queueLength")?,
            per_job: must(number(scaler, "targetAverageValue"), "targetAverageValue")?,
        })
    };
    let queues = items(input, "scalers").iter().map(queue).collect::<Result<Vec<_>, _>>()?;
    let field = |key: &str| must(count(input, key), key);
    let backlog = jobs::combine(&queues, how, field("minReplicaCount")?, field("maxReplicaCount")?);
    same("active", backlog.active, flag(expected, "isActive"))?;
    same("queue", backlog.queue, must(count(expected, "scaleTo"), "expected.scaleTo")?)?;
    same("jobs", backlog.jobs, must(count(expected, "maxScale"), "expected.maxScale")?)?;
    through_the_machine(&queues, how, (field("minReplicaCount")?, field("maxReplicaCount")?), backlog)
}

/// The same triggers as signals: with nothing running the default strategy creates what they ask for.
fn through_the_machine(
    queues: &[Queue],
    how: Combine,
    (min, max): (u32, u32),
    backlog: jobs::Backlog,
) -> Result<(), String> {
    let signals =
        queues.iter().enumerate().map(|(index, queue)| average(&format!("q{index}"), queue.per_job));
    let how = Jobs { combine: how, ..crate::common::jobs(Strategy::Default) };
    let mut rig = Rig::new(Spec { min, max, ..spec(Kind::ScaledJob(how), signals.collect()) });
    rig.fleet(min);
    for (index, queue) in queues.iter().enumerate() {
        let active = Some(queue.active);
        rig.read(&format!("q{index}"), Reading::Value { value: queue.length, active });
    }
    let ticked = rig.tick();
    same("jobs asked for", ticked.step(Rule::Backlog).map(|step| step.to), Some(backlog.jobs))?;
    same("jobs created", ticked.create, backlog.jobs.min(backlog.queue))
}

pub(crate) fn pending(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let strings = |value: &Value, key: &str| -> Vec<String> {
        items(value, key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let pod = |pod: &Value| JobPod {
        phase: match text(pod, "phase") {
            Some("Running") => Phase::Running,
            Some("Succeeded") => Phase::Succeeded,
            Some("Failed") => Phase::Failed,
            Some("Unknown") => Phase::Unknown,
            _ => Phase::Pending,
        },
        conditions: strings(pod, "trueConditions"),
    };
    let job = |job: &Value| Job {
        finished: flag(job, "finished"),
        pods: items(job, "pods").iter().map(pod).collect(),
    };
    let found: Vec<Job> = items(input, "jobs").iter().map(job).collect();
    let running = found.iter().filter(|job| !job.finished).count() as u32;
    let upstream = must(count(expected, "pendingJobCount"), "pendingJobCount")?;
    let pending = ours(case).map_or(upstream, |ours| ours[0]);
    let counts = jobs::count(&found, &strings(input, "pendingPodConditions"));
    same("jobs", counts, Counts { running, pending })
}

/// What is created of what a strategy permits and aims at. A custom strategy can permit any number.
pub(crate) fn create(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let aim = must(count(input, "scaleTo"), "scaleTo")?;
    let permitted = must(int(input, "effectiveMaxScale"), "effectiveMaxScale")?;
    let deduction = (i64::from(aim) - permitted) as i32;
    let strategy = Strategy::Custom { deduction, running_fraction: 0.0 };
    let how = Jobs { combine: Combine::Sum, ..crate::common::jobs(strategy) };
    let ticked = tick(how, (0, 100), aim, f64::from(aim), 0, 0);
    same("jobs created", ticked.create, must(count(expected, "created"), "created")?)
}
