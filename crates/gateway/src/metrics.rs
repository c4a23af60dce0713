//! What is counted, in Prometheus' text format.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_core::route::Demand;

use crate::stats::{Series, Stats, Times};
use crate::table::Target;
use crate::worker::Shared;

/// A name, what it means, and where the value is.
type Row<T, U> = (&'static str, &'static str, fn(&T) -> &U);

/// Appends everything. Writing to a string does not fail, so results are not looked at.
pub(crate) fn write(shared: &Shared, out: &mut String) {
    let table = shared.table.load();
    let targets = &table.targets;
    requests(targets, out);
    gauges(shared, targets, out);
    let counters: [Row<Stats, AtomicU64>; 6] = [
        ("tidegate_retries_total", "Attempts repeated on another replica before the first byte.", |s| {
            &s.retries
        }),
        ("tidegate_upstream_ejections_total", "Replicas taken out for a while because they failed.", |s| {
            &s.ejections
        }),
        ("tidegate_broken_streams_total", "Streams an engine left unfinished.", |s| &s.broken_streams),
        ("tidegate_cold_start_requests_total", "Requests that waited for a first replica.", |s| {
            &s.cold_starts
        }),
        ("tidegate_prompt_tokens_total", "Prompt tokens, as engines counted them.", |s| &s.prompt_tokens),
        ("tidegate_generation_tokens_total", "Tokens written.", |s| &s.output_tokens),
    ];
    for (name, help, get) in counters {
        head(out, name, help, "counter");
        for target in targets {
            let _ =
                writeln!(out, "{name}{{{}}} {}", labels(target), get(&target.stats).load(Ordering::Relaxed));
        }
    }
    let series: [Row<Times, Series>; 4] = [
        (
            "tidegate_time_to_first_token_seconds",
            "From arrival to the first event of a stream; waiting for a replica is in it.",
            |t| &t.ttft,
        ),
        ("tidegate_inter_token_latency_seconds", "Between two events of a stream.", |t| &t.itl),
        ("tidegate_request_duration_seconds", "From arrival to the end of an answer.", |t| &t.e2e),
        ("tidegate_hold_seconds", "Waiting in the gateway, of those who waited.", |t| &t.hold),
    ];
    for (name, help, get) in series {
        head(out, name, help, "histogram");
        for target in targets {
            histogram(out, name, &labels(target), get(&target.stats.times()));
        }
    }
    process(shared, out);
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn requests(targets: &[Arc<Target>], out: &mut String) {
    let name = "tidegate_requests_total";
    head(
        out,
        name,
        "Requests by what the client got; 499 left first, 502 includes broken streams.",
        "counter",
    );
    for target in targets {
        for (code, count) in &target.stats.times().codes {
            let _ = writeln!(out, "{name}{{{},code=\"{code}\"}} {count}", labels(target));
        }
    }
}

fn gauges(shared: &Shared, targets: &[Arc<Target>], out: &mut String) {
    let demand = |target: &Arc<Target>| -> [u64; 4] {
        let Demand { waiting, in_flight, waiting_tokens, in_flight_tokens } = shared.desk.demand(target.id);
        [waiting.into(), in_flight.into(), waiting_tokens, in_flight_tokens]
    };
    let demand: Vec<_> = targets.iter().map(|t| (labels(t), demand(t))).collect();
    let gauges = [
        ("tidegate_requests_waiting", "Requests waiting in the gateway."),
        ("tidegate_requests_in_flight", "Requests at replicas."),
        ("tidegate_tokens_waiting", "Tokens of waiting requests, estimated."),
        ("tidegate_tokens_in_flight", "Tokens still to be worked on at replicas, estimated."),
    ];
    for (i, (name, help)) in gauges.into_iter().enumerate() {
        head(out, name, help, "gauge");
        for (labels, values) in &demand {
            let _ = writeln!(out, "{name}{{{labels}}} {}", values[i]);
        }
    }
    let name = "tidegate_replica_requests_in_flight";
    head(out, name, "Requests at one replica.", "gauge");
    for target in targets {
        for (endpoint, _, view) in shared.desk.endpoints(target.id) {
            let replica = escape(&endpoint.replica);
            let _ = writeln!(out, "{name}{{{},replica=\"{replica}\"}} {}", labels(target), view.in_flight);
        }
    }
}

fn process(shared: &Shared, out: &mut String) {
    let one = |out: &mut String, name: &str, help: &str, kind: &str, value: u64| {
        head(out, name, help, kind);
        let _ = writeln!(out, "{name} {value}");
    };
    let open = shared.connections.load(Ordering::Relaxed) as u64;
    one(out, "tidegate_gateway_connections", "Open client connections.", "gauge", open);
    let refused = shared.connections_refused.load(Ordering::Relaxed);
    let name = "tidegate_gateway_connections_refused_total";
    one(out, name, "Connections closed because as many were open as may.", "counter", refused);
    let kept = shared.budget.used();
    one(out, "tidegate_gateway_body_bytes", "Bytes of request bodies kept.", "gauge", kept);
    let name = "tidegate_gateway_rejected_total";
    head(out, name, "Requests answered with an error before they came to a target.", "counter");
    for (code, count) in shared.all_rejected() {
        let _ = writeln!(out, "{name}{{code=\"{code}\"}} {count}");
    }
}

fn histogram(out: &mut String, name: &str, labels: &str, series: &Series) {
    let mut sum = 0;
    for (bound, count) in series.bounds().iter().zip(&series.buckets) {
        sum += count;
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {sum}");
    }
    sum += series.buckets[series.buckets.len() - 1];
    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {sum}");
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {sum}", series.sum_s);
}

/// A target's labels; of several model names the first, which is the one it is known by.
fn labels(target: &Target) -> String {
    let model = target.models().next().unwrap_or_default();
    format!("target=\"{}\",model=\"{}\"", escape(&target.config.name), escape(model))
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
