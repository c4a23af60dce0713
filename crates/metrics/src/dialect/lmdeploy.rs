//! LMDeploy's `api_server`, started with `--enable-metrics`.

use super::{Engine, Kind, Metric, Signal};

const OWN: &[&str] = &["model_name", "engine"];

const fn counter(name: &'static str) -> Metric {
    Metric::new(Engine::Lmdeploy, name, Kind::Counter, OWN)
}

const fn gauge(name: &'static str) -> Metric {
    Metric::new(Engine::Lmdeploy, name, Kind::Gauge, OWN)
}

const fn histogram(name: &'static str) -> Metric {
    Metric::new(Engine::Lmdeploy, name, Kind::Histogram, OWN)
}

pub(super) const METRICS: &[Metric] = &[
    gauge("lmdeploy:num_requests_waiting").tells(Signal::Waiting),
    gauge("lmdeploy:num_requests_running").tells(Signal::Running).capped(),
    gauge("lmdeploy:num_requests_unfinished"),
    gauge("lmdeploy:num_requests_finished"),
    gauge("lmdeploy:num_api_requests_waiting").tells(Signal::Waiting),
    gauge("lmdeploy:num_api_requests_running").tells(Signal::Running),
    gauge("lmdeploy:gpu_cache_usage_perc")
        .tells(Signal::KvUse)
        .fraction()
        .note("0 to 1, in spite of the name"),
    gauge("lmdeploy:prefix_cache_hit_rate").tells(Signal::PrefixHits).fraction(),
    gauge("lmdeploy:backend_config_info"),
    counter("lmdeploy:cached_tokens_total").tells(Signal::PrefixHits),
    counter("lmdeploy:prompt_tokens_total").tells(Signal::PromptTokens),
    counter("lmdeploy:generation_tokens_total").tells(Signal::OutputTokens),
    counter("lmdeploy:request_success_total").tells(Signal::Finished).labels(&[
        "model_name",
        "engine",
        "finished_reason",
    ]),
    histogram("lmdeploy:request_prompt_tokens").tells(Signal::PromptTokens),
    histogram("lmdeploy:request_generation_tokens").tells(Signal::OutputTokens),
    histogram("lmdeploy:iteration_tokens_total").note("a histogram, in spite of the name"),
    histogram("lmdeploy:time_to_first_token_seconds").tells(Signal::Ttft),
    histogram("lmdeploy:time_per_output_token_seconds").tells(Signal::Itl),
    histogram("lmdeploy:iter_token_latency").tells(Signal::Itl),
    histogram("lmdeploy:e2e_request_latency_seconds").tells(Signal::E2e),
    histogram("lmdeploy:request_queue_time_seconds").tells(Signal::QueueTime),
    histogram("lmdeploy:request_inference_time_seconds"),
    histogram("lmdeploy:request_prefill_time_seconds").tells(Signal::PrefillTime),
    histogram("lmdeploy:request_decode_time_seconds").tells(Signal::DecodeTime),
];
