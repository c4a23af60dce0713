//! The operator's own metrics: KEDA's names, so that boards made for it go on working, and ours.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_core::scale::Reading;
use tidegate_kube::client::Requests;
use tidegate_kube::drive::{Entry, View};
use tidegate_kube::index::target::Asks;
use tidegate_kube::lease::elector::Standing;

/// The text, made once a second and handed out as often as it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    requests: Arc<Requests>,
    text: Arc<Mutex<String>>,
    /// Ticks so far, and those of them that came later than [`LATE_S`].
    ticks: u64,
    late: u64,
}

/// A tick that is so late is a tick that was missed: there is one each second.
const LATE_S: f64 = 1.0;

/// A family of series under one head.
struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl<'a> Family<'a> {
    fn new(out: &'a mut String, name: &'static str, help: &str) -> Self {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        Family { out, name }
    }

    /// One series. With 10,000 targets 50,000 are written each second, so nothing is allocated for one.
    fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        self.out.push_str(self.name);
        for (at, (name, text)) in labels.iter().enumerate() {
            self.out.push_str(if at == 0 { "{" } else { "," });
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(text, self.out);
            self.out.push('"');
        }
        let _ = writeln!(self.out, "}} {value}");
    }
}

fn escape(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some((before, special)) = rest.find(['\\', '"', '\n']).and_then(|at| rest.split_at_checked(at))
    {
        out.push_str(before);
        let mut letters = special.chars();
        match letters.next() {
            Some('\n') => out.push_str("\\n"),
            Some(letter) => out.extend(['\\', letter]),
            None => {}
        }
        rest = letters.as_str();
    }
    out.push_str(rest);
}

impl Counts {
    pub(super) fn new(requests: Arc<Requests>) -> Self {
        Counts { requests, text: Arc::default(), ticks: 0, late: 0 }
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(&self.text.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Makes the text anew.
    pub(super) fn look(&mut self, view: &View<'_>) {
        self.ticks += 1;
        self.late += u64::from(view.lag_s > LATE_S);
        let before = self.text.lock().unwrap_or_else(PoisonError::into_inner).len();
        let mut text = String::with_capacity(before + before / 8);
        scalers(view, &mut text);
        objects(view, &mut text);
        pods(view, &mut text);
        ours(view, self, &mut text);
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

/// Indexes of the triggers that most objects have.
const DIGITS: [&str; 4] = ["0", "1", "2", "3"];

/// A signal's labels as KEDA has them: the scaler is the trigger's type, which its name ends with.
fn of_signal<'a>(entry: &'a Entry, index: &'a str, signal: &'a str) -> [(&'static str, &'a str); 6] {
    let type_ = if entry.key.asks == Asks::ScaledJob { "scaledjob" } else { "scaledobject" };
    let scaler = signal.split_once('-').map_or(signal, |(_, rest)| rest);
    [
        ("namespace", &*entry.key.namespace),
        ("metric", signal),
        ("scaledObject", &*entry.key.name),
        ("scaler", scaler),
        ("triggerIndex", index),
        ("type", type_),
    ]
}

fn labels(entry: &Entry) -> [(&'static str, &str); 2] {
    [("namespace", &*entry.key.namespace), ("scaledObject", &*entry.key.name)]
}

fn scalers(view: &View<'_>, out: &mut String) {
    let each = |family: &mut Family<'_>, value: &dyn Fn(&Entry, &str) -> Option<f64>| {
        for entry in view.entries.values() {
            let signals = entry.spec.iter().flat_map(|spec| &spec.signals);
            for (index, signal) in signals.enumerate() {
                if let Some(value) = value(entry, &signal.name) {
                    let index =
                        DIGITS.get(index).map_or_else(|| index.to_string().into(), |text| Cow::from(*text));
                    family.add(&of_signal(entry, &index, &signal.name), value);
                }
            }
        }
    };
    let read = |entry: &Entry, signal: &str| match entry.readings.get(signal) {
        Some(Reading::Value { value, .. } | Reading::Stale { value, .. }) => Some(*value),
        Some(Reading::Series(series)) => Some(series.iter().sum()),
        _ => None,
    };
    let mut family = Family::new(out, "keda_scaler_metrics_value", "The value of each trigger's metric");
    each(&mut family, &read);
    let mut family = Family::new(out, "keda_scaler_active", "1 where a trigger makes its object active");
    each(&mut family, &|entry, signal| {
        let active = entry.latest.as_deref().and_then(tidegate_kube::status::notes::trigger) == Some(signal);
        entry.latest.as_ref().map(|_| f64::from(u32::from(active)))
    });
}

fn objects(view: &View<'_>, out: &mut String) {
    let mut paused = Family::new(out, "keda_scaled_object_paused", "1 where an object is paused");
    for entry in view.entries.values().filter(|entry| entry.key.asks == Asks::ScaledObject) {
        let condition = entry.latest.as_ref().and_then(|decision| decision.conditions.paused);
        let is = condition.is_some_and(|(status, _)| status == tidegate_core::scale::decision::Status::True);
        paused.add(&labels(entry), f64::from(u32::from(is)));
    }
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
    let mut family =
        Family::new(out, "tidegate_start_phase_seconds", "How long each phase of a pod's last start took");
    for entry in view.entries.values() {
        let [namespace, object] = labels(entry);
        for (phase, span) in entry.starts.last().iter().flat_map(|(_, phases)| phases) {
            family.add(&[namespace, object, ("phase", *phase)], span.as_secs_f64());
        }
    }
}

fn ours(view: &View<'_>, counts: &Counts, out: &mut String) {
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
    one("tidegate_kube_reads", "Requests that read, since the start", requests.reads() as f64);
    one("tidegate_kube_writes", "Requests that write, since the start", requests.writes() as f64);
    one("tidegate_kube_writes_refused", "Writes refused because of --advise", requests.refused() as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_label_is_escaped() {
        let mut out = String::new();
        Family { out: &mut out, name: "a" }.add(&[("x", "1\"\\2\n"), ("y", "")], 0.5);
        assert_eq!(out, "a{x=\"1\\\"\\\\2\\n\",y=\"\"} 0.5\n");
    }
}
