//! Asking a replica how it is: one attempt of a probe or hook.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::machine::link::Handle;
use crate::unit::{Check, Get};

/// Where a replica answers, for each port of its manifest.
pub(crate) type Ports = BTreeMap<u16, u16>;

/// The address behind a manifest's port; a port that no replica got is meant as it is written.
pub(crate) fn address(ports: &Ports, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, ports.get(&port).copied().unwrap_or(port)))
}

/// Asks once.
///
/// # Errors
/// What is wrong, in a few words.
pub(crate) async fn ask(
    check: &Check,
    ports: &Ports,
    timeout: Duration,
    handle: &Handle,
) -> Result<(), String> {
    match check {
        Check::Exec(command) => handle.exec(command, timeout).await,
        Check::Http(request) => within(timeout, get(request, ports)).await,
        Check::Tcp { port } => within(timeout, connect(address(ports, *port))).await.map(drop),
    }
}

async fn within<T>(timeout: Duration, what: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(timeout, what).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} s", timeout.as_secs_f64())),
    }
}

/// Opens a connection.
///
/// # Errors
/// Why it could not be opened.
pub(crate) async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| format!("port {}: {error}", address.port()))
}

/// Sends a GET; 200 to 399 is good. The body is not read.
pub(crate) async fn get(request: &Get, ports: &Ports) -> Result<(), String> {
    let address = address(ports, request.port);
    let stream = TokioIo::new(connect(address).await?);
    let (mut sender, connection) =
        http1::handshake(stream).await.map_err(|error| format!("no HTTP: {error}"))?;
    let mut builder = hyper::Request::get(&request.path).header("host", address.to_string());
    builder = builder.header("user-agent", "tidegate-probe").header("connection", "close");
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let request = builder.body(Empty::<Bytes>::new()).map_err(|error| format!("no request: {error}"))?;
    // Beside the answer, not in a race with it: one without a body ends the connection in the same breath.
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await;
    driver.abort();
    let status = response.map_err(|error| error.to_string())?.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("HTTP {}", status.as_u16()))
    }
}
