use super::*;
use proptest::prelude::*;

fn all(mut decoder: Decoder, pieces: &[&[u8]]) -> Result<(Vec<u8>, Decoder), Misfit> {
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
fn chunks_that_came_together_go_on_together() {
    let mut bytes =
        BytesMut::from(&b"5\r\nhello\r\n1;ext=1\r\n \r\n5\r\nworld\r\n0\r\nx-trailer: 1\r\n\r\n"[..]);
    let mut decoder = Decoder::Size;
    assert_eq!(decoder.decode(&mut bytes).unwrap().unwrap(), "hello world");
    assert_eq!((decoder.decode(&mut bytes).unwrap(), decoder, bytes.len()), (None, Decoder::Over, 0));
}

#[test]
fn chunks_that_do_not_fit_are_refused() {
    for bad in ["x\r\n", "5\nhello", "\r\n", "5\r\nhelloworld\r\n", "fffffffffffffffff\r\n", "-1\r\n"] {
        assert_eq!(all(Decoder::Size, &[bad.as_bytes()]).unwrap_err(), Misfit, "{bad}");
    }
    assert_eq!(all(Decoder::Size, &[&[b'1'; 400]]).unwrap_err(), Misfit);
    let trailers = format!("0\r\n{}", "x: y\r\n".repeat(5000));
    assert_eq!(all(Decoder::Size, &[trailers.as_bytes()]).unwrap_err(), Misfit);
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
        for decoder in [Decoder::Size, Decoder::Length(9), Decoder::ToTheEnd, Decoder::ChunkEnd] {
            let _ = all(decoder, &[&bytes]);
        }
    }
}
