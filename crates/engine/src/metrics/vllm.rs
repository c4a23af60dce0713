//! `/metrics` as vLLM 0.32 writes it, V1 engine: the same families, types, labels and order. Series of the
//! Python process itself are left out.

use super::View;
use super::exposition::{Exposition, Label, Style};
use super::recorder::{Histogram, Recorder};

pub(super) fn render(view: &View<'_>) -> String {
    let created_us = Some(view.recorder.about.created_us);
    let mut out = Exposition::new(Style::Python { created_us });
    let model = view.recorder.about.model.as_str();
    let mut page = Page { out: &mut out, labels: [("engine", "0"), ("model_name", model)] };
    flops(&mut page);
    queues(&mut page, view);
    caches(&mut page, view);
    tokens(&mut page, view);
    ends(&mut page, view.recorder);
    lengths(&mut page, view.recorder);
    times(&mut page, view.recorder);
    cache_config(&mut page, view.recorder);
    view.recorder.http.render(&mut out);
    out.done()
}

/// The text, and the two labels every series carries.
struct Page<'a> {
    out: &'a mut Exposition,
    labels: [Label<'a>; 2],
}

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.out.gauge(name, help, &self.labels, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.out.counter(name, help, &self.labels, value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.out.histogram(name, help, &self.labels, histogram);
    }

    fn gauges_by(&mut self, name: &str, help: &str, label: &str, values: &[(&str, f64)]) {
        self.out.head(name, "gauge", help);
        for (of, value) in values {
            self.out.sample(name, &with(self.labels, label, of), *value);
        }
    }

    fn counters_by(&mut self, name: &str, help: &str, label: &str, values: &[(&str, f64)]) {
        let rows: Vec<([Label<'_>; 3], f64)> =
            values.iter().map(|(of, value)| (with(self.labels, label, of), *value)).collect();
        let rows: Vec<(&[Label<'_>], f64)> =
            rows.iter().map(|(labels, value)| (&labels[..], *value)).collect();
        self.out.counters(name, help, &rows);
    }
}

/// The common labels and one more, in alphabetical order.
fn with<'a>(common: [Label<'a>; 2], label: &'a str, value: &'a str) -> [Label<'a>; 3] {
    let mut labels = [common[0], common[1], (label, value)];
    labels.sort_unstable();
    labels
}

fn flops(page: &mut Page<'_>) {
    page.counter(
        "vllm:estimated_flops_per_gpu",
        "Estimated number of floating point operations per GPU (for Model Flops Utilization calculations).",
        0.0,
    );
    page.counter(
        "vllm:estimated_read_bytes_per_gpu",
        "Estimated number of bytes read from memory per GPU (for Model Flops Utilization calculations).",
        0.0,
    );
    page.counter(
        "vllm:estimated_write_bytes_per_gpu",
        "Estimated number of bytes written to memory per GPU (for Model Flops Utilization calculations).",
        0.0,
    );
}

fn queues(page: &mut Page<'_>, view: &View<'_>) {
    let waiting = f64::from(view.stats.waiting);
    page.gauge(
        "vllm:num_requests_running",
        "Number of requests in model execution batches.",
        f64::from(view.stats.running),
    );
    page.gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.", waiting);
    page.gauges_by(
        "vllm:num_requests_waiting_by_reason",
        "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; \
         'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked status). Sum of all \
         reasons equals vllm:num_requests_waiting.",
        "reason",
        &[("capacity", waiting), ("deferred", 0.0)],
    );
    page.gauges_by(
        "vllm:engine_sleep_state",
        "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; \
         weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.",
        "sleep_state",
        &[("awake", 1.0), ("weights_offloaded", 0.0), ("discard_all", 0.0)],
    );
    page.gauge(
        "vllm:kv_cache_usage_perc",
        "KV-cache usage. 1 means 100 percent usage.",
        view.stats.kv_blocks_used as f64 / view.stats.kv_blocks_total as f64,
    );
}

fn caches(page: &mut Page<'_>, view: &View<'_>) {
    page.counter(
        "vllm:prefix_cache_queries",
        "Prefix cache queries, in terms of number of queried tokens.",
        view.stats.prefix_queries_tokens as f64,
    );
    page.counter(
        "vllm:prefix_cache_hits",
        "Prefix cache hits, in terms of number of cached tokens.",
        view.stats.prefix_hits_tokens as f64,
    );
    page.counter(
        "vllm:external_prefix_cache_queries",
        "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of \
         queried tokens.",
        0.0,
    );
    page.counter(
        "vllm:external_prefix_cache_hits",
        "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of \
         cached tokens.",
        0.0,
    );
    page.counter(
        "vllm:mm_cache_queries",
        "Multi-modal cache queries, in terms of number of queried items.",
        0.0,
    );
    page.counter("vllm:mm_cache_hits", "Multi-modal cache hits, in terms of number of cached items.", 0.0);
    page.counter(
        "vllm:num_preemptions",
        "Cumulative number of preemption from the engine.",
        view.stats.preemptions as f64,
    );
}

fn tokens(page: &mut Page<'_>, view: &View<'_>) {
    let prompt = view.stats.prompt_tokens as f64;
    let cached = view.stats.prefix_hits_tokens as f64;
    page.counter("vllm:prompt_tokens", "Number of prefill tokens processed.", prompt);
    page.counters_by(
        "vllm:prompt_tokens_by_source",
        "Number of prompt tokens by source.",
        "source",
        // Hits count at admission, prompts at the end of their prefill: never below zero in between.
        &[
            ("local_compute", (prompt - cached).max(0.0)),
            ("local_cache_hit", cached),
            ("external_kv_transfer", 0.0),
        ],
    );
    page.counter("vllm:prompt_tokens_cached", "Number of cached prompt tokens (local + external).", cached);
    page.counters_by(
        "vllm:prompt_tokens_cached_by_source",
        "Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host (offloaded to \
         DRAM), disk, p2p (transferred from another vLLM instance) or external_unspecified. Counted at \
         admission; sums to vllm:prefix_cache_hits + vllm:external_prefix_cache_hits.",
        "source",
        &[("device", cached), ("host", 0.0), ("p2p", 0.0), ("disk", 0.0), ("external_unspecified", 0.0)],
    );
    page.counter(
        "vllm:generation_tokens",
        "Number of generation tokens processed.",
        view.stats.generation_tokens as f64,
    );
}

fn ends(page: &mut Page<'_>, recorder: &Recorder) {
    page.counters_by(
        "vllm:request_success",
        "Count of successfully processed requests.",
        "finished_reason",
        &[
            ("stop", recorder.stopped as f64),
            ("length", recorder.cut as f64),
            ("abort", recorder.aborted as f64),
            ("error", 0.0),
            ("repetition", 0.0),
        ],
    );
    let model = page.labels[1];
    page.out.counters(
        "vllm:admission_rejections",
        "Number of admission attempts rejected by a queue limit, by reason.",
        &[
            (&[model, ("reason", "max_num_queued_reqs")], 0.0),
            (&[model, ("reason", "max_num_queued_tokens")], 0.0),
        ],
    );
}

fn lengths(page: &mut Page<'_>, recorder: &Recorder) {
    page.histogram(
        "vllm:request_prompt_tokens",
        "Number of prefill tokens processed.",
        &recorder.prompt_tokens,
    );
    page.histogram(
        "vllm:request_generation_tokens",
        "Number of generation tokens processed.",
        &recorder.generation_tokens,
    );
    page.histogram(
        "vllm:iteration_tokens_total",
        "Histogram of number of tokens per engine_step.",
        &recorder.iteration_tokens,
    );
    page.histogram(
        "vllm:request_max_num_generation_tokens",
        "Histogram of maximum number of requested generation tokens.",
        &recorder.generation_tokens,
    );
    page.histogram("vllm:request_params_n", "Histogram of the n request parameter.", &recorder.params_n);
    page.histogram(
        "vllm:request_params_max_tokens",
        "Histogram of the max_tokens request parameter.",
        &recorder.max_tokens,
    );
}

fn times(page: &mut Page<'_>, recorder: &Recorder) {
    let families = [
        ("time_to_first_token", "Histogram of time to first token in seconds.", &recorder.first_token),
        ("inter_token_latency", "Histogram of inter-token latency in seconds.", &recorder.between_tokens),
        (
            "request_time_per_output_token",
            "Histogram of time_per_output_token_seconds per request.",
            &recorder.per_output_token,
        ),
        ("e2e_request_latency", "Histogram of e2e request latency in seconds.", &recorder.whole),
        ("request_queue_time", "Histogram of time spent in WAITING phase for request.", &recorder.queue),
        (
            "request_inference_time",
            "Histogram of time spent in RUNNING phase for request.",
            &recorder.inference,
        ),
        ("request_prefill_time", "Histogram of time spent in PREFILL phase for request.", &recorder.prefill),
        ("request_decode_time", "Histogram of time spent in DECODE phase for request.", &recorder.decode),
    ];
    for (name, help, histogram) in families {
        page.histogram(&format!("vllm:{name}_seconds"), help, histogram);
    }
    page.histogram(
        "vllm:request_num_preemptions",
        "Histogram of the number of times a request was preempted.",
        &recorder.request_preemptions,
    );
    page.histogram(
        "vllm:request_prefill_kv_computed_tokens",
        "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
        &recorder.computed_tokens,
    );
}

fn cache_config(page: &mut Page<'_>, recorder: &Recorder) {
    let profile = &recorder.about.profile;
    let block_size = profile.block_tokens.to_string();
    let blocks = profile.kv_blocks().to_string();
    let tokens = (profile.kv_blocks() * u64::from(profile.block_tokens)).to_string();
    let concurrency = format!("{:?}", profile.kv_tokens as f64 / f64::from(profile.max_model_len));
    let caching = if profile.prefix_caching { "True" } else { "False" };
    let labels = [
        ("_block_size_resolved", "True"),
        ("block_size", &block_size),
        ("cache_dtype", "auto"),
        ("cache_hit_alignment_tokens", "None"),
        ("effective_attention_block_size", &block_size),
        ("enable_mamba_shared_prefix_checkpoint", "False"),
        ("enable_prefix_caching", caching),
        ("engine", "0"),
        ("gpu_memory_utilization", "0.9"),
        ("hash_block_size", "None"),
        ("is_attention_free", "False"),
        ("kv_cache_dtype_skip_layers", "[]"),
        ("kv_cache_layout", "None"),
        ("kv_cache_max_concurrency", &concurrency),
        ("kv_cache_memory_bytes", "None"),
        ("kv_cache_size_tokens", &tokens),
        ("kv_offloading_backend", "native"),
        ("kv_offloading_size", "None"),
        ("kv_sharing_fast_prefill", "False"),
        ("mamba_block_size", "None"),
        ("mamba_cache_dtype", "auto"),
        ("mamba_cache_mode", "none"),
        ("mamba_page_size_padded", "None"),
        ("mamba_ssm_cache_dtype", "float32"),
        ("num_cpu_blocks", "None"),
        ("num_gpu_blocks", &blocks),
        ("num_gpu_blocks_override", "None"),
        ("prefix_cache_retention_interval", "0"),
        ("prefix_caching_hash_algo", "sha256"),
        ("prefix_match_unit", "None"),
        ("replayssm_buffer_len", "16"),
        ("skip_page_size_padded", "None"),
        ("sliding_window", "None"),
        ("swa_bounded_replay", "True"),
        ("use_kda_recoverssm", "False"),
        ("use_replayssm", "False"),
        ("user_specified_block_size", "False"),
    ];
    page.out.gauge("vllm:cache_config_info", "Information of the LLMEngine CacheConfig", &labels, 1.0);
}
