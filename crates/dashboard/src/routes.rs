//! Which path answers what.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Form, Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Json, Redirect, Response};
use axum::routing::{get, post};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use maud::Markup;
use serde::Deserialize;
use serde_json::json;
use tidegate_metrics::store::Shared;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, Refused};
use crate::health::Health;
use crate::history::COARSE_MAX;
use crate::model::TargetView;
use crate::push::{self, Push};
use crate::source::Source;
use crate::{assets, events, page, prom, series, why};

/// Bytes of a body: the login form and a pushed number have one.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// What every answer says to browsers: nothing from elsewhere, no frames, no guessing of types.
const MANNERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'self'",
    ),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
];

/// What handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) stop: CancellationToken,
    pub(crate) viewers: Arc<Semaphore>,
    pub(crate) push: Option<Push>,
    access: Access,
}

pub(crate) fn router(
    source: Arc<dyn Source>,
    access: Access,
    (push, store): (Option<Push>, Option<Arc<Shared>>),
    stop: CancellationToken,
) -> Router {
    let viewers = Arc::new(Semaphore::new(events::VIEWERS_MAX));
    let app = App { source, stop, viewers, push, access };
    Router::new()
        .route("/", get(fleet_page))
        .route("/targets/{namespace}/{name}", get(target_page))
        .route("/api/fleet", get(fleet))
        .route("/api/targets/{namespace}/{name}", get(target))
        .route("/api/targets/{namespace}/{name}/history", get(history))
        .route("/api/why/{namespace}/{name}", get(why))
        .route("/api/v1/signals/{a}/{b}", post(push::push_default))
        .route("/api/v1/signals/{a}/{b}/{c}", post(push::push))
        .route("/events", get(events::events))
        .route("/metrics", get(metrics))
        .route("/login", get(login_page).post(login))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/favicon.ico", get(async |headers: HeaderMap| assets::asset("favicon.svg", &headers)))
        .route(
            "/assets/{*name}",
            get(async |Path(name): Path<String>, headers: HeaderMap| assets::asset(&name, &headers)),
        )
        .fallback(async || missing("no such page; the fleet is at /"))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .merge(store.map_or_else(Router::new, series::routes))
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

/// Lets a request through or turns it away, and minds the manners of the answer.
async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    // None tells anything: a probe has no token, and the login page needs its looks.
    let open = matches!(path, "/healthz" | "/readyz" | "/login")
        || path.starts_with("/assets/")
        // It has a token of its own.
        || path.starts_with("/api/v1/signals/");
    let mut response = match app.access.check(request.uri(), request.headers()) {
        Err(Refused::Host) => refuse_host(),
        Err(Refused::Token) if !open => refuse_token(path),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in MANNERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

pub(crate) fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

async fn healthz(State(app): State<App>) -> Response {
    probed(app.source.health().map_or(Ok(()), |health| health.alive(Instant::now())))
}

async fn readyz(State(app): State<App>) -> Response {
    probed(app.source.health().map_or(Ok(()), Health::ready))
}

fn probed(outcome: Result<(), &str>) -> Response {
    match outcome {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

fn html(page: Markup) -> Response {
    Html(page.into_string()).into_response()
}

fn missing(message: &str) -> Response {
    error(StatusCode::NOT_FOUND, message)
}

fn refuse_host() -> Response {
    error(
        StatusCode::MISDIRECTED_REQUEST,
        "this listener answers only to localhost and loopback addresses; open it as http://127.0.0.1:PORT/",
    )
}

fn refuse_token(path: &str) -> Response {
    if path == "/" || path.starts_with("/targets/") {
        return Redirect::to("/login").into_response();
    }
    let message = "this needs the token printed at start: Authorization: Bearer TOKEN, or /login";
    let mut response = error(StatusCode::UNAUTHORIZED, message);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[derive(Deserialize)]
struct Login {
    token: Option<String>,
}

/// The form; or, from the link printed at start, straight in.
async fn login_page(State(app): State<App>, Query(shown): Query<Login>) -> Response {
    match shown.token {
        Some(token) => enter(&app, &token),
        None if matches!(app.access, Access::Loopback) => Redirect::to("/").into_response(),
        None => html(page::login(false)),
    }
}

async fn login(State(app): State<App>, Form(shown): Form<Login>) -> Response {
    enter(&app, &shown.token.unwrap_or_default())
}

fn enter(app: &App, token: &str) -> Response {
    if matches!(app.access, Access::Loopback) {
        return Redirect::to("/").into_response();
    }
    match app.access.login(token) {
        Some(cookie) => {
            (StatusCode::SEE_OTHER, [(SET_COOKIE, cookie), (LOCATION, "/".to_owned())]).into_response()
        }
        None => (StatusCode::FORBIDDEN, html(page::login(true))).into_response(),
    }
}

#[derive(Deserialize)]
struct Search {
    /// A part of a target's `namespace/name`.
    find: Option<String>,
}

async fn fleet_page(State(app): State<App>, Query(search): Query<Search>) -> Response {
    match search.find.filter(|words| !words.trim().is_empty()) {
        Some(words) => html(page::found(&app.source.fleet(), &words)),
        None => html(page::fleet(&*app.source)),
    }
}

async fn target_page(State(app): State<App>, Path(name): Path<(String, String)>) -> Response {
    match view(&app, &name) {
        Some(target) => {
            let why = app.source.why(&target.name, None).ok();
            html(page::target(&app.source.fleet(), &target, why.as_ref()))
        }
        None => (StatusCode::NOT_FOUND, html(page::no_target(&app.source.fleet(), &joined(&name))))
            .into_response(),
    }
}

async fn fleet(State(app): State<App>) -> Response {
    Json(&*app.source.fleet()).into_response()
}

async fn target(State(app): State<App>, Path(name): Path<(String, String)>) -> Response {
    match view(&app, &name) {
        Some(target) => Json(target).into_response(),
        None => missing(&format!("no target is called {}", joined(&name))),
    }
}

fn joined((namespace, name): &(String, String)) -> String {
    format!("{namespace}/{name}")
}

/// A target with all its remembered changes.
fn view(app: &App, name: &(String, String)) -> Option<TargetView> {
    let name = joined(name);
    let fleet = app.source.fleet();
    let mut target = fleet.find(&name)?;
    target.decisions = app.source.decisions(&name);
    Some(target)
}

#[derive(Deserialize)]
struct SpanAsked {
    span_s: Option<f64>,
}

/// The longest span that is kept.
const SPAN_S_MAX: f64 = COARSE_MAX as f64 * crate::history::COARSE_S;

async fn history(
    State(app): State<App>,
    Path(name): Path<(String, String)>,
    Query(asked): Query<SpanAsked>,
) -> Response {
    let span_s = asked.span_s.unwrap_or(crate::history::FINE_MAX as f64);
    if !(1.0..=SPAN_S_MAX).contains(&span_s) {
        return error(StatusCode::BAD_REQUEST, &format!("span_s must be from 1 to {SPAN_S_MAX}"));
    }
    match app.source.history(&joined(&name), span_s) {
        Some(samples) => Json(samples).into_response(),
        None => missing(&format!("no target is called {}", joined(&name))),
    }
}

#[derive(Deserialize)]
struct TimeAsked {
    at: Option<f64>,
}

async fn why(
    State(app): State<App>,
    Path(name): Path<(String, String)>,
    Query(asked): Query<TimeAsked>,
) -> Response {
    if asked.at.is_some_and(|at| !at.is_finite()) {
        return error(StatusCode::BAD_REQUEST, "at must be Unix seconds");
    }
    match app.source.why(&joined(&name), asked.at) {
        Ok(why) => Json(why).into_response(),
        Err(problem) => {
            let status = match problem {
                why::Error::UnknownTarget { .. } => StatusCode::NOT_FOUND,
                why::Error::Undecided { .. } => StatusCode::CONFLICT,
                why::Error::Forgotten { .. } => StatusCode::GONE,
            };
            error(status, &problem.to_string())
        }
    }
}

async fn metrics(State(app): State<App>) -> Response {
    match prom::text(&*app.source) {
        Ok(text) => ([(CONTENT_TYPE, prom::CONTENT_TYPE)], text).into_response(),
        Err(problem) => error(StatusCode::INTERNAL_SERVER_ERROR, &format!("cannot write metrics: {problem}")),
    }
}
