//! The series store as if it were a Prometheus: `/api/v1/…`.
//!
//! Questions come as parameters of a GET or as a form, as Grafana sends them; answers are computed away
//! from the threads that serve, a few at a time. A sample can be written, too: not by a web page in
//! somebody's browser, which cannot send the content type asked for without being asked first.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, RawForm, State};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tidegate_metrics::api::{self, Error};
use tidegate_metrics::remote;
use tidegate_metrics::store::Shared;
use tokio::sync::Semaphore;

/// Bytes of a question sent as a form: a query of 16 KiB, three times escaped.
const FORM_BYTES_MAX: usize = 64 << 10;

/// Questions computed at once: each may take 50 ms of a core and read what scrapes want to write.
const QUESTIONS_MAX: usize = 2;

#[derive(Clone)]
struct Series {
    store: Arc<Shared>,
    slots: Arc<Semaphore>,
}

/// The routes over `store`.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(store: Arc<Shared>) -> Router<S> {
    let series = Series { store, slots: Arc::new(Semaphore::new(QUESTIONS_MAX)) };
    Router::new()
        .route("/api/v1/query", get(query).post(query))
        .route("/api/v1/query_range", get(query_range).post(query_range))
        .route("/api/v1/series", get(list).post(list))
        .route("/api/v1/labels", get(labels).post(labels))
        .route("/api/v1/label/{name}/values", get(values))
        .route("/api/v1/metadata", get(async || Json(api::success(json!({})))))
        .route("/api/v1/status/buildinfo", get(build))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .route("/api/v1/write", post(write).layer(DefaultBodyLimit::max(remote::BODY_BYTES_MAX)))
        .with_state(series)
}

/// Parameters, in order; a name may come several times.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn read(form: &[u8]) -> Self {
        Parameters(form_urlencoded::parse(form).into_owned().collect())
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    fn need(&self, name: &'static str) -> Result<&str, Error> {
        self.find(name).ok_or_else(|| Error::Parameter { name, problem: "it is missing".to_owned() })
    }

    fn time(&self, name: &'static str) -> Result<Option<i64>, Error> {
        self.find(name).map(|text| time_ms(name, text)).transpose()
    }

    fn window(&self, now_ms: i64) -> Result<(i64, i64), Error> {
        Ok((self.time("start")?.unwrap_or(i64::MIN), self.time("end")?.unwrap_or(now_ms)))
    }

    fn selectors(&self) -> Vec<String> {
        self.0.iter().filter(|(name, _)| name == "match[]").map(|(_, value)| value.clone()).collect()
    }
}

/// Seconds since the epoch with a fraction, or RFC 3339; in milliseconds.
fn time_ms(name: &'static str, text: &str) -> Result<i64, Error> {
    let wrong =
        || Error::Parameter { name, problem: format!("{text:?} is no time: use seconds or RFC 3339") };
    match text.parse::<f64>() {
        // 10¹¹ seconds are 3,000 years.
        Ok(seconds) if seconds.abs() < 1e11 => Ok((seconds * 1000.0).round() as i64),
        Ok(_) => Err(wrong()),
        Err(_) => text.parse::<jiff::Timestamp>().map(|at| at.as_millisecond()).map_err(|_| wrong()),
    }
}

/// Seconds with a fraction, or `1m30s`; in milliseconds.
fn step_ms(text: &str) -> Result<i64, Error> {
    let wrong = || Error::Parameter { name: "step", problem: format!("{text:?} is no length of time") };
    if let Ok(seconds) = text.parse::<f64>() {
        return if seconds.abs() < 1e9 { Ok((seconds * 1000.0).round() as i64) } else { Err(wrong()) };
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    i64::try_from(span.as_millis()).map_err(|_| wrong())
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Series {
    /// Computes an answer where it holds up nobody's connection.
    async fn answer(
        self,
        form: &[u8],
        ask: impl FnOnce(&tidegate_metrics::store::Store, &Parameters) -> Result<Value, Error> + Send + 'static,
    ) -> Response {
        let parameters = Parameters::read(form);
        let Ok(_slot) = self.slots.acquire().await else {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        let store = Arc::clone(&self.store);
        let asked = tokio::task::spawn_blocking(move || ask(&store.read(), &parameters)).await;
        match asked {
            Ok(Ok(data)) => Json(api::success(data)).into_response(),
            Ok(Err(error)) => refused(&error),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

fn refused(error: &Error) -> Response {
    let status =
        if error.kind() == "bad_data" { StatusCode::BAD_REQUEST } else { StatusCode::UNPROCESSABLE_ENTITY };
    (status, Json(error.body())).into_response()
}

async fn query(State(series): State<Series>, RawForm(form): RawForm) -> Response {
    let ask = |store: &_, parameters: &Parameters| {
        let at_ms = parameters.time("time")?.unwrap_or_else(now_ms);
        api::query(store, parameters.need("query")?, at_ms)
    };
    series.answer(&form, ask).await
}

async fn query_range(State(series): State<Series>, RawForm(form): RawForm) -> Response {
    let ask = |store: &_, parameters: &Parameters| {
        parameters.need("start")?;
        parameters.need("end")?;
        let window = parameters.window(now_ms())?;
        api::query_range(store, parameters.need("query")?, window, step_ms(parameters.need("step")?)?)
    };
    series.answer(&form, ask).await
}

async fn list(State(series): State<Series>, RawForm(form): RawForm) -> Response {
    let ask = |store: &_, parameters: &Parameters| {
        api::series(store, &parameters.selectors(), parameters.window(now_ms())?)
    };
    series.answer(&form, ask).await
}

async fn labels(State(series): State<Series>, RawForm(form): RawForm) -> Response {
    let ask = |store: &_, parameters: &Parameters| {
        api::labels(store, &parameters.selectors(), parameters.window(now_ms())?)
    };
    series.answer(&form, ask).await
}

async fn values(State(series): State<Series>, Path(name): Path<String>, RawForm(form): RawForm) -> Response {
    let ask = move |store: &_, parameters: &Parameters| {
        api::label_values(store, &name, &parameters.selectors(), parameters.window(now_ms())?)
    };
    series.answer(&form, ask).await
}

/// Grafana asks what it talks to.
async fn build() -> Response {
    Json(api::success(
        json!({ "version": "3.0.0", "application": "tidegate", "revision": env!("CARGO_PKG_VERSION") }),
    ))
    .into_response()
}

async fn write(State(series): State<Series>, headers: HeaderMap, body: Bytes) -> Response {
    let type_ = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if type_.split(';').next().map(str::trim) != Some("application/x-protobuf") {
        let said = "send a remote-write message as application/x-protobuf\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, said).into_response();
    }
    match remote::write(&mut series.store.write(), &body, now_ms()) {
        Ok(remote::Written { dropped: 0, .. }) => StatusCode::NO_CONTENT.into_response(),
        // As Prometheus answers: the sender must not try again, and shall say so.
        Ok(remote::Written { kept, dropped }) => {
            let said = format!(
                "{dropped} of {} samples were dropped: older than what is kept, too far ahead, no finite \
                 number, of a series scraped here, or beyond the store's limit\n",
                kept + dropped
            );
            (StatusCode::BAD_REQUEST, said).into_response()
        }
        Err(error @ remote::Error::TooLong { .. }) => {
            (StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n")).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
