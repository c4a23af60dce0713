//! One gateway's link to one operator: made, kept, made again.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tidegate_signals::tls::{self, Tls, client_config};
use tokio::net::TcpStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio_rustls::TlsConnector;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};

use super::client::{Config, Shared};
use super::proto;
use super::proto::demand_client::DemandClient;
use super::server::ALIVE;

/// Between two tries: doubled from the first to the last. An operator that restarts is told again within
/// seconds, and a name whose operator is gone for an hour sees 720 tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// For a connection and its TLS.
const CONNECT: Duration = Duration::from_secs(5);

/// Bytes of a file of authorities or of a token.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Bytes of a word: 10,000 drains or outlooks of 100 bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Messages on their way into a stream: HTTP/2 has room for a few, what is more waits in the broadcast.
const OUT_MAX: usize = 8;

/// Why a link is not there.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read {path}: {source}")]
    File { path: String, source: io::Error },
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no connection within {} s", CONNECT.as_secs())]
    Slow,
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("{0} is no host name")]
    Host(String),
    #[error("the token is no header's value")]
    Token,
    #[error("the operator does not speak HTTP/2: {0}")]
    Http(hyper::Error),
    #[error("the operator ends the stream: {}", .0.message())]
    Refused(Box<Status>),
}

pub(super) struct Link {
    pub(super) addr: SocketAddr,
    pub(super) config: Config,
    pub(super) shared: Arc<Shared>,
}

/// Keeps a link for as long as it is wanted.
pub(super) async fn keep(link: Link) {
    let mut pause = PAUSE.0;
    loop {
        let mut was_up = false;
        match link.once(&mut was_up).await {
            Ok(()) => pause = PAUSE.0,
            Err(error) => {
                if was_up {
                    pause = PAUSE.0;
                }
                tracing::debug!(operator = %link.addr, %error, "a link to the operator is down");
                link.shared.is_down(link.addr, error.to_string());
            }
        }
        // From half to the whole of it, so that gateways do not come back at once.
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

impl Link {
    /// One stream to its end. `Ok` where the operator has ended it in order.
    async fn once(&self, was_up: &mut bool) -> Result<(), Error> {
        let host = self.host();
        let token = read(&self.config.token)?;
        let mut bearer: MetadataValue<_> =
            format!("Bearer {}", token.trim()).parse().map_err(|_| Error::Token)?;
        bearer.set_sensitive(true);
        let connect = tokio::time::timeout(CONNECT, self.connect(&host));
        let send = connect.await.map_err(|_| Error::Slow)??;
        let service = tower::service_fn(move |request: http::Request<tonic::body::Body>| {
            let mut send = send.clone();
            async move { send.send_request(request).await }
        });
        let origin = format!("https://{}", self.config.operator).parse().map_err(|_| Error::Host(host))?;
        let client = DemandClient::with_origin(service, origin);
        let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
        let (out, mut take) = mpsc::channel(OUT_MAX);
        let (first, next) = self.shared.begin();
        let feeding = self.feed(first, next, out);
        let mut request = Request::new(futures_util::stream::poll_fn(move |cx| take.poll_recv(cx)));
        request.metadata_mut().insert("authorization", bearer);
        let telling = async {
            let answer = client.tell(request).await.map_err(|status| Error::Refused(Box::new(status)))?;
            let mut words = answer.into_inner();
            while let Some(word) = words.message().await.map_err(|status| Error::Refused(Box::new(status)))? {
                if !std::mem::replace(was_up, true) {
                    self.shared.is_up(self.addr);
                }
                self.shared.words.send_modify(|words| {
                    words.insert(self.addr, Arc::new(word));
                });
            }
            Ok(())
        };
        tokio::select! {
            ended = telling => ended,
            () = feeding => Ok(()),
        }
    }

    /// The name the certificate must be for.
    fn host(&self) -> String {
        let operator = &self.config.operator;
        let host = operator.rsplit_once(':').map_or(operator.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']').to_owned()
    }

    async fn connect(&self, host: &str) -> Result<http2::SendRequest<tonic::body::Body>, Error> {
        let ca_pem = self.config.ca.as_deref().map(read).transpose()?;
        let mut config = (*client_config(&Tls { ca_pem, ..Tls::default() })?).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = rustls::pki_types::ServerName::try_from(host.to_owned())
            .map_err(|_| Error::Host(host.to_owned()))?;
        let socket = TcpStream::connect(self.addr).await.map_err(Error::Connect)?;
        // An edge is a hundred bytes, and is not to wait for more.
        socket.set_nodelay(true).map_err(Error::Connect)?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, socket).await.map_err(Error::Connect)?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(ALIVE.0)
            .keep_alive_timeout(ALIVE.1)
            .keep_alive_while_idle(true);
        let (send, connection) = builder.handshake(TokioIo::new(tls)).await.map_err(Error::Http)?;
        // It ends when its last sender is dropped.
        tokio::spawn(connection);
        Ok(send)
    }

    /// Everything that is to be told, in order; a whole report in place of what was missed.
    async fn feed(
        &self,
        first: proto::Report,
        mut next: broadcast::Receiver<Arc<proto::Report>>,
        out: mpsc::Sender<proto::Report>,
    ) {
        let mut report = first;
        loop {
            if out.send(report).await.is_err() {
                return;
            }
            report = match next.recv().await {
                Ok(report) => proto::Report::clone(&report),
                Err(RecvError::Lagged(_)) => {
                    let (whole, after) = self.shared.begin();
                    next = after;
                    whole
                }
                Err(RecvError::Closed) => return,
            };
        }
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::File { path: path.display().to_string(), source };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)).map_err(failed)?;
    Ok(text)
}
