//! One connection that asks over AMQP for the length of a queue, again and again.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::frame::{self, Said};
use crate::{find, tls};

/// Seconds of silence after which a server may drop us. Readings come each second and count as life;
/// where they come less often, the server drops us and the next reading connects anew.
const HEARTBEAT_S: u16 = 60;

/// Frames read for one answer. Between two readings only heartbeats come, and the server gives up after
/// two of ours are missing: that is four.
const FRAMES_MAX: usize = 64;

/// The one channel used.
const CHANNEL: u16 = 1;

/// Why a length is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection cannot be made, or has ended. Asking again can help.
    #[error("{0}")]
    Connection(String),
    /// What came is not AMQP 0-9-1.
    #[error(transparent)]
    Frame(#[from] frame::Error),
    /// The server says no: user, password, virtual host or queue.
    #[error("{code} {text}")]
    Refused {
        /// AMQP's reply code: 403 for user and password, 404 for a queue, 530 for a virtual host.
        code: u16,
        /// In the server's words.
        text: String,
    },
    /// It takes no user and password.
    #[error("the server signs in by {mechanisms}, and only PLAIN is spoken here")]
    Mechanism {
        /// Those it takes.
        mechanisms: String,
    },
    /// Another answer than the one that was due.
    #[error("the server answered out of turn")]
    OutOfTurn,
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::Connection(find::brief(error))
    }
}

impl Error {
    /// Whether a kept connection may just have been closed since.
    fn is_stale(&self) -> bool {
        matches!(self, Error::Connection(_))
    }
}

/// A server, a virtual host, and who we are there.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(super) vhost: String,
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Debug for Server {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host, self.port, self.vhost)
    }
}

/// A connection, or the lack of one, kept between readings.
#[derive(Debug)]
pub(super) struct Amqp {
    server: Server,
    kept: Mutex<Option<Session>>,
}

impl Amqp {
    pub(super) fn new(server: Server) -> Self {
        Amqp { server, kept: Mutex::new(None) }
    }

    /// Messages ready in `queue`.
    pub(super) async fn ready(&self, queue: &str) -> Result<u32, Error> {
        let mut kept = self.kept.lock().await;
        // Taken out, so that a reading given up half way leaves no connection with an answer still to come.
        if let Some(mut session) = kept.take() {
            match session.ready(queue).await {
                // A server that was restarted closed it: one new attempt in the same reading.
                Err(error) if error.is_stale() => {}
                answer => {
                    *kept = session.usable.then_some(session);
                    return answer;
                }
            }
        }
        let mut session = Session::connect(&self.server).await?;
        let answer = session.ready(queue).await;
        *kept = session.usable.then_some(session);
        answer
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

struct Session {
    stream: Box<dyn Stream>,
    channel_open: bool,
    usable: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("usable", &self.usable).finish_non_exhaustive()
    }
}

impl Session {
    async fn connect(server: &Server) -> Result<Self, Error> {
        let stream = TcpStream::connect((server.host.as_str(), server.port)).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &server.tls {
            Some((config, name)) => Box::new(tls::connect(config, name.clone(), stream).await?),
            None => Box::new(stream),
        };
        let mut session = Session { stream, channel_open: false, usable: true };
        session.open(server).await?;
        Ok(session)
    }

    async fn open(&mut self, server: &Server) -> Result<(), Error> {
        self.send(frame::GREETING).await?;
        let Said::Start { mechanisms } = self.answer(0).await? else { return Err(Error::OutOfTurn) };
        if !mechanisms.split(' ').any(|mechanism| mechanism == "PLAIN") {
            return Err(Error::Mechanism { mechanisms: find::brief(mechanisms) });
        }
        self.send(&frame::start_ok(&server.user, &server.password)).await?;
        let Said::Tune { channels_max, frame_bytes_max, heartbeat_s } = self.answer(0).await? else {
            return Err(Error::OutOfTurn);
        };
        // Zero is no limit, of a number and of a time alike.
        let ours = u32::try_from(frame::FRAME_BYTES_MAX).unwrap_or(u32::MAX);
        let frame_bytes = if frame_bytes_max == 0 { ours } else { frame_bytes_max.min(ours) };
        let channels = if channels_max == 0 { CHANNEL } else { channels_max.min(CHANNEL) };
        let heartbeat = if heartbeat_s == 0 { HEARTBEAT_S } else { heartbeat_s.min(HEARTBEAT_S) };
        self.send(&frame::tune_ok(channels, frame_bytes, heartbeat)).await?;
        self.send(&frame::open(&server.vhost)).await?;
        match self.answer(0).await? {
            Said::Opened => Ok(()),
            _ => Err(Error::OutOfTurn),
        }
    }

    async fn ready(&mut self, queue: &str) -> Result<u32, Error> {
        let answer = self.ask(queue).await;
        // After a refusal of the channel the connection is as good as before.
        self.usable = answer.is_ok() || (matches!(answer, Err(Error::Refused { .. })) && !self.channel_open);
        answer
    }

    async fn ask(&mut self, queue: &str) -> Result<u32, Error> {
        if !self.channel_open {
            self.send(&frame::open_channel(CHANNEL)).await?;
            let Said::ChannelOpened = self.answer(CHANNEL).await? else { return Err(Error::OutOfTurn) };
            self.channel_open = true;
        }
        self.send(&frame::declare(CHANNEL, queue)).await?;
        match self.answer(CHANNEL).await? {
            Said::Queue { messages } => Ok(messages),
            _ => Err(Error::OutOfTurn),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// The next thing that matters on `channel`. A refusal is an error.
    async fn answer(&mut self, channel: u16) -> Result<Said, Error> {
        for _ in 0..FRAMES_MAX {
            let (from, said) = self.frame().await?;
            match said {
                Said::Other => {}
                Said::Closed { code, text } => {
                    if from == CHANNEL {
                        self.send(&frame::close_channel_ok(CHANNEL)).await?;
                        self.channel_open = false;
                    } else {
                        // A server that goes down says so first; that is no refusal of ours.
                        return Err(match code {
                            320 | 541 => Error::Connection(format!("{code} {}", find::brief(text))),
                            _ => Error::Refused { code, text: find::brief(text) },
                        });
                    }
                    return Err(Error::Refused { code, text: find::brief(text) });
                }
                said if from == channel => return Ok(said),
                _ => return Err(Error::OutOfTurn),
            }
        }
        Err(Error::OutOfTurn)
    }

    async fn frame(&mut self) -> Result<(u16, Said), Error> {
        let mut head = [0; frame::HEAD_BYTES];
        self.stream.read_exact(&mut head).await?;
        let head = frame::head(&head)?;
        let mut payload = vec![0; head.bytes + 1];
        self.stream.read_exact(&mut payload).await?;
        if payload.pop() != Some(frame::END) {
            return Err(frame::Error::NotAmqp.into());
        }
        Ok((head.channel, frame::said(head.kind, &payload)?))
    }
}
