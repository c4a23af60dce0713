//! Bodies of the fuzzers of what comes over the wire: requests of clients, answers and streams of engines.

use bytes::{Bytes, BytesMut};
use tidegate_gateway::framing::{self, Decoder, request};
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
            match framing::answer::head(&mut read) {
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

/// What was read of a client's connection: heads as text, bodies, and whether it ended in an error.
#[derive(Debug)]
struct Heard {
    requests: Vec<(String, Vec<u8>)>,
    refused: bool,
}

fn hear<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Heard {
    const HEAD_BYTES_MAX: usize = 4096;
    let (mut reader, mut read) = (request::Reader::new(HEAD_BYTES_MAX), BytesMut::new());
    let mut heard = Heard { requests: Vec::new(), refused: false };
    let mut body = Decoder::Over;
    for piece in pieces {
        read.extend_from_slice(piece);
        loop {
            loop {
                match body.decode(&mut read) {
                    Ok(Some(bytes)) => {
                        assert!(!bytes.is_empty(), "a piece of a body that is nothing");
                        if let Some((_, data)) = heard.requests.last_mut() {
                            data.extend_from_slice(&bytes);
                        }
                    }
                    Ok(None) => break,
                    Err(_) => return Heard { refused: true, ..heard },
                }
            }
            if body != Decoder::Over {
                break;
            }
            let mut seen = String::new();
            let show = |name: &[u8], value: &[u8]| {
                assert!(
                    !value.iter().chain(name).any(|b| matches!(b, b'\r' | b'\n' | 0)),
                    "a line within a line"
                );
                assert!(!framing::is_hop(name), "a header of the connection went on");
                seen.push_str(&format!("{:?}", (name, value)));
            };
            match reader.head(&mut read, show) {
                Ok(Some(head)) => {
                    body = head.body;
                    let keep = head.keep;
                    heard.requests.push((format!("{head:?} {seen}"), Vec::new()));
                    if !keep && body == Decoder::Over {
                        return heard;
                    }
                }
                Ok(None) => break,
                Err(_) => return Heard { refused: true, ..heard },
            }
        }
    }
    heard
}

/// A client's connection: however its bytes are cut, the same requests are read, and no more than came.
pub fn client(data: &[u8]) {
    let Some((size, stream)) = pieces(data) else { return };
    let whole = hear(std::iter::once(stream));
    let cut = hear(stream.chunks(size));
    assert_eq!(whole.refused, cut.refused, "pieces of {size}");
    let heads = |heard: &Heard| heard.requests.iter().map(|(head, _)| head.clone()).collect::<Vec<_>>();
    assert_eq!(heads(&whole), heads(&cut), "pieces of {size}");
    for ((_, body), (_, pieced)) in whole.requests.iter().zip(&cut.requests) {
        // Of a body that turns out to be none, less may have been given where more of it came at once.
        assert!(body == pieced || (whole.refused && pieced.starts_with(body)), "pieces of {size}");
    }
    let bodies: usize = whole.requests.iter().map(|(_, body)| body.len()).sum();
    assert!(bodies <= stream.len());
}
