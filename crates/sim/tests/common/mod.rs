//! An engine for tests.

use tidegate_sim::{ColdStart, Profile};

/// An engine whose times can be worked out in the head: 10 ms an iteration that decodes, 20 ms one that
/// prefills, and 1 ms more for each 10 tokens of prompt.
pub(crate) fn plain() -> Profile {
    Profile {
        name: "plain".to_owned(),
        gpus: 1,
        decode_base_ms: 10.0,
        decode_per_seq_ms: 0.0,
        decode_per_context_token_us: 0.0,
        prefill_base_ms: 20.0,
        prefill_per_token_us: 100.0,
        prefill_quadratic_ns: 0.0,
        kv_tokens: 16 * 1_000,
        block_tokens: 16,
        max_num_seqs: 8,
        max_batched_tokens: 1_000,
        max_model_len: 16_000,
        prefix_caching: true,
        cold_start: ColdStart::NONE,
        table: None,
    }
}
