//! Numbers pushed to targets: the one thing this listener takes.
//!
//! A write needs the push token as a bearer, on loopback too: a page elsewhere can make a visitor's
//! browser send a form to 127.0.0.1, but not with that header. Cookies do not count.

use std::fmt;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use crate::access::{bearer, same};
use crate::routes::{App, error};

/// What a push says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// The number; finite.
    pub value: f64,
    /// Activity as the pusher sees it.
    pub active: Option<bool>,
}

/// Takes a number for a signal of a target; a sentence where nobody wants it.
type Take = dyn Fn(&str, &str, Number) -> Result<(), String> + Send + Sync;

/// Who takes pushes, and from whom.
#[derive(Clone)]
pub struct Push {
    /// What a pusher shows: `Authorization: Bearer TOKEN`.
    pub token: String,
    /// Where the number goes: target, signal, number.
    pub take: Arc<Take>,
}

impl fmt::Debug for Push {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").finish_non_exhaustive()
    }
}

/// A target of the namespace `default`.
pub(crate) async fn push_default(
    state: State<App>,
    Path((name, signal)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    push(state, Path(("default".to_owned(), name, signal)), headers, body).await
}

pub(crate) async fn push(
    State(app): State<App>,
    Path((namespace, name, signal)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(push) = &app.push else {
        return error(StatusCode::NOT_FOUND, "nothing takes pushed signals here");
    };
    if !bearer(&headers).is_some_and(|shown| same(shown, &push.token)) {
        let message =
            "a push needs the token in the state directory's push-token: Authorization: Bearer TOKEN";
        let mut response = error(StatusCode::UNAUTHORIZED, message);
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    let number = match number(&body) {
        Ok(number) => number,
        Err(why) => return error(StatusCode::BAD_REQUEST, why),
    };
    match (push.take)(&format!("{namespace}/{name}"), &signal, number) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(why) => error(StatusCode::NOT_FOUND, &why),
    }
}

/// A bare number, or an object with `value` and perhaps `active`.
///
/// # Errors
/// The form a body has to have, or that its number is none.
pub fn number(body: &[u8]) -> Result<Number, &'static str> {
    const FORM: &str =
        "the body has to be {\"value\": 12.5}, with \"active\": true or false where it is known, or a number";
    let said: Value = serde_json::from_slice(body).map_err(|_| FORM)?;
    let (value, active) = match &said {
        Value::Number(_) => (said.as_f64(), None),
        Value::Object(fields) => {
            if fields.keys().any(|key| key != "value" && key != "active") {
                return Err(FORM);
            }
            let active = match fields.get("active") {
                None | Some(Value::Null) => None,
                Some(Value::Bool(active)) => Some(*active),
                Some(_) => return Err(FORM),
            };
            (fields.get("value").and_then(Value::as_f64), active)
        }
        _ => return Err(FORM),
    };
    match value {
        Some(value) if value.is_finite() => Ok(Number { value, active }),
        Some(_) => Err("value has to be a finite number"),
        None => Err(FORM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_a_number_or_an_object_with_one() {
        assert_eq!(number(b"12.5"), Ok(Number { value: 12.5, active: None }));
        assert_eq!(
            number(b" {\"value\": -3, \"active\": true}"),
            Ok(Number { value: -3.0, active: Some(true) })
        );
        for wrong in
            ["", "x", "1e999", "NaN", "[1]", "{}", "{\"value\":\"1\"}", "{\"value\":1,\"activ\":true}"]
        {
            assert!(number(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
