//! From a trigger to what reads it: one arm a type.

use std::sync::Arc;
#[cfg(feature = "kafka")]
use std::time::Duration;

use tidegate_core::time::Span;
use tidegate_manifest::bound::Bound;
use tidegate_manifest::trigger::{self, Origin, Trigger};
use tidegate_manifest::{Document, Target};
use tidegate_metrics::eval::compile;

use super::{Queries, Shared, Source};
#[cfg(feature = "external")]
use crate::external::{ExternalScaler, Object};
use crate::https::Clients;
#[cfg(feature = "kafka")]
use crate::kafka::KafkaLag;
use crate::metrics_api::MetricsApi;
#[cfg(feature = "mysql")]
use crate::mysql::MySqlQuery;
use crate::nats::NatsLag;
#[cfg(feature = "postgresql")]
use crate::postgresql::PostgreSqlQuery;
use crate::prometheus::Prometheus;
#[cfg(feature = "rabbitmq")]
use crate::rabbitmq::RabbitQueue;
use crate::redis::Redis;
use crate::remote::Remote;
use crate::sqs::AwsSqs;

/// How often a server is asked: with every tick.
const PACE: Span = Span::from_secs(1);

pub(super) fn unsupported(why: impl AsRef<str>) -> Source {
    Source::Unsupported { why: Arc::from(why.as_ref()) }
}

/// A trigger with all it takes to make its source.
pub(super) struct Maker<'a> {
    pub(super) trigger: Trigger,
    index: usize,
    target: &'a Target,
    bound: &'a Bound<'a>,
    shared: Shared<'a>,
}

impl<'a> Maker<'a> {
    /// One for each trigger. One with a fault has made no target.
    pub(super) fn all(target: &'a Target, bound: &'a Bound<'a>, shared: Shared<'a>) -> Vec<Self> {
        let parsed = (0..bound.triggers.len())
            .filter_map(|index| Some((index, bound.parse_with(index, shared.files).ok()?)));
        parsed.map(|(index, trigger)| Maker { trigger, index, target, bound, shared }).collect()
    }

    pub(super) fn source(&self) -> Source {
        if let Some(file) = self.bound.auth_file(self.index)
            && !self.shared.files.contains_key(file)
        {
            return unsupported(format!(
                "its authentication stands in the file {file}, which is not there; name its directory with \
                 --filepath-auth-root-path"
            ));
        }
        let value = |origin: &Origin| self.bound.value(self.index, origin, self.shared.files);
        match &self.trigger.source {
            trigger::Source::Cron(_) => {
                match self.target.crons.iter().find(|cron| cron.signal == self.trigger.signal) {
                    Some(cron) => Source::Cron(cron.clone()),
                    None => {
                        unsupported("the cron window is missing from the target; load the manifest again")
                    }
                }
            }
            trigger::Source::RedisList(list) => self.remote(Redis::list(list, value)),
            trigger::Source::RedisStream(stream) => self.remote(Redis::stream(stream, value)),
            trigger::Source::Prometheus(prometheus) => match self.queries() {
                Queries::Embedded => match compile(&prometheus.query) {
                    Ok(query) => Source::Embedded(Box::new(query)),
                    Err(why) => unsupported(why.to_string()),
                },
                Queries::Remote => self.remote(Prometheus::sharing(self.clients(), prometheus, value)),
            },
            trigger::Source::External(external) => match (external.pushed(), external.gateway()) {
                (Some(signal), _) => {
                    let target = &self.target.spec.target;
                    self.remote(Ok::<_, String>(self.shared.pushed.reader(target, &signal)))
                }
                (None, Some(metric)) => Source::Gateway(metric),
                #[cfg(feature = "external")]
                (None, None) => {
                    let document = self.bound.document;
                    let object = Object { name: &document.name, namespace: &document.namespace };
                    self.remote(ExternalScaler::new(external, object, value))
                }
                #[cfg(not(feature = "external"))]
                (None, None) => unsupported(
                    "an external scaler is not asked yet; for this machine's own gateway set scalerAddress \
                     to tidegate-gateway.tidegate:9090",
                ),
            },
            trigger::Source::MetricsApi(api) => {
                let endpoints = self.shared.cluster.map(|cluster| Arc::clone(&cluster.endpoints));
                self.remote(MetricsApi::new(api, value, endpoints))
            }
            trigger::Source::KubernetesWorkload(workload) => match self.shared.cluster {
                Some(_) => Source::Pods(Box::new(workload.clone())),
                None => unsupported(
                    "pods are counted on a cluster only; on one machine use the gateway's demand or the \
                     engines' own metrics",
                ),
            },
            trigger::Source::AwsSqs(queue) => {
                self.remote(AwsSqs::new(queue, value, |name| std::env::var(name).ok()))
            }
            trigger::Source::NatsJetStream(consumer) => self.remote(NatsLag::new(consumer, value)),
            #[cfg(feature = "kafka")]
            trigger::Source::Kafka(group) => {
                // A lag is persistent by the manifest's interval, however often it is read.
                let interval =
                    Duration::from_micros(self.target.spec.polling_interval.as_micros().unsigned_abs());
                self.remote(KafkaLag::new(group, value).map(|lag| lag.polled_every(interval)))
            }
            #[cfg(feature = "rabbitmq")]
            trigger::Source::RabbitMq(queue) => self.remote(RabbitQueue::new(queue, value)),
            #[cfg(feature = "postgresql")]
            trigger::Source::PostgreSql(query) => self.remote(PostgreSqlQuery::new(query, value)),
            #[cfg(feature = "mysql")]
            trigger::Source::MySql(query) => self.remote(MySqlQuery::new(query, value)),
            _ => unsupported(format!(
                "triggers of type {} are not read by this build; use another, or an external scaler",
                self.trigger.type_.as_str()
            )),
        }
    }

    /// Follows a reader's question, or says why there is none.
    fn remote<R: Remote, E: ToString>(&self, reader: Result<R, E>) -> Source {
        let reader = match reader {
            Ok(reader) => Box::new(reader),
            Err(why) => return unsupported(why.to_string()),
        };
        match self.shared.asker.follow(reader, self.pace()) {
            Ok(follower) => Source::Remote(follower),
            Err(why) => unsupported(why.to_string()),
        }
    }

    fn clients(&self) -> &Clients {
        self.shared.asker.clients()
    }

    fn queries(&self) -> Queries {
        match self.annotation("tidegate.dev/prometheus").as_deref() {
            Some("embedded") => Queries::Embedded,
            Some("remote") => Queries::Remote,
            _ => self.shared.queries,
        }
    }

    /// A second, or `pollingInterval` where that is shorter. All of it where the target wants so, or the
    /// trigger: `useCachedMetrics` is there to spare a server.
    fn pace(&self) -> Span {
        let interval = self.target.spec.polling_interval;
        let honour = self.annotation("tidegate.dev/honour-polling-interval").as_deref() == Some("true");
        let spare = self.bound.triggers.get(self.index).is_some_and(|it| it.use_cached_metrics == Some(true));
        if honour || spare { interval } else { interval.min(PACE) }
    }

    fn annotation(&self, name: &str) -> Option<String> {
        Document::annotation(self.bound.document, name)
    }
}
