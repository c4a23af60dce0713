//! What the pages show, made of what the gateway, the machine and the decisions say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_core::scale::decision::Decision;
use tidegate_core::scale::{Fleet, Spec};
use tidegate_dashboard::model::{
    Fleet as Shown, GpuView, HeldView, Note, Quantiles, ReplicaState, ReplicaView, Severity, StartView,
    TargetView,
};
use tidegate_gateway::{EndpointViewNamed, Percentiles, TargetView as Traffic};
use tidegate_local::Unit;
use tidegate_local::status::{ReplicaStatus, State, Status, TargetStatus};

use super::devices::Devices;
use super::fleet::Loop;
use crate::signals;

/// Remarks shown: the last ones, a screen of them.
const NOTES_MAX: usize = 20;

/// What somebody should know, from whatever thread.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<Vec<Note>>);

impl Notes {
    pub(crate) fn add(&self, at_unix_s: f64, severity: Severity, text: String) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.iter().any(|known| known.text == text) {
            return;
        }
        if notes.len() == NOTES_MAX {
            notes.remove(0);
        }
        notes.push(Note { at_unix_s, severity, text });
    }

    pub(crate) fn list(&self) -> Vec<Note> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What was counted when it was last looked at, for rates and sums.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    at_unix_s: f64,
    requests: u64,
    tokens: u64,
    pub(crate) requests_per_s: f64,
    pub(crate) tokens_per_s: f64,
    cost: f64,
}

/// Seconds over which a rate is taken: shorter ones jump, longer ones lag.
const RATE_S: f64 = 5.0;

/// The fleet of one target as its scale machine sees it. Replicas that are leaving are no longer its.
pub(crate) fn fleet_of(status: &Status, target: &str, wanted: u32) -> Fleet {
    let Some(target) = status.target(target) else {
        return Fleet { spec: wanted, status: 0, ready: 0, starting: 0 };
    };
    Fleet { spec: wanted, status: target.staying(), ready: target.ready(), starting: target.starting() }
}

/// The sentence that settled a decision.
pub(crate) fn sentence(decision: &Decision) -> String {
    let settled = decision.steps.iter().rev().find(|step| step.rule == decision.rule);
    settled.map_or_else(String::new, |step| format!("{}: {}", step.rule, step.because))
}

/// Everything, now.
pub(crate) fn fleet(of: &mut Loop) -> Shown {
    let now = of.clock.now().as_secs_f64();
    let status = Arc::clone(&of.status.borrow());
    let traffic: BTreeMap<Arc<str>, Traffic> =
        of.gateway.view().into_iter().map(|target| (Arc::clone(&target.name), target)).collect();
    let units = of.world.units.clone();
    let targets: Vec<TargetView> =
        units.iter().map(|unit| target(of, unit, &status, traffic.get(&unit.target), now)).collect();
    let costs: Vec<f64> = targets.iter().filter_map(TargetView::cost_per_hour).collect();
    Shown {
        at_unix_s: now,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gateway_addr: Some(of.gateway.addr().to_string()),
        gpus: gpus(&status, &of.devices),
        hidden: 0,
        rest: Arc::default(),
        targets,
        cost_per_hour: (!costs.is_empty()).then(|| costs.iter().sum()),
        machine: Some(super::here::view(&of.state_dir)),
        notes: of.notes.list(),
    }
}

fn gpus(status: &Status, devices: &Devices) -> Vec<GpuView> {
    let view = |one: &tidegate_local::status::GpuStatus| {
        let mut view = gpu(one);
        devices.fill(&mut view, &one.gpu.uuid);
        view
    };
    status.gpus.iter().map(view).collect()
}

fn gpu(one: &tidegate_local::status::GpuStatus) -> GpuView {
    GpuView {
        index: one.gpu.index,
        name: one.gpu.name.clone(),
        memory_mib: one.gpu.memory_total_mib,
        used_mib: one.gpu.memory_used_mib,
        target: one.holder.as_ref().map(|holder| holder.target.to_string()),
        holder: one.holder.as_ref().map(|holder| holder.replica.to_string()),
        ..GpuView::default()
    }
}

fn target(of: &mut Loop, unit: &Unit, status: &Status, traffic: Option<&Traffic>, now: f64) -> TargetView {
    let machine = status.target(&unit.target);
    let spec = of.control.spec(&unit.target);
    let entry = of.entries.get(&unit.target);
    let replicas = machine.map(|machine| machine.replicas.as_slice()).unwrap_or_default();
    let count = |state: ReplicaState| replicas.iter().filter(|one| state_of(one) == state).count() as u32;
    let mut view = TargetView {
        name: unit.target.to_string(),
        models: unit.models.clone(),
        policy: spec.filter(|_| unit.scaled).map_or("fixed", Spec::policy).to_owned(),
        min: spec.map_or(unit.replicas, |spec| spec.min),
        max: spec.map_or(unit.replicas, |spec| spec.max),
        wanted: entry.map_or(unit.replicas, |entry| entry.wanted),
        ready: count(ReplicaState::Ready),
        starting: count(ReplicaState::Starting),
        draining: count(ReplicaState::Draining) + count(ReplicaState::Stopping),
        pending: count(ReplicaState::Pending) + count(ReplicaState::BackOff) + count(ReplicaState::Failed),
        gpu_per_replica: unit.template.gpus,
        price_per_gpu_hour: unit.gpu_price_per_hour,
        trouble: trouble(of, machine, &unit.target),
        signals: spec
            .zip(entry)
            .map(|(spec, entry)| signals::view(spec, &entry.readings, &entry.trust))
            .unwrap_or_default(),
        replicas: replicas.iter().map(|one| replica(of, unit, one, traffic)).collect(),
        starts: machine.map(starts).unwrap_or_default(),
        ..TargetView::default()
    };
    if let Some(traffic) = traffic {
        flow(&mut view, traffic, now);
    }
    let before = of.counted.get(&unit.target).copied().unwrap_or_default();
    let counted = count_up(before, &view, traffic, now);
    view.requests_per_s = traffic.map(|_| counted.requests_per_s);
    view.tokens_per_s = traffic.map(|_| counted.tokens_per_s);
    view.cost_so_far = view.price_per_gpu_hour.map(|_| counted.cost);
    of.counted.insert(Arc::clone(&unit.target), counted);
    view
}

/// What the gateway knows.
pub(crate) fn flow(view: &mut TargetView, traffic: &Traffic, now: f64) {
    view.waiting = traffic.demand.waiting;
    view.in_flight = traffic.demand.in_flight;
    view.tokens = traffic.demand.waiting_tokens + traffic.demand.in_flight_tokens;
    view.ttft_s = quantiles(traffic.ttft.recent);
    view.itl_s = quantiles(traffic.itl.recent);
    view.cold_starts = traffic.cold_starts;
    view.held = traffic
        .held
        .iter()
        .map(|held| HeldView {
            waited_s: (now - held.since.as_secs_f64()).max(0.0),
            expected_s: held.expected.map(|span| span.as_secs_f64()),
            priority: format!("{:?}", held.priority).to_lowercase(),
            prompt_tokens: held.prompt_tokens.into(),
        })
        .collect();
}

/// Rates over the last seconds, and money: GPU seconds held since it was last looked at.
pub(crate) fn count_up(before: Counted, view: &TargetView, traffic: Option<&Traffic>, now: f64) -> Counted {
    let requests = traffic.map_or(0, |traffic| traffic.requests.values().sum());
    let tokens = traffic.map_or(0, |traffic| traffic.tokens_out);
    if before.at_unix_s <= 0.0 {
        return Counted { at_unix_s: now, requests, tokens, ..Counted::default() };
    }
    let passed_s = (now - before.at_unix_s).max(0.001);
    let share = (passed_s / RATE_S).min(1.0);
    let rate = |old: f64, more: u64| old + share * (more as f64 / passed_s - old);
    Counted {
        at_unix_s: now,
        requests,
        tokens,
        requests_per_s: rate(before.requests_per_s, requests.saturating_sub(before.requests)),
        tokens_per_s: rate(before.tokens_per_s, tokens.saturating_sub(before.tokens)),
        cost: before.cost + view.cost_per_hour().unwrap_or(0.0) * passed_s / 3600.0,
    }
}

fn quantiles(measured: Percentiles) -> Option<Quantiles> {
    (measured.count > 0).then_some(Quantiles { p50: measured.p50, p95: measured.p95, p99: measured.p99 })
}

/// Why it cannot run, with why nobody yields a GPU where that is asked for.
fn trouble(of: &Loop, machine: Option<&TargetStatus>, target: &Arc<str>) -> Option<String> {
    let why = machine.and_then(TargetStatus::trouble);
    match (why, of.in_vain.get(target)) {
        (Some(why), Some(in_vain)) => Some(format!("{why}; {in_vain}")),
        (why, in_vain) => why.or_else(|| in_vain.cloned()),
    }
}

/// By target, the first replica whose last run failed, and why.
pub(crate) fn failing(status: &Status) -> BTreeMap<Arc<str>, String> {
    let failed = |target: &TargetStatus| {
        target.replicas.iter().find_map(|replica| match &replica.state {
            State::BackOff { why, .. } | State::Failed { why, .. } => {
                Some((Arc::clone(&target.target), format!("{}: {why}", replica.replica)))
            }
            _ => None,
        })
    };
    status.targets.iter().filter_map(failed).collect()
}

fn state_of(replica: &ReplicaStatus) -> ReplicaState {
    match replica.state {
        State::Pending { .. } => ReplicaState::Pending,
        State::Starting { .. } | State::Unready { .. } => ReplicaState::Starting,
        State::Ready => ReplicaState::Ready,
        State::Draining => ReplicaState::Draining,
        State::Stopping => ReplicaState::Stopping,
        State::BackOff { .. } => ReplicaState::BackOff,
        State::Failed { .. } => ReplicaState::Failed,
    }
}

fn replica(of: &Loop, unit: &Unit, one: &ReplicaStatus, traffic: Option<&Traffic>) -> ReplicaView {
    let found = |traffic: &Traffic| -> Option<EndpointViewNamed> {
        traffic.endpoints.iter().find(|endpoint| endpoint.replica == one.replica).cloned()
    };
    let endpoint = traffic.and_then(found);
    let why = match &one.state {
        State::Pending { why } | State::Unready { why } => Some(why.clone()),
        State::BackOff { why, .. } | State::Failed { why, .. } => Some(why.clone()),
        State::Starting { phase } => Some(format!("{phase:?}").to_lowercase()),
        _ => None,
    };
    // Lines are for those in trouble: reading every log each second would cost more than it tells.
    let lines = matches!(one.state, State::BackOff { .. } | State::Failed { .. } | State::Unready { .. });
    let last_lines = if lines {
        of.machine.last_lines(&unit.target, &one.replica).unwrap_or_default()
    } else {
        Vec::new()
    };
    ReplicaView {
        id: one.replica.to_string(),
        state: state_of(one),
        since_unix_s: Some(one.since.as_secs_f64()),
        pid: one.pid.and_then(|pid| u32::try_from(pid).ok()),
        addr: one.port.map(|port| format!("127.0.0.1:{port}")),
        gpus: one.gpus.clone(),
        restarts: one.restarts,
        in_flight: endpoint.as_ref().map_or(0, |endpoint| endpoint.view.in_flight),
        tokens: endpoint.as_ref().map_or(0, |endpoint| endpoint.view.tokens),
        kv_use: of.scrapes.kv_use(&one.replica),
        why,
        last_lines,
    }
}

fn starts(target: &TargetStatus) -> Vec<StartView> {
    let view = |start: &tidegate_local::starts::Start| StartView {
        at_unix_s: start.at.as_secs_f64(),
        replica: start.replica.to_string(),
        phases: start
            .phases
            .iter()
            .map(|(phase, span)| (format!("{phase:?}").to_lowercase(), span.as_secs_f64()))
            .collect(),
        total_s: start.total.as_secs_f64(),
    };
    target.starts.iter().rev().map(view).collect()
}
