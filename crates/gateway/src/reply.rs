//! An answer to a client, before it is put into either version of HTTP.

use http::StatusCode;

use crate::framing::{Fields, decimal};
use crate::outgoing::Out;

/// An answer: status, headers, body. How its end is told is no header here: that is the connection's business.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) fields: Fields,
    /// Its headers say when it was made.
    pub(crate) has_date: bool,
    pub(crate) body: Out,
}

/// What a connection says of itself in an answer's head.
pub(crate) struct Manner {
    /// It ends after this answer.
    pub(crate) close: bool,
    /// The client speaks HTTP/1.0.
    pub(crate) is_old: bool,
    /// Only the head was asked for.
    pub(crate) head_only: bool,
}

/// How the body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Not at all.
    Nothing,
    /// As long as its head says.
    Plain,
    /// In chunks.
    Chunked,
    /// To the end of the connection.
    ToTheEnd,
}

impl Reply {
    pub(crate) fn new(status: StatusCode, fields: Fields, body: Out) -> Self {
        Reply { status, fields, has_date: false, body }
    }

    /// How its body is sent to a client of that kind.
    pub(crate) fn form(&self, manner: &Manner) -> Form {
        if manner.head_only || self.is_bodyless() {
            Form::Nothing
        } else if self.body.length().is_some() {
            Form::Plain
        } else if manner.is_old {
            Form::ToTheEnd
        } else {
            Form::Chunked
        }
    }

    fn is_bodyless(&self) -> bool {
        matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    }

    /// Writes its head as HTTP/1.1 has it.
    pub(crate) fn write_head(&self, manner: &Manner, date: &[u8], out: &mut Vec<u8>) {
        if self.status == StatusCode::OK {
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        } else {
            out.extend_from_slice(b"HTTP/1.1 ");
            out.extend_from_slice(self.status.as_str().as_bytes());
            out.push(b' ');
            out.extend_from_slice(self.status.canonical_reason().unwrap_or_default().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(self.fields.as_bytes());
        if !self.has_date {
            out.extend_from_slice(b"date: ");
            out.extend_from_slice(date);
            out.extend_from_slice(b"\r\n");
        }
        match self.body.length() {
            _ if self.is_bodyless() => {}
            Some(length) => {
                out.extend_from_slice(b"content-length: ");
                out.extend_from_slice(decimal(length, &mut [0; 20]));
                out.extend_from_slice(b"\r\n");
            }
            None if !manner.is_old => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            None => {}
        }
        if manner.close {
            out.extend_from_slice(b"connection: close\r\n");
        } else if manner.is_old {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn head(status: u16, manner: &Manner) -> (String, Form) {
        let mut fields = Fields::default();
        fields.push(b"a", b"b");
        let reply =
            Reply::new(StatusCode::from_u16(status).unwrap(), fields, Out::full(Bytes::from("12345")));
        let mut out = Vec::new();
        reply.write_head(manner, b"today", &mut out);
        (String::from_utf8(out).unwrap(), reply.form(manner))
    }

    #[test]
    fn a_head_says_how_its_body_ends_and_what_becomes_of_the_connection() {
        let manner = |close, is_old, head_only| Manner { close, is_old, head_only };
        let (text, form) = head(200, &manner(false, false, false));
        assert_eq!(text, "HTTP/1.1 200 OK\r\na: b\r\ndate: today\r\ncontent-length: 5\r\n\r\n");
        assert_eq!(form, Form::Plain);
        let (text, form) = head(404, &manner(true, false, true));
        assert_eq!(
            text,
            "HTTP/1.1 404 Not Found\r\na: b\r\ndate: today\r\ncontent-length: 5\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(form, Form::Nothing);
        let (text, form) = head(204, &manner(false, true, false));
        assert_eq!(text, "HTTP/1.1 204 No Content\r\na: b\r\ndate: today\r\nconnection: keep-alive\r\n\r\n");
        assert_eq!(form, Form::Nothing);
    }
}
