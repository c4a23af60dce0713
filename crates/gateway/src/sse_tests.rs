use super::*;
use proptest::prelude::*;

const VLLM: &[u8] = include_bytes!("../tests/data/vllm-chat.sse");
const LLAMA: &[u8] = include_bytes!("../tests/data/llama-cpp-chat.sse");

fn run(dialect: Dialect, frames: &[&[u8]]) -> (Vec<u8>, Result<(), Broken>, Usage) {
    let mut watcher = Watcher::new(dialect);
    let mut out = Vec::new();
    for frame in frames {
        let fed = watcher.feed(Bytes::copy_from_slice(frame));
        out.extend_from_slice(&fed.pass);
        if let Some(broken) = fed.broken {
            return (out, Err(broken), watcher.usage());
        }
    }
    let end = watcher.end().map(|rest| out.extend_from_slice(&rest));
    (out, end, watcher.usage())
}

#[test]
fn a_real_stream_passes_byte_for_byte_and_its_usage_is_read() {
    for real in [VLLM, LLAMA] {
        let (out, end, usage) = run(Dialect::OpenAi, &[real]);
        assert_eq!(out, real);
        assert_eq!(end, Ok(()));
        assert!(usage.prompt_tokens.is_some_and(|n| n > 0), "{usage:?}");
        assert!(usage.output_tokens.is_some_and(|n| n > 0), "{usage:?}");
    }
}

#[test]
fn an_abort_is_cut_out_with_all_that_follows() {
    let first = b"data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n";
    let rest = b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"abort\"}]}\n\ndata: [DONE]\n\n";
    let both = [&first[..], rest].concat();
    let (out, end, _) = run(Dialect::OpenAi, &[&both]);
    assert_eq!((out.as_slice(), end), (&first[..], Err(Broken::Aborted)));
    let (out, end, _) = run(Dialect::OpenAi, &[first, &rest[..70], &rest[70..]]);
    assert_eq!((out.as_slice(), end), (&first[..], Err(Broken::Aborted)));
}

#[test]
fn a_stream_that_just_ends_is_not_whole() {
    let frame = b"data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
    assert_eq!(run(Dialect::OpenAi, &[frame]).1, Err(Broken::Unfinished));
    assert_eq!(run(Dialect::Messages, &[b"event: ping\ndata: {}\n\n"]).1, Err(Broken::Unfinished));
    assert_eq!(run(Dialect::Other, &[frame]).1, Ok(()));
}

#[test]
fn done_without_a_finish_reason_is_not_believed() {
    let frame = b"data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n";
    let (out, end, _) = run(Dialect::OpenAi, &[frame, b"data: [DONE]\n\n"]);
    assert_eq!((out.as_slice(), end), (&frame[..], Err(Broken::Unfinished)));
}

#[test]
fn an_engines_own_error_event_passes_as_its_answer() {
    let frame = b"data: {\"error\":{\"message\":\"out of memory\"}}\n\ndata: [DONE]\n\n";
    let (out, end, _) = run(Dialect::OpenAi, &[frame]);
    assert_eq!((out.as_slice(), end), (&frame[..], Ok(())));
}

#[test]
fn words_inside_the_text_are_not_taken_for_the_protocol() {
    let frame = br#"data: {"choices":[{"delta":{"content":"\"finish_reason\":\"abort\" [DONE]"},"finish_reason":null}]}

"#;
    let mut watcher = Watcher::new(Dialect::OpenAi);
    let fed = watcher.feed(Bytes::from_static(frame));
    assert_eq!((fed.pass.as_ref(), fed.broken, fed.events), (&frame[..], None, 1));
}

#[test]
fn half_an_event_waits_for_its_other_half() {
    let mut watcher = Watcher::new(Dialect::OpenAi);
    let fed = watcher.feed(Bytes::from_static(b"data: {\"a\":1}\n\ndata: {\"b\""));
    assert_eq!(fed.pass.as_ref(), b"data: {\"a\":1}\n\n");
    let fed = watcher.feed(Bytes::from_static(b":2}\r\n\r\n"));
    assert_eq!(fed.pass.as_ref(), b"data: {\"b\":2}\r\n\r\n");
}

#[test]
fn an_event_without_end_passes_rather_than_filling_memory() {
    let mut watcher = Watcher::new(Dialect::OpenAi);
    let big = Bytes::from(vec![b'x'; EVENT_BYTES_MAX + 1]);
    assert_eq!(watcher.feed(big.clone()).pass, big);
}

#[test]
fn messages_and_responses_end_in_their_own_words() {
    let messages = b"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":7,\"output_tokens\":9}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let (_, end, usage) = run(Dialect::Messages, &[messages]);
    assert_eq!(end, Ok(()));
    assert_eq!(usage, Usage { prompt_tokens: Some(7), output_tokens: Some(9) });
    let responses = b"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}}\n\n";
    let (_, end, usage) = run(Dialect::Responses, &[responses]);
    assert_eq!(end, Ok(()));
    assert_eq!(usage, Usage { prompt_tokens: Some(3), output_tokens: Some(4) });
}

#[test]
fn where_every_chunk_counts_the_last_count_is_taken() {
    let chunk = |n: u32, reason: &str| {
        format!(
            "data: {{\"choices\":[{{\"finish_reason\":{reason}}}],\"usage\":{{\"prompt_tokens\":3,\"completion_tokens\":{n}}}}}\n\n"
        )
    };
    let all = chunk(1, "null") + &chunk(2, "null") + &chunk(3, "\"stop\"") + "data: [DONE]\n\n";
    let (_, end, usage) = run(Dialect::OpenAi, &[all.as_bytes()]);
    assert_eq!((end, usage), (Ok(()), Usage { prompt_tokens: Some(3), output_tokens: Some(3) }));
}

#[test]
fn usage_that_is_null_or_text_is_no_usage() {
    assert_eq!(usage(br#"{"usage":null}"#), None);
    assert_eq!(usage(br#"{"content":"\"usage\":{}"}"#), None);
    let two = br#"{"usage":{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens_details":null},"x":{"usage":null}}"#;
    assert_eq!(usage(two), Some(Usage { prompt_tokens: Some(1), output_tokens: Some(2) }));
}

proptest! {
    #[test]
    fn however_a_real_stream_is_cut_it_comes_out_the_same(cuts in proptest::collection::vec(1usize..400, 0..60)) {
        let mut frames = Vec::new();
        let mut rest = VLLM;
        for cut in cuts {
            let (frame, tail) = rest.split_at(cut.min(rest.len()));
            frames.push(frame);
            rest = tail;
        }
        frames.push(rest);
        let whole = run(Dialect::OpenAi, &[VLLM]);
        prop_assert_eq!(run(Dialect::OpenAi, &frames), whole);
    }

    #[test]
    fn no_bytes_make_it_panic_and_none_are_invented(bytes in any::<Vec<u8>>(), cut in 0usize..64) {
        let cut = cut.min(bytes.len());
        for dialect in [Dialect::OpenAi, Dialect::Responses, Dialect::Messages, Dialect::Other] {
            let (out, _, _) = run(dialect, &[&bytes[..cut], &bytes[cut..]]);
            prop_assert!(bytes.starts_with(&out));
        }
    }
}
