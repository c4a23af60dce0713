//! vLLM, V1 engine, and what its older releases and its production-stack router call things.
//!
//! Checked against a live 0.32.0. The V0 names are here because most guides on the web still use
//! them; `--show-hidden-metrics-for-version` brings a freshly hidden one back for a release or two.

use super::{Engine, Kind, Metric, Signal, Writer};

const OWN: &[&str] = &["model_name", "engine"];
const BY_REASON: &[&str] = &["model_name", "engine", "reason"];
const BY_SOURCE: &[&str] = &["model_name", "engine", "source"];
/// The production-stack router repeats two gauges of the engines under `server`.
const OWN_OR_ROUTER: &[&str] = &["model_name", "engine", "server"];
const ROUTER: &[&str] = &["server"];
const ROUTER_MODEL: &[&str] = &["server", "model"];

const fn counter(name: &'static str) -> Metric {
    Metric::new(Engine::Vllm, name, Kind::Counter, OWN)
}

const fn gauge(name: &'static str) -> Metric {
    Metric::new(Engine::Vllm, name, Kind::Gauge, OWN)
}

const fn histogram(name: &'static str) -> Metric {
    Metric::new(Engine::Vllm, name, Kind::Histogram, OWN)
}

const fn router(name: &'static str) -> Metric {
    Metric::new(Engine::Vllm, name, Kind::Gauge, ROUTER)
        .by(Writer::Frontend)
        .note("written by the production-stack router, not by an engine")
}

const HIT_RATE: &str =
    concat!("rate(vllm:prefix_cache_hits_total[5m])", " / rate(vllm:prefix_cache_queries_total[5m])");
const ACCEPTED_SHARE: &str = concat!(
    "rate(vllm:spec_decode_num_accepted_tokens_total[5m])",
    " / rate(vllm:spec_decode_num_draft_tokens_total[5m])"
);
const ACCEPTED_LENGTH: &str = concat!(
    "1 + rate(vllm:spec_decode_num_accepted_tokens_total[5m])",
    " / rate(vllm:spec_decode_num_drafts_total[5m])"
);
const NO_SWAP: &str = "V1 preempts instead of swapping: rate(vllm:num_preemptions_total[5m])";
const WAITING_REASONS: &str = concat!(
    "sums to vllm:num_requests_waiting; ",
    "reason=\"deferred\" waits for a KV transfer, which more replicas do not shorten"
);

pub(super) const METRICS: &[Metric] = &[
    // The scheduler.
    gauge("vllm:num_requests_waiting").tells(Signal::Waiting).labels(OWN_OR_ROUTER),
    gauge("vllm:num_requests_waiting_by_reason")
        .tells(Signal::Waiting)
        .labels(BY_REASON)
        .note(WAITING_REASONS),
    gauge("vllm:num_requests_running")
        .tells(Signal::Running)
        .capped()
        .labels(OWN_OR_ROUTER)
        .note("never above --max-num-seqs"),
    gauge("vllm:kv_cache_usage_perc").tells(Signal::KvUse).fraction().note("0 to 1, in spite of the name"),
    gauge("vllm:engine_sleep_state").fraction().labels(&["model_name", "engine", "sleep_state"]),
    gauge("vllm:lora_requests_info")
        .labels(&["max_lora", "running_lora_adapters", "waiting_lora_adapters"])
        .note("appears after the first LoRA request; the value is a timestamp"),
    gauge("vllm:cache_config_info")
        .tells(Signal::KvCapacity)
        .labels(CACHE_CONFIG)
        .note("always 1: the facts are in the labels"),
    counter("vllm:num_preemptions_total").tells(Signal::Preempted),
    counter("vllm:corrupted_requests_total"),
    // Prefix and multi-modal caches, in tokens.
    counter("vllm:prefix_cache_queries_total").tells(Signal::PrefixQueries),
    counter("vllm:prefix_cache_hits_total").tells(Signal::PrefixHits),
    counter("vllm:external_prefix_cache_queries_total"),
    counter("vllm:external_prefix_cache_hits_total"),
    counter("vllm:mm_cache_queries_total"),
    counter("vllm:mm_cache_hits_total"),
    histogram("vllm:kv_block_lifetime_seconds"),
    histogram("vllm:kv_block_idle_before_evict_seconds"),
    histogram("vllm:kv_block_reuse_gap_seconds"),
    // Tokens and requests.
    counter("vllm:prompt_tokens_total").tells(Signal::PromptTokens),
    counter("vllm:prompt_tokens_by_source_total").tells(Signal::PromptTokens).labels(BY_SOURCE),
    counter("vllm:prompt_tokens_cached_total").tells(Signal::PrefixHits),
    counter("vllm:prompt_tokens_cached_by_source_total").tells(Signal::PrefixHits).labels(BY_SOURCE),
    counter("vllm:generation_tokens_total").tells(Signal::OutputTokens),
    counter("vllm:request_success_total").tells(Signal::Finished).labels(&[
        "model_name",
        "engine",
        "finished_reason",
    ]),
    counter("vllm:admission_rejections_total").tells(Signal::Failed).labels(&["model_name", "reason"]),
    histogram("vllm:request_prompt_tokens").tells(Signal::PromptTokens),
    histogram("vllm:request_generation_tokens").tells(Signal::OutputTokens),
    histogram("vllm:iteration_tokens_total").note("a histogram, in spite of the name"),
    histogram("vllm:request_max_num_generation_tokens"),
    histogram("vllm:request_params_n"),
    histogram("vllm:request_params_max_tokens"),
    histogram("vllm:request_num_preemptions"),
    histogram("vllm:request_prefill_kv_computed_tokens"),
    // Times.
    histogram("vllm:time_to_first_token_seconds").tells(Signal::Ttft),
    histogram("vllm:inter_token_latency_seconds").tells(Signal::Itl),
    histogram("vllm:request_time_per_output_token_seconds")
        .tells(Signal::Itl)
        .note("one observation a request: its mean"),
    histogram("vllm:e2e_request_latency_seconds").tells(Signal::E2e),
    histogram("vllm:request_queue_time_seconds").tells(Signal::QueueTime),
    histogram("vllm:request_inference_time_seconds"),
    histogram("vllm:request_prefill_time_seconds").tells(Signal::PrefillTime),
    histogram("vllm:request_decode_time_seconds").tells(Signal::DecodeTime),
    // Estimates of the work done.
    counter("vllm:estimated_flops_per_gpu_total"),
    counter("vllm:estimated_read_bytes_per_gpu_total"),
    counter("vllm:estimated_write_bytes_per_gpu_total"),
    // Speculative decoding, when it is on.
    counter("vllm:spec_decode_num_drafts_total"),
    counter("vllm:spec_decode_num_draft_tokens_total"),
    counter("vllm:spec_decode_num_accepted_tokens_total"),
    counter("vllm:spec_decode_num_accepted_tokens_per_pos_total").labels(&[
        "model_name",
        "engine",
        "position",
    ]),
    // KV transfer between prefill and decode, when it is on.
    histogram("vllm:nixl_xfer_time_seconds"),
    histogram("vllm:nixl_post_time_seconds"),
    histogram("vllm:nixl_bytes_transferred"),
    histogram("vllm:nixl_num_descriptors"),
    counter("vllm:nixl_num_failed_transfers_total"),
    counter("vllm:nixl_num_failed_notifications_total"),
    counter("vllm:nixl_num_kv_expired_reqs_total"),
    // The production-stack router.
    router("vllm:current_qps"),
    router("vllm:avg_decoding_length"),
    router("vllm:num_prefill_requests").tells(Signal::Running),
    router("vllm:num_decoding_requests").tells(Signal::Running),
    router("vllm:healthy_pods_total"),
    router("vllm:avg_latency").tells(Signal::E2e),
    router("vllm:avg_itl").tells(Signal::Itl),
    counter("vllm:num_incoming_requests_total")
        .tells(Signal::Arrived)
        .labels(&["model"])
        .by(Writer::Frontend),
    counter("vllm:input_tokens_total").labels(ROUTER_MODEL).by(Writer::Frontend),
    counter("vllm:output_tokens_total").labels(ROUTER_MODEL).by(Writer::Frontend),
    counter("vllm:request_errors_total")
        .tells(Signal::Failed)
        .labels(&["server", "model", "error_type"])
        .by(Writer::Frontend),
    // Renamed.
    gauge("vllm:gpu_cache_usage_perc").tells(Signal::KvUse).fraction().renamed("vllm:kv_cache_usage_perc"),
    counter("vllm:gpu_prefix_cache_queries_total")
        .tells(Signal::PrefixQueries)
        .renamed("vllm:prefix_cache_queries_total"),
    counter("vllm:gpu_prefix_cache_hits_total")
        .tells(Signal::PrefixHits)
        .renamed("vllm:prefix_cache_hits_total"),
    histogram("vllm:time_per_output_token_seconds")
        .tells(Signal::Itl)
        .renamed("vllm:inter_token_latency_seconds"),
    histogram("vllm:time_in_queue_requests")
        .tells(Signal::QueueTime)
        .renamed("vllm:request_queue_time_seconds"),
    // Gone with the V0 engine.
    gauge("vllm:gpu_prefix_cache_hit_rate").tells(Signal::PrefixHits).fraction().removed("0.11", HIT_RATE),
    gauge("vllm:cpu_prefix_cache_hit_rate").tells(Signal::PrefixHits).fraction().removed("0.11", HIT_RATE),
    gauge("vllm:cpu_cache_usage_perc").fraction().removed("0.11", NO_SWAP),
    gauge("vllm:num_requests_swapped").removed("0.11", NO_SWAP),
    gauge("vllm:avg_prompt_throughput_toks_per_s")
        .tells(Signal::PromptTokens)
        .removed("0.11", "rate(vllm:prompt_tokens_total[1m])"),
    gauge("vllm:avg_generation_throughput_toks_per_s")
        .tells(Signal::OutputTokens)
        .removed("0.11", "rate(vllm:generation_tokens_total[1m])"),
    counter("vllm:tokens_total").removed("0.11", "vllm:prompt_tokens_total + vllm:generation_tokens_total"),
    histogram("vllm:model_forward_time_milliseconds").removed("0.11", "vllm:request_inference_time_seconds"),
    histogram("vllm:model_execute_time_milliseconds").removed("0.11", "vllm:request_inference_time_seconds"),
    histogram("vllm:request_params_best_of").removed("0.11", "the best_of parameter itself is gone"),
    gauge("vllm:spec_decode_draft_acceptance_rate").fraction().removed("0.11", ACCEPTED_SHARE),
    gauge("vllm:spec_decode_efficiency").fraction().removed("0.11", ACCEPTED_LENGTH),
];

const CACHE_CONFIG: &[&str] = &[
    "_block_size_resolved",
    "block_size",
    "cache_dtype",
    "cache_hit_alignment_tokens",
    "effective_attention_block_size",
    "enable_mamba_shared_prefix_checkpoint",
    "enable_prefix_caching",
    "engine",
    "gpu_memory_utilization",
    "hash_block_size",
    "is_attention_free",
    "kv_cache_dtype_skip_layers",
    "kv_cache_layout",
    "kv_cache_max_concurrency",
    "kv_cache_memory_bytes",
    "kv_cache_size_tokens",
    "kv_offloading_backend",
    "kv_offloading_size",
    "kv_sharing_fast_prefill",
    "mamba_block_size",
    "mamba_cache_dtype",
    "mamba_cache_mode",
    "mamba_page_size_padded",
    "mamba_ssm_cache_dtype",
    "num_cpu_blocks",
    "num_gpu_blocks",
    "num_gpu_blocks_override",
    "prefix_cache_retention_interval",
    "prefix_caching_hash_algo",
    "prefix_match_unit",
    "replayssm_buffer_len",
    "skip_page_size_padded",
    "sliding_window",
    "swa_bounded_replay",
    "use_kda_recoverssm",
    "use_replayssm",
    "user_specified_block_size",
];
