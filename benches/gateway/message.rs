//! The messages both ends agree on: requests, the JSON answer, one SSE event.

use std::time::Duration;

/// Where chat requests go.
pub(crate) const PATH: &str = "/v1/chat/completions";
/// The small request's body: a short chat.
pub(crate) const SMALL_BYTES: usize = 1024;
/// The large request's body: a long document, or a picture in base64.
pub(crate) const LARGE_BYTES: usize = 400 * 1024;
/// Body of the JSON answer.
pub(crate) const JSON_ANSWER_BYTES: usize = 460;

/// A whole chat request whose body has exactly `body_bytes`. With `order`, it asks for a stream of that
/// many chunks with that gap.
pub(crate) fn request(body_bytes: usize, order: Option<(u64, Duration)>) -> Vec<u8> {
    let (stream, order) = match order {
        Some((chunks, gap)) => (",\"stream\":true", format!("chunks={chunks} gap_ms={} ", gap.as_millis())),
        None => ("", String::new()),
    };
    let front = format!(
        "{{\"model\":\"m\"{stream},\"max_tokens\":64,\"messages\":[{{\"role\":\"user\",\"content\":\"{order}"
    );
    let back = "\"}]}";
    let words = "All happy families are alike, each unhappy one is unhappy in its own way. ";
    let content = words.chars().cycle().take(body_bytes.saturating_sub(front.len() + back.len()));
    let body = format!("{front}{}{back}", content.collect::<String>());
    format!(
        "POST {PATH} HTTP/1.1\r\nhost: bench.internal\r\nuser-agent: tidegate-bench\r\naccept: */*\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// What a request asks for: chunks and the gap between them. `None` for a JSON answer.
pub(crate) fn find_order(body: &[u8]) -> Option<(u64, Duration)> {
    let number = |name: &[u8]| {
        let start = memchr::memmem::find(body, name)? + name.len();
        let digits = body[start..].iter().take_while(|byte| byte.is_ascii_digit());
        Some(digits.fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0')))
    };
    Some((number(b"chunks=")?, Duration::from_millis(number(b"gap_ms=")?)))
}

/// The JSON answer, [`JSON_ANSWER_BYTES`] long.
pub(crate) fn json_answer() -> String {
    let front = "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\
                 \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"";
    let back = "\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\
                \"usage\":{\"prompt_tokens\":230,\"total_tokens\":294,\"completion_tokens\":64}}";
    format!("{front}{}{back}", "x".repeat(JSON_ANSWER_BYTES - front.len() - back.len()))
}

/// One SSE event as vLLM writes it.
pub(crate) fn event() -> String {
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
     \"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n"
        .to_owned()
}
