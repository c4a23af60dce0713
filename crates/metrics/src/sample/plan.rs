//! Which metric of which engine fills which field.
//!
//! The dialect tables say what a metric *tells*; several may tell the same, and adding them would count
//! requests twice. Here one is chosen, with the older names behind it (`preference` 1, 2, …): the first
//! that is on the page wins.

use crate::dialect::Engine;

/// What a metric fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Waiting,
    Running,
    KvUse,
    /// Tokens in use; divided by the capacity where the engine gives no share.
    KvUsedTokens,
    KvCapacity,
    /// Blocks; times [`Field::KvBlockTokens`].
    KvBlocks,
    KvBlockTokens,
    /// vLLM's `cache_config_info`: the capacity is in the labels.
    KvConfig,
    PromptTokens,
    OutputTokens,
    Finished,
    Preempted,
    PrefixHits,
    PrefixQueries,
    Ttft,
    Itl,
    Queue,
}

impl Field {
    /// How many there are.
    pub(super) const COUNT: usize = Field::Queue as usize + 1;

    const fn is_histogram(self) -> bool {
        matches!(self, Field::Ttft | Field::Itl | Field::Queue)
    }

    /// Levels, of which copies may stand beside a total ([`super::take`]).
    pub(super) const fn is_level(self) -> bool {
        matches!(self, Field::Waiting | Field::Running | Field::KvUse | Field::KvUsedTokens)
    }
}

/// One metric that fills a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// On the wire; of a histogram, the part before `_bucket`.
    pub(super) name: &'static str,
    pub(super) field: Field,
    pub(super) preference: u8,
    /// Only series with this label.
    pub(super) only: Option<(&'static str, &'static str)>,
}

/// A name on the wire: the first entry it belongs to, and which series of it this is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) entry: usize,
    pub(super) series: Series,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Series {
    Whole,
    Bucket,
    Sum,
    Count,
}

/// Every name on the wire, with what it is.
pub(super) fn names(entries: &'static [Entry]) -> impl Iterator<Item = (String, Part)> {
    entries.iter().enumerate().flat_map(|(entry, metric)| {
        let series: &[(&str, Series)] = if metric.field.is_histogram() {
            &[("_bucket", Series::Bucket), ("_sum", Series::Sum), ("_count", Series::Count)]
        } else {
            &[("", Series::Whole)]
        };
        series.iter().map(move |(suffix, series)| {
            (format!("{}{suffix}", metric.name), Part { entry, series: *series })
        })
    })
}

const fn first(name: &'static str, field: Field) -> Entry {
    Entry { name, field, preference: 0, only: None }
}

const fn older(name: &'static str, field: Field) -> Entry {
    Entry { name, field, preference: 1, only: None }
}

const fn only(name: &'static str, label: &'static str, value: &'static str, field: Field) -> Entry {
    Entry { name, field, preference: 0, only: Some((label, value)) }
}

/// The metrics that are read of `engine`; entries with one name stand together.
pub(super) const fn entries(engine: Engine) -> &'static [Entry] {
    match engine {
        Engine::Vllm => VLLM,
        Engine::Sglang => SGLANG,
        Engine::Tgi => TGI,
        Engine::TensorRtLlm => TRTLLM,
        Engine::Triton => TRITON,
        Engine::LlamaCpp => LLAMACPP,
        Engine::Lmdeploy => LMDEPLOY,
        Engine::Dynamo => DYNAMO,
        Engine::Dcgm => &[],
    }
}

const VLLM: &[Entry] = &[
    first("vllm:num_requests_waiting", Field::Waiting),
    first("vllm:num_requests_running", Field::Running),
    first("vllm:kv_cache_usage_perc", Field::KvUse),
    older("vllm:gpu_cache_usage_perc", Field::KvUse),
    first("vllm:cache_config_info", Field::KvConfig),
    first("vllm:prompt_tokens_total", Field::PromptTokens),
    first("vllm:generation_tokens_total", Field::OutputTokens),
    first("vllm:request_success_total", Field::Finished),
    first("vllm:num_preemptions_total", Field::Preempted),
    first("vllm:prefix_cache_hits_total", Field::PrefixHits),
    older("vllm:gpu_prefix_cache_hits_total", Field::PrefixHits),
    first("vllm:prefix_cache_queries_total", Field::PrefixQueries),
    older("vllm:gpu_prefix_cache_queries_total", Field::PrefixQueries),
    first("vllm:time_to_first_token_seconds", Field::Ttft),
    first("vllm:inter_token_latency_seconds", Field::Itl),
    older("vllm:time_per_output_token_seconds", Field::Itl),
    first("vllm:request_queue_time_seconds", Field::Queue),
    older("vllm:time_in_queue_requests", Field::Queue),
];

/// A prefill/decode split has a queue a role; the worker of one role writes only its own, so they add.
const SGLANG: &[Entry] = &[
    first("sglang:num_queue_reqs", Field::Waiting),
    first("sglang:num_grammar_queue_reqs", Field::Waiting),
    first("sglang:num_prefill_prealloc_queue_reqs", Field::Waiting),
    first("sglang:num_prefill_bootstrap_queue_reqs", Field::Waiting),
    first("sglang:num_decode_prealloc_queue_reqs", Field::Waiting),
    first("sglang:num_running_reqs", Field::Running),
    first("sglang:token_usage", Field::KvUse),
    first("sglang:max_total_num_tokens", Field::KvCapacity),
    first("sglang:prompt_tokens_total", Field::PromptTokens),
    first("sglang:prompt_tokens_total", Field::PrefixQueries),
    first("sglang:generation_tokens_total", Field::OutputTokens),
    first("sglang:num_requests_total", Field::Finished),
    first("sglang:num_retracted_requests_total", Field::Preempted),
    first("sglang:cached_tokens_total", Field::PrefixHits),
    first("sglang:time_to_first_token_seconds", Field::Ttft),
    first("sglang:inter_token_latency_seconds", Field::Itl),
    older("sglang:inter_token_latency", Field::Itl),
    older("sglang:time_per_output_token_seconds", Field::Itl),
    first("sglang:queue_time_seconds", Field::Queue),
];

/// TGI reserves tokens for a request's whole life, so its share is of what is promised, not of what is used.
const TGI: &[Entry] = &[
    first("tgi_queue_size", Field::Waiting),
    first("tgi_batch_current_size", Field::Running),
    first("tgi_batch_current_max_tokens", Field::KvUsedTokens),
    first("tgi_batch_max_total_tokens", Field::KvCapacity),
    first("tgi_request_input_length_sum", Field::PromptTokens),
    first("tgi_request_generated_tokens_sum", Field::OutputTokens),
    first("tgi_request_success", Field::Finished),
    first("tgi_request_mean_time_per_token_duration", Field::Itl),
    first("tgi_request_queue_duration", Field::Queue),
];

const TRTLLM: &[Entry] = &[
    first("trtllm_num_requests_waiting", Field::Waiting),
    first("trtllm_num_requests_running", Field::Running),
    first("trtllm_kv_cache_utilization", Field::KvUse),
    first("trtllm_kv_cache_max_blocks", Field::KvBlocks),
    first("trtllm_kv_cache_tokens_per_block", Field::KvBlockTokens),
    first("trtllm_request_success_total", Field::Finished),
    first("trtllm_time_to_first_token_seconds", Field::Ttft),
    first("trtllm_time_per_output_token_seconds", Field::Itl),
    first("trtllm_request_queue_time_seconds", Field::Queue),
];

const TRITON: &[Entry] = &[
    only("nv_trt_llm_request_metrics", "request_type", "waiting", Field::Waiting),
    only("nv_trt_llm_request_metrics", "request_type", "active", Field::Running),
    only("nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type", "fraction", Field::KvUse),
    only("nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type", "max", Field::KvBlocks),
    only("nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type", "tokens_per", Field::KvBlockTokens),
    first("nv_inference_request_success", Field::Finished),
];

const LLAMACPP: &[Entry] = &[
    first("llamacpp:requests_deferred", Field::Waiting),
    first("llamacpp:requests_processing", Field::Running),
    first("llamacpp:kv_cache_usage_ratio", Field::KvUse),
    first("llamacpp:prompt_tokens_total", Field::PromptTokens),
    first("llamacpp:tokens_predicted_total", Field::OutputTokens),
    first("llamacpp:prompt_tokens_cached_total", Field::PrefixHits),
];

const LMDEPLOY: &[Entry] = &[
    first("lmdeploy:num_requests_waiting", Field::Waiting),
    first("lmdeploy:num_requests_running", Field::Running),
    first("lmdeploy:gpu_cache_usage_perc", Field::KvUse),
    first("lmdeploy:prompt_tokens_total", Field::PromptTokens),
    first("lmdeploy:prompt_tokens_total", Field::PrefixQueries),
    first("lmdeploy:generation_tokens_total", Field::OutputTokens),
    first("lmdeploy:request_success_total", Field::Finished),
    first("lmdeploy:cached_tokens_total", Field::PrefixHits),
    first("lmdeploy:time_to_first_token_seconds", Field::Ttft),
    first("lmdeploy:time_per_output_token_seconds", Field::Itl),
    first("lmdeploy:request_queue_time_seconds", Field::Queue),
];

/// What a worker writes; the frontend's gauges are nobody's replica.
const DYNAMO: &[Entry] = &[
    first("dynamo_component_inflight_requests", Field::Running),
    first("dynamo_component_kvstats_gpu_cache_usage_percent", Field::KvUse),
    first("dynamo_component_requests_total", Field::Finished),
];
