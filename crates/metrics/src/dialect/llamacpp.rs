//! The llama.cpp server, started with `--metrics`. No labels at all: whoever needs the model's name
//! must get it from the scrape.

use super::{Engine, Kind, Metric, Signal};

const NONE: &[&str] = &[];

const fn counter(name: &'static str) -> Metric {
    Metric::new(Engine::LlamaCpp, name, Kind::Counter, NONE)
}

const fn gauge(name: &'static str) -> Metric {
    Metric::new(Engine::LlamaCpp, name, Kind::Gauge, NONE)
}

const SLOTS: &str = "per slot use is served by GET /slots; scale on llamacpp:requests_deferred";

pub(super) const METRICS: &[Metric] = &[
    gauge("llamacpp:requests_deferred").tells(Signal::Waiting),
    gauge("llamacpp:requests_processing").tells(Signal::Running).capped().note("never above --parallel"),
    gauge("llamacpp:n_busy_slots_per_decode").capped(),
    gauge("llamacpp:prompt_tokens_seconds")
        .note("tokens a second, in spite of the name; nan before the first request"),
    gauge("llamacpp:predicted_tokens_seconds")
        .tells(Signal::Itl)
        .note("tokens a second, in spite of the name; nan before the first request"),
    counter("llamacpp:prompt_tokens_total").tells(Signal::PromptTokens).note("without the cached ones"),
    counter("llamacpp:prompt_tokens_cached_total").tells(Signal::PrefixHits),
    counter("llamacpp:prompt_seconds_total").tells(Signal::PrefillTime),
    counter("llamacpp:tokens_predicted_total").tells(Signal::OutputTokens),
    counter("llamacpp:tokens_predicted_seconds_total").tells(Signal::DecodeTime),
    counter("llamacpp:n_decode_total"),
    counter("llamacpp:n_tokens_max").note("a high-water mark typed as a counter: do not take its rate"),
    counter("llamacpp:spec_decode_num_drafts_total"),
    counter("llamacpp:spec_decode_num_draft_tokens_total"),
    counter("llamacpp:spec_decode_num_accepted_tokens_total"),
    counter("llamacpp:n_past_max").renamed("llamacpp:n_tokens_max"),
    gauge("llamacpp:kv_cache_usage_ratio").tells(Signal::KvUse).fraction().removed("2025", SLOTS),
    gauge("llamacpp:kv_cache_tokens").tells(Signal::KvUse).removed("2025", SLOTS),
];
