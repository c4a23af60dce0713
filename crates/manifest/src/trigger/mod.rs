//! Trigger metadata: from a map of strings to a typed source, a goal and an activation.
//!
//! Each type has one struct with every parameter typed and its default filled in, and one function
//! that reads it. All faults of a trigger are found at once. What KEDA accepts and then never works
//! (a target of 0, a reversed range, a bad zone) is a fault here, since it is one there too, later.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::scale::spec::{Absent, Activation, Goal, Metric, Series};
use tidegate_core::units::Milli;

mod auth;
mod catalogue;
mod cron;
mod external;
mod http;
mod kafka;
mod params;
mod prometheus;
mod queues;
mod rabbitmq;
mod redis;
mod resource;
mod selector;
mod sql;
mod workload;

pub use auth::{AuthMode, AwsIdentity, HttpAuth, IdentityOwner, KeyPlace, OAuth};
pub use catalogue::{KNOWN, TriggerType, is_known, nearest};
pub use cron::Cron;
pub use external::{External, GatewayMetric, PushedSignal};
pub use http::{Aggregation, Format, MetricsApi};
pub use kafka::{Client, Kafka, OffsetResetPolicy, Sasl, TokenProvider};
pub use params::{Address, Given, Origin, Pairs, Secret};
pub use prometheus::Prometheus;
pub use queues::{AwsSqs, NatsJetStream};
pub use rabbitmq::{Mode, Operation, Protocol, RabbitMq};
pub use redis::{RedisConnection, RedisList, RedisStream, StreamMode, Topology};
pub use resource::Resource;
pub use selector::Selector;
pub use sql::{MySql, PostgreSql};
pub use workload::{KubernetesResource, KubernetesWorkload, ResourceFormat, ResourceKind, ValueType};

use params::Reader;

/// A trigger as the manifest declares it.
#[derive(Clone, Debug)]
pub struct Declared<'a> {
    /// Its place among the object's triggers, from 0.
    pub index: usize,
    /// `type`.
    pub type_: &'a str,
    /// `name`.
    pub name: Option<&'a str>,
    /// `metadata`.
    pub metadata: &'a BTreeMap<String, String>,
    /// `metricType`.
    pub metric_type: Option<&'a str>,
    /// `useCachedMetrics`.
    pub use_cached_metrics: bool,
    /// The parameters a TriggerAuthentication provides. `None`: there is an `authenticationRef` whose
    /// object is not at hand, so that anything might be provided. Empty: there is no `authenticationRef`.
    pub auth_parameters: Option<&'a BTreeSet<String>>,
    /// Environment of the target's container by name; `None` inside for a value that comes from a
    /// Secret and the like. `None` outside: the target is not at hand.
    pub environment: Option<&'a BTreeMap<String, Option<String>>>,
    /// What kind of object it belongs to.
    pub owner: Owner,
}

/// What kind of object a trigger belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A ScaledObject.
    ScaledObject {
        /// It has `scalingModifiers`, so that triggers feed a formula and their own targets do not count.
        modifiers: bool,
    },
    /// A ScaledJob.
    ScaledJob,
}

/// What is wrong with a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The metadata key it is about; for something missing, the key to write.
    pub key: Option<String>,
    /// The trigger's own field it is about where it is no metadata key: `type`, `metricType` or
    /// `useCachedMetrics`.
    pub field: Option<&'static str>,
    /// What sort of mistake.
    pub kind: FaultKind,
    /// What is wrong, in one sentence. It never holds a secret.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// Sorts of mistakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A parameter that has to be there is not.
    MissingRequired,
    /// A value cannot be read or is out of range.
    BadValue,
    /// Two parameters exclude each other.
    Conflict,
    /// The type or object does not allow it.
    Forbidden,
    /// KEDA has removed it.
    Removed,
    /// KEDA knows the type, and this program does not read it yet.
    NotSupportedYet,
    /// Nobody knows the type.
    UnknownType {
        /// The name that was perhaps meant.
        nearest: Option<&'static str>,
    },
}

/// A trigger, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// Its type.
    pub type_: TriggerType,
    /// The name observations use: the declared name, or `s<index>-<type>`.
    pub signal: String,
    /// The name KEDA gives the metric in the HPA, `s<index>-<normalised>`. A part that is known only at
    /// run time stands as `*`: for `external` all of it, since its server names the metrics. For cpu and
    /// memory the resource itself.
    pub metric_name: String,
    /// What it measures and aims at. Two goals are placeholders of 1 a replica: that of a trigger without
    /// a target under `scalingModifiers`, and that of `external`, whose server tells the target.
    pub metric: Metric,
    /// When it makes its target active. For cpu and memory [`Activation::Never`] is a placeholder:
    /// whether they do depends on the object's other triggers, so whoever has them all decides.
    pub activation: Activation,
    /// What an empty reading is.
    pub absent: Absent,
    /// What several series are.
    pub series: Series,
    /// Where the number comes from.
    pub source: Source,
    /// Metadata keys that nobody reads. KEDA ignores them.
    pub unknown: Vec<String>,
    /// The metadata keys it looked for.
    pub known: BTreeSet<String>,
    /// Metadata keys that an earlier KEDA read and today's ignores.
    pub deprecated: Vec<String>,
}

/// Where a trigger's number comes from, with every parameter.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the trigger type of its name")]
pub enum Source {
    AwsSqs(AwsSqs),
    Cron(Cron),
    External(External),
    Kafka(Kafka),
    KubernetesResource(KubernetesResource),
    KubernetesWorkload(KubernetesWorkload),
    MetricsApi(MetricsApi),
    MySql(MySql),
    NatsJetStream(NatsJetStream),
    PostgreSql(PostgreSql),
    Prometheus(Prometheus),
    RabbitMq(RabbitMq),
    RedisList(RedisList),
    RedisStream(RedisStream),
    Resource(Resource),
}

/// What a type's reader finds: everything but names and leftovers.
struct Parsed {
    /// The metric's name before it is normalised, without its index.
    metric: String,
    goal: Metric,
    activation: f64,
    absent: Absent,
    series: Series,
    source: Source,
}

impl Parsed {
    /// A source whose empty answer is a failure, which holds for most.
    fn new(metric: String, goal: Goal, activation: f64, source: Source) -> Self {
        Parsed {
            metric,
            goal: Metric::External(goal),
            activation,
            absent: Absent::Error,
            series: Series::One,
            source,
        }
    }
}

/// Reads a trigger.
///
/// # Errors
/// Everything that is wrong with it, in no particular order.
pub fn parse(declared: &Declared<'_>) -> Result<Trigger, Vec<Fault>> {
    let Some(type_) = TriggerType::named(declared.type_) else {
        return Err(vec![unknown_type(declared.type_)]);
    };
    let mut reader = Reader::new(declared);
    check_fields(&mut reader, type_);
    let parsed = match type_ {
        TriggerType::ApacheKafka => kafka::parse(&mut reader, Client::KafkaGo),
        TriggerType::AwsSqsQueue => queues::parse_sqs(&mut reader),
        TriggerType::Cpu => resource::parse(&mut reader, "cpu"),
        TriggerType::Cron => cron::parse(&mut reader),
        TriggerType::External => external::parse(&mut reader, false),
        TriggerType::ExternalPush => external::parse(&mut reader, true),
        TriggerType::Kafka => kafka::parse(&mut reader, Client::Sarama),
        TriggerType::KubernetesResource => workload::parse_resource(&mut reader),
        TriggerType::KubernetesWorkload => workload::parse_workload(&mut reader),
        TriggerType::Memory => resource::parse(&mut reader, "memory"),
        TriggerType::MetricsApi => http::parse(&mut reader),
        TriggerType::MySql => sql::parse_mysql(&mut reader),
        TriggerType::NatsJetStream => queues::parse_nats(&mut reader),
        TriggerType::PostgreSql => sql::parse_postgresql(&mut reader),
        TriggerType::Prometheus => prometheus::parse(&mut reader),
        TriggerType::RabbitMq => rabbitmq::parse(&mut reader),
        TriggerType::Redis => redis::parse_list(&mut reader, Topology::Single),
        TriggerType::RedisCluster => redis::parse_list(&mut reader, Topology::Cluster),
        TriggerType::RedisClusterStreams => redis::parse_stream(&mut reader, Topology::Cluster),
        TriggerType::RedisSentinel => redis::parse_list(&mut reader, Topology::Sentinel),
        TriggerType::RedisSentinelStreams => redis::parse_stream(&mut reader, Topology::Sentinel),
        TriggerType::RedisStreams => redis::parse_stream(&mut reader, Topology::Single),
    };
    let parsed = match parsed {
        Some(parsed) if reader.faults.is_empty() => parsed,
        _ => return Err(reader.faults),
    };
    let (deprecated, unknown) = leftovers(&reader);
    let index = declared.index;
    Ok(Trigger {
        type_,
        signal: match declared.name {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => format!("s{index}-{}", type_.as_str()),
        },
        metric_name: match type_.is_resource() {
            true => parsed.metric,
            false => format!("s{index}-{}", normalised(&parsed.metric)),
        },
        metric: parsed.goal,
        activation: match type_.is_resource() {
            true => Activation::Never,
            false => Activation::Above(parsed.activation),
        },
        absent: parsed.absent,
        series: parsed.series,
        source: parsed.source,
        unknown,
        known: reader.read.clone(),
        deprecated,
    })
}

fn unknown_type(name: &str) -> Fault {
    let shown: String = name.chars().take(64).collect();
    if is_known(name) {
        return Fault {
            key: None,
            field: Some("type"),
            kind: FaultKind::NotSupportedYet,
            message: format!("the trigger type \"{shown}\" is not supported yet"),
            help:
                "Until it is, serve the number from an external scaler and use a trigger of type `external`."
                    .to_owned(),
        };
    }
    let nearest = nearest(name);
    Fault {
        key: None,
        field: Some("type"),
        kind: FaultKind::UnknownType { nearest },
        message: format!("no scaler found for type: {shown}"),
        help: match nearest {
            Some(nearest) => format!("Did you mean `{nearest}`?"),
            None => "KEDA's documentation lists the trigger types.".to_owned(),
        },
    }
}

/// The fields beside `metadata` that depend on the type.
fn check_fields(reader: &mut Reader<'_>, type_: TriggerType) {
    let declared = reader.declared;
    let name = type_.as_str();
    let mut fault = |field: &'static str, kind: FaultKind, message: String, help: &str| {
        reader.faults.push(Fault { key: None, field: Some(field), kind, message, help: help.to_owned() });
    };
    if declared.use_cached_metrics && (type_.is_resource() || type_ == TriggerType::Cron) {
        fault(
            "useCachedMetrics",
            FaultKind::Forbidden,
            format!("property \"useCachedMetrics\" is not supported for \"{name}\" scaler"),
            "Remove useCachedMetrics.",
        );
    }
    let metric_type = declared.metric_type.unwrap_or_default();
    match declared.owner {
        Owner::ScaledJob if type_.is_resource() => fault(
            "type",
            FaultKind::Forbidden,
            format!("a ScaledJob cannot have a trigger of type {name}: its jobs are counted from a backlog"),
            "Use a trigger that counts waiting work, or a ScaledObject.",
        ),
        Owner::ScaledJob if !metric_type.is_empty() => fault(
            "metricType",
            FaultKind::Forbidden,
            "cannot set metricType in ScaledJob triggers".to_owned(),
            "Remove metricType; a ScaledJob always counts work per job.",
        ),
        Owner::ScaledJob => {}
        Owner::ScaledObject { .. } => match (type_.is_resource(), metric_type) {
            (true, "Utilization" | "AverageValue") | (false, "" | "Value" | "AverageValue") => {}
            (true, _) => fault(
                "metricType",
                if metric_type.is_empty() { FaultKind::MissingRequired } else { FaultKind::BadValue },
                format!(
                    "unknown metric type: {metric_type}, allowed values are 'Utilization' or 'AverageValue'"
                ),
                "Set metricType to Utilization (percent of the requests) or AverageValue (an amount a pod).",
            ),
            (false, "Utilization") => fault(
                "metricType",
                FaultKind::BadValue,
                "'Utilization' metric type is unsupported for external metrics, allowed values are \
                 'Value' or 'AverageValue'"
                    .to_owned(),
                "Remove metricType, which then is AverageValue: so much a replica.",
            ),
            (false, _) => fault(
                "metricType",
                FaultKind::BadValue,
                format!("unknown metric type: {metric_type}, allowed values are 'Value' or 'AverageValue'"),
                "Remove metricType, which then is AverageValue: so much a replica.",
            ),
        },
    }
}

impl Reader<'_> {
    /// Whether triggers may do without a target of their own.
    fn has_modifiers(&self) -> bool {
        self.declared.owner == Owner::ScaledObject { modifiers: true }
    }

    /// A goal of this size by the declared metric type. It has to be above 0 once it is rounded to the
    /// three decimals KEDA keeps, except under `scalingModifiers`, where it does not count.
    fn goal(&mut self, key: &str, target: f64) -> Goal {
        // Truncated to thousandths, as KEDA writes a target: 2.01 × 1000 is 2009.99… and so 2009.
        self.goal_of(key, Milli((target * 1000.0) as i64), &target.to_string())
    }

    /// The same for a whole number.
    fn goal_int(&mut self, key: &str, target: i64) -> Goal {
        self.goal_of(key, Milli(target.saturating_mul(1000)), &target.to_string())
    }

    fn goal_of(&mut self, key: &str, mut target: Milli, shown: &str) -> Goal {
        if target.0 <= 0 && self.has_modifiers() {
            target = Milli(1000);
        }
        // A parameter that is missing or unreadable is a fault already.
        if target.0 <= 0 && !self.faults.iter().any(|fault| fault.key.as_deref() == Some(key)) {
            let effect = match self.declared.owner {
                Owner::ScaledJob => "no job would ever be created",
                Owner::ScaledObject { .. } => "Kubernetes refuses an autoscaler with such a target",
            };
            self.fault(
                key,
                FaultKind::BadValue,
                format!("{key} is {shown}, and with three decimals it must be above 0: {effect}"),
                "Set it to the load one replica should carry, at least 0.001.",
            );
        }
        match self.declared.metric_type {
            Some("Value") => Goal::Value(target),
            _ => Goal::AverageValue(target),
        }
    }
}

/// Keys that were read by an earlier KEDA, and keys that never were.
fn leftovers(reader: &Reader<'_>) -> (Vec<String>, Vec<String>) {
    let own = |key: &&String| !key.starts_with("tidegate.dev/");
    reader.unread().filter(own).cloned().partition(|key| key == "metricName")
}

/// A metric's name as KEDA makes it fit for Kubernetes.
fn normalised(name: &str) -> String {
    name.replace(['/', '.', ':', '%', '(', ')'], "-")
}

/// A part of a metric's name; what is known only at run time becomes `*`.
fn name_part(given: Option<&Given<String>>) -> &str {
    given.and_then(Given::value).map_or("*", String::as_str)
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
