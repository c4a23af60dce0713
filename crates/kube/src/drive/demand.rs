//! What gateways say, as events of targets; and what they are told.

use std::sync::Arc;

use tidegate_core::scale::spec::Signal;
use tidegate_core::scale::{Event, Reading, Spec};
use tidegate_core::time::Span;
use tidegate_signals::{Source, Sources};

use super::{Error, Mind, Operator, Weight};
use crate::demand::listen::Inbox;
use crate::demand::{Book, FIRST_WORD, Known, Report, Roll, proto};
use crate::index::target::{Asks, Key};
use crate::live::Pod;
use crate::object::{Id, Kind, Object, Scope};
use crate::routes::said::Written;

/// Gateways as the loop has them; none where no listener was asked for.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    pub(super) book: Book,
    inbox: Option<Inbox>,
    /// Those silent when they were last looked at.
    silent: usize,
}

impl Gateways {
    pub(super) fn new(inbox: Option<Inbox>) -> Self {
        Gateways { inbox, ..Gateways::default() }
    }

    /// The next report; never one where nobody listens.
    pub(super) async fn next(&mut self) -> Option<Report> {
        match &mut self.inbox {
            Some(inbox) => inbox.reports.recv().await,
            None => None,
        }
    }

    fn listens(&self) -> bool {
        self.inbox.is_some()
    }
}

impl Operator {
    /// A gateway has spoken. A standby only takes it down.
    pub(super) fn hear(&mut self, report: Report) -> Result<(), Error> {
        let now = self.clock.now();
        for (key, told) in &report.targets {
            for (name, load) in &told.pods {
                let pod = Pod { namespace: Arc::clone(&key.namespace), name: Arc::clone(name) };
                self.live.gateway(&report.gateway, &pod, f64::from(load.in_flight), now);
            }
        }
        let turned = self.gateways.book.take(report, now);
        if self.mind != Mind::Decides {
            return Ok(());
        }
        for key in &turned.begun {
            let known = self.entries.get(key).and_then(|entry| entry.spec.as_ref());
            if known.is_some_and(|spec| !has_demand(spec)) {
                self.read(key)?;
            }
        }
        for key in &turned.edges {
            self.decide(key)?;
        }
        Ok(())
    }

    /// What a target asks for, and besides the requests at gateways, if any route it or it says a model.
    pub(super) fn with_demand(&self, key: &Key, object: &Object, mut spec: Spec) -> Spec {
        let workload = self.entries.get(key).and_then(|entry| entry.workload.as_ref());
        let workload = workload.and_then(|id| self.index.workload(id));
        let says =
            || workload.is_some_and(|workload| !Written::of(Some(object), workload).models().is_empty());
        let routed = self.gateways.book.routes(key, self.clock.now()) || says();
        let routed = key.asks == Asks::ScaledObject && routed;
        if self.gateways.listens() && routed && !has_demand(&spec) {
            spec.signals.push(Signal::demand());
        }
        spec
    }

    /// What gateways say of a target: for its triggers, as context or as readings that are no number.
    pub(super) fn at_gateways(
        &self,
        key: &Key,
        sources: &Sources,
    ) -> (Option<tidegate_signals::Demand>, Vec<(Arc<str>, Reading)>) {
        let known = self.gateways.book.demand(key, self.clock.now());
        if let Known::Fresh(demand) = known {
            return (Some(demand), Vec::new());
        }
        let why = if self.gateways.listens() {
            "no gateway routes it: is one connected, and does it see the target's model and Service?"
        } else {
            "no gateway can tell its demand: start the operator with --demand-addr"
        };
        let lost = sources.iter().filter_map(|(name, source)| {
            let Source::Gateway(metric) = source else { return None };
            let reading = known.reading(*metric).unwrap_or_else(|| Reading::Error(why.into()));
            Some((Arc::clone(name), reading))
        });
        (None, lost.collect())
    }

    /// Tells a target's machine of the requests at gateways, if they are not what it was told.
    pub(super) fn tell_demand(&mut self, key: &Key) -> Result<(), Error> {
        let now = self.clock.now();
        let known = self.gateways.book.demand(key, now).wanted();
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        if !entry.spec.as_ref().is_some_and(has_demand) {
            return Ok(());
        }
        let reading = match (known, &entry.demand) {
            (Some(reading), _) => reading,
            // Those that routed it have left, or are gone with all who were connected.
            (None, Some(_)) => Reading::Value { value: 0.0, active: None },
            (None, None) if now.since(entry.since) < FIRST_WORD => {
                Reading::Error("no gateway has told what is asked of it yet".into())
            }
            // Nobody routes it, so nobody can ask for it.
            (None, None) if entry.waits => Reading::Value { value: 0.0, active: None },
            (None, None) => return Ok(()),
        };
        let same = match (&entry.demand, &reading) {
            // It grows older by itself.
            (Some(Reading::Stale { value: old, .. }), Reading::Stale { value: new, .. }) => {
                old.total_cmp(new).is_eq()
            }
            (Some(old), new) => old == new,
            (None, new) => matches!((new, &entry.waits), (Reading::Error(_), true)),
        };
        if same {
            return Ok(());
        }
        if matches!(reading, Reading::Error(_)) {
            entry.waits = true;
        } else {
            entry.demand = Some(reading.clone());
        }
        let actions = self.step(key, &Event::Reading { signal: Signal::DEMAND.into(), reading })?;
        self.act(key, actions)
    }

    /// Whom the operator before knew is expected here.
    pub(super) fn expect_gateways(&mut self, roll: Roll) {
        if !self.gateways.listens() {
            return;
        }
        let now = self.clock.now();
        self.gateways.book.expect(roll, now);
        let (_, silent) = self.gateways.book.gateways(now);
        self.gateways.silent = silent;
        if silent > 0 {
            let text = format!(
                "{silent} gateways are expected: what they route is not scaled to zero before they speak"
            );
            self.remark(Weight::Info, &text);
        }
    }

    /// Once a second: gateways that are gone are forgotten, and the others told what is new.
    pub(super) fn look_at_gateways(&mut self) {
        if !self.gateways.listens() {
            return;
        }
        let now = self.clock.now();
        let pods = |namespace| Scope { kind: Kind::Pod, namespace, name: None };
        let (index, sees_all) = (&self.index, self.index.is_listed(&pods(None)));
        let seen = |pod: &Id| sees_all || index.is_listed(&pods(Some(Arc::clone(&pod.namespace))));
        let gone = self.gateways.book.sweep(now, |pod| seen(pod) && !index.full() && !index.has_pod(pod));
        for name in gone {
            self.remark(
                Weight::Warning,
                &format!("gateway {name} is gone; what it said last is not counted"),
            );
        }
        let (_, silent) = self.gateways.book.gateways(now);
        if silent > self.gateways.silent {
            let text = "a gateway has fallen silent: what it said last counts, and nothing is scaled to zero";
            self.remark(Weight::Warning, text);
        }
        self.gateways.silent = silent;
        // While the lease cannot be renewed another may lead already, and drain other pods than these.
        let drains = if self.gate.open() { self.drains() } else { Vec::new() };
        let word = proto::Word { drains, outlooks: self.outlooks() };
        if let Some(inbox) = &self.gateways.inbox {
            inbox.words.send_if_modified(|known| {
                let changed = **known != word;
                if changed {
                    *known = Arc::new(word);
                }
                changed
            });
        }
    }

    fn drains(&self) -> Vec<proto::Drain> {
        let drain =
            |pod: &Pod| proto::Drain { namespace: pod.namespace.to_string(), pod: pod.name.to_string() };
        self.live.draining().borrow().iter().map(drain).collect()
    }

    /// What is expected of replicas that start, of targets that gateways route.
    fn outlooks(&self) -> Vec<proto::Outlook> {
        let now = self.clock.now();
        let starting = self.entries.values().filter(|entry| {
            entry.fleet.is_some_and(|fleet| fleet.starting > 0 || fleet.spec > fleet.status)
                && self.gateways.book.routes(&entry.key, now)
        });
        let outlook = |entry: &super::Entry| {
            let fleet = entry.fleet.unwrap_or_default();
            let whole =
                |phases: &[(&str, Span); 3]| phases.iter().map(|(_, span)| span.as_micros()).sum::<i64>();
            let took: Vec<i64> = entry.starts.iter().map(|(_, phases)| whole(phases)).collect();
            let mean = i64::try_from(took.len()).ok().filter(|count| *count > 0);
            let start_us = mean.map_or(0, |count| took.iter().sum::<i64>() / count);
            let pods = entry.workload.iter().flat_map(|id| self.index.pods_of(id));
            let begun = pods.filter(|(_, facts)| !facts.ready && !facts.deleting);
            let begun = begun.filter_map(|(_, facts)| facts.start.created).min().unwrap_or(now);
            let left_us = begun.as_micros().saturating_add(start_us).saturating_sub(now.as_micros());
            let ms = |micros: i64| u64::try_from(micros / 1000).unwrap_or(0);
            proto::Outlook {
                namespace: entry.key.namespace.to_string(),
                name: entry.key.name.to_string(),
                starting: fleet.starting.max(fleet.spec.saturating_sub(fleet.ready)),
                // A start that takes longer than any before is due any moment.
                ready_in_ms: if start_us > 0 { ms(left_us).max(1) } else { 0 },
                start_ms: ms(start_us),
            }
        };
        starting.map(outlook).collect()
    }
}

fn has_demand(spec: &Spec) -> bool {
    spec.signals.iter().any(|signal| &*signal.name == Signal::DEMAND)
}
