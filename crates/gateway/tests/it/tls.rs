use std::path::PathBuf;
use std::sync::Arc;

use crate::client::body;
use crate::engine::{Engine, JSON, Mode, ending};
use crate::setup::{Setup, limits};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tidegate_gateway::tls;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A certificate for `localhost`, good for a hundred years, and its key; good for nothing else.
fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "data", name].iter().collect()
}

async fn connect(setup: &Setup, protocol: &str) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(setup.addr()).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
        .unwrap()
}

fn request(stream: bool) -> Request<Full<Bytes>> {
    Request::post("https://localhost/v1/chat/completions").body(Full::from(body("m", stream))).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn over_tls_both_versions_of_http_are_answered_streaming_and_not() {
    let engine = Engine::open(Mode::Answer { chunks: 2 }).await;
    let config = tls::load(&file("cert.pem"), &file("key.pem")).unwrap();
    let setup = Setup::with(|c| c.tls = Some(config), limits());
    setup.ready(&engine);

    let io = TokioIo::new(connect(&setup, "h2").await);
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let (whole, streamed) = (send.send_request(request(false)), send.clone().send_request(request(true)));
    assert_eq!(text(whole.await.unwrap()).await, JSON);
    assert!(text(streamed.await.unwrap()).await.ends_with(&ending()));
    assert!(engine.seen()[0].head.contains("host: localhost"), "{}", engine.seen()[0].head);

    let io = TokioIo::new(connect(&setup, "http/1.1").await);
    let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut plain = request(false);
    plain.headers_mut().insert("host", "localhost".parse().unwrap());
    assert_eq!(text(send.send_request(plain).await.unwrap()).await, JSON);
}

#[tokio::test]
async fn a_stream_of_http_2_that_is_reset_frees_its_place() {
    let engine = Engine::start(Mode::Answer { chunks: 9 }).await;
    let config = tls::load(&file("cert.pem"), &file("key.pem")).unwrap();
    let setup = Setup::with(|c| c.tls = Some(config), limits());
    setup.ready(&engine);
    let io = TokioIo::new(connect(&setup, "h2").await);
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let waiting = tokio::spawn(send.send_request(request(true)));
    setup.demand(|d| d.in_flight == 1).await;
    waiting.abort();
    setup.demand(|d| d.in_flight == 0).await;
}

#[test]
fn files_that_do_not_go_together_are_refused_with_their_names() {
    let error = tls::load(&file("cert.pem"), &file("cert.pem")).unwrap_err();
    assert!(error.to_string().contains("private key") && error.to_string().contains("cert.pem"), "{error}");
    let error = tls::load(&file("no-such.pem"), &file("key.pem")).unwrap_err();
    assert!(error.to_string().contains("no-such.pem"), "{error}");
}
