//! Metrics of our own.

use std::fmt::Write as _;

use tidegate_kube::drive::{Entry, View};
use tidegate_kube::index::target::Asks;
use tidegate_kube::lease::elector::Standing;

use super::Counts;
use super::family::Family;

pub(super) fn write(view: &View<'_>, counts: &Counts, out: &mut String) {
    pods(view, out);
    operator(view, counts, out);
}

fn labels(entry: &Entry) -> [(&'static str, &str); 2] {
    [("namespace", &*entry.key.namespace), ("scaledObject", &*entry.key.name)]
}

fn pods(view: &View<'_>, out: &mut String) {
    let each = |family: &mut Family<'_>, value: &dyn Fn(&Entry) -> Option<f64>| {
        for entry in view.entries.values().filter(|entry| entry.key.asks == Asks::ScaledObject) {
            if let Some(value) = value(entry) {
                family.add(&labels(entry), value);
            }
        }
    };
    let help = "1 where no more replicas are asked for, because some wait for GPUs, nodes or quota";
    each(&mut Family::new(out, "tidegate_target_limited", help), &|entry| {
        Some(f64::from(u32::from(matches!(&entry.room, Some(Some(room)) if room.limits()))))
    });
    let help = "Pods that are drained before a count is lowered";
    each(&mut Family::new(out, "tidegate_target_draining_pods", help), &|entry| {
        entry.leave.as_ref().map(|leave| leave.pods.len() as f64)
    });
    let help = "Replicas that are decided, where the operator only advises";
    each(&mut Family::new(out, "tidegate_advised_replicas", help), &|entry| {
        entry.latest.as_ref().filter(|_| view.advise).map(|decision| f64::from(decision.replicas))
    });
    let mut family =
        Family::new(out, "tidegate_start_phase_seconds", "How long each phase of a pod's last start took");
    for entry in view.entries.values() {
        let [namespace, object] = labels(entry);
        for (phase, span) in entry.starts.last().iter().flat_map(|(_, phases)| phases) {
            family.add(&[namespace, object, ("phase", *phase)], span.as_secs_f64());
        }
    }
}

fn operator(view: &View<'_>, counts: &Counts, out: &mut String) {
    let requests = &counts.requests;
    let mut one = |name: &'static str, help: &str, value: f64| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    };
    let leads = view.standing == Standing::Leads;
    one("tidegate_leads", "1 where this operator may write", f64::from(u32::from(leads)));
    one("tidegate_decides", "1 where this operator decides", f64::from(u32::from(view.deciding)));
    one("tidegate_advises", "1 where this operator writes nothing", f64::from(u32::from(view.advise)));
    one("tidegate_targets", "Targets", view.entries.len() as f64);
    let decided = view.entries.values().filter(|entry| entry.latest.is_some()).count();
    one("tidegate_targets_decided", "Targets of which there is a decision", decided as f64);
    let troubled = view.entries.values().filter(|entry| entry.trouble.is_some()).count();
    one("tidegate_targets_in_trouble", "Targets that are not decided, or not written", troubled as f64);
    one("tidegate_writes_waiting", "Writes that wait or are under way", view.waiting as f64);
    one("tidegate_watches_blind", "Watches that cannot see", view.blind.len() as f64);
    one("tidegate_tick_lag_seconds", "How late the last tick was", view.lag_s);
    let (gateways, silent) = view.gateways.gateways(view.at);
    one("tidegate_gateways", "Gateways that tell what is asked for", gateways as f64);
    one("tidegate_gateways_silent", "Gateways that have said nothing for 5 s", silent as f64);
    one("tidegate_ticks", "Ticks since the start", counts.ticks as f64);
    one("tidegate_ticks_late", "Ticks that came more than a second late", counts.late as f64);
    let help = "Targets that begin without memory after a restart, because there is no more room for it";
    one("tidegate_memory_left_out", help, view.left_out as f64);
    let help = "Events that were not written since the start: too many at once, or not taken";
    one("tidegate_events_dropped", help, view.events_dropped as f64);
    let help = "1 where there are more objects than are kept: pods are not counted, and some are not seen";
    one("tidegate_index_full", help, f64::from(u32::from(view.full)));
    one("tidegate_kube_reads", "Requests that read, since the start", requests.reads() as f64);
    one("tidegate_kube_writes", "Requests that write, since the start", requests.writes() as f64);
    one("tidegate_kube_writes_refused", "Writes refused because of --advise", requests.refused() as f64);
}
