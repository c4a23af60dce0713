//! Traces as they were published.

use tidegate_core::time::Span;
use tidegate_sim::trace::{Trace, TraceRequest, demo_trace};

fn read(text: &str) -> Result<Vec<TraceRequest>, String> {
    Trace::open(text.as_bytes())
        .and_then(|trace| trace.collect::<Result<Vec<_>, _>>())
        .map_err(|error| error.to_string())
}

fn request(at_s: f64, prompt_tokens: u32, output_tokens: u32) -> TraceRequest {
    let at = Span::try_from_secs_f64(at_s).expect("a time of the test's own");
    TraceRequest { at, prompt_tokens, output_tokens, hash_ids: Vec::new() }
}

#[test]
fn an_azure_trace_counts_from_its_first_request() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n\
                2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,109\r\n";
    assert_eq!(read(text).unwrap(), [request(0.0, 374, 44), request(4.314579, 396, 109)]);
}

#[test]
fn mooncake_lines_keep_their_hashes() {
    let text = "{\"timestamp\": 3000, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [0, 7]}\n\
                {\"timestamp\": 6000, \"input_length\": 10, \"output_length\": 6, \"hash_ids\": [1]}";
    let requests = read(text).unwrap();
    assert_eq!(requests[0], TraceRequest { hash_ids: vec![0, 7], ..request(0.0, 600, 5) });
    assert_eq!(requests[1].at, Span::from_secs(3));
}

#[test]
fn burstgpt_is_read_by_its_header_and_failed_requests_are_left_out() {
    let text = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                5,ChatGPT,472,18,490,Conversation log\n45.5,GPT-4,1087,0,1087,API log\n\
                118,GPT-4,417,276,693,API log\n";
    assert_eq!(read(text).unwrap(), [request(0.0, 472, 18), request(113.0, 417, 276)]);
}

#[test]
fn errors_name_the_line() {
    let header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
    let cases = [
        ("2023-11-16 18:15:46,374,44\nyesterday,1,1", "line 3: `yesterday` is not a time"),
        ("2023-11-16 18:15:46,many,44", "line 2: `many` is not a number of tokens"),
        ("2023-11-16 18:15:46,374", "line 2: column 3 is missing"),
        ("2023-11-16 18:15:46,1,1\n2023-11-16 18:15:45,1,1", "line 3: earlier than the line before"),
    ];
    for (text, expected) in cases {
        let error = read(&format!("{header}{text}")).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    assert!(read("{\"timestamp\": 0}").unwrap_err().starts_with("line 1: "));
    assert!(read("a,b,c\n1,2,3").unwrap_err().contains("not a trace we know"));
    assert!(read("").unwrap_err().contains("not a trace we know"));
}

#[test]
fn after_an_error_a_trace_ends() {
    let mut trace = Trace::open("{\"timestamp\": 0}\n{\"timestamp\": 1}".as_bytes()).unwrap();
    assert!(trace.next().unwrap().is_err());
    assert!(trace.next().is_none());
}

#[test]
fn a_line_without_end_is_refused_and_not_kept_in_memory() {
    let text = format!("TIMESTAMP,ContextTokens,GeneratedTokens\n{}", "9".repeat(1_000_000));
    assert!(read(&text).unwrap_err().contains("longer than 262144 bytes"));
}

#[test]
fn the_demo_trace_is_a_quarter_of_an_hour_of_conversations() {
    let requests = demo_trace().unwrap();
    assert_eq!(requests.len(), 4_424);
    assert!(requests.last().unwrap().at < Span::from_secs(900));
    assert!(requests.windows(2).all(|pair| pair[0].at <= pair[1].at));
}
