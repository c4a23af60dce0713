//! The admission webhook: what `lint` finds, said when an object is applied.
//!
//! Errors refuse, the rest warns. Every replica serves, the leader or not; they agree on one CA and one certificate
//! through a Secret, whose versions decide who was first (`keep`). Its failure policy is `Ignore`: an operator that is
//! away must not keep anybody from applying anything, and the operator refuses later what it cannot run.

mod count;
mod keep;
mod owners;

pub use count::Counters;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::Client;
use rustls::ServerConfig;
use tidegate_manifest::review::{Refusal, Review};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bytes of a review: an object may have 1.5 MiB in etcd, and a review of an update brings the old one too.
const REVIEW_BYTES_MAX: usize = 4 << 20;

/// Connections at once: an API server keeps one or two open, and a cluster has up to five. More wait to be accepted.
const CONNECTIONS_MAX: usize = 64;

/// Reviews at once, each up to 4 MiB and its tree some ten times that: 160 MiB at the worst.
const REVIEWS_MAX: usize = 4;

/// For the TLS handshake, and for a request's head: who takes longer does not want an answer.
const HELLO: Duration = Duration::from_secs(5);

/// For a review: the API server itself waits 5 s as the chart has it, then goes on without us.
const ANSWER: Duration = Duration::from_secs(4);

/// What the API server asks for.
const PATH: &str = "/validate";

/// Where and under which names it serves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Names and addresses that the certificate is for.
    pub names: Vec<String>,
    /// The namespace of the Secret.
    pub namespace: String,
    /// The Secret with CA and certificate.
    pub secret: String,
    /// The ValidatingWebhookConfiguration whose `caBundle` is kept.
    pub configuration: String,
    /// Where validations are counted.
    pub counters: Arc<Counters>,
}

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be had.
    #[error("cannot listen at {addr} for admission reviews: {why}; choose another --webhook-addr")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// What the system says.
        why: std::io::Error,
    },
}

/// A webhook at work; it ends with its token.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    tasks: TaskTracker,
}

impl Running {
    /// Waits for its end.
    pub async fn ended(self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Begins to serve; until there is a certificate connections wait. Remarks go to `out`.
///
/// # Errors
/// When the address cannot be had.
pub async fn start(
    client: Client,
    config: Config,
    out: mpsc::Sender<String>,
    stop: CancellationToken,
) -> Result<Running, Error> {
    let listener = TcpListener::bind(config.addr).await;
    let listener = listener.map_err(|why| Error::Listen { addr: config.addr, why })?;
    let addr = listener.local_addr().map_err(|why| Error::Listen { addr: config.addr, why })?;
    let (tls_out, tls) = watch::channel(None);
    let tasks = TaskTracker::new();
    let (ending, asked) = (stop.clone(), Asked::new(&client, &config));
    tasks.spawn(async move {
        tokio::select! {
            () = ending.cancelled() => {}
            () = keep::run(client, config, tls_out, out) => {}
        }
    });
    let serving = tasks.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept(listener, asked, tls, &serving, &stop) => {}
        }
    });
    Ok(Running { addr, tasks })
}

/// What a review needs.
#[derive(Clone)]
struct Asked {
    client: Client,
    reviews: Arc<Semaphore>,
    counters: Arc<Counters>,
}

impl Asked {
    fn new(client: &Client, config: &Config) -> Self {
        let reviews = Arc::new(Semaphore::new(REVIEWS_MAX));
        Asked { client: client.clone(), reviews, counters: Arc::clone(&config.counters) }
    }
}

async fn accept(
    listener: TcpListener,
    asked: Asked,
    mut tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    if tls.wait_for(Option::is_some).await.is_err() {
        return;
    }
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((socket, _)) = listener.accept().await else {
            // Out of files, most likely: some connection ends soon.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Some(config) = tls.borrow().clone() else { continue };
        let (asked, stop) = (asked.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serve(socket, config, asked) => {}
            }
            drop(place);
        });
    }
}

async fn serve(socket: TcpStream, config: Arc<ServerConfig>, asked: Asked) {
    let handshake = TlsAcceptor::from(config).accept(socket);
    let Ok(Ok(stream)) = tokio::time::timeout(HELLO, handshake).await else { return };
    let service = service_fn(move |request| {
        let asked = asked.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(request, &asked).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HELLO);
    // Whoever hung up has its answer or does not want one.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, asked: &Asked) -> Response<Full<Bytes>> {
    match tokio::time::timeout(ANSWER, reviewed(request, asked)).await {
        Ok(Ok(json)) => reply(StatusCode::OK, "application/json", json),
        Ok(Err((status, why))) => reply(status, "text/plain", why.to_owned().into_bytes()),
        Err(_) => {
            let why = format!("no answer within {} s", ANSWER.as_secs());
            reply(StatusCode::SERVICE_UNAVAILABLE, "text/plain", why.into_bytes())
        }
    }
}

type Reviewed = Result<Vec<u8>, (StatusCode, &'static str)>;

async fn reviewed(request: Request<Incoming>, asked: &Asked) -> Reviewed {
    if request.uri().path() != PATH {
        return Err((StatusCode::NOT_FOUND, "reviews are asked for at /validate"));
    }
    if request.method() != Method::POST {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "a review is a POST"));
    }
    let ended = (StatusCode::SERVICE_UNAVAILABLE, "the operator is ending");
    let _place = asked.reviews.acquire().await.map_err(|_| ended)?;
    let body = Limited::new(request.into_body(), REVIEW_BYTES_MAX).collect().await;
    let Ok(body) = body else {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "a review has at most 4 MiB, and all of it must come"));
    };
    let bytes = body.to_bytes();
    // Reading a hostile object of megabytes takes a while, and who decides runs on the same threads.
    let review = tokio::task::spawn_blocking(move || Review::read(&bytes)).await.map_err(|_| ended)?;
    let none = (StatusCode::BAD_REQUEST, "this is no AdmissionReview of admission.k8s.io/v1");
    let review = review.map_err(|_| none)?;
    // Who is told of two owners must be able to give one of them back.
    let other = match review.object().filter(|_| review.asks_anew()) {
        Some(object) => owners::other(&asked.client, object).await,
        None => None,
    };
    let other: Vec<Refusal> = other.into_iter().collect();
    let answer = tokio::task::spawn_blocking(move || review.answer(&other)).await.map_err(|_| ended)?;
    answer.validated.into_iter().for_each(|validated| asked.counters.add(validated));
    Ok(answer.json)
}

fn reply(status: StatusCode, type_: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(type_));
    response
}
