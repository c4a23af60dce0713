use super::*;

fn read(text: &[u8]) -> BytesMut {
    BytesMut::from(text)
}

#[test]
fn a_head_is_taken_when_it_is_whole_and_the_body_stays() {
    let mut bytes = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\nConnection: keep-alive\r\n");
    assert!(head(&mut bytes).unwrap().is_none());
    bytes.extend_from_slice(b"\r\nhello");
    let head = head(&mut bytes).unwrap().unwrap();
    assert_eq!((head.status.as_u16(), head.body, head.keep), (200, Decoder::Length(5), true));
    assert_eq!(
        (head.fields.as_bytes(), head.kind, &bytes[..]),
        (&b"X-A: b\r\n"[..], Kind::Other, &b"hello"[..])
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
fn what_an_answer_is_shows_in_its_head_and_our_names_are_ours() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nDate: x\r\nX-Tidegate-Replica: me\r\n\r\n";
    let head = head(&mut read(bytes)).unwrap().unwrap();
    assert_eq!((head.kind, head.has_date), (Kind::Events, true));
    assert_eq!(head.fields.as_bytes(), b"Content-Type: Text/Event-Stream; charset=utf-8\r\nDate: x\r\n");
}
