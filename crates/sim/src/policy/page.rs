//! What a simulated replica would show a scraper, for the names somebody asks for.
//!
//! vLLM's, SGLang's, TGI's and llama.cpp's names of the same few quantities: the engine model is one, and a
//! manifest may ask for any of them.

use std::fmt::Write as _;

use super::ReplicaSeen;
use crate::fleet::TTFT_BOUNDS_S;

type Quantity = fn(&ReplicaSeen<'_>) -> f64;

fn running(seen: &ReplicaSeen<'_>) -> f64 {
    f64::from(seen.stats.running)
}

fn waiting(seen: &ReplicaSeen<'_>) -> f64 {
    f64::from(seen.stats.waiting)
}

fn cache(seen: &ReplicaSeen<'_>) -> f64 {
    seen.stats.kv_blocks_used as f64 / seen.stats.kv_blocks_total.max(1) as f64
}

fn prompt(seen: &ReplicaSeen<'_>) -> f64 {
    seen.stats.prompt_tokens as f64
}

fn generated(seen: &ReplicaSeen<'_>) -> f64 {
    seen.stats.generation_tokens as f64
}

fn answered(seen: &ReplicaSeen<'_>) -> f64 {
    seen.finished as f64
}

fn accepted(seen: &ReplicaSeen<'_>) -> f64 {
    seen.stats.requests as f64
}

fn preempted(seen: &ReplicaSeen<'_>) -> f64 {
    seen.stats.preemptions as f64
}

fn looked_up(seen: &ReplicaSeen<'_>) -> f64 {
    seen.stats.prefix_queries_tokens as f64
}

fn hits(seen: &ReplicaSeen<'_>) -> f64 {
    seen.stats.prefix_hits_tokens as f64
}

/// Names on the wire and what they are.
const NAMES: &[(&str, Quantity)] = &[
    ("vllm:num_requests_running", running),
    ("vllm:num_requests_waiting", waiting),
    ("vllm:kv_cache_usage_perc", cache),
    ("vllm:gpu_cache_usage_perc", cache),
    ("vllm:prompt_tokens_total", prompt),
    ("vllm:generation_tokens_total", generated),
    ("vllm:request_success_total", answered),
    ("vllm:num_preemptions_total", preempted),
    ("vllm:prefix_cache_queries_total", looked_up),
    ("vllm:prefix_cache_hits_total", hits),
    ("sglang:num_running_reqs", running),
    ("sglang:num_queue_reqs", waiting),
    ("sglang:token_usage", cache),
    ("sglang:prompt_tokens_total", prompt),
    ("sglang:generation_tokens_total", generated),
    ("sglang:num_requests_total", accepted),
    ("tgi_queue_size", waiting),
    ("tgi_batch_current_size", running),
    ("tgi_request_count", accepted),
    ("tgi_request_success", answered),
    ("llamacpp:requests_processing", running),
    ("llamacpp:requests_deferred", waiting),
    ("llamacpp:kv_cache_usage_ratio", cache),
    ("llamacpp:prompt_tokens_total", prompt),
    ("llamacpp:tokens_predicted_total", generated),
];

/// Histograms of times to first token.
const TTFT_NAMES: &[&str] = &["vllm:time_to_first_token_seconds", "sglang:time_to_first_token_seconds"];

/// Which of the names are written, and whether all are.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    wanted: Vec<(&'static str, Quantity)>,
    ttft: Vec<&'static str>,
}

impl Page {
    /// A page with these names; the second value has those no simulated engine writes.
    pub(super) fn of<'n>(names: impl Iterator<Item = &'n str>) -> (Page, Vec<String>) {
        let (mut page, mut unknown) = (Page::default(), Vec::new());
        for name in names {
            let plain = |known: &str| {
                let whole = |end: &str| name.strip_suffix(end) == Some(known);
                name == known || whole("_bucket") || whole("_sum") || whole("_count")
            };
            if let Some(found) = NAMES.iter().find(|(known, _)| same(known, name)) {
                page.wanted.push(*found);
            } else if let Some(found) = TTFT_NAMES.iter().find(|known| plain(known)) {
                page.ttft.push(found);
            } else if name != "up" {
                unknown.push(name.to_owned());
            }
        }
        page.wanted.sort_by_key(|(name, _)| *name);
        page.wanted.dedup_by_key(|(name, _)| *name);
        page.ttft.sort_unstable();
        page.ttft.dedup();
        (page, unknown)
    }

    /// Writes what a replica shows, each series with `labels`, as the exposition format has it.
    pub(super) fn write(&self, seen: &ReplicaSeen<'_>, labels: &str, out: &mut String) {
        out.clear();
        for (name, quantity) in &self.wanted {
            let _ = writeln!(out, "{name}{{{labels}}} {}", quantity(seen));
        }
        let comma = if labels.is_empty() { "" } else { "," };
        for name in &self.ttft {
            let mut below = 0;
            for (count, bound) in seen.ttft.counts.iter().zip(TTFT_BOUNDS_S) {
                below += count;
                let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound:?}\"}} {below}");
            }
            let all: u64 = seen.ttft.counts.iter().sum();
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {all}");
            let _ = writeln!(out, "{name}_sum{{{labels}}} {}", seen.ttft.sum_s);
            let _ = writeln!(out, "{name}_count{{{labels}}} {all}");
        }
    }
}

/// A query may write `_` where the engine writes `:`, and leave out `_total`.
fn same(known: &str, asked: &str) -> bool {
    let plain = |name: &str| name.replace(':', "_");
    plain(known) == plain(asked) || plain(known).strip_suffix("_total") == Some(&plain(asked))
}
