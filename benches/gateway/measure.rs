//! One figure at a time: a phase put on a target, and what the target used for it.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::Error;
use crate::load::{self, Expect, Plan, Tally, Window};
use crate::message::{self, JSON_ANSWER_BYTES, LARGE_BYTES, SMALL_BYTES};
use crate::process::Process;

/// Chunks of a measured stream.
pub(crate) const CHUNKS: u64 = 64;
/// Connections are made and caches warmed before the window.
const WARM_UP: Duration = Duration::from_millis(300);

/// What is sent in a phase.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// 1 KB in, 460 B of JSON out.
    Small,
    /// 400 KB in, 460 B of JSON out.
    Large,
    /// 1 KB in, [`CHUNKS`] SSE chunks out, that far apart.
    Stream(Duration),
}

/// One column of the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    /// Its name in the JSON.
    pub(crate) name: &'static str,
    work: Work,
    connections: usize,
}

/// All phases, in the order they are run.
pub(crate) const PHASES: [Phase; 7] = [
    Phase { name: "json-1", work: Work::Small, connections: 1 },
    Phase { name: "json-32", work: Work::Small, connections: 32 },
    Phase { name: "json-128", work: Work::Small, connections: 128 },
    Phase { name: "burst-1", work: Work::Stream(Duration::ZERO), connections: 1 },
    Phase { name: "burst-32", work: Work::Stream(Duration::ZERO), connections: 32 },
    // 128 streams of 100 tokens a second: 12,800 chunks a second, each a wake-up of its own.
    Phase { name: "paced-128", work: Work::Stream(Duration::from_millis(10)), connections: 128 },
    Phase { name: "large-8", work: Work::Large, connections: 8 },
];

/// What one phase showed on one target in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// The target's name.
    pub(crate) target: String,
    /// The phase's name.
    pub(crate) phase: &'static str,
    /// Counted from 0.
    pub(crate) round: usize,
    /// Right answers a second.
    pub(crate) answers_s: f64,
    /// Median time of a whole exchange.
    pub(crate) p50_us: f64,
    /// 99 of 100 exchanges took at most this.
    pub(crate) p99_us: f64,
    /// Median time to the first event; 0 without a stream.
    pub(crate) first_p50_us: f64,
    /// 99 of 100 gaps between events were at most this; 0 without a stream.
    pub(crate) gap_p99_us: f64,
    /// CPU time of the proxy for one answer; absent where there is no proxy.
    pub(crate) cpu_us_per_answer: Option<f64>,
    /// CPU time of the proxy for one SSE event; absent without a stream or a proxy.
    pub(crate) cpu_us_per_event: Option<f64>,
    /// Exchanges that failed.
    pub(crate) failed: u64,
    /// The first of them.
    pub(crate) failure: Option<String>,
    /// Cores that programs outside the bench kept busy meanwhile (user time): a figure with much is noise.
    pub(crate) others_cores: f64,
}

/// The plan of the smallest exchange, to see whether a target answers.
pub(crate) fn small(to: SocketAddr) -> Plan {
    plan(&PHASES[0], to)
}

fn plan(phase: &Phase, to: SocketAddr) -> Plan {
    let answer = Expect::Bytes(JSON_ANSWER_BYTES as u64);
    let (request, expect) = match phase.work {
        Work::Small => (message::request(SMALL_BYTES, None), answer),
        Work::Large => (message::request(LARGE_BYTES, None), answer),
        // The `[DONE]` is an event too.
        Work::Stream(gap) => (message::request(SMALL_BYTES, Some((CHUNKS, gap))), Expect::Events(CHUNKS + 1)),
    };
    // Paced streams begin evenly spread over the length of one, or they would all begin at once each time.
    let stagger = match phase.work {
        Work::Stream(gap) => gap.mul_f64(CHUNKS as f64 / phase.connections as f64),
        _ => Duration::ZERO,
    };
    Plan { to, request: Arc::from(request), expect, connections: phase.connections, stagger }
}

/// Runs a phase. `proxy` is `None` for the back end itself.
pub(crate) async fn run(
    phase: &Phase,
    to: SocketAddr,
    proxy: Option<&Process>,
    span: Duration,
    round: usize,
) -> Result<Sample, Error> {
    let plan = plan(phase, to);
    let connections = u32::try_from(plan.connections).unwrap_or(u32::MAX);
    let begin = Instant::now() + WARM_UP + plan.stagger * connections;
    let window = Window { begin, end: begin + span };
    let running = load::start(&plan, window)?;
    tokio::time::sleep_until(window.begin.into()).await;
    let (usage, others) = (proxy.map(Process::usage), others_ticks());
    tokio::time::sleep_until(window.end.into()).await;
    let used_ns = proxy.zip(usage).map(|(proxy, before)| proxy.usage().since_ns(&before));
    let others_s = others_ticks().saturating_sub(others) as f64 / TICKS_S;
    let tally = running.finish()?;
    let target = proxy.map_or("direct", |proxy| &proxy.name);
    Ok(sample(target, phase, round, tally, used_ns, span, others_s))
}

fn sample(
    target: &str,
    phase: &Phase,
    round: usize,
    mut tally: Tally,
    used_ns: Option<u64>,
    span: Duration,
    others_s: f64,
) -> Sample {
    let answers = tally.whole_ns.len();
    let each = |count: f64| used_ns.filter(|_| count > 0.0).map(|used| used as f64 / 1e3 / count);
    Sample {
        target: target.to_owned(),
        phase: phase.name,
        round,
        answers_s: answers as f64 / span.as_secs_f64(),
        p50_us: quantile_us(&mut tally.whole_ns, 0.5),
        p99_us: quantile_us(&mut tally.whole_ns, 0.99),
        first_p50_us: quantile_us(&mut tally.first_ns, 0.5),
        gap_p99_us: quantile_us(&mut tally.gaps_ns, 0.99),
        cpu_us_per_answer: each(answers as f64),
        cpu_us_per_event: each(tally.events as f64),
        failed: tally.failed,
        failure: tally.failure,
        others_cores: others_s / span.as_secs_f64(),
    }
}

/// The value that a share `q` of all does not exceed, in microseconds; 0 for none.
fn quantile_us(values_ns: &mut [u64], q: f64) -> f64 {
    if values_ns.is_empty() {
        return 0.0;
    }
    let rank = ((values_ns.len() - 1) as f64 * q).round() as usize;
    *values_ns.select_nth_unstable(rank).1 as f64 / 1e3
}

/// Linux counts CPU time in `/proc/stat` in hundredths of a second on every architecture it runs on.
const TICKS_S: f64 = 100.0;

/// User time of every program outside the bench, in ticks.
fn others_ticks() -> u64 {
    let field = |text: &str, index: usize| {
        text.split_whitespace().nth(index).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
    };
    let all = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = all.lines().next().unwrap_or_default();
    let everybody = field(line, 1) + field(line, 2);
    let ours = crate::process::tree(std::process::id()).into_iter().map(|id| {
        let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // utime is field 14 of the line, so the 12th after the name.
        text.rsplit_once(") ").map_or(0, |(_, rest)| field(rest, 11))
    });
    everybody.saturating_sub(ours.sum())
}
