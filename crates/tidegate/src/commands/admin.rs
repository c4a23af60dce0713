//! Asking a Tidegate that runs: its admin listener, over HTTP or HTTPS.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::tls::{self, TlsArgs};

/// An answer takes milliseconds; after this nobody is there.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer: a fleet of a thousand targets with 20 changes of 1 KB each is 20 MB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The variable with the token of an admin listener that others can reach.
const TOKEN_VARIABLE: &str = "TIDEGATE_ADMIN_TOKEN";

/// Which Tidegate is asked.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    /// Where the admin listener is. Where it is not loopback, TIDEGATE_ADMIN_TOKEN holds its token.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8081")]
    pub(crate) admin_addr: SocketAddr,
    /// The admin listener speaks TLS, as it does elsewhere than on loopback where `--tls-cert` was given.
    #[arg(long)]
    pub(crate) https: bool,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The body of a 200.
    Found(Bytes),
    /// Another status, and the sentence with it.
    Refused(u16, String),
    /// Nobody answers.
    Nobody(anyhow::Error),
}

/// A client that blocks.
#[derive(Debug)]
pub(crate) struct Admin {
    addr: SocketAddr,
    runtime: Runtime,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    scheme: &'static str,
    token: Option<String>,
}

impl Admin {
    pub(crate) fn new(args: &AdminArgs) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let https = args.https || args.tls.given();
        let connector = if https { args.tls.connector()? } else { tls::plain()? };
        Ok(Admin {
            addr: args.admin_addr,
            scheme: if https { "https" } else { "http" },
            runtime: runtime.context("cannot start a client")?,
            client: Client::builder(TokioExecutor::new()).build(connector),
            token: std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()),
        })
    }

    /// Where it asks.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// GET, to the whole body.
    pub(crate) fn get(&self, path: &str) -> Answer {
        let outcome = self.runtime.block_on(async { tokio::time::timeout(TIMEOUT, self.fetch(path)).await });
        match outcome {
            Ok(Ok((200, body))) => Answer::Found(body),
            Ok(Ok((status, body))) => Answer::Refused(status, sentence(&body)),
            Ok(Err(error)) => Answer::Nobody(error),
            Err(_) => Answer::Nobody(anyhow::anyhow!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    async fn fetch(&self, path: &str) -> Result<(u16, Bytes)> {
        let mut request = hyper::Request::get(format!("{}://{}{path}", self.scheme, self.addr));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = self.client.request(request.body(Empty::new())?).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let Ok(body) = body else {
            bail!("an answer that is cut short, or longer than {ANSWER_BYTES_MAX} bytes")
        };
        Ok((status, body.to_bytes()))
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

fn sentence(body: &[u8]) -> String {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.error,
        Err(_) => String::from_utf8_lossy(body).chars().take(200).collect(),
    }
}
