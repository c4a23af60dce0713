//! Where gateways connect: TLS, HTTP/2, one stream each.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use super::account::{Accounts, Error, Who};
use super::proto::demand_server::{Demand, DemandServer};
use super::{Report, proto};

/// Connections at once: the gateways the book takes, twice, for those that come back before the old
/// connection is known to be dead. More are closed at once.
const CONNECTIONS_MAX: usize = 2 * super::book::GATEWAYS_MAX;

/// Until a connection's TLS is there.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// For so long a connection may have no stream of a gateway whose token was taken: its first is begun at once, the next
/// a moment after the last.
const IDLE: Duration = Duration::from_secs(10);

/// A gateway tells each second: one that has not for so long is gone, and may connect again.
const SILENCE: Duration = Duration::from_secs(30);

/// After so long a stream is ended, and begun again with a token that is reviewed again.
const STREAM: Duration = Duration::from_secs(600);

/// Bytes of a report: 50,000 pods of 60 bytes, and 10,000 targets of 70, are 3.7 MB.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Bytes of a request's headers: a token has 1,500.
const HEADERS_BYTES_MAX: u32 = 32 << 10;

/// Between two questions whether the other side is there, and for its answer.
pub(super) const ALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));

/// Reports on their way to the loop: all gateways' of four seconds. Who is next waits, and its gateway with it.
pub const REPORTS_MAX: usize = 256;

/// What a server needs.
pub struct Config {
    /// Where gateways connect.
    pub listener: TcpListener,
    /// The certificate of the day.
    pub tls: watch::Receiver<Arc<ServerConfig>>,
    /// Whose tokens are taken.
    pub accounts: Accounts,
    /// Where reports go.
    pub reports: mpsc::Sender<Report>,
    /// What gateways are told.
    pub words: watch::Receiver<Arc<proto::Word>>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// Takes gateways until it is stopped.
pub async fn serve(config: Config, stop: CancellationToken) {
    let Config { listener, tls, accounts, reports, words } = config;
    let (streams, _) = watch::channel(0);
    let service = Service { accounts: Arc::new(accounts), reports, words, stop: stop.clone(), streams };
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, peer)) = accepted else {
            // No file left: others may close theirs.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(%peer, "a gateway's connection is closed: {CONNECTIONS_MAX} are open");
            continue;
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
        let (service, stop) = (service.clone(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                () = stop.cancelled() => {}
                () = connection(socket, peer, acceptor, service) => {}
            }
        });
    }
}

async fn connection(socket: TcpStream, peer: SocketAddr, acceptor: TlsAcceptor, mut service: Service) {
    // An edge is a hundred bytes, and is not to wait for more.
    let _ = socket.set_nodelay(true);
    let tls = match tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return tracing::info!(%peer, %error, "no TLS with a gateway"),
        Err(_) => return tracing::info!(%peer, "no TLS with a gateway in time"),
    };
    let (streams, count) = watch::channel(0);
    service.streams = streams;
    let demand = DemandServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut server = http2::Builder::new(TokioExecutor::new());
    server
        .timer(TokioTimer::new())
        .keep_alive_interval(ALIVE.0)
        .keep_alive_timeout(ALIVE.1)
        .max_concurrent_streams(2)
        .max_header_list_size(HEADERS_BYTES_MAX);
    let serving = server.serve_connection(TokioIo::new(tls), TowerToHyperService::new(demand));
    let served = tokio::select! {
        served = serving => served,
        () = idle(count) => return tracing::info!(%peer, "a connection without a gateway is closed"),
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a gateway's connection ended");
    }
}

/// Waits until there has been no stream for [`IDLE`].
async fn idle(mut streams: watch::Receiver<u32>) {
    loop {
        // Who counts them lives as long as the connection.
        if streams.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        if tokio::time::timeout(IDLE, streams.wait_for(|count| *count > 0)).await.is_err() {
            return;
        }
    }
}

/// One stream at work, among those of its connection.
struct Counted(watch::Sender<u32>);

impl Counted {
    fn new(streams: watch::Sender<u32>) -> Self {
        streams.send_modify(|count| *count += 1);
        Counted(streams)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[derive(Clone)]
struct Service {
    accounts: Arc<Accounts>,
    reports: mpsc::Sender<Report>,
    words: watch::Receiver<Arc<proto::Word>>,
    stop: CancellationToken,
    /// Streams of this connection.
    streams: watch::Sender<u32>,
}

type Words = Pin<Box<dyn Stream<Item = Result<proto::Word, Status>> + Send>>;

#[tonic::async_trait]
impl Demand for Service {
    type TellStream = Words;

    async fn tell(&self, request: Request<Streaming<proto::Report>>) -> Result<Response<Words>, Status> {
        let header = request.metadata().get("authorization").and_then(|header| header.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default();
        // While it is asked who this is, the connection is not an idle one.
        let counted = Counted::new(self.streams.clone());
        let who = self.accounts.review(token).await.map_err(|error| refusal(&error))?;
        let (ended, end) = watch::channel(None);
        let hearing = hear(request.into_inner(), who, self.reports.clone(), ended, self.stop.clone());
        tokio::spawn(async move {
            hearing.await;
            drop(counted);
        });
        Ok(Response::new(words(self.words.clone(), end)))
    }
}

fn refusal(error: &Error) -> Status {
    let code = match error {
        Error::Account(_) => Code::PermissionDenied,
        Error::Away(_) => Code::Unavailable,
        _ => Code::Unauthenticated,
    };
    Status::new(code, error.to_string())
}

/// How a stream ended: none while it goes on.
type End = Option<Result<(), Status>>;

/// Hears one gateway to its end.
async fn hear(
    mut stream: Streaming<proto::Report>,
    who: Who,
    reports: mpsc::Sender<Report>,
    ended: watch::Sender<End>,
    stop: CancellationToken,
) {
    let over = tokio::time::sleep(STREAM);
    tokio::pin!(over);
    let end = loop {
        let heard = tokio::select! {
            () = &mut over => break Ok(()),
            () = stop.cancelled() => break Ok(()),
            // Nobody reads the words any more: the connection is gone.
            () = ended.closed() => return,
            heard = tokio::time::timeout(SILENCE, stream.next()) => heard,
        };
        let report = match heard {
            Err(_) => break Err(Status::deadline_exceeded("nothing was told for too long")),
            Ok(None) => break Ok(()),
            Ok(Some(Err(status))) => break Err(status),
            Ok(Some(Ok(report))) => report,
        };
        match Report::read(report, who.pod.clone()) {
            Ok(report) => {
                if reports.send(report).await.is_err() {
                    break Err(Status::unavailable("the operator ends"));
                }
            }
            Err(refused) => {
                tracing::warn!(user = who.user, %refused, "a gateway's report is not taken");
                break Err(Status::invalid_argument(refused.to_string()));
            }
        }
    };
    ended.send_replace(Some(end));
}

/// What a gateway is told: all that stands, then each change, until its own stream ends.
fn words(words: watch::Receiver<Arc<proto::Word>>, end: watch::Receiver<End>) -> Words {
    struct State {
        words: watch::Receiver<Arc<proto::Word>>,
        end: watch::Receiver<End>,
        over: bool,
    }
    let mut state = State { words, end, over: false };
    state.words.mark_changed();
    Box::pin(futures_util::stream::unfold(state, |mut state| async move {
        if state.over {
            return None;
        }
        let end = tokio::select! {
            changed = state.words.changed() => changed.err().map(|_| Ok(())),
            end = state.end.wait_for(Option::is_some) => match end {
                Ok(end) => end.clone(),
                Err(_) => Some(Ok(())),
            },
        };
        match end {
            None => {
                let word = proto::Word::clone(&state.words.borrow_and_update());
                Some((Ok(word), state))
            }
            Some(Ok(())) => None,
            Some(Err(status)) => {
                state.over = true;
                Some((Err(status), state))
            }
        }
    }))
}
