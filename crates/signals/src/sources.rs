//! For each signal of a target, what reads it; each asked once a tick.
//!
//! | trigger | read by |
//! |---|---|
//! | `cron` | the wall clock |
//! | `redis` | [`RedisLength`] |
//! | `prometheus` | [`Compiled`] over what we scrape of the target's own replicas, with the annotation `tidegate.dev/prometheus: embedded` or without: no other reader of that type is here yet |
//! | `external`, `external-push` whose server is our gateway | the driver: it has the gateway |
//! | `cpu`, `memory` | the driver's look at its processes ([`crate::process`]) |
//! | any other | nothing: its reading is an error that says so |

use std::sync::Arc;

use futures_util::future::join_all;
use tidegate_core::scale::Reading;
use tidegate_core::scale::spec::Metric;
use tidegate_core::time::Time;
use tidegate_manifest::kinds::keda::ScaleTrigger;
use tidegate_manifest::lower::CronSignal;
use tidegate_manifest::object::Object;
use tidegate_manifest::trigger::{self, Declared, GatewayMetric, Origin, Owner, Trigger};
use tidegate_manifest::workload::{TargetRef, auth_parameters, env_container, environment};
use tidegate_manifest::{Manifests, Target};
use tidegate_metrics::eval::{Compiled, compile};

use crate::process::Usage;
use crate::redis::RedisLength;
use crate::series::{Kept, Series, error};
use crate::values::Places;

/// What reads a signal.
#[derive(Debug)]
pub enum Source {
    /// The clock.
    Cron(CronSignal),
    /// A Redis key.
    Redis(Box<RedisLength>),
    /// A query over own scrapes.
    Embedded(Box<Compiled>),
    /// The gateway's demand, which the driver has.
    Gateway(GatewayMetric),
    /// What the replicas' processes use, which the driver has.
    Usage {
        /// `cpu` or `memory`.
        resource: String,
        /// The container the trigger names.
        container: Option<String>,
    },
    /// Nothing, and why.
    Unsupported {
        /// What is missing and what to do.
        why: Arc<str>,
    },
}

/// Requests at the gateway for one target.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    /// Held or queued.
    pub waiting: f64,
    /// Being answered.
    pub in_flight: f64,
    /// Tokens still to be computed for both.
    pub tokens: f64,
}

impl Demand {
    /// What a trigger's `metric` names.
    #[must_use]
    pub fn of(&self, metric: GatewayMetric) -> f64 {
        match metric {
            GatewayMetric::Waiting => self.waiting,
            GatewayMetric::InFlight => self.in_flight,
            GatewayMetric::Demand => self.waiting + self.in_flight,
            GatewayMetric::Tokens => self.tokens,
        }
    }
}

/// What a driver knows at a tick.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Wall clock, for `cron`.
    pub unix_s: i64,
    /// Requests at the gateway; `None` where the driver pushes them itself, and the signal is then left out.
    pub demand: Option<Demand>,
    /// What the target's processes use; `None` as for the demand.
    pub usage: Option<Vec<Usage>>,
}

/// The sources of one target.
#[derive(Debug)]
pub struct Sources {
    sources: Vec<(Arc<str>, Source)>,
    series: Option<Arc<Series>>,
}

impl Sources {
    /// What reads each signal of `target`. Values that stand elsewhere are looked for in `manifests`.
    #[must_use]
    pub fn new(target: &Target, manifests: &Manifests) -> Self {
        Sources::with_values(target, manifests, |_, _| None)
    }

    /// The same with `value`, asked first, for what stands elsewhere: signal and place in, text out.
    pub fn with_values(
        target: &Target,
        manifests: &Manifests,
        value: impl Fn(&str, &Origin) -> Option<String>,
    ) -> Self {
        let triggers = triggers(target, manifests);
        let mut sources = Vec::with_capacity(target.spec.signals.len());
        for signal in &target.spec.signals {
            let name = Arc::clone(&signal.name);
            if let Metric::Demand = signal.metric {
                sources.push((name, Source::Gateway(GatewayMetric::Demand)));
                continue;
            }
            if let Metric::Resource { resource, container, .. } = &signal.metric {
                let (resource, container) = (resource.clone(), container.clone());
                sources.push((name, Source::Usage { resource, container }));
                continue;
            }
            let source = match triggers.iter().find(|(trigger, _)| *trigger.signal == *name) {
                Some((trigger, places)) => {
                    let find = |origin: &Origin| value(&name, origin).or_else(|| places.value(origin));
                    source_of(trigger, target, find)
                }
                None => unsupported("this metric is read from Kubernetes' own metrics, which are not here"),
            };
            sources.push((name, source));
        }
        let mut sources = Sources { sources, series: None };
        let queries = sources.queries();
        let series = (!queries.is_empty()).then(|| Arc::new(Series::new(&queries)));
        sources.series = series;
        sources
    }

    /// The same with its series in the driver's store, whether a query wants any or not.
    #[must_use]
    pub fn keeping(mut self, kept: &Arc<Kept>, target: &Arc<str>) -> Self {
        self.series = Some(Arc::new(kept.series(target, &self.queries())));
        self
    }

    fn queries(&self) -> Vec<&Compiled> {
        let embedded = self.sources.iter().filter_map(|(_, source)| match source {
            Source::Embedded(query) => Some(&**query),
            _ => None,
        });
        embedded.collect()
    }

    /// Each signal with what reads it, in the manifest's order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Source)> {
        self.sources.iter().map(|(name, source)| (name, source))
    }

    /// Signals that nothing reads, and why.
    pub fn unsupported(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.sources.iter().filter_map(|(name, source)| match source {
            Source::Unsupported { why } => Some((name, why)),
            _ => None,
        })
    }

    /// Where the target's endpoints put what the queries want: for
    /// [`Endpoint::series`](crate::scrape::Endpoint::series). `None` if no query wants anything.
    #[must_use]
    pub const fn series(&self) -> Option<&Arc<Series>> {
        self.series.as_ref()
    }

    /// Whether some signal wants [`Context::usage`].
    #[must_use]
    pub fn wants_usage(&self) -> bool {
        self.sources.iter().any(|(_, source)| matches!(source, Source::Usage { .. }))
    }

    /// Asks every source once, all at the same time; none takes longer than a second. What the driver
    /// does not give in `context` is left out, everything else has a reading.
    pub async fn read(&self, now: Time, context: &Context) -> Vec<(Arc<str>, Reading)> {
        let each = self
            .sources
            .iter()
            .map(async |(name, source)| Some((Arc::clone(name), self.reading(source, now, context).await?)));
        join_all(each).await.into_iter().flatten().collect()
    }

    async fn reading(&self, source: &Source, now: Time, context: &Context) -> Option<Reading> {
        let value = |value: f64| Reading::Value { value, active: None };
        Some(match source {
            Source::Cron(cron) => value(f64::from(cron.value_at(context.unix_s))),
            Source::Redis(list) => match list.read().await {
                Ok(length) => value(length),
                Err(failed) => error(failed.to_string()),
            },
            Source::Embedded(query) => match &self.series {
                Some(series) => series.ask(query, now),
                None => Reading::Absent,
            },
            Source::Gateway(metric) => {
                let number = context.demand?.of(*metric);
                if number.is_finite() {
                    value(number)
                } else {
                    error("the gateway's demand is no finite number")
                }
            }
            Source::Usage { resource, container } => {
                let usage = context.usage.as_ref()?;
                let samples = usage.iter().filter_map(|usage| usage.sample(resource, container.as_deref()));
                Reading::Samples(samples.collect())
            }
            Source::Unsupported { why } => Reading::Error(Arc::clone(why)),
        })
    }
}

fn unsupported(why: impl AsRef<str>) -> Source {
    Source::Unsupported { why: Arc::from(why.as_ref()) }
}

fn source_of(trigger: &Trigger, target: &Target, value: impl Fn(&Origin) -> Option<String>) -> Source {
    match &trigger.source {
        trigger::Source::Cron(_) => match target.crons.iter().find(|cron| cron.signal == trigger.signal) {
            Some(cron) => Source::Cron(cron.clone()),
            None => unsupported("the cron window is missing from the target; load the manifest again"),
        },
        trigger::Source::RedisList(list) => match RedisLength::new(list, value) {
            Ok(list) => Source::Redis(Box::new(list)),
            Err(why) => unsupported(why.to_string()),
        },
        trigger::Source::Prometheus(prometheus) => match compile(&prometheus.query) {
            Ok(query) => Source::Embedded(Box::new(query)),
            Err(why) => unsupported(why.to_string()),
        },
        trigger::Source::External(external) => match external.gateway() {
            Some(metric) => Source::Gateway(metric),
            None => unsupported(
                "an external scaler is not asked yet; for this machine's own gateway set scalerAddress to \
                 tidegate-gateway.tidegate:9090",
            ),
        },
        _ => unsupported(format!(
            "triggers of type {} are not read yet; use redis, cron, prometheus over own scrapes, or the gateway",
            trigger.type_.as_str()
        )),
    }
}

/// The target's triggers, understood once more: the core's spec has forgotten where numbers come from.
fn triggers<'m>(target: &Target, manifests: &'m Manifests) -> Vec<(Trigger, Places<'m>)> {
    let Some(document) = manifests.documents.get(target.document) else { return Vec::new() };
    let (declared, container, owner): (&[ScaleTrigger], Option<&str>, Owner) = match &document.object {
        Object::ScaledObject(object) => {
            let advanced = object.spec.advanced.as_ref();
            let modifiers = advanced.and_then(|advanced| advanced.scaling_modifiers.as_ref());
            let modifiers = modifiers.is_some_and(|modifiers| {
                [&modifiers.formula, &modifiers.target].into_iter().flatten().any(|text| !text.is_empty())
            });
            let container = object.spec.scale_target_ref.env_source_container_name.as_deref();
            (&object.spec.triggers, container, Owner::ScaledObject { modifiers })
        }
        Object::ScaledJob(object) => {
            (&object.spec.triggers, object.spec.env_source_container_name.as_deref(), Owner::ScaledJob)
        }
        _ => return Vec::new(),
    };
    let workload = TargetRef::of(document).and_then(|target| target.find(manifests)).unwrap_or(document);
    let template = workload.object.pod_template().map(|(_, template)| template);
    let found = template.and_then(|template| env_container(template, container));
    let environment = found.and_then(environment);
    let understood = declared.iter().enumerate().filter_map(|(index, declared)| {
        let parameters = auth_parameters(manifests, &document.namespace, declared);
        let trigger = trigger::parse(&Declared {
            index,
            type_: &declared.type_,
            name: declared.name.as_deref().filter(|name| !name.is_empty()),
            metadata: &declared.metadata,
            metric_type: declared.metric_type.as_deref().filter(|text| !text.is_empty()),
            use_cached_metrics: declared.use_cached_metrics == Some(true),
            auth_parameters: parameters.as_ref(),
            environment: environment.as_ref(),
            owner,
        });
        // A trigger with a fault made no target.
        let places = Places { manifests, document, trigger: declared, template, container };
        Some((trigger.ok()?, places))
    });
    understood.collect()
}
