//! Queries answered over own scrapes.

use std::sync::Arc;

use proptest::prelude::*;
use tidegate_core::time::Time;
use tidegate_metrics::eval::{Answer, Compiled, Error, compile, wanted};
use tidegate_metrics::exposition::{Format, read};
use tidegate_metrics::store::{GRACE, SERIES_PER_REPLICA_MAX, Store, reach};

const VLLM: &str = include_str!("data/vllm-0.32.0.txt");

fn compiled(query: &str) -> Compiled {
    compile(query).unwrap_or_else(|error| panic!("{query}: {error}"))
}

fn scrape(store: &mut Store, replica: &str, at: Time, page: &str, query: &Compiled) {
    let wanted = wanted([query]);
    let mut samples = Vec::new();
    read(page, Format::Text, |name| wanted.find(name), |(), sample| samples.push(sample))
        .expect("the page is well formed");
    store.scraped(replica, at, &samples);
}

/// Asks once of replicas that each showed one page.
fn ask(query: &str, pages: &[&str]) -> Answer {
    let query = compiled(query);
    let mut store = Store::new();
    for (at, page) in pages.iter().enumerate() {
        let name: Arc<str> = format!("chat-{at}").into();
        store.add(&name, None, &[("pod", &name), ("namespace", "llm")]);
        scrape(&mut store, &name, Time::from_secs(100), page, &query);
    }
    query.ask(&store, None, Time::from_secs(100)).unwrap_or_else(|error| panic!("{error}"))
}

fn values(answer: Answer) -> Vec<f64> {
    match answer {
        Answer::Scalar(value) => vec![value],
        Answer::Vector(elements) => elements.into_iter().map(|(_, value)| value).collect(),
    }
}

#[test]
fn the_queries_of_public_guides_are_answered_from_a_real_page() {
    for (query, expected) in [
        ("sum(vllm:num_requests_waiting)", 288.0),
        ("sum(vllm:num_requests_waiting{namespace=\"llm\", model_name=\"tiny\"})", 288.0),
        ("avg(vllm:num_requests_running)", 16.0),
        ("sum(vllm:num_requests_running + vllm:num_requests_waiting) or vector(0)", 320.0),
        ("max(vllm:kv_cache_usage_perc) * 100", 0.6592601635941886),
        ("count(vllm:num_requests_running{pod=~\"chat-.*\"})", 2.0),
        ("sum(vllm:num_requests_waiting{job=\"vllm\", service!=\"other\"})", 288.0),
        ("sum(vllm_num_requests_waiting)", 288.0),
        ("sum by (model_name) (vllm:num_requests_waiting)", 288.0),
        ("sum without (pod, engine, instance) (vllm:num_requests_waiting)", 288.0),
        ("sum(vllm:num_requests_waiting) / count(vllm:num_requests_running)", 144.0),
        ("clamp_max(sum(vllm:num_requests_waiting), 50)", 50.0),
        ("ceil(avg(vllm:num_requests_waiting) / 100) - -1", 3.0),
        ("sum(up)", 2.0),
        (
            "histogram_quantile(0.5, sum by (le) (vllm:time_to_first_token_seconds_bucket))",
            2.243_902_439_024_39,
        ),
        ("scalar(sum(vllm:num_requests_waiting)) + 1", 289.0),
        ("sum(vllm:num_requests_waiting > bool 100)", 2.0),
    ] {
        let found = values(ask(query, &[VLLM, VLLM]));
        assert_eq!(found.len(), 1, "{query}: {found:?}");
        assert!((found[0] - expected).abs() < 1e-9, "{query}: {found:?}");
    }
}

#[test]
fn an_answer_that_prometheus_would_not_give_is_empty() {
    for query in [
        "sum(vllm:num_requests_waiting{model_name=\"other\"})",
        "sum(vllm:num_requests_waiting{pod=\"chat-9\"})",
        "sum(vllm:num_requests_waiting{deployment=\"chat\"})",
        "sum(nobody_writes_this)",
        "sum(vllm:num_preemptions_total) / sum(vllm:num_preemptions_total)",
        "vllm:num_requests_waiting > 1000",
        "sum(vllm:num_requests_waiting) unless sum(vllm:num_requests_running)",
    ] {
        assert_eq!(ask(query, &[VLLM]), Answer::Vector(Vec::new()), "{query}");
    }
}

#[test]
fn several_series_stay_several() {
    assert_eq!(values(ask("vllm:num_requests_waiting", &[VLLM, VLLM])), [144.0, 144.0]);
    assert_eq!(values(ask("sum by (pod) (vllm:num_requests_running)", &[VLLM, VLLM])), [16.0, 16.0]);
}

#[test]
fn or_vector_zero_speaks_when_there_is_no_replica() {
    assert_eq!(values(ask("sum(vllm:num_requests_waiting) or vector(0)", &[])), [0.0]);
    assert_eq!(values(ask("absent(vllm:num_requests_waiting)", &[])), [1.0]);
    assert!(values(ask("absent(vllm:num_requests_waiting)", &[VLLM])).is_empty());
}

fn counted(query: &str, page: impl Fn(i64) -> String, seconds: i64) -> Vec<f64> {
    let query = compiled(query);
    let mut store = Store::new();
    let name: Arc<str> = "chat-0".into();
    store.add(&name, None, &[]);
    for at in 0..=seconds {
        scrape(&mut store, &name, Time::from_secs(at), &page(at), &query);
    }
    values(query.ask(&store, None, Time::from_secs(seconds)).expect("one side only"))
}

#[test]
fn a_rate_over_own_scrapes_is_the_slope() {
    let page = |at: i64| format!("vllm:generation_tokens_total{{engine=\"0\"}} {}\n", 1000 + 50 * at);
    for window in ["10s", "1m", "5m"] {
        let found = counted(&format!("sum(rate(vllm:generation_tokens_total[{window}]))"), page, 600);
        assert!((found[0] - 50.0).abs() < 1e-6, "{window}: {found:?}");
    }
    let found = counted("sum(increase(vllm:generation_tokens_total[1m]))", page, 600);
    assert!((found[0] - 3000.0).abs() < 1e-6, "{found:?}");
}

#[test]
fn a_restart_inside_the_window_costs_no_negative_rate() {
    let page = |at: i64| format!("vllm:generation_tokens_total {}\n", 50 * (at % 60));
    let found = counted("rate(vllm:generation_tokens_total[2m])", page, 240);
    assert!((40.0..=50.0).contains(&found[0]), "{found:?}");
}

#[test]
fn a_latency_quantile_is_of_the_window_and_not_of_the_whole_life() {
    // A slow past: 1000 answers above a second. Since second 60 all are below 100 ms.
    let page = |at: i64| {
        let fast = (at - 60).max(0) * 10;
        format!(
            "vllm:time_to_first_token_seconds_bucket{{le=\"0.1\"}} {fast}\n\
             vllm:time_to_first_token_seconds_bucket{{le=\"1.0\"}} {fast}\n\
             vllm:time_to_first_token_seconds_bucket{{le=\"+Inf\"}} {}\n",
            fast + 1000
        )
    };
    let query = "histogram_quantile(0.95, sum(rate(vllm:time_to_first_token_seconds_bucket[30s])) by (le))";
    let found = counted(query, page, 200);
    assert!((found[0] - 0.095).abs() < 1e-9, "{found:?}");
}

#[test]
fn the_over_time_family_looks_back_over_the_window() {
    let page = |at: i64| format!("vllm:num_requests_waiting {}\n", if at == 95 { 40 } else { 2 });
    assert_eq!(counted("max_over_time(vllm:num_requests_waiting[10s])", page, 100), [40.0]);
    assert_eq!(counted("max_over_time(vllm:num_requests_waiting[3s])", page, 100), [2.0]);
    assert_eq!(counted("min_over_time(vllm:num_requests_waiting[10s])", page, 100), [2.0]);
    assert_eq!(counted("count_over_time(vllm:num_requests_waiting[10s])", page, 100), [10.0]);
}

#[test]
fn what_is_not_evaluated_is_refused_before_it_is_asked() {
    for (query, names) in [
        ("info(vllm:num_requests_waiting)", "`info()` at character 1 "),
        ("sum(vllm:num_requests_waiting) + sum(mad_over_time(x[5m]))", "`mad_over_time()` at character 38 "),
        ("limitk(1, vllm:num_requests_waiting)", "limitk"),
        ("vllm:num_requests_waiting[5m]", "window"),
        ("a * on (pod) group_left () fill (0) b", "`fill` at character 28 "),
        ("{job=\"vllm\"}", "metric name"),
        ("rate(x[30d])", "a look back above"),
        ("rate(x[5m] offset 30d)", "a look back above"),
        ("max_over_time(rate(x[20h])[20h:1h])", "a look back above"),
    ] {
        match compile(query) {
            Err(error @ Error::Unsupported { .. }) => {
                let said = error.to_string();
                assert!(said.contains(names) && said.contains("; "), "{query}: {said}");
            }
            other => panic!("{query}: {other:?}"),
        }
    }
}

#[test]
fn a_metric_that_replicas_do_not_write_is_refused_by_name() {
    for query in
        ["sum(dynamo_frontend_queued_requests)", "avg(DCGM_FI_DEV_GPU_UTIL)", "sum(vllm:current_qps)"]
    {
        assert!(matches!(compile(query), Err(Error::NotOurs { .. })), "{query}");
    }
}

#[test]
fn sides_that_cannot_be_told_apart_are_an_error_and_not_a_guess() {
    let query = compiled("vllm:num_requests_waiting / on (model_name) vllm:num_requests_running");
    let mut store = Store::new();
    for name in ["a", "b"] {
        let name: Arc<str> = name.into();
        store.add(&name, None, &[("pod", &name)]);
        scrape(&mut store, &name, Time::from_secs(1), VLLM, &query);
    }
    assert!(matches!(query.ask(&store, None, Time::from_secs(1)), Err(Error::Ambiguous { .. })));
}

#[test]
fn a_replica_that_stops_answering_is_believed_for_a_moment_only() {
    let query = compiled("sum(vllm:num_requests_waiting)");
    let mut store = Store::new();
    let name: Arc<str> = "a".into();
    store.add(&name, None, &[]);
    scrape(&mut store, &name, Time::from_secs(10), VLLM, &query);
    let at = |store: &Store, now: Time| values(query.ask(store, None, now).unwrap());
    assert_eq!(at(&store, Time::from_secs(10) + GRACE), [144.0]);
    assert!(at(&store, Time::from_secs(11) + GRACE).is_empty());
    assert_eq!((store.replicas(None), store.answering(None, Time::from_secs(11) + GRACE)), (1, 0));
}

#[test]
fn a_series_that_a_page_no_longer_shows_is_gone_at_once() {
    let query = compiled("sum(x)");
    let mut store = Store::new();
    let name: Arc<str> = "a".into();
    store.add(&name, None, &[]);
    scrape(&mut store, &name, Time::from_secs(1), "x{k=\"1\"} 5\nx{k=\"2\"} 6\n", &query);
    scrape(&mut store, &name, Time::from_secs(2), "x{k=\"2\"} 6\n", &query);
    assert_eq!(values(query.ask(&store, None, Time::from_secs(2)).unwrap()), [6.0]);
    // Its past is there for queries that look back, and gone when nobody can.
    assert_eq!(store.named("x").count(), 2);
    for at in [30, 60, 2_000] {
        scrape(&mut store, &name, Time::from_secs(at), "x{k=\"2\"} 6\n", &query);
    }
    assert_eq!(store.named("x").count(), 1);
    store.forget("a");
    assert_eq!(query.ask(&store, None, Time::from_secs(2_001)).unwrap(), Answer::Vector(Vec::new()));
    assert_eq!(
        values(compiled("sum(max_over_time(x[1m]))").ask(&store, None, Time::from_secs(2_001)).unwrap()),
        [6.0]
    );
}

#[test]
fn series_beyond_the_limit_are_dropped_and_counted() {
    let query = compiled("sum(x)");
    let mut store = Store::new();
    let name: Arc<str> = "a".into();
    store.add(&name, None, &[]);
    let page: String = (0..SERIES_PER_REPLICA_MAX + 5).map(|at| format!("x{{k=\"{at}\"}} 1\n")).collect();
    scrape(&mut store, &name, Time::from_secs(1), &page, &query);
    assert_eq!((store.named("x").count(), store.dropped()), (SERIES_PER_REPLICA_MAX, 5));
    assert!(store.lacks(None, query.names()) && !store.lacks(None, &["y".to_owned()]));
    scrape(&mut store, &name, Time::from_secs(2), "x{k=\"1\"} 1\n", &query);
    assert!(!store.lacks(None, query.names()), "the next page has room");
}

#[test]
fn points_stay_few_however_long_the_window() {
    let query = compiled("rate(x[6h])");
    let mut store = Store::new();
    store.keep("x", reach(query.reach()));
    let name: Arc<str> = "a".into();
    store.add(&name, None, &[]);
    for at in 0..30_000 {
        scrape(&mut store, &name, Time::from_secs(at), &format!("x {}\n", at * 3), &query);
    }
    let kept = store.named("x").next().unwrap().samples();
    // 6 h and 5 min at one each 13 s, in chunks of 60.
    assert!((1_500..=1_900).contains(&kept), "{kept}");
    let found = values(query.ask(&store, None, Time::from_secs(29_999)).unwrap());
    assert!((found[0] - 3.0).abs() < 0.01, "{found:?}");
}

proptest! {
    #[test]
    fn sum_avg_and_count_agree(loads in prop::collection::vec(0_u32..1000, 1..8)) {
        let pages: Vec<String> = loads.iter().map(|load| format!("x {load}\n")).collect();
        let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
        let one = |query: &str| values(ask(query, &pages))[0];
        let total: u32 = loads.iter().sum();
        prop_assert!((one("sum(x)") - f64::from(total)).abs() < 1e-9);
        prop_assert!((one("avg(x) * count(x)") - one("sum(x)")).abs() < 1e-6);
        prop_assert!(one("min(x)") <= one("avg(x)") && one("avg(x)") <= one("max(x)"));
    }
}
