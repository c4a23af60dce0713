//! The trigger types: those that are read here, and every other name KEDA knows.

use super::params::words;

words! {
    /// A trigger type that is read here.
    TriggerType {
        /// Kafka through kafka-go.
        ApacheKafka = "apache-kafka",
        /// Amazon SQS.
        AwsSqsQueue = "aws-sqs-queue",
        /// CPU use of pods.
        Cpu = "cpu",
        /// A window of time.
        Cron = "cron",
        /// A gRPC server that speaks KEDA's protocol.
        External = "external",
        /// The same with pushed activity.
        ExternalPush = "external-push",
        /// Kafka through sarama.
        Kafka = "kafka",
        /// A number in a ConfigMap or Secret.
        KubernetesResource = "kubernetes-resource",
        /// A count of pods.
        KubernetesWorkload = "kubernetes-workload",
        /// Memory use of pods.
        Memory = "memory",
        /// A number in an HTTP response.
        MetricsApi = "metrics-api",
        /// A MySQL query.
        MySql = "mysql",
        /// NATS JetStream.
        NatsJetStream = "nats-jetstream",
        /// A PostgreSQL query.
        PostgreSql = "postgresql",
        /// A PromQL query.
        Prometheus = "prometheus",
        /// RabbitMQ.
        RabbitMq = "rabbitmq",
        /// A Redis list, set, sorted set or hash.
        Redis = "redis",
        /// The same in a cluster.
        RedisCluster = "redis-cluster",
        /// A stream in a Redis cluster.
        RedisClusterStreams = "redis-cluster-streams",
        /// A list behind sentinels.
        RedisSentinel = "redis-sentinel",
        /// A stream behind sentinels.
        RedisSentinelStreams = "redis-sentinel-streams",
        /// A Redis stream.
        RedisStreams = "redis-streams",
    }
}

impl TriggerType {
    /// The type of that name, if it is read here.
    #[must_use]
    pub fn named(name: &str) -> Option<TriggerType> {
        super::params::choice(name).ok()
    }

    /// What KEDA calls the scaler of a trigger without a name of its own, in the label `scaler` of its metrics: the
    /// name of the type that does the work there.
    #[must_use]
    pub const fn scaler(self) -> &'static str {
        match self {
            TriggerType::ApacheKafka => "apacheKafkaScaler",
            TriggerType::AwsSqsQueue => "awsSqsQueueScaler",
            TriggerType::Cpu | TriggerType::Memory => "cpuMemoryScaler",
            TriggerType::Cron => "cronScaler",
            TriggerType::External => "externalScaler",
            TriggerType::ExternalPush => "externalPushScaler",
            TriggerType::Kafka => "kafkaScaler",
            TriggerType::KubernetesResource => "kubernetesResourceScaler",
            TriggerType::KubernetesWorkload => "kubernetesWorkloadScaler",
            TriggerType::MetricsApi => "metricsAPIScaler",
            TriggerType::MySql => "mySQLScaler",
            TriggerType::NatsJetStream => "natsJetStreamScaler",
            TriggerType::PostgreSql => "postgreSQLScaler",
            TriggerType::Prometheus => "prometheusScaler",
            TriggerType::RabbitMq => "rabbitMQScaler",
            TriggerType::Redis | TriggerType::RedisCluster | TriggerType::RedisSentinel => "redisScaler",
            TriggerType::RedisStreams
            | TriggerType::RedisClusterStreams
            | TriggerType::RedisSentinelStreams => "redisStreamsScaler",
        }
    }

    /// Whether Kubernetes itself measures it, as pods' resource use.
    #[must_use]
    pub fn is_resource(self) -> bool {
        matches!(self, TriggerType::Cpu | TriggerType::Memory)
    }
}

/// Every type KEDA's scaler builder knows, sorted.
pub const KNOWN: [&str; 79] = [
    "activemq",
    "apache-kafka",
    "arangodb",
    "artemis-queue",
    "aws-cloudwatch",
    "aws-dynamodb",
    "aws-dynamodb-streams",
    "aws-kinesis-stream",
    "aws-sqs-queue",
    "azure-app-insights",
    "azure-blob",
    "azure-data-explorer",
    "azure-eventhub",
    "azure-log-analytics",
    "azure-monitor",
    "azure-pipelines",
    "azure-queue",
    "azure-servicebus",
    "beanstalkd",
    "cassandra",
    "clickhouse",
    "couchdb",
    "cpu",
    "cron",
    "datadog",
    "dynatrace",
    "elastic-forecast",
    "elasticsearch",
    "etcd",
    "external",
    "external-mock",
    "external-push",
    "forgejo-runner",
    "gcp-cloudtasks",
    "gcp-pubsub",
    "gcp-spanner",
    "gcp-stackdriver",
    "gcp-storage",
    "github-runner",
    "graphite",
    "huawei-cloudeye",
    "ibmmq",
    "influxdb",
    "kafka",
    "kubernetes-resource",
    "kubernetes-workload",
    "liiklus",
    "loki",
    "memory",
    "metrics-api",
    "mongodb",
    "mssql",
    "mysql",
    "nats-jetstream",
    "new-relic",
    "nsq",
    "opensearch",
    "openstack-metric",
    "openstack-swift",
    "postgresql",
    "predictkube",
    "prometheus",
    "pulsar",
    "rabbitmq",
    "redis",
    "redis-cluster",
    "redis-cluster-streams",
    "redis-sentinel",
    "redis-sentinel-streams",
    "redis-streams",
    "selenium-grid",
    "solace-direct-messaging",
    "solace-event-queue",
    "solarwinds",
    "solr",
    "splunk",
    "splunk-observability",
    "sumologic",
    "temporal",
];

/// Whether KEDA knows the name.
#[must_use]
pub fn is_known(name: &str) -> bool {
    KNOWN.binary_search(&name).is_ok()
}

/// The known name that is most like this one, unless none is.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    // A cap for the distance's square cost, and for a name nobody meant.
    if name.chars().count() > 64 {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let (distance, known) =
        KNOWN.iter().map(|known| (strsim::damerau_levenshtein(&name, known), *known)).min()?;
    // A third of the letters may differ: `kafak` is kafka, `foo` is nothing.
    (distance * 3 <= known.len()).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trigger::params::Choice as _;

    #[test]
    fn the_names_are_sorted_and_hold_every_type_read_here() {
        assert!(KNOWN.is_sorted());
        for (word, trigger) in TriggerType::ALL {
            assert!(is_known(word), "{word}");
            assert_eq!(TriggerType::named(trigger.as_str()), Some(*trigger));
        }
        assert_eq!(TriggerType::named("activemq"), None);
    }

    #[test]
    fn every_type_has_the_scaler_that_keda_names_in_its_metrics() {
        let scalers = [
            ("apache-kafka", "apacheKafkaScaler"),
            ("aws-sqs-queue", "awsSqsQueueScaler"),
            ("cpu", "cpuMemoryScaler"),
            ("cron", "cronScaler"),
            ("external", "externalScaler"),
            ("external-push", "externalPushScaler"),
            ("kafka", "kafkaScaler"),
            ("kubernetes-resource", "kubernetesResourceScaler"),
            ("kubernetes-workload", "kubernetesWorkloadScaler"),
            ("memory", "cpuMemoryScaler"),
            ("metrics-api", "metricsAPIScaler"),
            ("mysql", "mySQLScaler"),
            ("nats-jetstream", "natsJetStreamScaler"),
            ("postgresql", "postgreSQLScaler"),
            ("prometheus", "prometheusScaler"),
            ("rabbitmq", "rabbitMQScaler"),
            ("redis", "redisScaler"),
            ("redis-cluster", "redisScaler"),
            ("redis-cluster-streams", "redisStreamsScaler"),
            ("redis-sentinel", "redisScaler"),
            ("redis-sentinel-streams", "redisStreamsScaler"),
            ("redis-streams", "redisStreamsScaler"),
        ];
        let ours: Vec<(&str, &str)> =
            TriggerType::ALL.iter().map(|(word, type_)| (*word, type_.scaler())).collect();
        assert_eq!(ours, scalers);
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        for (wrong, right) in [
            ("promethues", Some("prometheus")),
            ("Prometheus", Some("prometheus")),
            ("kafak", Some("kafka")),
            ("redis-stream", Some("redis-streams")),
            ("rabbit-mq", Some("rabbitmq")),
            ("metric-api", Some("metrics-api")),
            ("postgres", Some("postgresql")),
            ("foo", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong), right, "{wrong}");
        }
        assert_eq!(nearest(&"x".repeat(1000)), None);
    }
}
