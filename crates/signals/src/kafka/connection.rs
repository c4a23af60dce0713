//! A connection to one broker: signed in, one request at a time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::api::{self, Api, Broker};
use super::sasl::{self, Hash, Scram};
use super::wire::{ANSWER_BYTES_MAX, Malformed, Writer};
use crate::oauth::{self, Tokens};
use crate::{find, tls};

/// Time for connecting to one broker: a third of a reading, so that two that are silent leave time for
/// a third.
pub(super) const CONNECT: Duration = Duration::from_secs(1);

const CLIENT_ID: &str = "tidegate";

/// Why a broker has not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection cannot be made, or has ended. Asking again can help.
    #[error("{0}")]
    Connection(String),
    /// What came is not an answer of Kafka.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// An answer too long, or none: another protocol speaks on this port.
    #[error(
        "an answer of {bytes} bytes, and {ANSWER_BYTES_MAX} are allowed; does Kafka listen there, with TLS as set?"
    )]
    TooLong {
        /// As it says.
        bytes: i32,
    },
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// Nobody could sign in.
    #[error(transparent)]
    Sasl(#[from] sasl::Error),
    /// No token to sign in with.
    #[error(transparent)]
    OAuth(#[from] oauth::Error),
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        // A broker that does not like what it reads closes the connection without a word.
        Error::Connection(match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "the broker closed the connection".to_owned(),
            _ => find::brief(error),
        })
    }
}

/// How to sign in.
#[derive(Debug)]
pub(super) enum SignIn {
    No,
    Plain(Login),
    Scram(Hash, Login),
    Bearer(Box<Tokens>, String),
}

/// User and password.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// How every broker of a cluster is spoken to.
#[derive(Debug)]
pub(super) struct Manner {
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) sign_in: SignIn,
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

pub(super) struct Connection {
    stream: Box<dyn Stream>,
    correlation: i32,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("correlation", &self.correlation).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connected and signed in.
    pub(super) async fn new(broker: &Broker, manner: &Manner) -> Result<Self, Error> {
        let late = || Error::Connection(format!("no connection within {} ms", CONNECT.as_millis()));
        tokio::time::timeout(CONNECT, Connection::open(broker, manner)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn open(broker: &Broker, manner: &Manner) -> Result<Self, Error> {
        let stream = TcpStream::connect((broker.host.as_str(), broker.port)).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &manner.tls {
            Some(config) => Box::new(tls::connect(config, tls::server_name(&broker.host)?, stream).await?),
            None => Box::new(stream),
        };
        let mut connection = Connection { stream, correlation: 0 };
        connection.sign_in(&manner.sign_in).await?;
        Ok(connection)
    }

    async fn sign_in(&mut self, sign_in: &SignIn) -> Result<(), Error> {
        match sign_in {
            SignIn::No => Ok(()),
            SignIn::Plain(login) => {
                self.mechanism("PLAIN").await?;
                self.authenticate(&sasl::plain(&login.user, &login.password)).await.map(drop)
            }
            SignIn::Scram(hash, login) => {
                self.mechanism(hash.mechanism()).await?;
                let mut scram = Scram::new(*hash, &login.user, &login.password)?;
                let server_first = self.authenticate(&scram.first()).await?;
                let last = scram.last(&server_first)?;
                Ok(scram.verify(&self.authenticate(&last).await?)?)
            }
            SignIn::Bearer(tokens, extensions) => {
                let token = tokens.token(CONNECT).await?;
                self.mechanism("OAUTHBEARER").await?;
                let answer = self.authenticate(&sasl::bearer(&token, extensions)).await;
                // A refusal may come as a text instead of an error.
                let refused = match answer {
                    Ok(said) if said.is_empty() => return Ok(()),
                    Ok(said) => {
                        sasl::Error::Refused { said: find::brief(String::from_utf8_lossy(&said)) }.into()
                    }
                    Err(error) => error,
                };
                tokens.forget().await;
                Err(refused)
            }
        }
    }

    async fn mechanism(&mut self, wanted: &'static str) -> Result<(), Error> {
        let answer = self.ask(api::SASL_HANDSHAKE, &api::ask_handshake(wanted)).await?;
        let (error, offered) = api::handshake(&answer)?;
        if error == 0 {
            return Ok(());
        }
        Err(sasl::Error::Mechanism { wanted, offered: find::brief(offered.join(", ")) }.into())
    }

    async fn authenticate(&mut self, token: &[u8]) -> Result<Vec<u8>, Error> {
        let answer = self.ask(api::SASL_AUTHENTICATE, &api::ask_authenticate(token)).await?;
        match api::authenticate(&answer)? {
            (0, _, token) => Ok(token),
            (error, said, _) => {
                let said = if said.is_empty() { api::name(error) } else { said };
                Err(sasl::Error::Refused { said: find::brief(said) }.into())
            }
        }
    }

    /// One request and its answer. After an error, or an ask given up half way, the connection is of no
    /// more use.
    pub(super) async fn ask(&mut self, api: Api, body: &Writer) -> Result<Vec<u8>, Error> {
        self.correlation = self.correlation.wrapping_add(1);
        let mut request = Writer::default();
        request.i16(api.key);
        request.i16(api.version);
        request.i32(self.correlation);
        request.text(CLIENT_ID);
        let mut frame = Writer::default();
        frame.length(request.0.len() + body.0.len());
        frame.0.extend_from_slice(&request.0);
        frame.0.extend_from_slice(&body.0);
        self.stream.write_all(&frame.0).await?;
        self.stream.flush().await?;
        let bytes = self.stream.read_i32().await?;
        let length = match usize::try_from(bytes) {
            Ok(length) if (4..=ANSWER_BYTES_MAX).contains(&length) => length - 4,
            _ => return Err(Error::TooLong { bytes }),
        };
        if self.stream.read_i32().await? != self.correlation {
            return Err(Malformed.into());
        }
        // Grows with what comes, not with what is promised.
        let mut answer = Vec::new();
        let mut limited = (&mut self.stream).take(length as u64);
        limited.read_to_end(&mut answer).await?;
        if answer.len() < length {
            return Err(Error::Connection("the broker closed the connection".to_owned()));
        }
        Ok(answer)
    }
}
