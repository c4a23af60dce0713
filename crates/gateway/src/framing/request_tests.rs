use super::*;
use proptest::prelude::*;

type Seen = Vec<(String, String)>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads every request there is in some bytes that come in pieces: heads, what was seen of them, bodies.
fn all<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<(Head, Seen, Vec<u8>)>, Error> {
    let (mut reader, mut read, mut out) = (Reader::new(4096), BytesMut::new(), Vec::new());
    let mut body: Option<(Head, Seen, Vec<u8>, Decoder)> = None;
    for piece in pieces {
        read.extend_from_slice(piece);
        loop {
            if let Some((_, _, data, decoder)) = &mut body {
                while let Some(more) = decoder.decode(&mut read).map_err(|_| Error::BadLength)? {
                    data.extend_from_slice(&more);
                }
                if *decoder != Decoder::Over {
                    break;
                }
                out.extend(body.take().map(|(head, seen, data, _)| (head, seen, data)));
            }
            let mut seen = Vec::new();
            let Some(head) = reader.head(&mut read, |name, value| seen.push((text(name), text(value))))?
            else {
                break;
            };
            let decoder = head.body;
            body = Some((head, seen, Vec::new(), decoder));
        }
    }
    Ok(out)
}

fn one(bytes: &str) -> Result<(Head, Seen, Vec<u8>), Error> {
    all([bytes.as_bytes()].into_iter()).map(|mut all| all.remove(0))
}

#[test]
fn a_head_says_what_is_asked_and_how_its_body_ends() {
    let (head, seen, body) =
        one("POST /v1/x?y=1 HTTP/1.1\r\nHost: g\r\nX-A: b c\r\ncontent-length: 3\r\n\r\n{ }").unwrap();
    assert_eq!(
        (head.method, head.target.as_str(), head.keep, head.is_old),
        (Method::POST, "/v1/x?y=1", true, false)
    );
    assert_eq!((head.body, &body[..]), (Decoder::Length(3), &b"{ }"[..]));
    assert_eq!(seen, [("Host".to_owned(), "g".to_owned()), ("X-A".to_owned(), "b c".to_owned())]);
}

#[test]
fn a_whole_address_counts_by_its_path() {
    for (raw, path) in
        [("http://h/a?b", "/a?b"), ("HTTPS://h", "/"), ("*", "*"), ("/a#b", "/a"), ("//a", "//a")]
    {
        assert_eq!(one(&format!("GET {raw} HTTP/1.1\r\n\r\n")).unwrap().0.target, path, "{raw}");
    }
    for raw in ["example.org:443", "ftp://h/x", "a", "#"] {
        assert_eq!(one(&format!("GET {raw} HTTP/1.1\r\n\r\n")).unwrap_err(), Error::BadAddress, "{raw}");
    }
}

#[test]
fn a_connection_ends_as_its_version_and_its_header_say() {
    for (version, header, keep) in [
        (1, "", true),
        (1, "connection: close\r\n", false),
        (1, "connection: Keep-Alive, Close\r\n", false),
        (1, "connection: close\r\nconnection: x\r\n", false),
        (0, "", false),
        (0, "connection: keep-alive\r\n", true),
    ] {
        let (head, ..) = one(&format!("GET / HTTP/1.{version}\r\n{header}\r\n")).unwrap();
        assert_eq!((head.keep, head.is_old), (keep, version == 0), "{header}");
    }
}

#[test]
fn what_is_the_connections_own_is_not_shown() {
    let head = "GET / HTTP/1.1\r\nconnection: x-hop, host\r\nX-Hop: 1\r\nhost: h\r\nte: trailers\r\nUpgrade: h2c\r\n\
                Keep-Alive: 5\r\nProxy-Authorization: x\r\nexpect: 100-continue\r\nx: y\r\n\r\n";
    let (head, seen, _) = one(head).unwrap();
    assert_eq!(seen.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["host", "x"]);
    assert!(!head.expects, "there is no body to wait with");
    assert!(one("PUT / HTTP/1.1\r\nexpect: 100-Continue\r\ncontent-length: 1\r\n\r\nx").unwrap().0.expects);
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    for (bytes, error) in [
        ("POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", Error::BadLength),
        ("POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\nx", Error::BadLength),
        ("POST / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\nx", Error::BadLength),
        ("POST / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\nx", Error::BadLength),
        ("POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n", Error::BadLength),
        ("POST / HTTP/1.1\r\ntransfer-encoding: identity\r\n\r\n", Error::BadLength),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            Error::BadLength,
        ),
        ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", Error::BadLength),
        ("POST / HTTP/1.1\r\ntransfer-encoding : chunked\r\n\r\n", Error::NotHttp),
        ("POST / HTTP/1.1\r\nx: y\r\n z\r\n\r\n", Error::NotHttp),
        ("POST / HTTP/1.1\nhost: g\r\n\r\n", Error::NotHttp),
        ("POST / HTTP/1.1\r\nhost: g\n\nGET /sleep HTTP/1.1\r\n\r\n", Error::NotHttp),
        ("POST / HTTP/1.1\r\nhost: g\r\nHOST: h\r\n\r\n", Error::BadAddress),
        ("POST / HTTP/1.1\r\nx: a\0b\r\n\r\n", Error::NotHttp),
        ("GET / HTTP/2.0\r\n\r\n", Error::NotHttp),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Error::NotHttp),
        ("\x16\x03\x01", Error::NotHttp),
        ("GET /\r\n\r\n", Error::NotHttp),
    ] {
        assert_eq!(one(bytes).unwrap_err(), error, "{bytes:?}");
    }
    let (head, _, body) =
        one("POST / HTTP/1.1\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
            .unwrap();
    assert_eq!((head.keep, &body[..]), (false, &b"{}"[..]), "chunks count, and nothing behind them");
}

#[test]
fn a_head_that_is_too_much_is_refused_before_it_is_all_there() {
    let many: String = (0..101).map(|i| format!("x{i}: y\r\n")).collect();
    assert_eq!(one(&format!("GET / HTTP/1.1\r\n{many}\r\n")).unwrap_err(), Error::HeadTooLarge);
    let long = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(4096));
    assert_eq!(all(long.as_bytes().chunks(100)).unwrap_err(), Error::HeadTooLarge);
    assert_eq!(one(&format!("{long}\r\n\r\n")).unwrap_err(), Error::HeadTooLarge);
}

#[test]
fn empty_lines_before_a_request_are_passed_over() {
    let found = all(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\nGET /b HTTP/1.1\r\n\r\n".chunks(1)).unwrap();
    assert_eq!(found.iter().map(|(head, ..)| head.target.as_str()).collect::<Vec<_>>(), ["/", "/b"]);
}

fn request() -> impl Strategy<Value = (String, Vec<u8>)> {
    let headers = proptest::collection::vec(("[a-zA-Z][a-z-]{0,12}x", "[ -~]{0,20}"), 0..6);
    (headers, proptest::collection::vec(any::<u8>(), 0..80), any::<bool>(), 1usize..40).prop_map(
        |(headers, body, chunked, size)| {
            let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let head = format!("POST /{} HTTP/1.1\r\n{lines}", body.len());
            let wire = if chunked {
                let mut wire = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
                for piece in body.chunks(size) {
                    wire.extend(format!("{:x}\r\n", piece.len()).into_bytes());
                    wire.extend(piece);
                    wire.extend(b"\r\n");
                }
                wire.extend(b"0\r\n\r\n");
                wire
            } else {
                [format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat()
            };
            (format!("/{}", body.len()), wire)
        },
    )
}

proptest! {
    #[test]
    fn however_requests_are_cut_they_are_read_the_same(
        requests in proptest::collection::vec(request(), 1..4), size in 1usize..200,
    ) {
        let wire: Vec<u8> = requests.iter().flat_map(|(_, wire)| wire.clone()).collect();
        let whole = all([&wire[..]].into_iter());
        let targets: Vec<_> = whole.iter().flatten().map(|(head, ..)| head.target.clone()).collect();
        prop_assert_eq!(targets, requests.iter().map(|(target, _)| target.clone()).collect::<Vec<_>>());
        prop_assert_eq!(all(wire.chunks(size)), whole);
    }

    #[test]
    fn whatever_comes_is_read_the_same_however_it_is_cut(
        front in "(GET|POST) /[a-z]{0,3} HTTP/1.[01]\r\n", tail in "[a-z:, \r\n0-9-]{0,80}", size in 1usize..20,
    ) {
        let wire = format!("{front}{tail}\r\n\r\n").into_bytes();
        prop_assert_eq!(all(wire.chunks(size)).ok(), all([&wire[..]].into_iter()).ok());
    }
}
