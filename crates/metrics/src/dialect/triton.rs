//! Triton inference server (port 8002), and its TensorRT-LLM backend. Times are counters of
//! microseconds. One metric of the backend holds several quantities, told apart by a label: a
//! selector without it adds up things that do not add up.

use super::{Engine, Kind, Metric, Signal};

const MODEL: &[&str] = &["model", "version"];
const GPU: &[&str] = &["gpu_uuid"];
const NONE: &[&str] = &[];

const fn counter(name: &'static str) -> Metric {
    Metric::new(Engine::Triton, name, Kind::Counter, MODEL)
}

const fn gauge(name: &'static str) -> Metric {
    Metric::new(Engine::Triton, name, Kind::Gauge, MODEL)
}

const fn summary(name: &'static str) -> Metric {
    Metric::new(Engine::Triton, name, Kind::Summary, MODEL)
}

const fn gpu(name: &'static str) -> Metric {
    Metric::new(Engine::Triton, name, Kind::Gauge, GPU)
}

pub(super) const METRICS: &[Metric] = &[
    // The TensorRT-LLM backend.
    gauge("nv_trt_llm_request_metrics")
        .labels(&["model", "version", "request_type"])
        .note("request_type is waiting, active, scheduled, context or max: always select one"),
    gauge("nv_trt_llm_kv_cache_block_metrics")
        .labels(&["model", "version", "kv_cache_block_type"])
        .note("kv_cache_block_type is fraction (0 to 1), used, free, max or tokens_per: always select one"),
    gauge("nv_trt_llm_inflight_batcher_metrics").labels(&[
        "model",
        "version",
        "inflight_batcher_specific_metric",
    ]),
    gauge("nv_trt_llm_v1_metrics").labels(&["model", "version", "v1_specific_metric"]),
    gauge("nv_trt_llm_runtime_memory_metrics").labels(&["model", "version", "memory_type"]),
    gauge("nv_trt_llm_disaggregated_serving_metrics").labels(&[
        "model",
        "version",
        "disaggregated_serving_type",
    ]),
    gauge("nv_trt_llm_general_metrics").labels(&["model", "version", "general_type"]),
    // Any backend.
    counter("nv_inference_request_success").tells(Signal::Finished),
    counter("nv_inference_request_failure").tells(Signal::Failed).labels(&["model", "version", "reason"]),
    counter("nv_inference_count"),
    counter("nv_inference_exec_count"),
    gauge("nv_inference_pending_request_count").tells(Signal::Waiting),
    counter("nv_inference_request_duration_us").tells(Signal::E2e),
    counter("nv_inference_queue_duration_us").tells(Signal::QueueTime),
    counter("nv_inference_compute_input_duration_us"),
    counter("nv_inference_compute_infer_duration_us"),
    counter("nv_inference_compute_output_duration_us"),
    summary("nv_inference_request_summary_us")
        .tells(Signal::E2e)
        .note("off unless --metrics-config summary_latencies=true"),
    summary("nv_inference_queue_summary_us")
        .tells(Signal::QueueTime)
        .note("off unless --metrics-config summary_latencies=true"),
    summary("nv_inference_compute_input_summary_us"),
    summary("nv_inference_compute_infer_summary_us"),
    summary("nv_inference_compute_output_summary_us"),
    Metric::new(Engine::Triton, "nv_inference_first_response_histogram_ms", Kind::Histogram, MODEL)
        .tells(Signal::Ttft)
        .note("off unless --metrics-config histogram_latencies=true"),
    // The machine.
    gpu("nv_gpu_utilization").tells(Signal::GpuUse).fraction(),
    gpu("nv_gpu_memory_total_bytes").tells(Signal::GpuMemory),
    gpu("nv_gpu_memory_used_bytes").tells(Signal::GpuMemory),
    gpu("nv_gpu_power_usage").tells(Signal::GpuPower),
    gpu("nv_gpu_power_limit").tells(Signal::GpuPower),
    Metric::new(Engine::Triton, "nv_energy_consumption", Kind::Counter, GPU).tells(Signal::GpuPower),
    gauge("nv_cpu_utilization").fraction().labels(NONE),
    gauge("nv_cpu_memory_total_bytes").labels(NONE),
    gauge("nv_cpu_memory_used_bytes").labels(NONE),
    // The response cache.
    counter("nv_cache_num_hits_per_model"),
    counter("nv_cache_num_misses_per_model"),
    counter("nv_cache_hit_duration_per_model"),
    counter("nv_cache_miss_duration_per_model"),
];
