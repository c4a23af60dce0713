//! A server on loopback that answers as a test says, and remembers what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tidegate_testkit::servers::Certificates;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// Says what to answer.
type Handler = dyn Fn(&Request<Bytes>) -> Response<String> + Send + Sync;

/// A server that ends when it is dropped.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Request<Bytes>>>>,
    _task: AbortOnDropHandle<()>,
}

impl Web {
    pub(crate) async fn start(
        handler: impl Fn(&Request<Bytes>) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        Web::with(None, handler).await
    }

    /// One that talks TLS, and only with who has a certificate of the same authority.
    pub(crate) async fn start_tls(
        certificates: &Certificates,
        handler: impl Fn(&Request<Bytes>) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        Web::with(Some(acceptor(certificates)), handler).await
    }

    /// One on a socket that is bound already.
    pub(crate) fn on(
        listener: TcpListener,
        handler: impl Fn(&Request<Bytes>) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        Web::listening(listener, None, handler)
    }

    async fn with(
        tls: Option<TlsAcceptor>,
        handler: impl Fn(&Request<Bytes>) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Web::listening(listener, tls, handler)
    }

    fn listening(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        handler: impl Fn(&Request<Bytes>) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, handler): (_, Arc<Handler>) = (Arc::clone(&asked), Arc::new(handler));
        let task = tokio::spawn(async move {
            let mut kept = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, handler, tls) = (Arc::clone(&seen), Arc::clone(&handler), tls.clone());
                kept.spawn(async move {
                    match tls {
                        None => serve(stream, seen, handler).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, seen, handler).await;
                            }
                        }
                    }
                });
            }
        });
        Web { address, asked, _task: AbortOnDropHandle::new(task) }
    }

    /// Takes what it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Request<Bytes>> {
        std::mem::take(&mut self.asked.lock().expect("no test panics while it holds this"))
    }
}

fn acceptor(certificates: &Certificates) -> TlsAcceptor {
    let read = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("openssl wrote it");
    let mut authorities = rustls::RootCertStore::empty();
    authorities.add(read(&certificates.ca_pem)).expect("it is an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(authorities),
        Arc::clone(&provider),
    );
    let key = PrivateKeyDer::from_pem_slice(certificates.key_pem.as_bytes()).expect("openssl wrote it");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS")
        .with_client_cert_verifier(verifier.build().expect("an authority"))
        .with_single_cert(vec![read(&certificates.cert_pem)], key)
        .expect("the key fits");
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    seen: Arc<Mutex<Vec<Request<Bytes>>>>,
    handler: Arc<Handler>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let request = Request::from_parts(parts, body);
            let answer = handler(&request);
            seen.lock().expect("no test panics while it holds this").push(request);
            Ok::<_, Infallible>(answer.map(|text| Full::new(Bytes::from(text))))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
