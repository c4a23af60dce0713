//! How fast the `route` machine places requests, and how much it remembers.
//!
//! A cycle is all the machine does for one request: it arrives and is given an endpoint, its first byte
//! comes, it is answered. Demand is counted and told as in life. Three loads on 8 endpoints: room
//! everywhere, prefixes and tenants as well, and a fleet so full that 10,000 wait while 10,000 are in
//! flight and every answer gives its place to the next. And one on 500 endpoints.
//!
//! `cargo bench -p tidegate-benches --bench route`
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Instant;

use tidegate_core::route::{
    Action, Arrival, EndpointId, EndpointState, Event, Limits, Outcome, Priority, RequestId, Router, TargetId,
};
use tidegate_core::time::{Span, Time};

const TARGET: TargetId = TargetId(1);
const CYCLES: u64 = 1_000_000;
const RUNS: usize = 7;
const BAR_CYCLES_PER_S: f64 = 1_000_000.0;

struct Load {
    name: &'static str,
    endpoints: u32,
    slots: u32,
    /// Requests alive all the time.
    alive: usize,
    /// Whether requests have tenants, prefixes and priorities.
    rich: bool,
    /// Whether the bar is for this one.
    barred: bool,
}

const LOADS: &[Load] = &[
    Load { name: "8, room for all", endpoints: 8, slots: 256, alive: 400, rich: false, barred: true },
    Load { name: "8, tenants, prefixes", endpoints: 8, slots: 256, alive: 400, rich: true, barred: false },
    Load { name: "8, 10k + 10k wait", endpoints: 8, slots: 1250, alive: 20_000, rich: false, barred: false },
    Load { name: "8, 10k + 10k, rich", endpoints: 8, slots: 1250, alive: 20_000, rich: true, barred: false },
    Load { name: "500, room for all", endpoints: 500, slots: 256, alive: 10_000, rich: false, barred: false },
];

fn arrival(number: u64, rich: bool) -> Arrival {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    Arrival {
        request: RequestId(number),
        target: TARGET,
        priority: if rich && mixed.is_multiple_of(8) { Priority::Low } else { Priority::Normal },
        tenant: if rich { 1 + mixed % 100 } else { 0 },
        prompt_tokens: 100 + (mixed % 1000) as u32,
        max_tokens: Some(256),
        prefix: rich.then_some((mixed % 500).wrapping_mul(0x2545_F491_4F6C_DD1D)),
        bytes: 4000,
        deadline: None,
    }
}

fn router(load: &Load) -> Router {
    let limits = Limits {
        hold_count_max: 20_000,
        hold_bytes_max: 1 << 30,
        wait_no_replica: Span::from_secs(600),
        wait_busy: Span::from_secs(600),
        slots: load.slots,
        tenant_count_max: 20_000,
    };
    let mut router = Router::new(Time::ORIGIN);
    let mut out = Vec::new();
    router.step(Time::ORIGIN, Event::Target { target: TARGET, limits }, &mut out);
    for endpoint in (1..=load.endpoints).map(EndpointId) {
        let event = Event::Endpoint { endpoint, target: TARGET, state: EndpointState::Ready };
        router.step(Time::ORIGIN, event, &mut out);
    }
    router
}

/// Cycles a second.
fn run(load: &Load) -> f64 {
    let mut router = router(load);
    let mut out: Vec<Action> = Vec::new();
    let mut in_flight: VecDeque<RequestId> = VecDeque::new();
    let mut now_us = 0;
    let mut done = 0;
    let mut number = 0;
    let outcome = Outcome::Answered { prompt_tokens: Some(500), output_tokens: Some(200) };
    let mut step = |now_us: i64, event: Event, in_flight: &mut VecDeque<RequestId>| {
        let now = Time::from_micros(now_us);
        router.step(now, event, &mut out);
        // A driver asks for its next timer after each step.
        black_box(router.next_wakeup());
        for action in out.drain(..) {
            if let Action::Dispatch { request, .. } = action {
                in_flight.push_back(request);
            }
        }
    };
    for _ in 0..load.alive {
        number += 1;
        step(now_us, Event::Arrive(arrival(number, load.rich)), &mut in_flight);
    }
    let begin = Instant::now();
    while done < CYCLES {
        // A hundred thousand requests a second, so that a sample of the demand falls due now and then.
        now_us += 10;
        number += 1;
        step(now_us, Event::Arrive(arrival(number, load.rich)), &mut in_flight);
        if let Some(request) = in_flight.pop_front() {
            step(now_us, Event::FirstByte(request), &mut in_flight);
            step(now_us, Event::Finish { request, outcome }, &mut in_flight);
            done += 1;
        }
        if now_us % 100_000 == 0 {
            step(now_us, Event::Tick, &mut in_flight);
        }
    }
    done as f64 / begin.elapsed().as_secs_f64()
}

/// Resident memory in KiB, where the system says so.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Prints what 10,000 waiting and 10,000 in flight take, with everything that costs memory.
fn memory() {
    let before = resident_kib();
    let load = Load { name: "", endpoints: 8, slots: 1250, alive: 20_000, rich: true, barred: false };
    let mut router = router(&load);
    let mut out = Vec::with_capacity(4);
    for number in 1..=load.alive as u64 {
        router.step(Time::ORIGIN, Event::Arrive(arrival(number, true)), &mut out);
        out.clear();
    }
    let kib = resident_kib().zip(before).map(|(after, before)| after.saturating_sub(before));
    match kib {
        Some(kib) => println!("memory: {} requests alive in {kib} KiB", black_box(&router).requests()),
        None => println!("memory: this system does not say"),
    }
}

fn main() {
    memory();
    println!("route machine: arrive + dispatch, first byte, finish; {RUNS} runs of {CYCLES} cycles");
    println!("{:<22} {:>12} {:>12} {:>12} {:>10}", "load", "cycles/s", "least", "most", "ns/cycle");
    let mut missed = Vec::new();
    for load in LOADS {
        let mut rates: Vec<f64> = (0..RUNS).map(|_| run(load)).collect();
        rates.sort_by(f64::total_cmp);
        let median = rates[RUNS / 2];
        let (least, most) = (rates[0], rates[RUNS - 1]);
        println!("{:<22} {median:>12.0} {least:>12.0} {most:>12.0} {:>10.0}", load.name, 1e9 / median);
        if load.barred && median < BAR_CYCLES_PER_S {
            missed.push(format!("{}: {median:.0} cycles/s", load.name));
        }
    }
    println!("bar: {BAR_CYCLES_PER_S:.0} cycles/s with 8 endpoints");
    println!(
        "{}",
        if missed.is_empty() { "held".to_owned() } else { format!("MISSED: {}", missed.join("; ")) }
    );
}
