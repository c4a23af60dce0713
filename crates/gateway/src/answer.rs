//! What clients get when it is not an engine that answers: errors in OpenAI's shape.

use bytes::Bytes;
use http::StatusCode;
use tidegate_core::route::Refusal;
use tidegate_core::time::Span;

use crate::framing::{Fields, decimal, request};
use crate::outgoing::Out;
use crate::reply::Reply;
use crate::request::ScanError;
use crate::sse::{Broken, Dialect};

/// An error a client is told.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) kind: &'static str,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) param: Option<&'static str>,
    pub(crate) retry_after: Option<Span>,
    pub(crate) allow: Option<&'static str>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let kind = match status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            _ => "upstream_error",
        };
        Problem { status, kind, code, message: message.into(), param: None, retry_after: None, allow: None }
    }

    fn param(self, param: &'static str) -> Self {
        Problem { param: Some(param), ..self }
    }

    pub(crate) fn no_such_path(path: &str) -> Self {
        let path: String = path.chars().take(100).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_path",
            format!("there is no {path} here; see GET /v1/models for what is served"),
        )
    }

    pub(crate) fn forbidden(path: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "engine_admin",
            format!("{path} steers an engine and is not passed on; ask the operator of this gateway"),
        )
    }

    pub(crate) fn method(allow: &'static str) -> Self {
        let problem =
            Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", format!("use {allow} here"));
        Problem { allow: Some(allow), ..problem }
    }

    pub(crate) fn no_key(shown: bool) -> Self {
        let message = if shown {
            "this API key is not known here"
        } else {
            "an API key is needed: send it as \"Authorization: Bearer KEY\""
        };
        Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
    }

    pub(crate) fn no_model() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "model_missing",
            "the body must name a \"model\"; see GET /v1/models",
        )
        .param("model")
    }

    pub(crate) fn unknown_model(model: &str) -> Self {
        let model: String = model.chars().take(100).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "model_not_found",
            format!("the model {model:?} does not exist here; see GET /v1/models"),
        )
        .param("model")
    }

    pub(crate) fn body(error: ScanError) -> Self {
        let problem = Self::new(StatusCode::BAD_REQUEST, "invalid_body", error.to_string());
        match error {
            ScanError::TwoModels | ScanError::BadModel => problem.param("model"),
            _ => problem,
        }
    }

    pub(crate) fn too_large(max: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body is larger than the {max} bytes taken here"),
        )
    }

    /// Bytes that are no request; the connection ends with this answer.
    pub(crate) fn unreadable(error: request::Error) -> Self {
        let (status, code) = match error {
            request::Error::HeadTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large"),
            _ => (StatusCode::BAD_REQUEST, "invalid_request"),
        };
        Self::new(status, code, error.to_string())
    }

    pub(crate) fn misfit() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_body", "the chunks of the body do not fit together")
    }

    pub(crate) fn body_stalled() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_stalled", "the body stopped coming before it was over")
    }

    pub(crate) fn no_memory() -> Self {
        let problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "bodies_full",
            "the gateway keeps as many bytes of bodies as it may; try again shortly",
        );
        Problem { retry_after: Some(Span::from_secs(1)), ..problem }
    }

    pub(crate) fn refused(refusal: &Refusal, retry_after: Option<Span>, target: &str) -> Self {
        use Refusal as R;
        let (code, message) = match refusal {
            R::HoldFull => ("hold_full", format!("as many requests wait for {target} as may")),
            R::HoldBytesFull => ("hold_full", format!("as many bytes wait for {target} as may")),
            R::NoReplicaInTime => ("no_replica", format!("no replica of {target} was ready in time")),
            R::BusyTooLong => ("busy", format!("all replicas of {target} stayed busy for too long")),
            R::DeadlineTooSoon => {
                ("deadline", format!("the wait for {target} is expected to be longer than your deadline"))
            }
            R::TenantFull => ("tenant_full", format!("you have as many requests at {target} as you may")),
            R::TargetGone => ("target_gone", format!("{target} is no longer served here")),
            R::RetriesSpent => {
                ("replicas_failed", format!("every replica of {target} that was tried failed"))
            }
        };
        let status = match refusal {
            R::TenantFull => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        // Who is told nothing comes again at once, with all the others: a second spreads them a little.
        let retry_after = Some(retry_after.unwrap_or(Span::from_secs(1)));
        Problem { retry_after, ..Self::new(status, code, message) }
    }

    pub(crate) fn first_byte_late() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "replica_silent", "the replica sent no answer in time")
    }

    pub(crate) fn lost() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "replica_lost", "the replica was lost while it answered")
    }

    /// How a stream that began is broken off.
    pub(crate) fn broken(broken: Broken) -> Self {
        let message = match broken {
            Broken::Aborted => "the replica was stopped before the answer was whole",
            Broken::Unfinished => "the replica was lost before the answer was whole",
        };
        Self::new(StatusCode::BAD_GATEWAY, "replica_lost", message)
    }

    pub(crate) fn chunk_late() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "replica_silent",
            "the replica stopped in the middle of its answer",
        )
    }

    pub(crate) fn json(&self) -> Bytes {
        let error = serde_json::json!({ "error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        }});
        Bytes::from(error.to_string())
    }

    /// As the last event of a stream, in words its readers know.
    pub(crate) fn event(&self, dialect: Dialect) -> Bytes {
        error_event(dialect, &self.json())
    }

    pub(crate) fn reply(&self) -> Reply {
        let mut fields = Fields::with_room(256);
        fields.push(b"content-type", b"application/json");
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up: an early return is a refused one.
            let seconds = wait.as_secs_f64().ceil().clamp(1.0, 86_400.0);
            fields.push(b"retry-after", decimal(seconds as u64, &mut [0; 20]));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            fields.push(b"www-authenticate", b"Bearer");
        }
        if let Some(allow) = self.allow {
            fields.push(b"allow", allow.as_bytes());
        }
        Reply::new(self.status, fields, Out::full(self.json()))
    }
}

/// An error, given as JSON, as an event of a stream.
pub(crate) fn error_event(dialect: Dialect, json: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(json.len() + 48);
    match dialect {
        Dialect::Messages => {
            event.extend_from_slice(b"event: error\ndata: {\"type\":\"error\",");
            event.extend_from_slice(json.strip_prefix(b"{").unwrap_or(json));
        }
        Dialect::Responses => {
            event.extend_from_slice(b"event: error\ndata: ");
            event.extend_from_slice(json);
        }
        Dialect::OpenAi | Dialect::Other => {
            event.extend_from_slice(b"data: ");
            event.extend_from_slice(json);
        }
    }
    event.extend_from_slice(b"\n\n");
    Bytes::from(event)
}

/// An answer of our own with a body.
pub(crate) fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut fields = Fields::default();
    fields.push(b"content-type", content_type.as_bytes());
    Reply::new(StatusCode::OK, fields, Out::full(body.into()))
}
