//! For each signal of a target, what reads it.
//!
//! | trigger | read by |
//! |---|---|
//! | `cron` | the wall clock |
//! | `redis`, `redis-cluster`, `redis-sentinel` and their `-streams` | [`crate::redis`] |
//! | `prometheus` | [`Compiled`] over what we scrape of the target's own replicas, or [`crate::prometheus`]: as the annotation `tidegate.dev/prometheus` says, else as the driver does |
//! | `external`, `external-push` whose server is our gateway | the driver: it has the gateway; with `signal`, what was pushed under that name |
//! | `cpu`, `memory` | the driver's look at its processes ([`crate::process`]) or pods |
//! | `kubernetes-workload` | a cluster's driver, which counts pods ([`Cluster`]) |
//! | `kafka`, `nats-jetstream`, `rabbitmq`, `postgresql`, `mysql`, `metrics-api`, `aws-sqs-queue`, other `external` and `external-push` | the module of that name |
//! | any other | nothing: its reading is an error that says so |
//!
//! What is read over a network is asked by the driver's [`Asker`], which asks equal questions once.

mod maker;

use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;
use tidegate_core::scale::Reading;
use tidegate_core::scale::spec::Metric;
use tidegate_core::time::Time;
use tidegate_manifest::bound::{Bound, Files};
use tidegate_manifest::lower::CronSignal;
use tidegate_manifest::trigger::{GatewayMetric, KubernetesWorkload};
use tidegate_manifest::{Manifests, Target};
use tidegate_metrics::eval::Compiled;

use self::maker::{Maker, unsupported};
use crate::asker::{Asker, Follower, News};
use crate::metrics_api::Endpoints;
use crate::per_pod;
use crate::process::Usage;
use crate::pushed::Pushed;
use crate::rounds::Rounds;
use crate::series::{Kept, Series, error};

/// What reads a signal.
#[derive(Debug)]
pub enum Source {
    /// The clock.
    Cron(CronSignal),
    /// A server, asked once a tick for all who ask the same.
    Remote(Follower),
    /// A query over own scrapes.
    Embedded(Box<Compiled>),
    /// A query over own scrapes that gives a value for each pod; the driver asks it, for it knows which pods there are.
    PerPod(Box<Compiled>),
    /// The gateway's demand, which the driver has.
    Gateway(GatewayMetric),
    /// What the replicas' processes use, which the driver has.
    Usage {
        /// `cpu` or `memory`.
        resource: String,
        /// The container the trigger names.
        container: Option<String>,
    },
    /// How many pods a selector chooses in the object's namespace, which the driver knows.
    Pods(Box<KubernetesWorkload>),
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
#[derive(Clone, Copy, Debug, Default)]
pub struct Context {
    /// Wall clock, for `cron`.
    pub unix_s: i64,
    /// Requests at the gateway; `None` where the driver pushes them itself, and the signal is then left out.
    pub demand: Option<Demand>,
}

/// Where `prometheus` triggers are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Queries {
    /// Over what we scrape ourselves.
    #[default]
    Embedded,
    /// By the server the trigger names.
    Remote,
}

/// What only a cluster's driver can tell.
#[derive(Clone)]
pub struct Cluster {
    /// The endpoints behind a service.
    pub endpoints: Endpoints,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

/// What the targets of one driver share.
#[derive(Clone, Copy)]
pub struct Shared<'a> {
    /// Who asks servers.
    pub asker: &'a Asker,
    /// What is pushed.
    pub pushed: &'a Pushed,
    /// Where queries are answered, unless the target's annotation says so.
    pub queries: Queries,
    /// The parameters in a file that a ClusterTriggerAuthentication names.
    pub files: &'a Files,
    /// The cluster, where the driver's world is one: pods are then counted and services have endpoints.
    pub cluster: Option<&'a Cluster>,
}

/// The sources of one target.
#[derive(Debug)]
pub struct Sources {
    sources: Vec<(Arc<str>, Source)>,
    series: Option<Arc<Series>>,
}

impl Sources {
    /// What reads each signal of `target`, one of `manifests`, where values that stand elsewhere are
    /// looked for.
    #[must_use]
    pub fn new(target: &Target, manifests: &Manifests, shared: Shared<'_>) -> Self {
        let document = manifests.documents.get(target.document);
        let bound = document.and_then(|document| Bound::of(manifests, document));
        let makers = bound.as_ref().map(|bound| Maker::all(target, bound, shared)).unwrap_or_default();
        let mut sources = Vec::with_capacity(target.spec.signals.len());
        for (index, signal) in target.spec.signals.iter().enumerate() {
            let per_pod = || per_pod::of(&document?.object, index).filter(|_| shared.cluster.is_some());
            let source = match &signal.metric {
                Metric::Pods { .. } => match per_pod() {
                    Some(Ok(query)) => Source::PerPod(Box::new(query)),
                    Some(Err(why)) => unsupported(why),
                    None => unsupported("metrics of type Pods are read from pods, and there are none here"),
                },
                Metric::Demand => Source::Gateway(GatewayMetric::Demand),
                Metric::Resource { resource, container, .. } => {
                    Source::Usage { resource: resource.clone(), container: container.clone() }
                }
                _ => match makers.iter().find(|maker| *maker.trigger.signal == *signal.name) {
                    Some(maker) => maker.source(),
                    None => {
                        unsupported("this metric is read from Kubernetes' own metrics, which are not here")
                    }
                },
            };
            sources.push((Arc::clone(&signal.name), source));
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
            Source::Embedded(query) | Source::PerPod(query) => Some(&**query),
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

    /// What tells when some server has news, to be asked before the next tick. `None` if none ever has.
    #[must_use]
    pub fn news(&self) -> Option<News> {
        News::of(self.sources.iter().filter_map(|(_, source)| match source {
            Source::Remote(follower) => Some(follower),
            _ => None,
        }))
    }

    /// Signals of which each pod has a value, as their own pages say.
    pub fn per_pod(&self, now: Time) -> impl Iterator<Item = (&Arc<str>, Reading)> {
        self.sources.iter().filter_map(move |(name, source)| match source {
            Source::PerPod(query) => Some((name, self.series.as_ref()?.ask_pods(query, now))),
            _ => None,
        })
    }

    /// Whether some query is asked over own scrapes.
    #[must_use]
    pub fn wants_scrapes(&self) -> bool {
        self.sources.iter().any(|(_, source)| matches!(source, Source::Embedded(_) | Source::PerPod(_)))
    }

    /// Whether some signal wants [`Sources::usage`].
    #[must_use]
    pub fn wants_usage(&self) -> bool {
        self.sources.iter().any(|(_, source)| matches!(source, Source::Usage { .. }))
    }

    /// What the target's processes use, as readings of the signals that want it.
    #[must_use]
    pub fn usage(&self, usage: &[Usage]) -> Vec<(Arc<str>, Reading)> {
        let wanting = self.sources.iter().filter_map(|(name, source)| match source {
            Source::Usage { resource, container } => Some((name, resource, container)),
            _ => None,
        });
        let samples = |resource: &str, container: Option<&str>| {
            Reading::Samples(usage.iter().filter_map(|one| one.sample(resource, container)).collect())
        };
        wanting
            .map(|(name, resource, container)| (Arc::clone(name), samples(resource, container.as_deref())))
            .collect()
    }

    /// Asks every source that is due, all at the same time, and waits for none longer than
    /// [`GRACE`](crate::asker::GRACE). What the driver does not give in `context` is left out, and what
    /// has said nothing new since the last time.
    pub async fn read(&self, now: Time, context: &Context) -> Vec<(Arc<str>, Reading)> {
        let each = self
            .sources
            .iter()
            .map(async |(name, source)| Some((Arc::clone(name), self.reading(source, now, context).await?)));
        join_all(each).await.into_iter().flatten().collect()
    }

    /// Asks every server that is due, and says what needs none. Whether answers are awaited: `rounds` tells
    /// when all are there, and [`Sources::answers`] has them then. What the driver does not give in `context`
    /// is left out.
    pub fn begin<K: Clone + Send + Sync + 'static>(
        &self,
        now: Time,
        context: &Context,
        rounds: &Rounds<K>,
        key: &K,
    ) -> (Vec<(Arc<str>, Reading)>, bool) {
        let mut round = None;
        let mut readings = Vec::new();
        for (name, source) in &self.sources {
            if let Source::Remote(follower) = source {
                let round = &*round.get_or_insert_with(|| rounds.round(key.clone()));
                follower.begin(now, || round.one_more());
            } else if let Some(reading) = self.known(source, now, context) {
                readings.push((Arc::clone(name), reading));
            }
        }
        (readings, round.is_some_and(|round| round.begun()))
    }

    /// Whether some server has not answered yet.
    #[must_use]
    pub fn awaits(&self) -> bool {
        self.sources.iter().any(|(_, source)| matches!(source, Source::Remote(follower) if follower.awaits()))
    }

    /// What servers have said since this was asked last, and that they say nothing.
    #[must_use]
    pub fn answers(&self) -> Vec<(Arc<str>, Reading)> {
        let each = self.sources.iter().filter_map(|(name, source)| match source {
            Source::Remote(follower) => Some((Arc::clone(name), follower.says()?)),
            _ => None,
        });
        each.collect()
    }

    async fn reading(&self, source: &Source, now: Time, context: &Context) -> Option<Reading> {
        match source {
            Source::Remote(follower) => follower.reading(now).await,
            _ => self.known(source, now, context),
        }
    }

    /// What is known without asking anybody.
    fn known(&self, source: &Source, now: Time, context: &Context) -> Option<Reading> {
        let value = |value: f64| Reading::Value { value, active: None };
        Some(match source {
            Source::Cron(cron) => value(f64::from(cron.value_at(context.unix_s))),
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
            // The driver hands these in when it has looked.
            Source::Remote(_) | Source::Usage { .. } | Source::Pods(_) | Source::PerPod(_) => return None,
            Source::Unsupported { why } => Reading::Error(Arc::clone(why)),
        })
    }
}
