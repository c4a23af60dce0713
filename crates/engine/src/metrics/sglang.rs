//! `/metrics` as SGLang writes it with `--enable-metrics`: the scheduler's series carry ranks, the
//! tokenizer's do not.

use super::View;
use super::exposition::{Exposition, Label, Style};

pub(super) fn render(view: &View<'_>) -> String {
    // With several processes Python's library writes no `_created` series, and SGLang has several.
    let mut out = Exposition::new(Style::Python { created_us: None });
    let model = view.recorder.about.model.as_str();
    let scheduler = [
        ("engine_type", "unified"),
        ("model_name", model),
        ("moe_ep_rank", "0"),
        ("pp_rank", "0"),
        ("tp_rank", "0"),
    ];
    gauges(&mut out, view, &scheduler);
    start(&mut out, view, &scheduler);
    requests(&mut out, view, &[("engine_type", "unified"), ("model_name", model)]);
    out.histogram(
        "sglang:queue_time_seconds",
        "Histogram of queueing time in seconds.",
        &scheduler,
        &view.recorder.queue,
    );
    out.done()
}

fn gauges(out: &mut Exposition, view: &View<'_>, labels: &[Label<'_>]) {
    let (recorder, stats) = (view.recorder, view.stats);
    let block = f64::from(recorder.about.profile.block_tokens);
    let used = stats.kv_blocks_used as f64 * block;
    let total = stats.kv_blocks_total as f64 * block;
    let remembered = stats.kv_blocks_remembered as f64 * block;
    let hits = if stats.prefix_queries_tokens > 0 {
        stats.prefix_hits_tokens as f64 / stats.prefix_queries_tokens as f64
    } else {
        0.0
    };
    let rate = if stats.running > 0 { recorder.last_rate } else { 0.0 };
    let rows = [
        ("num_running_reqs", "The number of running requests.", f64::from(stats.running)),
        ("num_used_tokens", "The number of used tokens.", used),
        ("token_usage", "The token usage.", used / total),
        ("kv_used_tokens", "The number of tokens in use in the KV cache.", used),
        ("kv_available_tokens", "The number of free tokens in the KV cache.", total - used - remembered),
        ("kv_evictable_tokens", "The number of cached tokens that nobody uses.", remembered),
        ("max_total_num_tokens", "The number of tokens the KV cache holds.", total),
        ("gen_throughput", "The generation throughput (token/s).", rate),
        ("num_queue_reqs", "The number of requests in the waiting queue.", f64::from(stats.waiting)),
        ("num_grammar_queue_reqs", "The number of requests in the grammar waiting queue.", 0.0),
        ("num_paused_reqs", "The number of paused requests.", 0.0),
        ("cache_hit_rate", "The prefix cache hit rate.", hits),
    ];
    for (name, help, value) in rows {
        out.gauge(&format!("sglang:{name}"), help, labels, value);
    }
    out.counter(
        "sglang:num_retracted_requests",
        "Number of requests retracted for lack of KV cache.",
        labels,
        stats.preemptions as f64,
    );
}

fn start(out: &mut Exposition, view: &View<'_>, labels: &[Label<'_>]) {
    let about = &view.recorder.about;
    out.gauge(
        "sglang:engine_startup_time",
        "The time taken for the engine to start up.",
        labels,
        about.start_s,
    );
    out.gauge(
        "sglang:engine_load_weights_time",
        "The time taken for the engine to load weights.",
        labels,
        about.load_s,
    );
}

fn requests(out: &mut Exposition, view: &View<'_>, labels: &[Label<'_>]) {
    let recorder = view.recorder;
    let ended = recorder.stopped + recorder.cut;
    let counters = [
        ("prompt_tokens", "Number of prefill tokens processed.", recorder.ended_prompt_tokens),
        ("generation_tokens", "Number of generation tokens processed.", recorder.ended_output_tokens),
        ("num_requests", "Number of requests processed.", ended),
        ("num_aborted_requests", "Number of requests aborted.", recorder.aborted),
    ];
    for (name, help, value) in counters {
        out.counter(&format!("sglang:{name}"), help, labels, value as f64);
    }
    let mut cached = labels.to_vec();
    cached.push(("cache_source", "device"));
    cached.sort_unstable();
    out.counter(
        "sglang:cached_tokens",
        "Number of cached prompt tokens.",
        &cached,
        recorder.ended_cached_tokens as f64,
    );
    let histograms = [
        ("prompt_tokens_histogram", "Histogram of prompt token length.", &recorder.prompt_tokens),
        ("generation_tokens_histogram", "Histogram of generation token length.", &recorder.generation_tokens),
        (
            "time_to_first_token_seconds",
            "Histogram of time to first token in seconds.",
            &recorder.first_token,
        ),
        (
            "inter_token_latency_seconds",
            "Histogram of inter-token latency in seconds.",
            &recorder.between_tokens,
        ),
        (
            "e2e_request_latency_seconds",
            "Histogram of End-to-end request latency in seconds",
            &recorder.whole,
        ),
    ];
    for (name, help, histogram) in histograms {
        out.histogram(&format!("sglang:{name}"), help, labels, histogram);
    }
}
