//! Bodies of the fuzzers of what comes over the wire: requests of clients, answers and streams of engines.

use bytes::{Bytes, BytesMut};
use tidegate_gateway::framing;
use tidegate_gateway::request::{ScanError, Scanner, scan};
use tidegate_gateway::sse::{Dialect, Watcher};

/// Cuts the data where its first byte says, so that every way of arriving in pieces is tried.
fn pieces(data: &[u8]) -> Option<(usize, &[u8])> {
    let (&size, rest) = data.split_first()?;
    Some((usize::from(size).max(1), rest))
}

/// A request's body: in pieces it says what it says whole, and what is found stands in it.
pub fn request(data: &[u8]) {
    let Some((size, body)) = pieces(data) else { return };
    let whole = scan(body);
    let mut scanner = Scanner::new();
    let fed: Result<(), ScanError> = body.chunks(size).try_for_each(|piece| scanner.feed(piece));
    let cut = fed.and_then(|()| scanner.finish());
    match (&whole, &cut) {
        (Ok(whole), Ok(cut)) => assert_eq!(whole, cut, "pieces of {size}"),
        // Whether the rest is UTF-8 is only looked at where all of it is there.
        (Err(ScanError::NotUtf8), _) => {}
        (Ok(_), Err(error)) => panic!("whole it is good, in pieces of {size}: {error}"),
        (Err(_), _) => {}
    }
    if let Ok(found) = whole {
        assert!(found.prompt_at.is_none_or(|at| at <= body.len()));
    }
}

/// A stream's bytes: nothing is added to them, and nothing that was passed on is taken back.
pub fn sse(data: &[u8]) {
    let Some((size, stream)) = pieces(data) else { return };
    for dialect in [Dialect::OpenAi, Dialect::Responses, Dialect::Messages, Dialect::Other] {
        let mut watcher = Watcher::new(dialect);
        let mut passed = Vec::new();
        let mut broken = false;
        for piece in stream.chunks(size) {
            let fed = watcher.feed(Bytes::copy_from_slice(piece));
            passed.extend_from_slice(&fed.pass);
            if fed.broken.is_some() {
                broken = true;
                break;
            }
        }
        if !broken && let Ok(rest) = watcher.end() {
            passed.extend_from_slice(&rest);
        }
        assert!(stream.starts_with(&passed), "what is passed on is the beginning of what came");
    }
}

/// An engine's answer: its head and its body, in pieces; neither grows beyond what came.
pub fn answer(data: &[u8]) {
    let Some((size, stream)) = pieces(data) else { return };
    let mut read = BytesMut::new();
    let mut body: Option<framing::Decoder> = None;
    let mut given = 0;
    for piece in stream.chunks(size) {
        read.extend_from_slice(piece);
        if body.is_none() {
            match framing::head(&mut read) {
                Ok(Some(head)) => body = Some(head.body),
                Ok(None) => continue,
                Err(_) => return,
            }
        }
        let Some(decoder) = body.as_mut() else { continue };
        while let Ok(Some(bytes)) = decoder.decode(&mut read) {
            assert!(!bytes.is_empty(), "a piece of a body that is nothing");
            given += bytes.len();
        }
    }
    assert!(given <= stream.len());
}
