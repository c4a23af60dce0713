//! How fast the simulator is, and how its memory grows: the conversation trace again and again, KEDA's rules,
//! a fleet that reaches 32 replicas; 0.1, 1 and 10 million requests.
//!
//! `cargo bench --bench simulate` prints a line a size. Bars: 2,000,000 events a second, and 1,000,000
//! requests in 10 s. An event is an arrival, an entry of the agenda, or an iteration of an engine.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::time::Instant;

use tidegate_core::time::Span;
use tidegate_manifest::{Source, load, lower};
use tidegate_sim::Profile;
use tidegate_sim::fleet::{self, Setup};
use tidegate_sim::policy::Keda;
use tidegate_sim::trace::{Scaled, TraceRequest, demo_trace};

const MANIFEST: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat}
spec:
  scaleTargetRef: {name: chat}
  minReplicaCount: 1
  maxReplicaCount: 32
  triggers:
  - type: prometheus
    metadata:
      serverAddress: http://prometheus:9090
      query: sum(vllm:num_requests_running) + sum(vllm:num_requests_waiting)
      threshold: '8'
";

/// The trace's 4.9 requests a second, so many times: some 250 in flight, 32 replicas of 8.
const FACTOR: f64 = 22.0;
/// One round of the trace.
const ROUND: Span = Span::from_secs(900);

fn rounds(trace: &[TraceRequest], requests: usize) -> impl Iterator<Item = TraceRequest> {
    let again = (0_i64..).flat_map(move |round| {
        let later = Span::from_micros(ROUND.as_micros() * round);
        trace.iter().map(move |one| TraceRequest { at: one.at + later, ..one.clone() })
    });
    again.take((requests as f64 / FACTOR) as usize)
}

/// Kilobytes the process had at its largest, where the system tells.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

fn main() {
    let profile = Profile::named("h100-llama-3.1-8b").unwrap_or_else(|error| panic!("{error}"));
    let manifests = load(&[Source::new("chat.yaml", MANIFEST)]);
    let target = lower(&manifests).targets.into_iter().next().unwrap_or_else(|| panic!("no target"));
    let trace = demo_trace().unwrap_or_else(|error| panic!("{error}"));
    println!("requests     events   wall s   events/s  requests/s  replicas  in time  peak MiB");
    for requests in [100_000, 1_000_000, 10_000_000] {
        let mut setup = Setup::new(profile.clone());
        setup.max = 32;
        let source = Scaled::new(rounds(&trace, requests).map(Ok), FACTOR, 1)
            .unwrap_or_else(|error| panic!("{error}"));
        let mut policy = Keda::stack(&target, &manifests, 0).unwrap_or_else(|error| panic!("{error}"));
        let began = Instant::now();
        let outcome =
            fleet::run(&setup, source, &mut policy, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
        let wall_s = began.elapsed().as_secs_f64();
        assert!(outcome.little.holds(), "Little's law: {:?}", outcome.little);
        println!(
            "{:>8}  {:>9}  {:>7.2}  {:>9.0}  {:>10.0}  {:>8}  {:>6.2} %  {:>8.1}",
            outcome.requests,
            outcome.events,
            wall_s,
            outcome.events as f64 / wall_s,
            outcome.requests as f64 / wall_s,
            outcome.replicas_max,
            outcome.slo_attainment * 100.0,
            peak_kib() as f64 / 1024.0
        );
    }
}
