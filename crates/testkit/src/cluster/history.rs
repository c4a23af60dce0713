//! What etcd remembers of former versions, and how to make it forget.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Error;

/// The flag by which etcd was told where to listen.
const LISTENS: &str = "--listen-client-urls=http://";

/// Compacts the etcd of this process id up to its present version, which it gives.
pub(super) async fn compact(etcd: Option<u32>) -> Result<u64, Error> {
    let addr = etcd.and_then(address).ok_or_else(|| refused("etcd does not run, or does not say where"))?;
    // Any key will do: every answer tells the version.
    let range = ask(&addr, "range", &json!({"key": "AA==", "count_only": true})).await?;
    let revision =
        range.pointer("/header/revision").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let revision: u64 = revision.ok_or_else(|| refused(&format!("an answer without a version: {range}")))?;
    let done = ask(&addr, "compaction", &json!({"revision": revision.to_string(), "physical": true})).await?;
    match done.get("header") {
        Some(_) => Ok(revision),
        None => Err(refused(&done.to_string())),
    }
}

fn refused(said: &str) -> Error {
    Error::Refused { said: format!("compaction: {said}") }
}

/// `127.0.0.1:2379`, from the command line of the process.
fn address(etcd: u32) -> Option<String> {
    let line = std::fs::read(format!("/proc/{etcd}/cmdline")).ok()?;
    let line = String::from_utf8(line).ok()?;
    line.split('\0').find_map(|flag| flag.strip_prefix(LISTENS)).map(str::to_owned)
}

/// A call of etcd's own interface, in its JSON form.
async fn ask(addr: &str, what: &str, body: &Value) -> Result<Value, Error> {
    let failed = |source| Error::Io { what: format!("etcd's {what}"), source };
    let mut socket = TcpStream::connect(addr).await.map_err(failed)?;
    let body = body.to_string();
    let head =
        format!("POST /v3/kv/{what} HTTP/1.0\r\nhost: {addr}\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all(format!("{head}{body}").as_bytes()).await.map_err(failed)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.map_err(failed)?;
    let (_, json) = answer.split_once("\r\n\r\n").unwrap_or_default();
    serde_json::from_str(json).map_err(|source| Error::NotJson { what: format!("etcd's {what}"), source })
}
