//! A made-up fleet of three targets: one that serves, one at zero, one that cannot run.

use std::sync::Arc;

use tidegate_core::scale::{Because, Decision, Rule, Step};
use tidegate_core::time::Span;
use tidegate_core::units::Milli;
use tidegate_dashboard::Board;
use tidegate_dashboard::model::{
    Fleet, GpuView, HeldView, Note, Quantiles, ReplicaState, ReplicaView, Severity, SignalState, SignalView,
    StartView, TargetView,
};

/// The last second shown.
pub(crate) const NOW_UNIX_S: f64 = 1_760_000_000.0;

/// Seconds of history.
const PAST_S: u32 = 1200;

/// The target that serves.
pub(crate) const CHAT: &str = "default/llama-3.1-8b";

/// A name and a text that would be markup if somebody forgot to escape them.
pub(crate) const HOSTILE: &str = "<script>document.title='owned'</script>";

/// Twenty minutes of it.
pub(crate) fn board() -> Board {
    let board = Board::new();
    let begin = NOW_UNIX_S - f64::from(PAST_S);
    board.publish(fleet(begin, 0));
    let mut known = 1;
    for second in 0..=PAST_S {
        let at = begin + f64::from(second);
        let wanted = wanted(second);
        if wanted != known || second % 300 == 0 {
            board.decided(at, known, &Arc::new(decision(wanted, known, demand(second))));
            known = wanted;
        }
        board.publish(fleet(at, second));
    }
    board.decided(NOW_UNIX_S, known, &Arc::new(decision(known, known, demand(PAST_S))));
    board.decided(NOW_UNIX_S - 400.0, 1, &Arc::new(to_zero()));
    board.publish(fleet(NOW_UNIX_S, PAST_S));
    board
}

/// The same, `ahead` seconds later.
pub(crate) fn later(board: &Board, ahead: u32) {
    board.publish(fleet(NOW_UNIX_S + f64::from(ahead), PAST_S + ahead));
}

/// Requests at the serving target: two waves and a ripple.
fn demand(second: u32) -> u32 {
    let t = f64::from(second);
    let wave = 14.0 + 11.0 * (t / 95.0).sin() + 6.0 * (t / 31.0).sin() + 2.0 * (t / 3.7).sin();
    wave.max(0.0) as u32
}

fn wanted(second: u32) -> u32 {
    // The highest of the last minute at 8 requests a replica, as a window keeps it.
    let most = (second.saturating_sub(60)..=second).map(demand).max().unwrap_or_default();
    most.div_ceil(8).clamp(1, 4)
}

fn fleet(at_unix_s: f64, second: u32) -> Fleet {
    let targets = vec![chat(at_unix_s, second), coder(at_unix_s), large(at_unix_s)];
    let held = targets.iter().filter_map(TargetView::cost_per_hour).sum();
    Fleet {
        at_unix_s,
        version: "0.1.0".to_owned(),
        gateway_addr: Some("127.0.0.1:8080".to_owned()),
        gpus: (0..8).map(|index| gpu(index, wanted(second))).collect(),
        targets,
        cost_per_hour: Some(held),
        machine: None,
        hidden: 0,
        rest: std::sync::Arc::default(),
        notes: vec![Note {
            at_unix_s: NOW_UNIX_S - 95.0,
            severity: Severity::Warning,
            text:
                "models.yaml was edited and refused; what ran before runs on: line 31: maxReplicaCount 2 is \
                   below minReplicaCount 4"
                    .to_owned(),
        }],
    }
}

fn gpu(index: u32, held: u32) -> GpuView {
    let holder = (index < held)
        .then(|| format!("llama-3.1-8b-{}", ["x7f2k", "p0c3d", "m4q9z", "t81ss"][index as usize]));
    GpuView {
        index,
        name: "NVIDIA H100 80GB HBM3".to_owned(),
        memory_mib: Some(81_559),
        used_mib: Some(if holder.is_some() { 71_204 } else { 4 }),
        target: holder.is_some().then(|| CHAT.to_owned()),
        active: Some(if holder.is_some() { 0.62 } else { 0.0 }),
        holder,
        ..GpuView::default()
    }
}

fn chat(at_unix_s: f64, second: u32) -> TargetView {
    let (all, wanted) = (demand(second), wanted(second));
    let room = wanted * 6;
    let busy = f64::from(all) / f64::from(room);
    let quantiles =
        |base: f64| Quantiles { p50: base, p95: base * (1.6 + busy), p99: base * (2.2 + 2.0 * busy) };
    TargetView {
        name: CHAT.to_owned(),
        models: vec!["llama-3.1-8b".to_owned(), "chat".to_owned()],
        policy: "keda".to_owned(),
        min: 1,
        max: 4,
        wanted,
        ready: wanted,
        waiting: all.saturating_sub(room),
        in_flight: all.min(room),
        tokens: u64::from(all) * 412,
        ttft_s: Some(quantiles(0.09 + 0.05 * busy)),
        itl_s: Some(quantiles(0.017 + 0.006 * busy)),
        requests_per_s: Some(f64::from(all) / 5.2),
        tokens_per_s: Some(f64::from(all.min(room)) * 43.0),
        cold_starts: 6,
        gpu_per_replica: 1,
        price_per_gpu_hour: Some(2.49),
        cost_so_far: Some(7.31),
        signals: vec![
            SignalView {
                name: "s0-prometheus".to_owned(),
                value: Some(f64::from(all)),
                target: Some(8.0),
                state: SignalState::Found,
                text: "vllm:num_requests_running + waiting".to_owned(),
                since_unix_s: None,
            },
            SignalView {
                name: "s1-redis".to_owned(),
                state: SignalState::Error,
                text: "connection refused by 127.0.0.1:6379".to_owned(),
                since_unix_s: None,
                ..SignalView::default()
            },
        ],
        replicas: (0..wanted).map(|place| replica(place, at_unix_s)).collect(),
        starts: (0..6u32).map(start).collect(),
        ..TargetView::default()
    }
}

fn replica(place: u32, at_unix_s: f64) -> ReplicaView {
    let id = ["x7f2k", "p0c3d", "m4q9z", "t81ss"][place as usize];
    ReplicaView {
        id: format!("llama-3.1-8b-{id}"),
        state: ReplicaState::Ready,
        since_unix_s: Some(at_unix_s - 340.0 * f64::from(place + 1)),
        pid: Some(41_200 + place),
        addr: Some(format!("127.0.0.1:{}", 39_210 + place)),
        gpus: vec![place],
        in_flight: 5 - place,
        tokens: 1800,
        kv_use: Some(0.62 - 0.1 * f64::from(place)),
        last_lines: vec![
            "INFO 10-09 08:53:12 [api_server.py:1090] Starting vLLM API server".to_owned(),
            format!("INFO 10-09 08:53:14 [launcher.py:28] Available routes are: {HOSTILE}"),
            "INFO 10-09 08:54:02 [metrics.py:486] Avg generation throughput: 214.3 tokens/s".to_owned(),
        ],
        ..ReplicaView::default()
    }
}

fn start(place: u32) -> StartView {
    let more = f64::from(place % 3);
    let phases = [("schedule", 0.4), ("load", 18.2 + 3.1 * more), ("warm", 6.3 + 0.8 * more)];
    StartView {
        at_unix_s: NOW_UNIX_S - 160.0 * f64::from(place + 1),
        replica: format!("llama-3.1-8b-{place}"),
        total_s: phases.iter().map(|(_, length)| length).sum(),
        phases: phases.map(|(phase, length)| (phase.to_owned(), length)).to_vec(),
    }
}

fn coder(_at_unix_s: f64) -> TargetView {
    TargetView {
        name: "default/qwen-coder-32b".to_owned(),
        models: vec!["qwen-coder".to_owned()],
        policy: "keda".to_owned(),
        max: 2,
        gpu_per_replica: 2,
        price_per_gpu_hour: Some(2.49),
        cost_so_far: Some(1.02),
        requests_per_s: Some(0.0),
        ..TargetView::default()
    }
}

fn large(at_unix_s: f64) -> TargetView {
    TargetView {
        name: "research/mixtral-8x22b".to_owned(),
        models: vec!["mixtral".to_owned()],
        policy: "slo".to_owned(),
        max: 1,
        wanted: 1,
        pending: 1,
        waiting: 3,
        tokens: 5200,
        gpu_per_replica: 8,
        price_per_gpu_hour: Some(2.49),
        trouble: Some(
            "needs 8 GPUs; 4 of 8 are free: the others are held by default/llama-3.1-8b".to_owned(),
        ),
        held: (0..3u32)
            .map(|place| HeldView {
                waited_s: 41.0 - 11.0 * f64::from(place),
                expected_s: Some(96.0),
                priority: "normal".to_owned(),
                prompt_tokens: 1200 + 431 * u64::from(place),
            })
            .collect(),
        replicas: vec![ReplicaView {
            id: "mixtral-8x22b-a1b2c".to_owned(),
            state: ReplicaState::Pending,
            since_unix_s: Some(at_unix_s - 41.0),
            why: Some("needs 8 GPUs; 4 of 8 are free".to_owned()),
            ..ReplicaView::default()
        }],
        ..TargetView::default()
    }
}

/// What a two-trigger object decides.
pub(crate) fn decision(to: u32, from: u32, total: u32) -> Decision {
    let signal: Arc<str> = Arc::from("s0-prometheus");
    let (total_milli, goal) = (Milli(i64::from(total) * 1000), Milli(8000));
    let asked = total.div_ceil(8);
    let mut steps = vec![
        Step {
            rule: Rule::Activity,
            from,
            to: from,
            because: Because::Active { signal: signal.clone(), value: f64::from(total), above: 0.0 },
        },
        Step {
            rule: Rule::Signal,
            from,
            to: asked,
            because: Because::AverageValue { signal, total: total_milli, target: goal },
        },
    ];
    let window = Span::from_secs(60);
    let mut rule = Rule::Signal;
    if asked < to {
        rule = Rule::StabiliseDown;
        let because = Because::WindowGreatest { greatest: to, window };
        steps.push(Step { rule, from: asked, to, because });
    } else if asked > to {
        rule = Rule::Max;
        steps.push(Step { rule, from: asked, to, because: Because::AboveMax { max: 4 } });
    }
    Decision { target: Arc::from(CHAT), replicas: to, rule, steps, conditions: Default::default() }
}

fn to_zero() -> Decision {
    let because = Because::Deactivated {
        idle: None,
        min: 0,
        since: Some(Span::from_secs(301)),
        cooldown: Span::from_secs(300),
    };
    Decision {
        target: Arc::from("default/qwen-coder-32b"),
        replicas: 0,
        rule: Rule::Deactivate,
        steps: vec![Step { rule: Rule::Deactivate, from: 1, to: 0, because }],
        conditions: Default::default(),
    }
}
