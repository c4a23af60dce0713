//! TensorRT-LLM's own server, `trtllm-serve`.

use super::{Engine, Kind, Metric, Signal};

const OWN: &[&str] = &["model_name", "engine_type"];

const fn gauge(name: &'static str) -> Metric {
    Metric::new(Engine::TensorRtLlm, name, Kind::Gauge, OWN)
}

const fn counter(name: &'static str) -> Metric {
    Metric::new(Engine::TensorRtLlm, name, Kind::Counter, OWN)
}

const fn histogram(name: &'static str) -> Metric {
    Metric::new(Engine::TensorRtLlm, name, Kind::Histogram, OWN)
}

pub(super) const METRICS: &[Metric] = &[
    gauge("trtllm_num_requests_waiting").tells(Signal::Waiting).note("newer releases only"),
    gauge("trtllm_num_requests_running").tells(Signal::Running).capped().note("newer releases only"),
    gauge("trtllm_kv_cache_utilization").tells(Signal::KvUse).fraction(),
    gauge("trtllm_kv_cache_host_utilization").fraction(),
    gauge("trtllm_kv_cache_hit_rate").tells(Signal::PrefixHits).fraction(),
    gauge("trtllm_kv_cache_iter_reuse_rate").fraction(),
    gauge("trtllm_kv_cache_max_blocks").tells(Signal::KvCapacity),
    gauge("trtllm_kv_cache_tokens_per_block").tells(Signal::KvCapacity),
    counter("trtllm_kv_cache_reused_blocks_total").tells(Signal::PrefixHits),
    counter("trtllm_kv_cache_missed_blocks_total"),
    counter("trtllm_request_success_total").tells(Signal::Finished).labels(&[
        "model_name",
        "engine_type",
        "finished_reason",
    ]),
    histogram("trtllm_time_to_first_token_seconds").tells(Signal::Ttft),
    histogram("trtllm_time_per_output_token_seconds").tells(Signal::Itl),
    histogram("trtllm_e2e_request_latency_seconds").tells(Signal::E2e),
    histogram("trtllm_request_queue_time_seconds").tells(Signal::QueueTime),
];
