//! What clients are told of a request in headers.

use http::HeaderValue;
use tidegate_core::route::RequestId;
use tidegate_core::time::Span;

use crate::framing::Fields;

/// What a client is told.
#[derive(Clone)]
pub(crate) struct Told {
    id: [u8; 25],
    cold: bool,
    held: bool,
    expected: Option<Span>,
}

impl Told {
    /// Of a request that did not wait so far.
    pub(crate) fn new(run: u32, request: RequestId) -> Self {
        Told { id: id(run, request), cold: false, held: false, expected: None }
    }

    /// The request's name, in headers and logs.
    pub(crate) fn id(&self) -> &[u8] {
        &self.id
    }

    /// The request had to wait.
    pub(crate) fn hold(&mut self, expected: Option<Span>, cold: bool) {
        self.cold |= cold;
        self.held = true;
        self.expected = expected;
    }

    /// It had to wait, and nothing more is known.
    pub(crate) fn was_held(&mut self, held: bool) {
        self.held |= held;
    }

    /// How long it was expected to wait.
    pub(crate) fn expected_s(&self) -> Option<f64> {
        self.expected.map(|span| span.as_secs_f64())
    }

    pub(crate) fn write(&self, fields: &mut Fields, replica: Option<&HeaderValue>) {
        fields.push(b"x-tidegate-request-id", &self.id);
        if !self.held && !self.cold {
            fields.push_lines(b"x-tidegate-cold-start: false\r\nx-tidegate-expected-wait-s: 0\r\n");
        } else {
            fields.push(b"x-tidegate-cold-start", if self.cold { b"true" } else { b"false" });
            let wait = match self.expected_s() {
                _ if !self.held => "0".to_owned(),
                Some(seconds) => format!("{seconds:.1}"),
                None => "unknown".to_owned(),
            };
            fields.push(b"x-tidegate-expected-wait-s", wait.as_bytes());
        }
        if let Some(replica) = replica {
            fields.push(b"x-tidegate-replica", replica.as_bytes());
        }
    }
}

/// A request's name: this run's, then its own.
fn id(run: u32, request: RequestId) -> [u8; 25] {
    let mut text = [b'-'; 25];
    hex(u64::from(run), &mut text[..8]);
    hex(request.0, &mut text[9..]);
    text
}

fn hex(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requests_name_is_its_runs_and_its_number() {
        assert_eq!(id(0xdead_beef, RequestId(0x1234_5678_9abc_def0)), *b"deadbeef-123456789abcdef0");
        assert_eq!(id(1, RequestId(2)), *b"00000001-0000000000000002");
    }

    #[test]
    fn who_waited_is_told_for_what_and_how_long_it_was_thought_to_take() {
        let told = |change: fn(&mut Told)| {
            let (mut told, mut fields) = (Told::new(1, RequestId(2)), Fields::default());
            change(&mut told);
            told.write(&mut fields, None);
            let get = |name| String::from_utf8_lossy(fields.get(name).unwrap()).into_owned();
            (get("x-tidegate-cold-start"), get("x-tidegate-expected-wait-s"))
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(told(|_| {}), pair("false", "0"));
        assert_eq!(told(|t| t.hold(Some(Span::from_secs(2)), true)), pair("true", "2.0"));
        assert_eq!(told(|t| t.hold(None, false)), pair("false", "unknown"));
        assert_eq!(told(|t| t.was_held(true)), pair("false", "unknown"));
    }
}
