//! Who sends a request, how important it is, and until when it is wanted; and what of its headers engines see.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName};
use tidegate_core::route::Priority;

use crate::keys::{self, Keys};

/// What a client showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It may come in; 0 is nobody's tenant.
    Tenant(u64),
    /// Its key is not ours.
    Unknown,
    /// It showed none, and one is needed.
    NoKey,
}

/// What of a request's headers is for the gateway, found in one walk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks<'a> {
    authorization: Option<&'a [u8]>,
    key: Option<&'a [u8]>,
    tenant: Option<&'a [u8]>,
    priority: Option<&'a [u8]>,
    patience: Option<&'a [u8]>,
}

impl<'a> Marks<'a> {
    pub(crate) fn read(headers: &'a HeaderMap) -> Self {
        let mut marks = Marks::default();
        for (name, value) in headers {
            let place = match name.as_str() {
                "authorization" => &mut marks.authorization,
                // Anthropic's and Azure's places for a key.
                "x-api-key" | "api-key" => &mut marks.key,
                "x-tidegate-tenant" => &mut marks.tenant,
                "x-tidegate-priority" => &mut marks.priority,
                "x-tidegate-deadline-s" | "x-request-timeout" => &mut marks.patience,
                _ => continue,
            };
            place.get_or_insert(value.as_bytes());
        }
        marks
    }

    fn key(&self) -> Option<&'a [u8]> {
        let Some(value) = self.authorization else { return self.key };
        let bearer = value.split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
        Some(bearer.map_or(value, |(_, key)| key.trim_ascii()))
    }

    /// Who it is. Where keys are set the key alone says so; else the tenant's header, else whatever key was
    /// shown.
    pub(crate) fn entry(&self, keys: Option<&Keys>) -> Entry {
        match (keys, self.key()) {
            (Some(keys), Some(key)) => keys.tenant(key).map_or(Entry::Unknown, Entry::Tenant),
            (Some(_), None) => Entry::NoKey,
            (None, key) => Entry::Tenant(self.tenant.or(key).map_or(0, keys::tenant)),
        }
    }

    /// How important it says it is; what it does not say well is normal.
    pub(crate) fn priority(&self) -> Priority {
        match self.priority {
            Some(v) if v.eq_ignore_ascii_case(b"high") => Priority::High,
            Some(v) if v.eq_ignore_ascii_case(b"low") => Priority::Low,
            _ => Priority::Normal,
        }
    }

    /// How long its client waits for the beginning of an answer, if it said so.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let seconds: f64 = std::str::from_utf8(self.patience?).ok()?.trim().parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// Writes a request's headers as its engine gets them: as they came, without what is between client and gateway
/// only: the connection's, the client's credentials, ours, and what says how long the body is, which whoever
/// sends the body says.
pub(crate) fn write_headers(headers: &HeaderMap, out: &mut Vec<u8>) {
    let named = named_by_connection(headers);
    for (name, value) in headers {
        if !is_ours(name) && !named.contains(name) {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Headers that `Connection` names are the connection's too.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut named = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        for name in value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            if name.eq_ignore_ascii_case(b"keep-alive") || name.eq_ignore_ascii_case(b"close") {
                continue;
            }
            named.extend(HeaderName::from_bytes(name).ok().filter(|name| *name != header::HOST));
        }
    }
    named
}

fn is_ours(name: &HeaderName) -> bool {
    match name.as_str() {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "transfer-encoding"
        | "content-length"
        | "te"
        | "trailer"
        | "upgrade"
        | "expect"
        | "proxy-authenticate"
        | "proxy-authorization" => true,
        "authorization" | "x-api-key" | "api-key" | "cookie" | "x-request-timeout" => true,
        // What comes back is looked at, so it must not come compressed.
        "accept-encoding" => true,
        name => name.starts_with("x-tidegate-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    fn written(pairs: &[(&'static str, &'static str)]) -> String {
        let mut out = Vec::new();
        write_headers(&headers(pairs), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_between_client_and_gateway_never_reaches_an_engine() {
        let out = written(&[
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("authorization", "Bearer sk-secret"),
            ("x-api-key", "sk-secret"),
            ("api-key", "sk-secret"),
            ("cookie", "session=1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "2"),
            ("proxy-authorization", "x"),
            ("accept-encoding", "gzip"),
            ("x-tidegate-tenant", "me"),
            ("x-tidegate-priority", "high"),
            ("x-tidegate-deadline-s", "4"),
            ("content-type", "application/json"),
            ("host", "gateway"),
            ("x-mine", "stays"),
        ]);
        assert_eq!(out, "content-type: application/json\r\nhost: gateway\r\nx-mine: stays\r\n");
    }

    #[test]
    fn a_connection_header_cannot_take_the_host_away() {
        assert_eq!(written(&[("connection", "host, close"), ("host", "h")]), "host: h\r\n");
    }

    #[test]
    fn with_keys_set_only_a_key_makes_a_tenant() {
        let keys = Keys::parse("sk-one\n");
        let entry = |pairs: &[_]| Marks::read(&headers(pairs)).entry(Some(&keys));
        let by_key = entry(&[("authorization", "Bearer sk-one"), ("x-tidegate-tenant", "x")]);
        assert!(matches!(by_key, Entry::Tenant(t) if t != 0));
        assert_eq!(entry(&[("x-api-key", "sk-one")]), by_key);
        assert_eq!(entry(&[("authorization", "Bearer sk-two")]), Entry::Unknown);
        assert_eq!(entry(&[("x-tidegate-tenant", "x")]), Entry::NoKey);
    }

    #[test]
    fn without_keys_a_header_names_the_tenant_and_nobody_is_zero() {
        assert_eq!(Marks::default().entry(None), Entry::Tenant(0));
        let map = headers(&[("x-tidegate-tenant", "team"), ("authorization", "Bearer x")]);
        assert_eq!(Marks::read(&map).entry(None), Entry::Tenant(keys::tenant(b"team")));
    }

    #[test]
    fn a_deadline_that_is_no_number_is_none() {
        let patience = |v| Marks::read(&headers(&[("x-tidegate-deadline-s", v)])).patience();
        assert_eq!(patience("2.5"), Some(Duration::from_millis(2500)));
        for bad in ["soon", "-1", "NaN", "inf", ""] {
            assert_eq!(patience(bad), None, "{bad}");
        }
    }
}
