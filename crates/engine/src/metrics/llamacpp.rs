//! `/metrics` as llama.cpp's server writes it: no labels, six digits, a high-water mark typed as counter.

use super::View;
use super::exposition::{Exposition, Style};

pub(super) fn render(view: &View<'_>) -> String {
    let (recorder, stats) = (view.recorder, view.stats);
    let prompt = stats.prompt_tokens.saturating_sub(stats.prefix_hits_tokens) as f64;
    let prompt_s = stats.prefill_us as f64 / 1e6;
    let predicted = stats.generation_tokens as f64;
    let predicted_s = stats.decode_us as f64 / 1e6;
    let rate = |tokens: f64, seconds: f64| if seconds > 0.0 { tokens / seconds } else { 0.0 };
    let busy = rate(recorder.sequence_iterations as f64, stats.iterations as f64);
    let counters = [
        ("prompt_tokens_total", "Number of prompt tokens processed, excluding cached tokens", prompt),
        (
            "prompt_tokens_cached_total",
            "Number of prompt tokens reused from the cache",
            stats.prefix_hits_tokens as f64,
        ),
        ("prompt_seconds_total", "Total time spent processing prompts", prompt_s),
        ("tokens_predicted_total", "Number of generation tokens processed", predicted),
        ("tokens_predicted_seconds_total", "Total time spent generating tokens", predicted_s),
        (
            "n_decode_total",
            "Total number of llama_decode() calls, excluding speculative decoding and multimodal decoding",
            stats.iterations as f64,
        ),
        (
            "n_tokens_max",
            "Largest observed sequence length (prompt + generation)",
            recorder.longest_tokens as f64,
        ),
        ("spec_decode_num_draft_tokens_total", "Speculative: Total draft tokens generated", 0.0),
        (
            "spec_decode_num_accepted_tokens_total",
            "Speculative: Total draft tokens accepted by the target model",
            0.0,
        ),
        ("spec_decode_num_drafts_total", "Speculative: Total speculative decoding verification steps", 0.0),
    ];
    let gauges = [
        ("prompt_tokens_seconds", "Average prompt throughput in tokens/s", rate(prompt, prompt_s)),
        (
            "predicted_tokens_seconds",
            "Average generation throughput in tokens/s",
            rate(predicted, predicted_s),
        ),
        ("requests_processing", "Number of requests processing", f64::from(stats.running)),
        ("requests_deferred", "Number of requests deferred", f64::from(stats.waiting)),
        ("n_busy_slots_per_decode", "Average number of busy slots per llama_decode() call", busy),
    ];
    let mut out = Exposition::new(Style::Cpp);
    for (name, help, value) in counters {
        out.counter(&format!("llamacpp:{name}"), help, &[], value);
    }
    for (name, help, value) in gauges {
        out.gauge(&format!("llamacpp:{name}"), help, &[], value);
    }
    out.done()
}
