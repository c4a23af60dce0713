//! What pages of each engine amount to.

use tidegate_core::time::Time;
use tidegate_metrics::dialect::Engine;
use tidegate_metrics::exposition::Format;
use tidegate_metrics::rates::Trail;
use tidegate_metrics::sample::{EngineSample, Error, Reader, recognise};

const VLLM_IDLE: &str = include_str!("data/vllm-0.32.0-idle.txt");
const VLLM: &str = include_str!("data/vllm-0.32.0.txt");
const VLLM_AFTER: &str = include_str!("data/vllm-0.32.0-after.txt");
const LLAMA_IDLE: &str = include_str!("data/llama.cpp-11434-idle.txt");
const LLAMA: &str = include_str!("data/llama.cpp-11434.txt");
const LLAMA_AFTER: &str = include_str!("data/llama.cpp-11434-after.txt");

fn take(engine: Engine, page: &str) -> EngineSample {
    Reader::new(engine).read(page, Format::Text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn real_pages_are_recognised() {
    for page in [VLLM_IDLE, VLLM, VLLM_AFTER] {
        assert_eq!(recognise(page, Format::Text), Some(Engine::Vllm));
    }
    for page in [LLAMA_IDLE, LLAMA, LLAMA_AFTER] {
        assert_eq!(recognise(page, Format::Text), Some(Engine::LlamaCpp));
    }
    assert_eq!(recognise("go_goroutines 3\n", Format::Text), None);
    assert_eq!(recognise("<html>", Format::Text), None);
}

#[test]
fn an_engine_inside_a_dynamo_worker_is_recognised_before_the_worker() {
    let page = "dynamo_component_inflight_requests 1\nvllm:num_requests_running 1\n";
    assert_eq!(recognise(page, Format::Text), Some(Engine::Vllm));
}

#[test]
fn vllm_under_load_says_what_waits_and_what_runs() {
    let sample = take(Engine::Vllm, VLLM);
    assert_eq!((sample.waiting, sample.running), (Some(144.0), Some(16.0)));
    assert_eq!(sample.kv_use, Some(0.006592601635941886));
    assert_eq!(sample.kv_use_max, sample.kv_use);
    assert_eq!(sample.kv_capacity_tokens, Some(1_048_576.0));
    assert_eq!(sample.prompt_tokens_total, Some(35_100.0));
    assert_eq!(sample.output_tokens_total, Some(80_711.0));
    assert_eq!(sample.finished_total, Some(224.0));
    assert_eq!(sample.preempted_total, Some(0.0));
    assert_eq!((sample.prefix_hits_total, sample.prefix_queries_total), (Some(10_240.0), Some(35_100.0)));
    let ttft = sample.ttft_s.unwrap();
    assert_eq!(ttft.buckets().len(), 22);
    assert!((ttft.count() - 240.0).abs() < f64::EPSILON);
    assert!((ttft.sum() - 640.188_259_363_174_4).abs() < 1e-9);
    // 120 of 240: 68 of the 82 between 1 and 2.5 s.
    assert!((ttft.quantile(0.5).unwrap() - (1.0 + 1.5 * 68.0 / 82.0)).abs() < 1e-9);
    assert!(sample.itl_s.is_some() && sample.queue_s.is_some());
}

#[test]
fn llama_cpp_says_what_it_has_and_nothing_else() {
    let sample = take(Engine::LlamaCpp, LLAMA);
    let expected = EngineSample {
        waiting: Some(8.0),
        running: Some(3.0),
        prompt_tokens_total: Some(1840.0),
        output_tokens_total: Some(4800.0),
        prefix_hits_total: Some(218.0),
        ..EngineSample::default()
    };
    assert_eq!(sample, expected);
}

#[test]
fn idle_pages_are_zero_and_not_absent() {
    let vllm = take(Engine::Vllm, VLLM_IDLE);
    assert_eq!((vllm.waiting, vllm.running, vllm.output_tokens_total), (Some(0.0), Some(0.0), Some(0.0)));
    assert_eq!(take(Engine::LlamaCpp, LLAMA_IDLE).waiting, Some(0.0));
}

#[test]
fn engines_of_one_replica_add_up_and_their_cache_use_does_not() {
    let page = VLLM.to_owned()
        + &VLLM.replace("engine=\"0\"", "engine=\"1\"").replace("0.006592601635941886", "0.5");
    let both = take(Engine::Vllm, &page);
    assert_eq!((both.waiting, both.running), (Some(288.0), Some(32.0)));
    assert_eq!(both.kv_capacity_tokens, Some(2_097_152.0));
    assert_eq!(both.kv_use, Some((0.006592601635941886 + 0.5) / 2.0));
    assert_eq!(both.kv_use_max, Some(0.5));
    let (one, two) = (take(Engine::Vllm, VLLM).ttft_s.unwrap(), both.ttft_s.unwrap());
    assert!((two.count() - 2.0 * one.count()).abs() < f64::EPSILON);
    assert_eq!(one.quantile(0.9), two.quantile(0.9));
}

#[test]
fn an_underscore_in_place_of_the_colon_reads_the_same() {
    assert_eq!(take(Engine::Vllm, &VLLM.replace("vllm:", "vllm_")), take(Engine::Vllm, VLLM));
}

#[test]
fn of_a_new_name_and_its_forerunner_only_the_new_one_counts() {
    let (new, old) = ("vllm:kv_cache_usage_perc 0.4\n", "vllm:gpu_cache_usage_perc 0.9\n");
    for page in [format!("{new}{old}"), format!("{old}{new}")] {
        assert_eq!(take(Engine::Vllm, &page).kv_use, Some(0.4));
    }
    assert_eq!(take(Engine::Vllm, old).kv_use, Some(0.9));
}

#[test]
fn sglang_ranks_of_one_engine_are_copies_and_data_parallel_ranks_are_not() {
    let page = "\
sglang:num_queue_reqs{dp_rank=\"0\",tp_rank=\"0\"} 5
sglang:num_queue_reqs{dp_rank=\"0\",tp_rank=\"1\"} 5
sglang:num_queue_reqs{dp_rank=\"1\",tp_rank=\"2\"} 7
sglang:num_queue_reqs{dp_rank=\"1\",tp_rank=\"3\"} 7
sglang:token_usage{dp_rank=\"0\",tp_rank=\"0\"} 0.2
sglang:token_usage{dp_rank=\"1\",tp_rank=\"2\"} 0.6
";
    let sample = take(Engine::Sglang, page);
    assert_eq!(sample.waiting, Some(12.0));
    assert_eq!((sample.kv_use, sample.kv_use_max), (Some(0.4), Some(0.6)));
}

#[test]
fn a_total_over_priorities_is_not_added_to_its_parts() {
    let parts = "sglang:num_queue_reqs{priority=\"1\"} 3\nsglang:num_queue_reqs{priority=\"2\"} 4\n";
    let total = "sglang:num_queue_reqs{priority=\"\"} 7\n";
    for page in [format!("{parts}{total}"), format!("{total}{parts}"), parts.to_owned()] {
        assert_eq!(take(Engine::Sglang, &page).waiting, Some(7.0), "{page}");
    }
    let queues = "sglang:num_queue_reqs 3\nsglang:num_decode_prealloc_queue_reqs 2\n";
    assert_eq!(take(Engine::Sglang, queues).waiting, Some(5.0));
}

#[test]
fn tgi_takes_its_cache_use_from_reserved_tokens() {
    let page = "\
tgi_queue_size 4
tgi_batch_current_size 2
tgi_batch_current_max_tokens 4000
tgi_batch_max_total_tokens 16000
tgi_request_input_length_bucket{le=\"+Inf\"} 3
tgi_request_input_length_sum 900
tgi_request_generated_tokens_sum 120
tgi_request_success 3
tgi_request_queue_duration_bucket{le=\"0.1\"} 2
tgi_request_queue_duration_bucket{le=\"+Inf\"} 3
";
    let sample = take(Engine::Tgi, page);
    assert_eq!((sample.kv_use, sample.kv_capacity_tokens), (Some(0.25), Some(16_000.0)));
    assert_eq!((sample.prompt_tokens_total, sample.output_tokens_total), (Some(900.0), Some(120.0)));
    assert!((sample.queue_s.unwrap().count() - 3.0).abs() < f64::EPSILON);
}

#[test]
fn triton_tells_its_series_apart_by_label() {
    let page = "\
nv_trt_llm_request_metrics{model=\"m\",request_type=\"waiting\"} 3
nv_trt_llm_request_metrics{model=\"m\",request_type=\"active\"} 8
nv_trt_llm_request_metrics{model=\"m\",request_type=\"max\"} 64
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\"} 0.25
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"max\"} 100
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"tokens_per\"} 64
";
    let sample = take(Engine::Triton, page);
    assert_eq!((sample.waiting, sample.running), (Some(3.0), Some(8.0)));
    assert_eq!((sample.kv_use, sample.kv_capacity_tokens), (Some(0.25), Some(6400.0)));
}

#[test]
fn a_page_of_another_engine_is_an_error_that_says_what_to_do() {
    let wrong = Reader::new(Engine::LlamaCpp).read(VLLM, Format::Text);
    assert_eq!(wrong, Err(Error::Nothing { engine: Engine::LlamaCpp }));
    assert!(wrong.unwrap_err().to_string().ends_with("start the engine with --metrics"));
    let wrong = Reader::new(Engine::TensorRtLlm).read("x 1\n", Format::Text).unwrap_err();
    assert!(wrong.to_string().contains("/prometheus/metrics"), "{wrong}");
}

#[test]
fn a_share_out_of_range_is_brought_back_into_it() {
    let sample = take(Engine::Vllm, "vllm:kv_cache_usage_perc 1.0000001\n");
    assert_eq!(sample.kv_use, Some(1.0));
}

#[test]
fn three_scrapes_of_a_load_give_its_rates_and_quantiles() {
    let mut trail = Trail::default();
    trail.push(Time::from_secs(0), take(Engine::Vllm, VLLM_IDLE));
    let under = trail.push(Time::from_secs(10), take(Engine::Vllm, VLLM));
    assert_eq!(under.output_tokens_per_s, Some(8071.1));
    assert_eq!(under.finished_per_s, Some(22.4));
    assert!((under.prefix_hit_ratio.unwrap() - 10_240.0 / 35_100.0).abs() < 1e-12);
    assert!((under.ttft_p50_s.unwrap() - (1.0 + 1.5 * 68.0 / 82.0)).abs() < 1e-9);
    let after = trail.push(Time::from_secs(20), take(Engine::Vllm, VLLM_AFTER));
    assert_eq!(after.output_tokens_per_s, Some(7040.0));
    assert!(after.ttft_p95_s > after.ttft_p50_s);
}
