//! `/metrics` as text-generation-inference writes it: no model label, no help text, no `_total`.

use super::View;
use super::exposition::{Exposition, Style};

pub(super) fn render(view: &View<'_>) -> String {
    let (recorder, stats) = (view.recorder, view.stats);
    let mut out = Exposition::new(Style::Rust);
    let prefills = recorder.prefill_iteration.count() as f64;
    let decodes = recorder.decode_iteration.count() as f64;
    out.counter("tgi_request_count", "", &[], stats.requests as f64);
    out.counter("tgi_request_success", "", &[], (recorder.stopped + recorder.cut) as f64);
    out.counter("tgi_request_failure", "", &[("err", "incomplete")], recorder.aborted as f64);
    for name in ["tgi_batch_inference_count", "tgi_batch_inference_success"] {
        out.counters(name, "", &[(&[("method", "prefill")], prefills), (&[("method", "decode")], decodes)]);
    }
    out.gauge("tgi_queue_size", "", &[], f64::from(stats.waiting));
    out.gauge("tgi_batch_current_size", "", &[], f64::from(stats.running));
    out.gauge("tgi_batch_current_max_tokens", "", &[], view.reserved_tokens as f64);
    let block = u64::from(recorder.about.profile.block_tokens);
    out.gauge("tgi_batch_max_total_tokens", "", &[], (stats.kv_blocks_total * block) as f64);
    let histograms = [
        ("request_duration", &recorder.whole),
        ("request_queue_duration", &recorder.queue),
        ("request_inference_duration", &recorder.inference),
        ("request_mean_time_per_token_duration", &recorder.per_output_token),
        ("request_generated_tokens", &recorder.generation_tokens),
        ("request_max_new_tokens", &recorder.max_tokens),
        ("request_input_length", &recorder.prompt_tokens),
        ("batch_next_size", &recorder.batch_size),
    ];
    for (name, histogram) in histograms {
        out.histogram(&format!("tgi_{name}"), "", &[], histogram);
    }
    for name in ["tgi_batch_inference_duration", "tgi_batch_forward_duration"] {
        out.histograms(
            name,
            "",
            &[
                (&[("method", "prefill")], &recorder.prefill_iteration),
                (&[("method", "decode")], &recorder.decode_iteration),
            ],
        );
    }
    out.done()
}
