//! Errors as the OpenAI API words them.

use http::StatusCode;
use serde_json::{Value, json};

/// A request that gets no answer, and why.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    message: String,
    kind: &'static str,
    param: Option<&'static str>,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: String) -> Refusal {
        Refusal { status, message, kind, param: None }
    }

    /// A field that cannot be used.
    pub(crate) fn bad(param: &'static str, message: &str) -> Refusal {
        let mut refusal = Refusal::new(StatusCode::BAD_REQUEST, "BadRequestError", message.to_owned());
        refusal.param = Some(param);
        refusal
    }

    /// Not the JSON of a request.
    pub(crate) fn json(error: &serde_json::Error) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "Bad Request", format!("the body is no such request: {error}"))
    }

    /// A model nobody here has heard of.
    pub(crate) fn unknown_model(model: &str) -> Refusal {
        let message = format!("The model `{model}` does not exist.");
        let mut refusal = Refusal::new(StatusCode::NOT_FOUND, "NotFoundError", message);
        refusal.param = Some("model");
        refusal
    }

    /// A path nobody serves.
    pub(crate) fn unknown_path() -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "NotFoundError", "Not Found".to_owned())
    }

    /// A path that takes another method.
    pub(crate) fn method() -> Refusal {
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "Method Not Allowed".to_owned())
    }

    /// Without the key, or with another.
    pub(crate) fn unauthorised() -> Refusal {
        Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized".to_owned())
    }

    /// More bytes than a request can have.
    pub(crate) fn too_large(bytes_max: usize) -> Refusal {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "BadRequestError",
            format!("the body is longer than {bytes_max} bytes"),
        )
    }

    /// A body that ended early.
    pub(crate) fn cut_short() -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "Bad Request", "the body ended before its length".to_owned())
    }

    /// llama.cpp while it loads.
    pub(crate) fn loading() -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", "Loading model".to_owned())
    }

    /// The body; llama.cpp names no parameter.
    pub(crate) fn body(&self) -> Value {
        let mut error = json!({
            "message": self.message, "type": self.kind, "param": self.param, "code": self.status.as_u16(),
        });
        if self.kind == "unavailable_error" {
            error = json!({ "message": self.message, "type": self.kind, "code": self.status.as_u16() });
        }
        json!({ "error": error })
    }
}

impl From<tidegate_sim::engine::Error> for Refusal {
    fn from(error: tidegate_sim::engine::Error) -> Refusal {
        match error {
            tidegate_sim::engine::Error::Full => {
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableError", error.to_string())
            }
            other => Refusal::new(StatusCode::BAD_REQUEST, "BadRequestError", other.to_string()),
        }
    }
}
