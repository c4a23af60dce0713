//! A small client: GET with a deadline and a limit on the body, over kept connections.
//!
//! No redirects: an engine that answers 302 is not the engine. No compression: a page of 50 KB costs
//! less to send over loopback than to unpack. Plain HTTP only.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tidegate_metrics::exposition::PAGE_BYTES_MAX;

/// The longest body read: what the page reader takes at the most.
pub const BODY_BYTES_MAX: usize = PAGE_BYTES_MAX;

/// How long an unused connection is kept. Scrapes come each second, or each five at the slowest.
const IDLE: Duration = Duration::from_secs(15);

/// Bytes of headers and of a chunk on the way: one page of vLLM in one read, and 32 MB for 500 engines.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Text is asked for first: OpenMetrics says nothing more that is used here.
pub(crate) const ACCEPTED: HeaderValue = HeaderValue::from_static(
    "text/plain;version=0.0.4;q=1,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1",
);

/// Why a GET gave no body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not an `http://` URL.
    #[error("{url} is no http:// address")]
    Address {
        /// The URL.
        url: String,
    },
    /// Nobody takes the connection. A replica that starts or stops does that; asking again can help.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// The URL.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// No whole answer in time. Asking again can help.
    #[error("{url} has not answered within {after_ms} ms")]
    Late {
        /// The URL.
        url: String,
        /// The deadline.
        after_ms: u128,
    },
    /// An answer that is not 200.
    #[error("{url} answered {status}")]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: StatusCode,
    },
    /// A body longer than [`BODY_BYTES_MAX`].
    #[error("{url} answered with more than {BODY_BYTES_MAX} bytes")]
    TooLong {
        /// The URL.
        url: String,
    },
    /// Not HTTP, or cut off. Asking again can help.
    #[error("the answer of {url} is broken: {reason}")]
    Broken {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A body with its type.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `Content-Type`; empty where there is none.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

/// A client with its connections, one kept for each server. Clones share them.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool<HttpConnector, Empty<Bytes>>,
}

impl Default for Client {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(BUFFER_BYTES_MAX)
            .build(connector);
        Client { pool }
    }
}

impl Client {
    /// The body at `url`, if the answer is 200 and whole before `deadline` has passed. `authorization` is
    /// sent as that header.
    ///
    /// # Errors
    /// As [`Error`] lists.
    pub async fn get(
        &self,
        url: &Uri,
        authorization: Option<&HeaderValue>,
        deadline: Duration,
    ) -> Result<Answer, Error> {
        match tokio::time::timeout(deadline, self.get_whole(url, authorization)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Late { url: url.to_string(), after_ms: deadline.as_millis() }),
        }
    }

    async fn get_whole(&self, url: &Uri, authorization: Option<&HeaderValue>) -> Result<Answer, Error> {
        let address = || Error::Address { url: url.to_string() };
        if url.scheme_str() != Some("http") || url.host().is_none() {
            return Err(address());
        }
        let mut request = Request::get(url.clone())
            .header(ACCEPT, ACCEPTED)
            .header(USER_AGENT, HeaderValue::from_static("tidegate"))
            .body(Empty::new())
            .map_err(|_| address())?;
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let response = self.pool.request(request).await.map_err(|error| {
            let (url, reason) = (url.to_string(), root_cause(&error));
            if error.is_connect() {
                Error::Unreachable { url, reason }
            } else {
                Error::Broken { url, reason }
            }
        })?;
        if response.status() != StatusCode::OK {
            return Err(Error::Status { url: url.to_string(), status: response.status() });
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.map_err(|error| {
            let url = url.to_string();
            if error.is::<LengthLimitError>() {
                Error::TooLong { url }
            } else {
                Error::Broken { url, reason: root_cause(&*error) }
            }
        })?;
        Ok(Answer { content_type, body: body.to_bytes() })
    }
}

/// The innermost error: "Connection refused" says more than "client error (Connect)".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
