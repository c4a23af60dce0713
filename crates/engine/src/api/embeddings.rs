//! Embeddings: a prefill each, and a vector that depends on nothing but the text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::text::mix;

/// Numbers in a vector where the request does not say; a small model's.
pub(crate) const DIMENSIONS: u32 = 384;
/// Largest models write some 4,096.
pub(crate) const DIMENSIONS_MAX: u32 = 8_192;
/// Inputs in one request at most, as at OpenAI.
pub(crate) const INPUTS_MAX: usize = 2_048;

/// A vector of length one.
pub(crate) fn vector(seed: u64, dimensions: u32) -> Vec<f32> {
    // The upper 24 bits as a number from -1 to 1: what a float holds exactly.
    let raw: Vec<f32> =
        (0..dimensions).map(|place| (mix(seed, u64::from(place)) >> 40) as f32 / 8_388_608.0 - 1.0).collect();
    let length = raw.iter().map(|number| number * number).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.into_iter().map(|number| number / length).collect()
}

/// The answer, its vectors as numbers or as the base64 that OpenAI's clients ask for.
pub(crate) fn answer(model: &str, seeds: &[u64], dimensions: u32, base64: bool, prompt_tokens: u32) -> Value {
    let data: Vec<Value> = seeds
        .iter()
        .enumerate()
        .map(|(index, seed)| {
            let vector = vector(*seed, dimensions);
            let embedding = if base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    json!({
        "object": "list",
        "model": model,
        "data": data,
        "usage": { "prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens },
    })
}
