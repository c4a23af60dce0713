//! Answers in one piece.

use serde_json::{Value, json};
use tidegate_sim::Finish;

use super::request::{Kind, Plan};
use super::shape::{Head, fingerprint, reason};
use crate::options::Dialect;
use crate::text;

/// The answer to a request whose end is known.
pub(crate) fn answer(head: &Head, plan: &Plan, tokens: u32, finish: Finish) -> Value {
    let text = text::words(plan.seed, tokens, plan.visible_bytes);
    let mut choice = match head.kind {
        Kind::Chat => json!({ "index": 0, "message": { "role": "assistant", "content": text } }),
        Kind::Text => json!({ "index": 0, "text": text }),
    };
    choice["logprobs"] = Value::Null;
    choice["finish_reason"] = json!(reason(finish));
    let stop = plan.stop.as_ref().filter(|_| finish == Finish::Stop);
    match head.dialect {
        Dialect::Vllm => choice["stop_reason"] = json!(stop),
        Dialect::Sglang => choice["matched_stop"] = json!(stop),
        Dialect::Tgi | Dialect::LlamaCpp => {}
    }
    let object = match head.kind {
        Kind::Chat => "chat.completion",
        Kind::Text => "text_completion",
    };
    json!({
        "id": head.id,
        "object": object,
        "created": head.created_s,
        "model": head.model,
        "choices": [choice],
        "usage": usage(plan.prompt_tokens, tokens),
        "system_fingerprint": fingerprint(head.dialect),
    })
}

/// Token counts as the API words them.
pub(crate) fn usage(prompt_tokens: u32, output_tokens: u32) -> Value {
    json!({
        "prompt_tokens": prompt_tokens,
        "total_tokens": u64::from(prompt_tokens) + u64::from(output_tokens),
        "completion_tokens": output_tokens,
    })
}

/// The models served.
pub(crate) fn models(names: &[String], created_s: u64, dialect: Dialect, max_model_len: u64) -> Value {
    let owner = match dialect {
        Dialect::Vllm => "vllm",
        Dialect::Sglang => "sglang",
        Dialect::Tgi => "tgi",
        Dialect::LlamaCpp => "llamacpp",
    };
    let data: Vec<Value> = names
        .iter()
        .map(|name| {
            json!({
                "id": name, "object": "model", "created": created_s, "owned_by": owner, "root": name,
                "parent": null, "max_model_len": max_model_len,
            })
        })
        .collect();
    json!({ "object": "list", "data": data })
}
