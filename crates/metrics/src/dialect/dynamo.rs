//! NVIDIA Dynamo. The frontend stays while workers come and go, so its gauges can wake a target from
//! zero; the `dynamo_component_` ones go with the workers.

use super::{Engine, Kind, Metric, Signal, Writer};

const FRONTEND: &[&str] = &["model", "dynamo_namespace"];
const WORKER: &[&str] = &["dynamo_namespace", "dynamo_component", "dynamo_endpoint", "model", "worker_id"];

const fn frontend(name: &'static str, kind: Kind) -> Metric {
    Metric::new(Engine::Dynamo, name, kind, FRONTEND).by(Writer::Frontend)
}

const fn worker(name: &'static str, kind: Kind) -> Metric {
    Metric::new(Engine::Dynamo, name, kind, WORKER)
}

pub(super) const METRICS: &[Metric] = &[
    frontend("dynamo_frontend_queued_requests", Kind::Gauge)
        .tells(Signal::Waiting)
        .note("until the first token"),
    frontend("dynamo_frontend_inflight_requests", Kind::Gauge).tells(Signal::Running),
    frontend("dynamo_frontend_disconnected_clients", Kind::Gauge),
    frontend("dynamo_frontend_requests_total", Kind::Counter).tells(Signal::Finished).labels(&[
        "model",
        "endpoint",
        "request_type",
        "status",
    ]),
    frontend("dynamo_frontend_request_duration_seconds", Kind::Histogram).tells(Signal::E2e),
    frontend("dynamo_frontend_time_to_first_token_seconds", Kind::Histogram).tells(Signal::Ttft),
    frontend("dynamo_frontend_inter_token_latency_seconds", Kind::Histogram).tells(Signal::Itl),
    frontend("dynamo_frontend_input_sequence_tokens", Kind::Histogram).tells(Signal::PromptTokens),
    frontend("dynamo_frontend_output_sequence_tokens", Kind::Histogram).tells(Signal::OutputTokens),
    frontend("dynamo_frontend_output_tokens_total", Kind::Counter).tells(Signal::OutputTokens),
    frontend("dynamo_frontend_cached_tokens", Kind::Histogram).tells(Signal::PrefixHits),
    frontend("dynamo_frontend_model_total_kv_blocks", Kind::Gauge).tells(Signal::KvCapacity),
    frontend("dynamo_frontend_model_max_num_seqs", Kind::Gauge),
    frontend("dynamo_frontend_model_max_num_batched_tokens", Kind::Gauge),
    frontend("dynamo_frontend_model_context_length", Kind::Gauge),
    frontend("dynamo_frontend_model_kv_cache_block_size", Kind::Gauge),
    frontend("dynamo_frontend_model_migration_limit", Kind::Gauge),
    frontend("dynamo_frontend_model_migration_total", Kind::Counter).labels(&["model", "migration_type"]),
    frontend("dynamo_frontend_model_workers", Kind::Gauge),
    worker("dynamo_component_inflight_requests", Kind::Gauge).tells(Signal::Running),
    worker("dynamo_component_requests_total", Kind::Counter).tells(Signal::Finished),
    worker("dynamo_component_request_duration_seconds", Kind::Histogram).tells(Signal::E2e),
    worker("dynamo_component_request_bytes_total", Kind::Counter),
    worker("dynamo_component_response_bytes_total", Kind::Counter),
    worker("dynamo_component_errors_total", Kind::Counter).tells(Signal::Failed).labels(&[
        "dynamo_namespace",
        "dynamo_component",
        "dynamo_endpoint",
        "model",
        "error_type",
    ]),
    worker("dynamo_component_uptime_seconds", Kind::Gauge),
    worker("dynamo_component_kvstats_active_blocks", Kind::Gauge).tells(Signal::KvUse),
    worker("dynamo_component_kvstats_total_blocks", Kind::Gauge).tells(Signal::KvCapacity),
    worker("dynamo_component_kvstats_gpu_cache_usage_percent", Kind::Gauge)
        .tells(Signal::KvUse)
        .fraction()
        .note("0 to 1, in spite of the name"),
    worker("dynamo_component_kvstats_gpu_prefix_cache_hit_rate", Kind::Gauge)
        .tells(Signal::PrefixHits)
        .fraction(),
    frontend("dynamo_planner_estimated_ttft_ms", Kind::Gauge).tells(Signal::Ttft),
    frontend("dynamo_planner_estimated_itl_ms", Kind::Gauge).tells(Signal::Itl),
];
