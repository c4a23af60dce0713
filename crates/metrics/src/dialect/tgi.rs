//! Hugging Face text-generation-inference: the complete list. It writes no model label, and no
//! metric of its KV cache; `tgi_batch_current_max_tokens / tgi_batch_max_total_tokens` comes nearest,
//! and is pessimistic because it counts reserved tokens.

use super::{Engine, Kind, Metric, Signal};

const NONE: &[&str] = &[];
const METHOD: &[&str] = &["method"];

const fn counter(name: &'static str) -> Metric {
    Metric::new(Engine::Tgi, name, Kind::Counter, NONE)
}

const fn gauge(name: &'static str) -> Metric {
    Metric::new(Engine::Tgi, name, Kind::Gauge, NONE)
}

const fn histogram(name: &'static str) -> Metric {
    Metric::new(Engine::Tgi, name, Kind::Histogram, NONE)
}

pub(super) const METRICS: &[Metric] = &[
    gauge("tgi_queue_size").tells(Signal::Waiting),
    gauge("tgi_batch_current_size")
        .tells(Signal::Running)
        .capped()
        .note("capped by the batch's token budget"),
    gauge("tgi_batch_current_max_tokens").tells(Signal::KvUse).note("tokens reserved, not used"),
    gauge("tgi_batch_total_tokens").tells(Signal::KvUse),
    gauge("tgi_batch_max_total_tokens").tells(Signal::KvCapacity),
    counter("tgi_request_count").tells(Signal::Arrived),
    counter("tgi_request_success").tells(Signal::Finished),
    counter("tgi_request_failure").tells(Signal::Failed).labels(&["err"]),
    counter("tgi_batch_inference_count").labels(METHOD),
    counter("tgi_batch_inference_success").labels(METHOD),
    counter("tgi_batch_inference_failure").labels(METHOD),
    counter("tgi_batch_concat").labels(&["reason"]),
    histogram("tgi_request_duration").tells(Signal::E2e),
    histogram("tgi_request_validation_duration"),
    histogram("tgi_request_queue_duration").tells(Signal::QueueTime),
    histogram("tgi_request_inference_duration"),
    histogram("tgi_request_mean_time_per_token_duration").tells(Signal::Itl),
    histogram("tgi_request_generated_tokens").tells(Signal::OutputTokens),
    histogram("tgi_request_max_new_tokens"),
    histogram("tgi_request_input_length").tells(Signal::PromptTokens),
    histogram("tgi_request_skipped_tokens"),
    histogram("tgi_batch_inference_duration").labels(METHOD),
    histogram("tgi_batch_forward_duration").labels(METHOD),
    histogram("tgi_batch_decode_duration").labels(METHOD),
    histogram("tgi_batch_filter_duration").labels(METHOD),
    histogram("tgi_batch_concat_duration").labels(METHOD),
    histogram("tgi_batch_next_size"),
];
