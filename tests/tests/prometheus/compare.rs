//! Asks over HTTP and compares.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub(crate) enum Asked {
    Scalar(f64),
    /// Sorted by labels.
    Vector(Vec<(Vec<(String, String)>, f64)>),
    /// Refused.
    Refused,
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// One exchange on a connection of its own: HTTP/1.0, so that the answer is not cut into chunks.
async fn exchange(addr: SocketAddr, request: String) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap_or_else(|error| panic!("{addr}: {error}"));
    stream.write_all(request.as_bytes()).await.expect("it takes the request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it answers");
    let text = String::from_utf8(answer).expect("text");
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(text)
}

/// A completion of a few tokens.
pub(crate) async fn complete(addr: SocketAddr) {
    let body = r#"{"model":"tiny","prompt":"one two three","max_tokens":8}"#;
    let request = format!(
        "POST /v1/completions HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(addr, request).await;
    assert!(answer.contains("choices"), "{answer}");
}

/// Asks an instant query.
pub(crate) async fn ask(addr: SocketAddr, query: &str, at_ms: i64) -> Asked {
    let mut escaped = String::new();
    for byte in query.bytes() {
        // Writing to a string does not fail.
        let _ = write!(escaped, "%{byte:02X}");
    }
    let seconds = at_ms as f64 / 1000.0;
    let request =
        format!("GET /api/v1/query?query={escaped}&time={seconds} HTTP/1.0\r\nhost: localhost\r\n\r\n");
    let body = exchange(addr, request).await;
    let answer: Value =
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{query}: {error}: {body}"));
    if answer["status"] != "success" {
        return Asked::Refused;
    }
    let number = |point: &Value| {
        let text = point[1].as_str().unwrap_or_else(|| panic!("{query}: {body}"));
        text.parse::<f64>().unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    let data = &answer["data"];
    if data["resultType"] == "scalar" {
        return Asked::Scalar(number(&data["result"]));
    }
    let element = |element: &Value| {
        let labels = element["metric"].as_object().cloned().unwrap_or_default();
        let mut labels: Vec<(String, String)> = labels
            .into_iter()
            .map(|(name, value)| (name, value.as_str().unwrap_or_default().to_owned()))
            .collect();
        labels.sort();
        (labels, number(&element["value"]))
    };
    let mut elements: Vec<_> = data["result"].as_array().into_iter().flatten().map(element).collect();
    elements.sort_by(|a, b| a.0.cmp(&b.0));
    Asked::Vector(elements)
}

/// Equal but for the last digits: floats added in another order.
fn close(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan())
        || a.total_cmp(&b).is_eq()
        || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-3)
}

/// What two answers differ in.
pub(crate) fn differ(theirs: &Asked, ours: &Asked) -> Option<String> {
    let same = match (theirs, ours) {
        (Asked::Refused, Asked::Refused) => true,
        (Asked::Scalar(a), Asked::Scalar(b)) => close(*a, *b),
        (Asked::Vector(a), Asked::Vector(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && close(a.1, b.1))
        }
        _ => false,
    };
    (!same).then(|| format!("prometheus: {theirs:?}\n  tidegate:   {ours:?}"))
}
