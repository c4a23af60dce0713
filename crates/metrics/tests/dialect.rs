//! The engine tables, against what engines really wrote and against each other.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_metrics::dialect::{
    Engine, Kind, Metric, Range, Signal, Status, Writer, lookup, metrics, nearest, pod_label_as_scraped,
    suggest_label, unknown_label,
};

const VLLM: &str = include_str!("data/vllm-0.32.0.txt");
const LLAMA: &str = include_str!("data/llama.cpp-11434.txt");

fn known(name: &str) -> &'static Metric {
    lookup(name).unwrap_or_else(|| panic!("{name} is not in the tables"))
}

/// Each series name of an exposition with the labels it carries.
fn series(exposition: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in exposition.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().unwrap_or(line);
        let labels = found.entry(name).or_default();
        let inside =
            line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(inside, _)| inside);
        labels.extend(inside.split("\",").filter_map(|pair| pair.split_once('=')).map(|(label, _)| label));
    }
    found
}

fn types(exposition: &str) -> impl Iterator<Item = (&str, &str)> {
    exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
}

fn check_exposition(exposition: &str, prefix: &str, engine: Engine) {
    for (name, kind) in
        types(exposition).filter(|(name, _)| name.starts_with(prefix) && !name.ends_with("_created"))
    {
        let metric = known(name);
        assert_eq!(metric.name, name);
        assert_eq!(metric.engine, engine);
        assert_eq!(metric.status, Status::Current, "{name}");
        assert_eq!(format!("{:?}", metric.kind).to_lowercase(), kind, "{name}");
    }
    for (name, labels) in series(exposition).into_iter().filter(|(name, _)| name.starts_with(prefix)) {
        let metric = known(name);
        assert!(metric.is_series(name), "{name}");
        for label in labels {
            assert!(label == "le" || metric.labels.contains(&label), "{name}: the engine writes {label}");
            assert!(!unknown_label(metric, label), "{name}: {label}");
        }
    }
}

#[test]
fn every_vllm_family_of_a_live_exposition_is_known_with_its_type_and_labels() {
    check_exposition(VLLM, "vllm:", Engine::Vllm);
    assert!(series(VLLM).len() > 100);
}

#[test]
fn every_llama_cpp_family_of_a_live_exposition_is_known_with_its_type_and_labels() {
    check_exposition(LLAMA, "llamacpp:", Engine::LlamaCpp);
    assert_eq!(
        types(LLAMA).count(),
        metrics(Engine::LlamaCpp).iter().filter(|m| m.status == Status::Current).count()
    );
}

#[test]
fn a_name_is_never_listed_twice_and_carries_its_engines_prefix() {
    for engine in Engine::ALL {
        let mut seen = BTreeSet::new();
        for metric in metrics(engine) {
            assert_eq!(metric.engine, engine);
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            assert_eq!(lookup(metric.name).map(|m| m.name), Some(metric.name));
            if let Some(prefixed) = Engine::of_metric(metric.name) {
                assert_eq!(prefixed, engine, "{}", metric.name);
            }
        }
    }
}

#[test]
fn a_renamed_metric_leads_to_a_current_one() {
    for metric in Engine::ALL.into_iter().flat_map(|engine| metrics(engine)) {
        if let Status::Renamed { to } = metric.status {
            let now = known(to);
            assert_eq!(now.status, Status::Current, "{} -> {to}", metric.name);
            assert_eq!(now.signal, metric.signal, "{} -> {to}", metric.name);
        }
    }
}

#[test]
fn a_lookup_matches_whole_names_only() {
    let found = [
        ("vllm:num_requests_waiting", "vllm:num_requests_waiting"),
        ("vllm:num_requests_waiting_by_reason", "vllm:num_requests_waiting_by_reason"),
        ("vllm_num_requests_waiting", "vllm:num_requests_waiting"),
        ("vllm:time_to_first_token_seconds_bucket", "vllm:time_to_first_token_seconds"),
        ("vllm_time_to_first_token_seconds_count", "vllm:time_to_first_token_seconds"),
        ("vllm:prompt_tokens_created", "vllm:prompt_tokens_total"),
        ("vllm:iteration_tokens_total_bucket", "vllm:iteration_tokens_total"),
        ("nv_inference_request_summary_us_sum", "nv_inference_request_summary_us"),
        ("nv_gpu_utilization", "nv_gpu_utilization"),
        ("tgi_request_count", "tgi_request_count"),
    ];
    for (name, family) in found {
        assert_eq!(known(name).name, family, "{name}");
    }
    let not_found = [
        "vllm:num_requests",
        "vllm:num_requests_waiting_sum",
        "vllm:num_requests_waiting_created",
        "vllm:num_requests_waiting_total",
        "vllm:num_requests_waiting:sum",
        "vllm:prompt_tokens",
        "vllm:prompt_tokens_total_created",
        "nv_inference_request_summary_us_bucket",
        "tgi_request_queue_size",
        "nvidia_gpu_memory_used_bytes",
        "llm_inference_requests_total",
        "up",
        "",
        "ünïcode",
    ];
    for name in not_found {
        assert_eq!(lookup(name).map(|m| m.name), None, "{name}");
    }
}

#[test]
fn the_bare_name_of_a_histogram_is_no_series() {
    let ttft = known("vllm:time_to_first_token_seconds");
    assert!(!ttft.is_series("vllm:time_to_first_token_seconds"));
    assert!(ttft.is_series("vllm:time_to_first_token_seconds_bucket"));
    assert!(known("vllm:num_requests_waiting").is_series("vllm_num_requests_waiting"));
}

#[test]
fn signals_of_each_engine_are_where_a_scaler_looks_for_them() {
    let cases = [
        ("vllm:num_requests_waiting", Signal::Waiting, Range::Unbounded),
        ("vllm:num_requests_running", Signal::Running, Range::CappedBySlots),
        ("vllm:kv_cache_usage_perc", Signal::KvUse, Range::ZeroToOne),
        ("sglang:num_queue_reqs", Signal::Waiting, Range::Unbounded),
        ("sglang:token_usage", Signal::KvUse, Range::ZeroToOne),
        ("tgi_queue_size", Signal::Waiting, Range::Unbounded),
        ("trtllm_kv_cache_utilization", Signal::KvUse, Range::ZeroToOne),
        ("llamacpp:requests_processing", Signal::Running, Range::CappedBySlots),
        ("llamacpp:requests_deferred", Signal::Waiting, Range::Unbounded),
        ("lmdeploy:gpu_cache_usage_perc", Signal::KvUse, Range::ZeroToOne),
        ("dynamo_frontend_queued_requests", Signal::Waiting, Range::Unbounded),
        ("DCGM_FI_DEV_GPU_UTIL", Signal::GpuUse, Range::ZeroToHundred),
        ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", Signal::GpuUse, Range::ZeroToOne),
    ];
    for (name, signal, range) in cases {
        assert_eq!((known(name).signal, known(name).range), (Some(signal), range), "{name}");
    }
    assert_eq!(known("dynamo_frontend_queued_requests").writer, Writer::Frontend);
    assert_eq!(known("DCGM_FI_DEV_GPU_UTIL").writer, Writer::Node);
    assert_eq!(known("tgi_queue_size").kind, Kind::Gauge);
}

#[test]
fn an_engine_is_recognised_by_its_metric_prefix() {
    let cases = [
        ("vllm:anything", Some(Engine::Vllm)),
        ("vllm_anything", Some(Engine::Vllm)),
        ("sglang:x", Some(Engine::Sglang)),
        ("tgi_x", Some(Engine::Tgi)),
        ("trtllm_x", Some(Engine::TensorRtLlm)),
        ("nv_trt_llm_x", Some(Engine::Triton)),
        ("nv_inference_x", Some(Engine::Triton)),
        ("llamacpp:x", Some(Engine::LlamaCpp)),
        ("lmdeploy:x", Some(Engine::Lmdeploy)),
        ("dynamo_x", Some(Engine::Dynamo)),
        ("DCGM_FI_X", Some(Engine::Dcgm)),
        ("nvidia_gpu_memory_used_bytes", None),
        ("vllm:num_requests_waiting:sum", None),
        ("my_vllm:x", None),
    ];
    for (name, engine) in cases {
        assert_eq!(Engine::of_metric(name), engine, "{name}");
    }
}

#[test]
fn an_engine_is_recognised_by_its_image() {
    let cases = [
        ("vllm/vllm-openai:latest", Some(Engine::Vllm)),
        ("vllm/vllm-openai", Some(Engine::Vllm)),
        ("rocm/vllm@sha256:0123", Some(Engine::Vllm)),
        ("registry.local:5000/team/my-vllm:v1", Some(Engine::Vllm)),
        ("lmsysorg/sglang:v0.5.1", Some(Engine::Sglang)),
        ("ghcr.io/huggingface/text-generation-inference:3.3", Some(Engine::Tgi)),
        ("ghcr.io/ggml-org/llama.cpp:server-cuda", Some(Engine::LlamaCpp)),
        ("nvcr.io/nvidia/tritonserver:25.01-trtllm-python-py3", Some(Engine::Triton)),
        ("nvcr.io/nvidia/tensorrt-llm/release:1.0", Some(Engine::TensorRtLlm)),
        ("openmmlab/lmdeploy:latest", Some(Engine::Lmdeploy)),
        ("nvcr.io/nvidia/ai-dynamo/vllm-runtime:0.5", Some(Engine::Dynamo)),
        ("nvcr.io/nvidia/k8s/dcgm-exporter:4.1", Some(Engine::Dcgm)),
        ("lmcache/lmstack-router:latest", None),
        ("vllm/vllm-router", None),
        ("vllm.example.com/team/app:1", None),
        ("your-registry/llm-inference:v1.0", None),
        ("myapp/inference-worker:latest", None),
        ("", None),
        (":", None),
        ("///@:", None),
    ];
    for (image, engine) in cases {
        assert_eq!(Engine::of_image(image), engine, "{image}");
    }
}

#[test]
fn a_wrong_name_leads_to_the_metric_meant() {
    let cases = [
        (Engine::Tgi, "tgi_request_queue_size", Some("tgi_queue_size")),
        (Engine::Tgi, "tgi_batch_size", Some("tgi_batch_current_size")),
        (Engine::Vllm, "vllm:gpu_cache_usage_percent", Some("vllm:kv_cache_usage_perc")),
        (Engine::Vllm, "vllm:gpu_cache_usage_perc", Some("vllm:kv_cache_usage_perc")),
        (Engine::Vllm, "vllm:kv_cache_usage", Some("vllm:kv_cache_usage_perc")),
        (Engine::Vllm, "vllm:num_request_waiting", Some("vllm:num_requests_waiting")),
        (Engine::Vllm, "vllm:requests_waiting", Some("vllm:num_requests_waiting")),
        (Engine::Vllm, "vllm:queue_size", Some("vllm:num_requests_waiting")),
        (Engine::Vllm, "vllm:prompt_tokens", Some("vllm:prompt_tokens_total")),
        (Engine::Vllm, "vllm:num_preemptions", Some("vllm:num_preemptions_total")),
        (Engine::Vllm, "vllm:ttft_seconds_bucket", Some("vllm:time_to_first_token_seconds")),
        (Engine::Vllm, "vllm:e2e_request_latency", Some("vllm:e2e_request_latency_seconds")),
        (Engine::Sglang, "sglang:num_waiting_reqs", Some("sglang:num_queue_reqs")),
        (Engine::Sglang, "sglang:num_requests_running", Some("sglang:num_running_reqs")),
        (Engine::LlamaCpp, "llamacpp:requests_queued", Some("llamacpp:requests_deferred")),
        (Engine::Dcgm, "DCGM_FI_DEV_GPU_UTILIZATION", Some("DCGM_FI_DEV_GPU_UTIL")),
        (Engine::Vllm, "vllm:num_requests_waiting", None),
        (Engine::Vllm, "vllm:coffee", None),
        (Engine::Vllm, "", None),
    ];
    for (engine, name, meant) in cases {
        assert_eq!(nearest(engine, name), meant, "{name}");
    }
    assert_eq!(nearest(Engine::Vllm, &format!("vllm:{}", "a_".repeat(10_000))), None);
}

#[test]
fn a_label_nobody_writes_is_unknown_and_the_one_meant_is_suggested() {
    let cases = [
        ("vllm:num_requests_waiting", "deployment", Some("pod")),
        ("vllm:num_requests_waiting", "model", Some("model_name")),
        ("vllm:num_requests_waiting", "modelname", Some("model_name")),
        ("vllm:num_requests_waiting", "namspace", Some("namespace")),
        ("vllm:num_requests_waiting", "favourite_colour", None),
        ("vllm:num_requests_waiting", "le", None),
        ("tgi_queue_size", "model_name", None),
        ("llamacpp:requests_deferred", "model", None),
        ("dynamo_frontend_queued_requests", "model_name", Some("model")),
        ("DCGM_FI_DEV_GPU_UTIL", "uuid", Some("UUID")),
        ("DCGM_FI_DEV_GPU_UTIL", "model_name", Some("modelName")),
        ("DCGM_FI_DEV_GPU_UTIL", "hostname", Some("Hostname")),
    ];
    for (name, label, meant) in cases {
        assert!(unknown_label(known(name), label), "{name}{{{label}}}");
        assert_eq!(suggest_label(known(name), label), meant, "{name}{{{label}}}");
    }
}

#[test]
fn labels_of_engines_and_of_scraping_are_accepted() {
    let cases = [
        ("vllm:num_requests_waiting", "model_name"),
        ("vllm:num_requests_waiting", "engine"),
        ("vllm:num_requests_waiting", "namespace"),
        ("vllm:num_requests_waiting", "pod"),
        ("vllm:num_requests_waiting", "kubernetes_pod_name"),
        ("vllm:num_requests_waiting", "app_kubernetes_io_name"),
        ("vllm:num_requests_waiting", "exported_namespace"),
        ("vllm:num_requests_waiting_by_reason", "reason"),
        ("vllm:time_to_first_token_seconds", "le"),
        ("nv_inference_queue_summary_us", "quantile"),
        ("tgi_queue_size", "pod"),
        ("tgi_request_failure", "err"),
        ("DCGM_FI_DEV_GPU_UTIL", "exported_pod"),
    ];
    for (name, label) in cases {
        assert!(!unknown_label(known(name), label), "{name}{{{label}}}");
        assert_eq!(suggest_label(known(name), label), None, "{name}{{{label}}}");
    }
    assert_eq!(pod_label_as_scraped("app.kubernetes.io/name"), "app_kubernetes_io_name");
}
