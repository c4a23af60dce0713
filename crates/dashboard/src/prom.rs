//! The fleet as Prometheus reads it: OpenMetrics text, made of the same value as the pages.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::model::{Fleet, SignalState, TargetView};
use crate::source::Source;

/// What the text is. Prometheus has read it since 2.5.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;
type Counters = Family<Labels, Counter<f64, AtomicU64>>;

/// The whole page. Made when asked for: some 30 series a target, far below a millisecond for hundreds. Of those
/// without a card only what boards and alerts ask for, a dozen each.
pub(crate) fn text(source: &dyn Source) -> Result<String, fmt::Error> {
    let fleet = source.fleet();
    let mut registry = Registry::with_prefix("tidegate");
    devices(&mut registry, &fleet);
    replicas(&mut registry, &fleet);
    demand(&mut registry, &fleet);
    money(&mut registry, &fleet);
    signals(&mut registry, &fleet);
    let mut text = String::new();
    encode_registry(&mut text, &registry)?;
    source.metrics(&mut text);
    encode_eof(&mut text)?;
    Ok(text)
}

fn gauges(registry: &mut Registry, name: &str, help: &str) -> Gauges {
    let family = Gauges::default();
    registry.register(name, help, family.clone());
    family
}

/// A series of its own, without labels.
fn single(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge: Gauge<f64, AtomicU64> = Gauge::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn counters(registry: &mut Registry, name: &str, help: &str) -> Counters {
    let family = Counters::default();
    registry.register(name, help, family.clone());
    family
}

fn set(family: &Gauges, labels: Labels, value: impl Into<f64>) {
    family.get_or_create(&labels).set(value.into());
}

fn labels(target: &str, more: Option<(&'static str, &str)>) -> Labels {
    let more = more.map(|(label, value)| (label, value.to_owned()));
    [("target", target.to_owned())].into_iter().chain(more).collect()
}

fn of(target: &TargetView) -> Labels {
    labels(&target.name, None)
}

fn with(target: &TargetView, label: &'static str, value: &str) -> Labels {
    labels(&target.name, Some((label, value)))
}

fn devices(registry: &mut Registry, fleet: &Fleet) {
    let build = gauges(registry, "build_info", "The version that runs");
    set(&build, vec![("version", fleet.version.clone())], 1);
    let free = fleet.gpus.iter().filter(|gpu| gpu.holder.is_none()).count();
    single(registry, "gpus", "Devices in the ledger", fleet.gpus.len() as f64);
    single(registry, "gpus_free", "Devices no replica holds", free as f64);
    let held = gauges(registry, "gpu_held", "1 for each device and the replica that holds it");
    for gpu in &fleet.gpus {
        if let (Some(target), Some(replica)) = (&gpu.target, &gpu.holder) {
            let index = gpu.index.to_string();
            set(&held, vec![("gpu", index), ("target", target.clone()), ("replica", replica.clone())], 1);
        }
    }
}

fn replicas(registry: &mut Registry, fleet: &Fleet) {
    let by_state = gauges(registry, "replicas", "Replicas by state");
    let wanted = gauges(registry, "replicas_wanted", "Replicas decided");
    let least = gauges(registry, "replicas_min", "Least replicas by the manifest");
    let most = gauges(registry, "replicas_max", "Most replicas by the manifest");
    let trouble = gauges(registry, "target_trouble", "1 where a target cannot run");
    let starts = counters(registry, "cold_starts", "Starts from nothing");
    let restarts = gauges(registry, "replica_restarts", "Restarts of the replicas there are");
    for target in &fleet.targets {
        for (state, count) in [
            ("ready", target.ready),
            ("starting", target.starting),
            ("draining", target.draining),
            ("pending", target.pending),
        ] {
            set(&by_state, with(target, "state", state), count);
        }
        set(&wanted, of(target), target.wanted);
        set(&least, of(target), target.min);
        set(&most, of(target), target.max);
        set(&trouble, of(target), u32::from(target.trouble.is_some()));
        starts.get_or_create(&of(target)).inc_by(target.cold_starts as f64);
        set(&restarts, of(target), target.replicas.iter().map(|replica| replica.restarts).sum::<u32>());
    }
    for brief in fleet.rest.iter() {
        let of = |more| labels(&brief.name, more);
        set(&by_state, of(Some(("state", "ready"))), brief.ready);
        set(&by_state, of(Some(("state", "starting"))), brief.starting);
        set(&wanted, of(None), brief.wanted);
        set(&least, of(None), brief.min);
        set(&most, of(None), brief.max);
        set(&trouble, of(None), u32::from(brief.trouble.is_some()));
    }
}

fn demand(registry: &mut Registry, fleet: &Fleet) {
    let waiting = gauges(registry, "requests_waiting", "Requests held in the gateway");
    let in_flight = gauges(registry, "requests_in_flight", "Requests at replicas");
    let tokens = gauges(registry, "tokens_outstanding", "Tokens of both, estimated");
    let rate = gauges(registry, "requests_per_second", "Requests that arrived, over the last minute");
    let ttft = gauges(registry, "ttft_seconds", "Time to first token over the last minute, by quantile");
    let itl = gauges(registry, "itl_seconds", "Time between tokens over the last minute, by quantile");
    for target in &fleet.targets {
        set(&waiting, of(target), target.waiting);
        set(&in_flight, of(target), target.in_flight);
        set(&tokens, of(target), target.tokens as f64);
        if let Some(requests_per_s) = target.requests_per_s {
            set(&rate, of(target), requests_per_s);
        }
        for (family, quantiles) in [(&ttft, target.ttft_s), (&itl, target.itl_s)] {
            let Some(quantiles) = quantiles else { continue };
            for (name, value) in [("0.5", quantiles.p50), ("0.95", quantiles.p95), ("0.99", quantiles.p99)] {
                set(family, with(target, "quantile", name), value);
            }
        }
    }
    for brief in fleet.rest.iter() {
        set(&waiting, labels(&brief.name, None), brief.waiting);
        set(&in_flight, labels(&brief.name, None), brief.in_flight);
        set(&tokens, labels(&brief.name, None), brief.tokens as f64);
    }
}

fn money(registry: &mut Registry, fleet: &Fleet) {
    let hourly = gauges(registry, "cost_per_hour", "What the devices held cost an hour, by target");
    let spent = counters(registry, "cost", "What was spent since the start");
    for target in &fleet.targets {
        if let Some(cost) = target.cost_per_hour() {
            set(&hourly, of(target), cost);
        }
        if let Some(cost) = target.cost_so_far {
            spent.get_or_create(&of(target)).inc_by(cost.max(0.0));
        }
    }
}

fn signals(registry: &mut Registry, fleet: &Fleet) {
    let value = gauges(registry, "signal_value", "The value last read; no series where there is none");
    let goal = gauges(registry, "signal_target", "What the value is held against");
    let found = gauges(registry, "signal_found", "1 where a signal has a value, 0 where it is lost");
    let state = gauges(registry, "signal_state", "1 for the state a signal is in, 0 for the others");
    for target in &fleet.targets {
        for signal in &target.signals {
            let labels = || with(target, "signal", &signal.name);
            if let Some(read) = signal.value {
                set(&value, labels(), read);
            }
            if let Some(held_against) = signal.target {
                set(&goal, labels(), held_against);
            }
            set(&found, labels(), u32::from(has_value(signal.state)));
            for one in SignalState::ALL {
                let mut labels = labels();
                labels.push(("state", one.name().to_owned()));
                set(&state, labels, u32::from(signal.state == one));
            }
        }
    }
    for (brief, signal) in
        fleet.rest.iter().flat_map(|brief| brief.signals.iter().map(move |signal| (brief, signal)))
    {
        let of = || labels(&brief.name, Some(("signal", &*signal.name)));
        if let Some(read) = signal.value {
            set(&value, of(), read);
        }
        if let Some(held_against) = signal.target {
            set(&goal, of(), held_against);
        }
        set(&found, of(), u32::from(has_value(signal.state)));
    }
}

const fn has_value(state: SignalState) -> bool {
    matches!(state, SignalState::Found | SignalState::NotMoving)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Board;
    use crate::brief::{Brief, BriefSignal};
    use crate::model::SignalView;

    #[test]
    fn a_name_with_quotes_and_line_ends_stays_one_label() {
        let board = Board::new();
        let name = "a/\"b\\\n} evil 1".to_owned();
        let target = TargetView { name, wanted: 3, ..TargetView::default() };
        board.publish(Fleet { at_unix_s: 1.0, targets: vec![target], ..Fleet::default() });
        board.add_metrics(|out| out.push_str("tidegate_more 1\n"));
        let text = text(&board).unwrap();
        let line = text.lines().find(|line| line.starts_with("tidegate_replicas_wanted{")).unwrap();
        assert_eq!(line, r#"tidegate_replicas_wanted{target="a/\"b\\\n} evil 1"} 3.0"#);
        assert!(text.ends_with("tidegate_more 1\n# EOF\n"));
    }

    #[test]
    fn every_one_of_ten_thousand_targets_has_what_alerts_ask_for() {
        let board = Board::new();
        let signals = vec![BriefSignal {
            name: "s0-prometheus".into(),
            value: Some(3.0),
            target: Some(5.0),
            state: SignalState::Stale,
        }];
        let rest = (0..9_999).map(|number| Brief {
            name: format!("a/b{number}").into(),
            trouble: (number == 9_998).then(|| "no such Deployment".to_owned()),
            waiting: 7,
            signals: signals.clone(),
            ..Brief::default()
        });
        let targets = vec![TargetView { name: "a/a".to_owned(), ..TargetView::default() }];
        let signal = SignalView { name: "s0-prometheus".to_owned(), ..SignalView::default() };
        let targets =
            targets.into_iter().map(|target| TargetView { signals: vec![signal.clone()], ..target });
        let targets = targets.collect();
        board.publish(Fleet { targets, hidden: 9_999, rest: rest.collect(), ..Fleet::default() });
        let text = text(&board).unwrap();
        for name in [
            "tidegate_target_trouble{",
            "tidegate_replicas_wanted{",
            "tidegate_replicas_max{",
            "tidegate_requests_waiting{",
            "tidegate_signal_found{",
        ] {
            assert_eq!(text.lines().filter(|line| line.starts_with(name)).count(), 10_000, "{name}");
        }
        for line in [
            "tidegate_target_trouble{target=\"a/b9998\"} 1.0",
            "tidegate_requests_waiting{target=\"a/b9998\"} 7.0",
            "tidegate_signal_found{target=\"a/b9998\",signal=\"s0-prometheus\"} 0.0",
        ] {
            assert!(text.lines().any(|one| one == line), "no {line}");
        }
    }

    #[test]
    fn what_was_not_measured_has_no_series() {
        let board = Board::new();
        let target = TargetView { name: "a/b".to_owned(), ..TargetView::default() };
        board.publish(Fleet { targets: vec![target], ..Fleet::default() });
        let text = text(&board).unwrap();
        assert!(!text.contains("tidegate_ttft_seconds{"));
        assert!(!text.contains("tidegate_cost_per_hour{"));
        assert!(text.contains("tidegate_target_trouble{target=\"a/b\"} 0.0"));
    }
}
