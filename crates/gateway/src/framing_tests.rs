use super::*;
use proptest::prelude::*;

fn read(text: &[u8]) -> BytesMut {
    BytesMut::from(text)
}

fn all(mut decoder: Decoder, pieces: &[&[u8]]) -> Result<(Vec<u8>, Decoder), Error> {
    let (mut buffer, mut out) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(data) = decoder.decode(&mut buffer)? {
            out.extend_from_slice(&data);
        }
    }
    Ok((out, decoder))
}

#[test]
fn a_head_is_taken_when_it_is_whole_and_the_body_stays() {
    let mut bytes = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\nConnection: keep-alive\r\n");
    assert!(head(&mut bytes).unwrap().is_none());
    bytes.extend_from_slice(b"\r\nhello");
    let head = head(&mut bytes).unwrap().unwrap();
    assert_eq!((head.status.as_u16(), head.body, head.keep), (200, Decoder::Length(5), true));
    assert_eq!(
        (head.headers.len(), head.headers["x-a"].as_bytes(), &bytes[..]),
        (1, &b"b"[..], &b"hello"[..])
    );
}

#[test]
fn what_is_announced_is_passed_over() {
    let mut bytes = read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    let head = head(&mut bytes).unwrap().unwrap();
    assert_eq!((head.status.as_u16(), head.body), (204, Decoder::Over));
}

#[test]
fn how_a_body_ends_is_told_by_its_head() {
    for (headers, body, keep) in [
        ("transfer-encoding: chunked\r\n", Decoder::Size, true),
        ("transfer-encoding: gzip\r\n", Decoder::ToTheEnd, false),
        ("", Decoder::ToTheEnd, false),
        ("content-length: 0\r\n", Decoder::Over, true),
        ("content-length: 3\r\nconnection: Foo, Close\r\n", Decoder::Length(3), false),
    ] {
        let head = head(&mut read(format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes())).unwrap().unwrap();
        assert_eq!((head.body, head.keep), (body, keep), "{headers}");
    }
    assert!(!head(&mut read(b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n")).unwrap().unwrap().keep);
}

#[test]
fn what_is_no_head_is_refused_as_soon_as_it_shows() {
    for (bytes, error) in [
        (&b"garb"[..], Error::NotHttp),
        (b"HTTP/2.0 200 OK\r\n\r\n", Error::NotHttp),
        (b"HTTP/1.1 2000 OK\r\n\r\n", Error::NotHttp),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", Error::BadLength),
        (b"HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n", Error::BadLength),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n", Error::BadLength),
    ] {
        assert_eq!(head(&mut read(bytes)).unwrap_err(), error, "{}", String::from_utf8_lossy(bytes));
    }
    let many: String = (0..200).map(|i| format!("x-{i}: y\r\n")).collect();
    let many = format!("HTTP/1.1 200 OK\r\n{many}\r\n");
    assert_eq!(head(&mut read(many.as_bytes())).unwrap_err(), Error::HeadTooLarge);
    let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_BYTES_MAX));
    assert_eq!(head(&mut read(long.as_bytes())).unwrap_err(), Error::HeadTooLarge);
}

#[test]
fn chunks_that_came_together_go_on_together() {
    let mut bytes = read(b"5\r\nhello\r\n1;ext=1\r\n \r\n5\r\nworld\r\n0\r\nx-trailer: 1\r\n\r\n");
    let mut decoder = Decoder::Size;
    assert_eq!(decoder.decode(&mut bytes).unwrap().unwrap(), "hello world");
    assert_eq!((decoder.decode(&mut bytes).unwrap(), decoder, bytes.len()), (None, Decoder::Over, 0));
}

#[test]
fn chunks_that_do_not_fit_are_refused() {
    for bad in ["x\r\n", "5\nhello", "\r\n", "5\r\nhelloworld\r\n", "fffffffffffffffff\r\n", "-1\r\n"] {
        assert_eq!(all(Decoder::Size, &[bad.as_bytes()]).unwrap_err(), Error::BadChunk, "{bad}");
    }
    assert_eq!(all(Decoder::Size, &[&[b'1'; 400]]).unwrap_err(), Error::BadChunk);
    let trailers = format!("0\r\n{}", "x: y\r\n".repeat(5000));
    assert_eq!(all(Decoder::Size, &[trailers.as_bytes()]).unwrap_err(), Error::BadChunk);
}

proptest! {
    #[test]
    fn however_a_chunked_body_is_cut_it_comes_out_the_same(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 0..12),
        cuts in proptest::collection::vec(1usize..40, 0..40),
    ) {
        let mut wire = Vec::new();
        for part in &parts {
            wire.extend(format!("{:x}\r\n", part.len()).into_bytes());
            wire.extend(part);
            wire.extend(b"\r\n");
        }
        wire.extend(b"0\r\n\r\n");
        let (mut pieces, mut rest) = (Vec::new(), &wire[..]);
        for cut in cuts {
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        pieces.push(rest);
        prop_assert_eq!(all(Decoder::Size, &pieces), Ok((parts.concat(), Decoder::Over)));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
        let _ = head(&mut read(&[b"HTTP/1.1 200 OK\r\n", &bytes[..], b"\r\n\r\n"].concat()));
        for decoder in [Decoder::Size, Decoder::Length(9), Decoder::ToTheEnd, Decoder::ChunkEnd] {
            let _ = all(decoder, &[&bytes]);
        }
    }
}
