//! `/metrics` beside what the real engines write.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::{chat, get, metric, post, start};
use tidegate_engine::{Dialect, Options};
use tidegate_metrics::dialect::{Kind, Status, lookup};
use tidegate_sim::Profile;

/// What a page consists of: each family's type, and each series' label names with the bucket bounds.
type Families = BTreeMap<String, String>;
type Series = BTreeMap<String, BTreeSet<String>>;

fn parts(page: &str) -> (Families, Series) {
    let mut families = Families::new();
    let mut series = Series::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let name: String = line.chars().take_while(|letter| !matches!(letter, '{' | ' ')).collect();
            let labels = line[name.len()..].split(['{', ',']).filter_map(|label| label.split_once("=\""));
            let labels = labels.map(|(label, value)| match label {
                "le" => format!("le={}", value.split('"').next().unwrap_or_default()),
                _ => label.to_owned(),
            });
            series.entry(name).or_default().extend(labels);
        }
    }
    families.retain(|name, _| !name.starts_with("python_") && !name.starts_with("process_"));
    series.retain(|name, _| !name.starts_with("python_") && !name.starts_with("process_"));
    (families, series)
}

async fn page(dialect: Dialect) -> String {
    // The context length of the engines that were captured: vLLM fits its buckets to it.
    let profile = Profile { max_model_len: 1_024, ..Profile::instant() };
    let engine = start(Options { dialect, profile, ..Options::new("tiny") }).await;
    get(engine.addr(), "/v1/models").await;
    assert_eq!(post(engine.addr(), "/v1/chat/completions", &chat(30)).await.0, 200);
    get(engine.addr(), "/metrics").await.1
}

#[tokio::test]
async fn vllm_families_types_labels_and_buckets_are_those_of_the_real_one() {
    let real = parts(include_str!("../../../metrics/tests/data/vllm-0.32.0.txt"));
    let ours = parts(&page(Dialect::Vllm).await);
    assert_eq!(ours.0, real.0);
    assert_eq!(ours.1, real.1);
}

#[tokio::test]
async fn llamacpp_families_types_and_order_are_those_of_the_real_one() {
    let heads = |page: &str| -> Vec<String> {
        page.lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect()
    };
    let ours = page(Dialect::LlamaCpp).await;
    assert_eq!(heads(&ours), heads(include_str!("../../../metrics/tests/data/llama.cpp-11434.txt")));
    assert!(ours.lines().all(|line| !line.contains('{')), "it has no labels");
    assert!(ours.contains("\nllamacpp:tokens_predicted_total 30\n"), "integers have no point");
}

#[tokio::test]
async fn sglang_and_tgi_write_only_names_and_labels_their_tables_know() {
    for dialect in [Dialect::Sglang, Dialect::Tgi] {
        let (families, series) = parts(&page(dialect).await);
        assert!(families.len() > 15);
        for (name, kind) in &families {
            let known = lookup(name).unwrap_or_else(|| panic!("{name} is unknown"));
            assert_eq!((known.name, known.status), (name.as_str(), Status::Current));
            let expected = match known.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
                Kind::Summary => "summary",
            };
            assert_eq!(kind, expected, "{name}");
        }
        for (name, labels) in series {
            let known = lookup(&name).unwrap_or_else(|| panic!("{name} is unknown"));
            for label in labels.iter().filter(|label| !label.starts_with("le=")) {
                assert!(known.labels.contains(&label.as_str()), "{name} has {label}");
            }
        }
    }
}

#[tokio::test]
async fn counters_add_up_to_what_was_answered() {
    let engine = start(Options::new("tiny")).await;
    let mut prompt_tokens = 0.0;
    for _ in 0..3 {
        let (_, answer) = post(engine.addr(), "/v1/chat/completions", &chat(25)).await;
        prompt_tokens += answer["usage"]["prompt_tokens"].as_f64().unwrap();
    }
    let addr = engine.addr();
    let labels = r#"{engine="0",model_name="tiny"}"#;
    for (name, expected) in [
        ("prompt_tokens_total", prompt_tokens),
        ("generation_tokens_total", 75.0),
        ("request_generation_tokens_sum", 75.0),
        ("e2e_request_latency_seconds_count", 3.0),
        ("time_to_first_token_seconds_count", 3.0),
        ("inter_token_latency_seconds_count", 72.0),
        ("num_requests_running", 0.0),
        ("kv_cache_usage_perc", 0.0),
    ] {
        let value = metric(addr, &format!("vllm:{name}{labels}")).await;
        assert!((value - expected).abs() < 1e-9, "{name} is {value}, not {expected}");
    }
    let success = r#"vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny"}"#;
    assert!((metric(addr, success).await - 3.0).abs() < 1e-9);
    let handled = r#"http_requests_total{handler="/v1/chat/completions",method="POST",status="2xx"}"#;
    assert!((metric(addr, handled).await - 3.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_prompt_sent_again_is_found_in_the_prefix_cache() {
    let engine = start(Options::new("tiny")).await;
    let mut body = chat(5);
    body["messages"][0]["content"] = serde_json::json!("tide ".repeat(100));
    for _ in 0..2 {
        post(engine.addr(), "/v1/chat/completions", &body).await;
    }
    let hits = metric(engine.addr(), r#"vllm:prefix_cache_hits_total{engine="0",model_name="tiny"}"#).await;
    // 500 bytes and the role's 5 are seven full blocks of 16 tokens of 4 bytes.
    assert!((hits - 7.0 * 16.0).abs() < 1e-9, "{hits}");
}
