//! A request's head as the gateway keeps it: what it is for, who sends it, and the lines its engine gets.

use http::Method;
use http::request::Parts;

use super::who::Marks;
use crate::framing::{Fields, is_hop};

/// Bytes beside the headers themselves, so that their lines fit without growing: the names of HTTP/2 come without
/// the four bytes around them.
const ROOM: usize = 64;

/// A request's head.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    /// Its headers as its engine gets them: as they came, without what is between client and gateway only, the
    /// client's credentials, and ours.
    pub(crate) fields: Fields,
    pub(crate) marks: Marks,
    /// There is a host among the headers.
    pub(crate) has_host: bool,
    /// And a name the client gave the request.
    pub(crate) has_id: bool,
}

impl Asked {
    /// The path alone.
    pub(crate) fn path(&self) -> &str {
        let end = memchr::memchr(b'?', self.target.as_bytes()).unwrap_or(self.target.len());
        &self.target[..end]
    }

    /// From a request of HTTP/2.
    pub(crate) fn from_parts(parts: &Parts) -> Self {
        let mut gatherer = Gatherer::with_room(parts.headers.len() * ROOM);
        for (name, value) in &parts.headers {
            if !is_hop(name.as_str().as_bytes()) {
                gatherer.take(name.as_str().as_bytes(), value.as_bytes());
            }
        }
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut asked = gatherer.finish(parts.method.clone(), target.to_owned());
        if let (false, Some(authority)) = (asked.has_host, parts.uri.authority()) {
            asked.fields.push(b"host", authority.as_str().as_bytes());
            asked.has_host = true;
        }
        asked
    }
}

/// Gathers a head from its headers, one by one.
#[derive(Debug)]
pub(crate) struct Gatherer {
    fields: Fields,
    marks: Marks,
    has_host: bool,
    has_id: bool,
}

impl Gatherer {
    /// With room for headers of about so many bytes.
    pub(crate) fn with_room(bytes: usize) -> Self {
        // A read may bring a long body behind the head; its lines are never longer than a few hundred bytes.
        let fields = Fields::with_room(bytes.min(512));
        Gatherer { fields, marks: Marks::default(), has_host: false, has_id: false }
    }

    /// A header that is not the connection's own.
    pub(crate) fn take(&mut self, name: &[u8], value: &[u8]) {
        if self.marks.take(name, value) {
            return;
        }
        match name.len() {
            4 => self.has_host |= name.eq_ignore_ascii_case(b"host"),
            12 => self.has_id |= name.eq_ignore_ascii_case(b"x-request-id"),
            _ => {}
        }
        self.fields.push(name, value);
    }

    pub(crate) fn finish(self, method: Method, target: String) -> Asked {
        let Gatherer { fields, marks, has_host, has_id } = self;
        Asked { method, target, fields, marks, has_host, has_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::request::Reader;
    use bytes::BytesMut;

    fn asked(headers: &str) -> Asked {
        let mut gatherer = Gatherer::with_room(100);
        let mut read = BytesMut::from(format!("GET /a?b HTTP/1.1\r\n{headers}\r\n").as_bytes());
        let head =
            Reader::new(9999).head(&mut read, |name, value| gatherer.take(name, value)).unwrap().unwrap();
        gatherer.finish(head.method, head.target)
    }

    #[test]
    fn what_is_between_client_and_gateway_never_reaches_an_engine() {
        let asked = asked(
            "connection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
             Authorization: Bearer sk-secret\r\nX-Api-Key: sk-secret\r\napi-key: sk-secret\r\ncookie: session=1\r\n\
             te: trailers\r\ncontent-length: 2\r\nproxy-authorization: x\r\nAccept-Encoding: gzip\r\n\
             x-tidegate-tenant: me\r\nX-Tidegate-Priority: high\r\nx-tidegate-deadline-s: 4\r\n\
             x-tidegate-of-tomorrow: 1\r\nx-request-timeout: 3\r\nContent-Type: application/json\r\n\
             host: gateway\r\nx-mine: stays\r\n",
        );
        let lines = String::from_utf8_lossy(asked.fields.as_bytes()).into_owned();
        assert_eq!(lines, "Content-Type: application/json\r\nhost: gateway\r\nx-mine: stays\r\n");
        assert_eq!((asked.has_host, asked.has_id, asked.path()), (true, false, "/a"));
    }

    #[test]
    fn a_connection_header_cannot_take_the_host_away() {
        assert_eq!(asked("connection: host, close\r\nhost: h\r\n").fields.get("host"), Some(&b"h"[..]));
    }
}
