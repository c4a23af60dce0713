//! Where the readings of a manifest's signals come from in a simulated fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use tidegate_core::route::Demand;
use tidegate_core::scale::Reading;
use tidegate_core::scale::spec::Metric;
use tidegate_core::time::{Span, Time};
use tidegate_manifest::bound::Bound;
use tidegate_manifest::lower::CronSignal;
use tidegate_manifest::trigger::{self, GatewayMetric, Trigger};
use tidegate_manifest::{Manifests, Target};
use tidegate_metrics::dialect::SCRAPE_LABELS;
use tidegate_metrics::eval::{Answer, Compiled, compile};
use tidegate_metrics::exposition::{Format, Sample, read};
use tidegate_metrics::promql::{MatchOp, parse};
use tidegate_metrics::store::{Store, reach};

use super::ReplicaSeen;
use super::page::Page;

/// What reads a signal.
#[derive(Debug)]
enum Source {
    Cron(CronSignal),
    Query(Box<Compiled>),
    Gateway(GatewayMetric),
    /// Nothing here, and why.
    Nothing(Arc<str>),
}

/// The sources of one target and the store its queries are asked of.
#[derive(Debug)]
pub(super) struct Sources {
    sources: Vec<(Arc<str>, Source)>,
    page: Page,
    labels: String,
    store: Store,
    known: BTreeSet<u32>,
    text: String,
    /// The wall clock at the trace's beginning, for cron.
    origin_unix_s: i64,
    pub(super) remarks: Vec<String>,
}

impl Sources {
    /// What reads each signal of `target`, whose replicas are scraped `every` so often.
    pub(super) fn new(target: &Target, manifests: &Manifests, every: Span, origin_unix_s: i64) -> Sources {
        let triggers = triggers(target, manifests);
        let mut remarks = Vec::new();
        let mut sources = Vec::with_capacity(target.spec.signals.len());
        for signal in &target.spec.signals {
            let source = if signal.metric == Metric::Demand {
                Source::Gateway(GatewayMetric::Demand)
            } else {
                let trigger = triggers.iter().find(|trigger| *trigger.signal == *signal.name);
                trigger.map_or_else(|| nothing("its metric is Kubernetes' own"), |one| source_of(one, target))
            };
            if let Source::Nothing(why) = &source {
                remarks.push(format!("signal {} is not simulated: {why}", signal.name));
            }
            sources.push((Arc::clone(&signal.name), source));
        }
        let queries = || {
            sources.iter().filter_map(|(_, source)| match source {
                Source::Query(query) => Some(&**query),
                _ => None,
            })
        };
        let names: BTreeSet<&str> = queries().flat_map(|query| query.names()).map(String::as_str).collect();
        let (page, unknown) = Page::of(names.into_iter());
        for name in unknown {
            remarks.push(format!("no simulated engine writes {name}: what asks for it finds nothing"));
        }
        let labels = labels(queries());
        let mut store = Store::new().scraped_every(every);
        for query in queries() {
            query.names().iter().for_each(|name| store.keep(name, reach(query.reach())));
        }
        Sources {
            sources,
            page,
            labels,
            store,
            known: BTreeSet::new(),
            text: String::new(),
            origin_unix_s,
            remarks,
        }
    }

    /// Prometheus scrapes every replica that is ready; `deaf`, it gets no answer.
    pub(super) fn scrape(&mut self, now: Time, replicas: &[ReplicaSeen<'_>], deaf: bool) {
        // Nobody asks for a series: nothing need be kept.
        if self.sources.iter().all(|(_, source)| !matches!(source, Source::Query(_))) {
            return;
        }
        let mut gone = std::mem::take(&mut self.known);
        for replica in replicas.iter().filter(|replica| replica.ready) {
            let name: Arc<str> = format!("replica-{}", replica.number).into();
            gone.remove(&replica.number);
            self.known.insert(replica.number);
            self.store.add(&name, None, &[("pod", &name), ("instance", &name)]);
            if deaf {
                self.store.failed(&name, now);
                continue;
            }
            self.page.write(replica, &self.labels, &mut self.text);
            let mut samples: Vec<Sample<'_>> = Vec::new();
            match read(&self.text, Format::Text, |_| Some(()), |(), sample| samples.push(sample)) {
                Ok(_) => self.store.scraped(&name, now, &samples),
                Err(_) => self.store.failed(&name, now),
            }
        }
        for number in gone {
            self.store.forget(&format!("replica-{number}"));
        }
    }

    /// Every signal's reading as of now.
    pub(super) fn readings(&self, now: Time, demand: Demand) -> Vec<(Arc<str>, Reading)> {
        let value = |value: f64| Reading::Value { value, active: None };
        let of = |source: &Source| match source {
            Source::Cron(cron) => {
                let unix_s = self.origin_unix_s + now.as_micros().div_euclid(1_000_000);
                value(f64::from(cron.value_at(unix_s)))
            }
            Source::Query(query) => self.ask(query, now),
            Source::Gateway(metric) => value(match metric {
                GatewayMetric::Waiting => f64::from(demand.waiting),
                GatewayMetric::InFlight => f64::from(demand.in_flight),
                GatewayMetric::Demand => f64::from(demand.waiting) + f64::from(demand.in_flight),
                GatewayMetric::Tokens => (demand.waiting_tokens + demand.in_flight_tokens) as f64,
            }),
            Source::Nothing(why) => Reading::Error(Arc::clone(why)),
        };
        self.sources.iter().map(|(name, source)| (Arc::clone(name), of(source))).collect()
    }

    /// As KEDA asks a Prometheus: nothing is absent, one series is a value, a bare number is refused.
    fn ask(&self, query: &Compiled, now: Time) -> Reading {
        match query.ask(&self.store, None, now) {
            Err(failed) => Reading::Error(failed.to_string().into()),
            Ok(Answer::Scalar(_)) => Reading::Error("a bare number, which KEDA refuses".into()),
            Ok(Answer::Vector(elements)) => match elements.as_slice() {
                [] => Reading::Absent,
                [(_, value)] => Reading::Value { value: *value, active: None },
                several => Reading::Series(several.iter().map(|(_, value)| *value).collect()),
            },
        }
    }
}

fn nothing(why: impl AsRef<str>) -> Source {
    Source::Nothing(Arc::from(why.as_ref()))
}

fn source_of(trigger: &Trigger, target: &Target) -> Source {
    match &trigger.source {
        trigger::Source::Cron(_) => match target.crons.iter().find(|cron| cron.signal == trigger.signal) {
            Some(cron) => Source::Cron(cron.clone()),
            None => nothing("its window is missing"),
        },
        trigger::Source::Prometheus(prometheus) => match compile(&prometheus.query) {
            Ok(query) => Source::Query(Box::new(query)),
            Err(why) => nothing(why.to_string()),
        },
        trigger::Source::External(external) => match external.gateway() {
            Some(metric) => Source::Gateway(metric),
            None => nothing("an external scaler of your own is not in the trace"),
        },
        _ => nothing(format!("a {} is not in the trace", trigger.type_.as_str())),
    }
}

/// Labels of every series: whatever the queries pin, for the simulated replicas are the ones they are
/// written for. Labels that only a scrape adds are left out; the store knows what they mean.
fn labels<'q>(queries: impl Iterator<Item = &'q Compiled>) -> String {
    let mut pinned: BTreeMap<String, String> = BTreeMap::new();
    for query in queries.filter_map(|query| parse(query.text()).ok()) {
        for matcher in query.selectors().iter().flat_map(|selector| &selector.matchers) {
            let own = matcher.label != "__name__" && matcher.label != "le";
            if matcher.op == MatchOp::Equal && own && !SCRAPE_LABELS.contains(&matcher.label.as_str()) {
                pinned.entry(matcher.label.clone()).or_insert_with(|| matcher.value.clone());
            }
        }
    }
    let mut text = String::new();
    for (label, value) in pinned {
        let comma = if text.is_empty() { "" } else { "," };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{comma}{label}=\"{value}\"");
    }
    text
}

/// The target's triggers, understood once more: the core's spec has forgotten where numbers come from.
fn triggers(target: &Target, manifests: &Manifests) -> Vec<Trigger> {
    let document = manifests.documents.get(target.document);
    let Some(bound) = document.and_then(|document| Bound::of(manifests, document)) else { return Vec::new() };
    (0..bound.triggers.len()).filter_map(|index| bound.parse(index).ok()).collect()
}
