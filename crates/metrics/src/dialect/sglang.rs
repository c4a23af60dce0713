//! SGLang, started with `--enable-metrics`.
//!
//! The scheduler's metrics carry ranks, the tokenizer's do not; `--extra-metric-labels` can add more.

use super::{Engine, Kind, Metric, Signal};

const SCHEDULER: &[&str] =
    &["model_name", "engine_type", "tp_rank", "pp_rank", "dp_rank", "moe_ep_rank", "priority", "pid"];
const TOKENIZER: &[&str] = &["model_name", "engine_type", "priority"];

const fn counter(name: &'static str) -> Metric {
    Metric::new(Engine::Sglang, name, Kind::Counter, SCHEDULER)
}

const fn gauge(name: &'static str) -> Metric {
    Metric::new(Engine::Sglang, name, Kind::Gauge, SCHEDULER)
}

const fn histogram(name: &'static str) -> Metric {
    Metric::new(Engine::Sglang, name, Kind::Histogram, SCHEDULER)
}

const fn request_counter(name: &'static str) -> Metric {
    Metric::new(Engine::Sglang, name, Kind::Counter, TOKENIZER)
}

const fn request_histogram(name: &'static str) -> Metric {
    Metric::new(Engine::Sglang, name, Kind::Histogram, TOKENIZER)
}

const ROLE_QUEUE: &str = "a queue of one role of a prefill/decode split: it counts as waiting for that role";

pub(super) const METRICS: &[Metric] = &[
    // The scheduler.
    gauge("sglang:num_queue_reqs").tells(Signal::Waiting),
    gauge("sglang:num_grammar_queue_reqs").tells(Signal::Waiting),
    gauge("sglang:num_running_reqs")
        .tells(Signal::Running)
        .capped()
        .note("never above --max-running-requests"),
    gauge("sglang:num_running_reqs_offline_batch").tells(Signal::Running).capped(),
    gauge("sglang:num_paused_reqs"),
    gauge("sglang:token_usage").tells(Signal::KvUse).fraction(),
    gauge("sglang:full_token_usage")
        .tells(Signal::KvUse)
        .fraction()
        .note("hybrid models: take the largest of the usages"),
    gauge("sglang:swa_token_usage")
        .tells(Signal::KvUse)
        .fraction()
        .note("hybrid models: take the largest of the usages"),
    gauge("sglang:mamba_usage")
        .tells(Signal::KvUse)
        .fraction()
        .note("hybrid models: take the largest of the usages"),
    gauge("sglang:pending_prealloc_token_usage").fraction(),
    gauge("sglang:num_used_tokens").tells(Signal::KvUse),
    gauge("sglang:kv_used_tokens").tells(Signal::KvUse),
    gauge("sglang:kv_available_tokens"),
    gauge("sglang:kv_evictable_tokens"),
    gauge("sglang:max_total_num_tokens").tells(Signal::KvCapacity),
    gauge("sglang:decode_sum_seq_lens"),
    gauge("sglang:gen_throughput").tells(Signal::OutputTokens),
    gauge("sglang:cache_hit_rate").tells(Signal::PrefixHits).fraction(),
    gauge("sglang:new_token_ratio"),
    gauge("sglang:utilization"),
    gauge("sglang:max_running_requests_under_SLO"),
    gauge("sglang:num_retracted_reqs")
        .tells(Signal::Preempted)
        .note("sglang:num_retracted_requests_total counts them all"),
    counter("sglang:num_retracted_requests_total").tells(Signal::Preempted),
    counter("sglang:num_retracted_input_tokens_total"),
    counter("sglang:num_retracted_output_tokens_total"),
    gauge("sglang:cache_config_info").tells(Signal::KvCapacity).labels(&["page_size", "num_pages"]),
    // Start-up.
    gauge("sglang:engine_startup_time").tells(Signal::Startup),
    gauge("sglang:engine_load_weights_time").tells(Signal::Startup),
    gauge("sglang:weight_load_duration_seconds").tells(Signal::Startup).labels(&[
        "model_name",
        "source",
        "tp_rank",
        "pp_rank",
    ]),
    // Prefill/decode split.
    gauge("sglang:num_prefill_prealloc_queue_reqs").tells(Signal::Waiting).note(ROLE_QUEUE),
    gauge("sglang:num_prefill_bootstrap_queue_reqs").tells(Signal::Waiting).note(ROLE_QUEUE),
    gauge("sglang:num_prefill_inflight_queue_reqs").tells(Signal::Waiting).note(ROLE_QUEUE),
    gauge("sglang:num_decode_prealloc_queue_reqs").tells(Signal::Waiting).note(ROLE_QUEUE),
    gauge("sglang:num_decode_transfer_queue_reqs").tells(Signal::Waiting).note(ROLE_QUEUE),
    counter("sglang:num_bootstrap_failed_reqs_total").tells(Signal::Failed),
    counter("sglang:num_transfer_failed_reqs_total").tells(Signal::Failed),
    counter("sglang:num_prefill_retries_total"),
    gauge("sglang:kv_transfer_speed_gb_s"),
    gauge("sglang:kv_transfer_latency_ms").note("a histogram in the newest releases"),
    gauge("sglang:kv_transfer_bootstrap_ms"),
    gauge("sglang:kv_transfer_alloc_ms"),
    gauge("sglang:kv_transfer_total_mb"),
    // Speculative decoding, CUDA graphs, LoRA.
    gauge("sglang:spec_accept_length"),
    gauge("sglang:spec_accept_rate").fraction(),
    gauge("sglang:is_cuda_graph").fraction(),
    counter("sglang:cuda_graph_passes_total").labels(&[
        "model_name",
        "engine_type",
        "tp_rank",
        "pp_rank",
        "dp_rank",
        "mode",
    ]),
    gauge("sglang:lora_pool_slots_used"),
    gauge("sglang:lora_pool_slots_total").note("a gauge, in spite of the name"),
    gauge("sglang:lora_pool_utilization").fraction(),
    gauge("sglang:num_unique_running_routing_keys"),
    gauge("sglang:routing_key_running_req_count").labels(ROUTING_KEYS),
    gauge("sglang:routing_key_all_req_count").labels(ROUTING_KEYS),
    counter("sglang:realtime_tokens_total").labels(&[
        "model_name",
        "engine_type",
        "tp_rank",
        "pp_rank",
        "dp_rank",
        "mode",
    ]),
    counter("sglang:gpu_execution_seconds_total").tells(Signal::GpuUse).labels(&[
        "model_name",
        "engine_type",
        "tp_rank",
        "pp_rank",
        "dp_rank",
        "category",
    ]),
    // Waiting and grammar, as histograms.
    histogram("sglang:queue_time_seconds").tells(Signal::QueueTime),
    histogram("sglang:per_stage_req_latency_seconds").labels(&[
        "model_name",
        "engine_type",
        "tp_rank",
        "pp_rank",
        "dp_rank",
        "moe_ep_rank",
        "priority",
        "stage",
    ]),
    histogram("sglang:grammar_compilation_time_seconds"),
    histogram("sglang:grammar_schema_count"),
    histogram("sglang:grammar_ebnf_size"),
    histogram("sglang:grammar_tree_traversal_time_avg"),
    histogram("sglang:grammar_tree_traversal_time_max"),
    counter("sglang:num_grammar_cache_hit_total"),
    counter("sglang:num_grammar_aborted_total"),
    counter("sglang:num_grammar_timeout_total"),
    counter("sglang:num_grammar_total"),
    histogram("sglang:prefill_delayer_wait_forward_passes"),
    histogram("sglang:prefill_delayer_wait_seconds"),
    // Hierarchical cache.
    counter("sglang:prefetched_tokens_total"),
    counter("sglang:backuped_tokens_total"),
    counter("sglang:evicted_tokens_total"),
    counter("sglang:load_back_tokens_total"),
    histogram("sglang:eviction_duration_seconds"),
    histogram("sglang:load_back_duration_seconds"),
    histogram("sglang:prefetch_pgs"),
    histogram("sglang:backup_pgs"),
    histogram("sglang:prefetch_bandwidth"),
    histogram("sglang:backup_bandwidth"),
    // The tokenizer: requests and tokens.
    request_counter("sglang:prompt_tokens_total").tells(Signal::PromptTokens),
    request_counter("sglang:generation_tokens_total").tells(Signal::OutputTokens),
    request_counter("sglang:cached_tokens_total").tells(Signal::PrefixHits).labels(&[
        "model_name",
        "engine_type",
        "priority",
        "cache_source",
    ]),
    request_counter("sglang:num_requests_total").tells(Signal::Finished),
    request_counter("sglang:num_so_requests_total"),
    request_counter("sglang:num_aborted_requests_total").tells(Signal::Failed),
    request_histogram("sglang:prompt_tokens_histogram").tells(Signal::PromptTokens),
    request_histogram("sglang:generation_tokens_histogram").tells(Signal::OutputTokens),
    request_histogram("sglang:time_to_first_token_seconds").tells(Signal::Ttft),
    request_histogram("sglang:inter_token_latency_seconds").tells(Signal::Itl),
    request_histogram("sglang:e2e_request_latency_seconds").tells(Signal::E2e),
    request_histogram("sglang:num_retractions").tells(Signal::Preempted),
    // Renamed.
    request_histogram("sglang:time_per_output_token_seconds")
        .tells(Signal::Itl)
        .renamed("sglang:inter_token_latency_seconds"),
    request_histogram("sglang:inter_token_latency")
        .tells(Signal::Itl)
        .renamed("sglang:inter_token_latency_seconds"),
];

const ROUTING_KEYS: &[&str] = &["model_name", "engine_type", "tp_rank", "pp_rank", "dp_rank", "gt", "le"];
