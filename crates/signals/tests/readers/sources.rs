//! From a manifest to readings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::scale::Reading;
use tidegate_core::time::{Span, Time};
use tidegate_manifest::bound::Files;
use tidegate_manifest::trigger::GatewayMetric;
use tidegate_manifest::{Manifests, Source as File, load, lower};
use tidegate_signals::process::Usage;
use tidegate_signals::scrape::{Pace, Scraper};
use tidegate_signals::{Asker, Clock, Context, Demand, Endpoint, Pushed, Queries, Shared, Source, Sources};

use crate::redis::Redis;
use crate::server::{Page, Server, free_address};
use crate::topologies::PATIENCE;

const VLLM: &str = include_str!("../../../metrics/tests/data/vllm-0.32.0.txt");
const BEGIN: i64 = 1_700_000_000;

const WORKLOAD: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec:
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec:
      containers:
      - name: server
        image: vllm/vllm-openai
        env:
        - {name: REDIS, value: \"ADDRESS\"}
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: redis, key: password}}}
---
apiVersion: v1
kind: Secret
metadata: {name: redis}
data: {password: aHVudGVyMg==}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {name: redis}
spec:
  secretTargetRef:
  - {parameter: password, name: redis, key: password}
---
";

fn object(triggers: &str) -> String {
    let head = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: chat}\nspec:\n  \
                scaleTargetRef: {name: chat}\n  minReplicaCount: 1\n  triggers:\n";
    format!("{head}{triggers}")
}

fn sources(triggers: &str, address: &str) -> Sources {
    let text = format!("{}{}", WORKLOAD.replace("ADDRESS", address), object(triggers));
    let manifests: Manifests = load(&[File::new("chat.yaml", text)]);
    let lowered = lower(&manifests);
    let [target] = lowered.targets.as_slice() else {
        panic!("{:?} {:?}", lowered.findings, manifests.findings)
    };
    let (asker, pushed) = (Asker::new(Clock::unix()), Pushed::new(Clock::unix()));
    Sources::new(
        target,
        &manifests,
        Shared {
            asker: &asker,
            pushed: &pushed,
            queries: Queries::Embedded,
            files: &Files::new(),
            cluster: None,
        },
    )
}

async fn read(sources: &Sources, now: Time, context: &Context) -> Vec<(String, Reading)> {
    let readings = sources.read(now, context).await;
    readings.into_iter().map(|(name, reading)| (name.to_string(), reading)).collect()
}

/// What is read once every source has told something, by the first tick or by a later one: a tick waits for a moment
/// only, and what is silent then is told as silent.
async fn told(sources: &Sources) -> Vec<(String, Reading)> {
    let silent =
        |reading: &Reading| matches!(reading, Reading::Error(text) if text.contains("not answered for"));
    let begin = Instant::now();
    let mut told = std::collections::BTreeMap::new();
    while told.len() < sources.iter().count() {
        assert!(begin.elapsed() < PATIENCE, "only {told:?} was told");
        let readings = read(sources, Clock::unix().now(), &Context::default()).await;
        told.extend(readings.into_iter().filter(|(_, reading)| !silent(reading)));
    }
    told.into_iter().collect()
}

fn value(value: f64) -> Reading {
    Reading::Value { value, active: None }
}

#[tokio::test]
async fn the_clock_alone_gives_a_cron_trigger() {
    let triggers = "  - {type: cron, name: day, metadata: {timezone: UTC, start: 0 8 * * *, end: 0 20 * * *, \
                    desiredReplicas: \"3\"}}\n";
    let sources = sources(triggers, "");
    let at = |unix_s| Context { unix_s, ..Context::default() };
    // 2023-11-14 22:13:20 UTC, and ten hours later.
    assert_eq!(read(&sources, Time::ORIGIN, &at(BEGIN)).await, [("day".to_owned(), value(0.0))]);
    assert_eq!(read(&sources, Time::ORIGIN, &at(BEGIN + 36_000)).await, [("day".to_owned(), value(3.0))]);
}

#[tokio::test]
async fn a_list_is_read_with_its_address_from_the_environment_and_its_password_from_a_secret() {
    let redis = Redis::start(free_address(), &["--requirepass", "hunter2"]).await;
    for triggers in [
        "  - {type: redis, metadata: {addressFromEnv: REDIS, listName: jobs}, authenticationRef: {name: redis}}\n",
        "  - {type: redis, metadata: {addressFromEnv: REDIS, listName: jobs, passwordFromEnv: PASSWORD}}\n",
    ] {
        let sources = sources(triggers, &redis.address.to_string());
        assert_eq!(told(&sources).await, [("s0-redis".to_owned(), value(0.0))]);
        assert!(!format!("{sources:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_an_error_and_keeps_no_other_from_being_read() {
    let triggers = format!(
        "  - {{type: redis, metadata: {{address: \"{}\", listName: jobs}}}}\n  - {{type: cron, metadata: \
         {{timezone: UTC, start: 0 8 * * *, end: 0 20 * * *, desiredReplicas: \"3\"}}}}\n",
        free_address()
    );
    let readings = told(&sources(&triggers, "")).await;
    assert!(
        matches!(&readings[0].1, Reading::Error(text) if text.contains("redis at 127.0.0.1")),
        "{readings:?}"
    );
    assert_eq!(readings[1], ("s1-cron".to_owned(), value(0.0)));
}

#[tokio::test]
async fn the_gateways_demand_is_what_the_metric_names() {
    let trigger = |metric: &str| {
        format!(
            "  - {{type: external-push, name: {metric}, metadata: {{scalerAddress: \
             \"tidegate-gateway.tidegate:9090\", metric: {metric}, targetValue: \"12\"}}}}\n"
        )
    };
    let triggers: String = GatewayMetric::ALL.iter().map(|(name, _)| trigger(name)).collect();
    let sources = sources(&triggers, "");
    let demand = Some(Demand { waiting: 3.0, in_flight: 16.0, tokens: 900.0 });
    let readings = read(&sources, Time::ORIGIN, &Context { unix_s: 0, demand }).await;
    let expected = [("waiting", 3.0), ("in-flight", 16.0), ("demand", 19.0), ("tokens", 900.0)];
    assert_eq!(readings, expected.map(|(name, number)| (name.to_owned(), value(number))));
    assert!(read(&sources, Time::ORIGIN, &Context::default()).await.is_empty());
    assert!(sources.iter().all(|(_, source)| matches!(source, Source::Gateway(_))));
}

#[test]
fn processes_give_cpu_a_sample_each() {
    let triggers = "  - {type: cpu, metricType: AverageValue, metadata: {value: \"2\"}}\n";
    let sources = sources(triggers, "");
    assert!(sources.wants_usage());
    let usage = |replica: &str| Usage {
        replica: replica.into(),
        cpus: Some(1.5),
        memory_bytes: 0,
        at: Time::ORIGIN,
        window: Span::from_secs(1),
    };
    let readings = sources.usage(&[usage("a"), usage("b")]);
    let Reading::Samples(samples) = &readings[0].1 else { panic!("{readings:?}") };
    assert_eq!(samples.iter().map(|sample| sample.pod.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn what_nothing_reads_is_an_error_that_says_what_to_do() {
    let triggers = "  - {type: kubernetes-workload, metadata: {podSelector: \"app=a\", value: \"1\"}}\n  - {type: prometheus, \
                    metadata: {serverAddress: \"http://p:9090\", threshold: \"5\", query: \"limitk(1, x)\"}}\n";
    let sources = sources(triggers, "");
    assert_eq!(sources.unsupported().count(), 2);
    for (name, reading) in read(&sources, Time::ORIGIN, &Context::default()).await {
        assert!(matches!(&reading, Reading::Error(text) if text.contains(';')), "{name}: {reading:?}");
    }
}

fn queries(queries: &[&str]) -> Sources {
    let trigger = |query: &&str| {
        format!(
            "  - {{type: prometheus, metadata: {{serverAddress: \"http://p:9090\", threshold: \"5\", query: '{query}'}}}}\n"
        )
    };
    sources(&queries.iter().map(trigger).collect::<String>(), "")
}

/// A scraper whose replicas feed `sources`, and its results.
fn feeding(
    sources: &Sources,
    servers: &[&Server],
) -> (Scraper, tokio::sync::mpsc::Receiver<tidegate_signals::Scrape>) {
    let pace = Pace {
        interval: Duration::from_millis(5),
        deadline: Duration::from_secs(30),
        pause_max: Duration::from_millis(20),
    };
    let (scraper, results) = Scraper::new(pace, Clock::unix());
    for (at, server) in servers.iter().enumerate() {
        let id = format!("chat-{at}");
        let labels = vec![("pod".to_owned(), id.clone()), ("namespace".to_owned(), "default".to_owned())];
        let series = sources.series().cloned();
        scraper.add(Endpoint { labels, series, ..Endpoint::new(id, server.url("/metrics"), None) });
    }
    (scraper, results)
}

#[tokio::test]
async fn a_prometheus_trigger_is_answered_from_the_replicas_themselves() {
    let sources = queries(&[
        "sum(vllm:num_requests_waiting{namespace=\"default\"})",
        "avg(vllm:kv_cache_usage_perc) * 100",
        "vllm:num_requests_running",
        "sum(vllm:lora_requests_info)",
    ]);
    let (one, two) = (Server::start(Page::text(VLLM)).await, Server::start(Page::text(VLLM)).await);
    let (_scraper, mut results) = feeding(&sources, &[&one, &two]);
    let mut seen = std::collections::BTreeSet::<Arc<str>>::new();
    while seen.len() < 2 {
        seen.insert(results.recv().await.expect("the scraper goes on").endpoint);
    }
    let readings = read(&sources, Clock::unix().now(), &Context::default()).await;
    assert_eq!(readings[0].1, value(288.0));
    assert!(
        matches!(readings[1].1, Reading::Value { value, .. } if (value - 0.659_260_163_594_188_6).abs() < 1e-9)
    );
    assert_eq!(readings[2].1, Reading::Series(vec![16.0, 16.0]));
    assert_eq!(readings[3].1, Reading::Absent);
}

#[tokio::test]
async fn without_a_replica_a_query_is_absent_and_with_silent_ones_an_error() {
    let sources = queries(&["sum(vllm:num_requests_waiting)"]);
    assert_eq!(read(&sources, Time::ORIGIN, &Context::default()).await[0].1, Reading::Absent);
    let server = Server::start(Page::text("").status(503)).await;
    let (scraper, mut results) = feeding(&sources, &[&server]);
    results.recv().await.expect("the scraper goes on").result.expect_err("503");
    let readings = read(&sources, Clock::unix().now(), &Context::default()).await;
    assert!(matches!(&readings[0].1, Reading::Error(text) if text.contains("none of 1")), "{readings:?}");
    // A replica that left is no silent one.
    scraper.remove("chat-0");
    drop(scraper);
    while results.recv().await.is_some() {}
    assert_eq!(read(&sources, Clock::unix().now(), &Context::default()).await[0].1, Reading::Absent);
}
