//! The listener: connections in, each with its limits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, TOKEN_CHARS_MIN};
use crate::push::Push;
use crate::routes;
use crate::source::Source;

/// Connections at once: a dozen open dashboards of six connections each, and scrapers. Beyond it new ones
/// wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 128;

/// Until the head of a request is there, and until the next one on the same connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of a request's head. A browser sends about 1 KB.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Headers of a request. A browser sends about 15.
const HEADERS_MAX: usize = 64;

/// After a failed `accept` (no file descriptors left), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What stops a connection that does not end by itself when the listener stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Where to listen, and for whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address; port 0 takes any.
    pub addr: SocketAddr,
    /// Asked for at every read where the address is not loopback; unused where it is. At least
    /// [`TOKEN_CHARS_MIN`] letters, digits, `-`, `_`, `.`, `~`.
    pub token: Option<String>,
    /// TLS, if connections are to be encrypted.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who takes pushed signals; nobody if `None`.
    pub push: Option<Push>,
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error("cannot listen on {addr} for the dashboard: {said}; choose another with --admin-addr")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        said: io::Error,
    },
    /// Open to others, without a usable token.
    #[error(
        "{addr} can be reached from other machines, so the dashboard there needs a token of at least \
         {TOKEN_CHARS_MIN} letters and digits; give one, or listen on 127.0.0.1"
    )]
    Token {
        /// The address.
        addr: SocketAddr,
    },
}

/// A listener at work. It goes on when this is dropped.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Ends it: no new connections, event streams end, answers under way are finished within 2 s.
    pub async fn stop(self) {
        self.stop.cancel();
        // A task that panicked has ended, too.
        let _ = self.task.await;
    }
}

/// Listens, and answers from `source` until stopped.
///
/// # Errors
/// When the address cannot be had, or is open to others and there is no token.
pub async fn serve(config: Config, source: Arc<dyn Source>) -> Result<Running, Error> {
    let Config { addr, token, tls, push } = config;
    let access = Access::of(addr, token).ok_or(Error::Token { addr })?;
    let bind = |said| Error::Bind { addr, said };
    let listener = TcpListener::bind(addr).await.map_err(bind)?;
    let addr = listener.local_addr().map_err(bind)?;
    let stop = CancellationToken::new();
    let router = routes::router(source, access, push, stop.clone());
    let acceptor = tls.map(TlsAcceptor::from);
    let task = tokio::spawn(accept(listener, router, acceptor, stop.clone()));
    Ok(Running { addr, stop, task })
}

async fn accept(
    listener: TcpListener,
    router: axum::Router,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let (slot, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            Some(next) = next => next,
        };
        match accepted {
            Ok((socket, _)) => {
                connections.spawn(connection(socket, router.clone(), tls.clone(), stop.clone(), slot));
            }
            Err(error) => {
                tracing::warn!(%error, "the dashboard cannot take a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    let _ = tokio::time::timeout(STOP_GRACE, connections.wait()).await;
}

async fn connection(
    socket: TcpStream,
    router: axum::Router,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
    _slot: OwnedSemaphorePermit,
) {
    let _ = socket.set_nodelay(true);
    match tls {
        None => talk(socket, router, stop).await,
        Some(tls) => {
            if let Ok(Ok(socket)) = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(socket)).await {
                talk(socket, router, stop).await;
            }
        }
    }
}

async fn talk<S>(socket: S, router: axum::Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(STOP_GRACE, connection).await;
        }
    }
}
