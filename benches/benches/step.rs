//! How fast the `scale` machine decides, and how much it remembers.
//!
//! The target is the two-trigger vLLM ScaledObject that public guides tell people to apply, at 1 s ticks
//! with the 300 s window. One decision is everything a tick costs: the replica count, both readings and
//! the tick itself are stepped, and the decision with all its reasons is built. No journal is written.
//!
//! `cargo bench -p tidegate-benches --bench step`
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use tidegate_core::scale::{Action, Event, Fleet, Reading, Scaler};
use tidegate_core::time::{Span, Time};
use tidegate_manifest::formula::ExprLang;
use tidegate_manifest::{Source, load, lower};

const MANIFEST: &str = include_str!("../../crates/manifest/tests/data/guides/s004-vllm.yaml");
const TICKS: i64 = 1_000_000;
const RUNS: usize = 7;
const BAR_DECISIONS_PER_S: f64 = 1_000_000.0;
const BAR_BYTES: usize = 2048;

/// A load: waiting requests and KV use at a tick.
type Load = fn(i64, &mut u64) -> (f64, f64);

/// A multiplicative congruential generator: the bench needs variety, not quality, and the same each run.
fn random(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 40) as f64 / (1_u64 << 24) as f64
}

const LOADS: &[(&str, Load)] = &[
    ("steady", |_, _| (25.0, 0.5)),
    ("random", |_, seed| (random(seed) * 80.0, random(seed))),
    // Down one replica every three seconds for five minutes: the longest memory the window can need.
    ("staircase", |t, _| (((300 - t % 300) / 3) as f64, 0.5)),
];

fn scaler() -> Scaler {
    let manifests = load(&[Source::new("s004-vllm.yaml", MANIFEST)]);
    let target = lower(&manifests).targets.into_iter().next();
    let spec = target.map(|target| target.spec).unwrap_or_else(|| panic!("the manifest has no target"));
    Scaler::new(spec, Arc::new(ExprLang)).unwrap_or_else(|error| panic!("{error}"))
}

/// Decisions a second, and the most bytes of state seen (looked at every 1,000 ticks).
fn run(load: Load) -> (f64, usize) {
    let mut scaler = scaler();
    let signals: Vec<Arc<str>> =
        scaler.spec().signals.iter().map(|signal| Arc::clone(&signal.name)).collect();
    let reading = |signal: &Arc<str>| Event::Reading {
        signal: Arc::clone(signal),
        reading: Reading::Value { value: 0.0, active: None },
    };
    let mut readings = [reading(&signals[0]), reading(&signals[1])];
    let mut actions: Vec<Action> = Vec::new();
    let mut replicas = 1;
    let mut seed = 1;
    let mut bytes = 0;
    let begin = Instant::now();
    for t in 0..TICKS {
        let now = Time::ORIGIN + Span::from_secs(t);
        let (waiting, kv) = load(t, &mut seed);
        for (event, read) in readings.iter_mut().zip([waiting, kv]) {
            if let Event::Reading { reading: Reading::Value { value, .. }, .. } = event {
                *value = read;
            }
            scaler.step(now, event, &mut actions);
        }
        let fleet = Fleet { spec: replicas, status: replicas, ready: replicas, starting: 0 };
        scaler.step(now, &Event::Fleet(fleet), &mut actions);
        scaler.step(now, &Event::Tick, &mut actions);
        if let Some(Action::Decided(decision)) = actions.first() {
            replicas = decision.replicas;
        }
        black_box(&actions);
        actions.clear();
        if t % 1000 == 0 {
            bytes = bytes.max(scaler.state().bytes());
        }
    }
    (TICKS as f64 / begin.elapsed().as_secs_f64(), bytes)
}

fn main() {
    println!(
        "scale machine: vLLM ScaledObject, 2 triggers, 300 s window, 1 s ticks; {RUNS} runs of {TICKS} ticks"
    );
    println!("{:<10} {:>16} {:>12} {:>12} {:>14}", "load", "decisions/s", "least", "most", "state bytes");
    let mut missed = Vec::new();
    for (name, load) in LOADS {
        let mut rates = Vec::new();
        let mut bytes = 0;
        for _ in 0..RUNS {
            let (rate, seen) = run(*load);
            rates.push(rate);
            bytes = bytes.max(seen);
        }
        rates.sort_by(f64::total_cmp);
        let median = rates[RUNS / 2];
        println!("{name:<10} {median:>16.0} {:>12.0} {:>12.0} {bytes:>14}", rates[0], rates[RUNS - 1]);
        if median < BAR_DECISIONS_PER_S {
            missed.push(format!("{name}: {median:.0} decisions/s"));
        }
        if bytes > BAR_BYTES {
            missed.push(format!("{name}: {bytes} bytes of state"));
        }
    }
    println!("bars: {BAR_DECISIONS_PER_S:.0} decisions/s (each 4 steps), {BAR_BYTES} bytes a target");
    println!(
        "{}",
        if missed.is_empty() { "held".to_owned() } else { format!("MISSED: {}", missed.join("; ")) }
    );
}
