//! Live updates as server-sent events.
//!
//! A page is cut into parts, each written by the same code that wrote it first. A viewer is sent a part
//! when its text differs from the one it has, so an idle fleet costs a few bytes a second and the browser
//! holds no second copy of how things are shown.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::assets::hash;
use crate::model::Fleet;
use crate::page;
use crate::routes::App;

/// Event streams at once; the next is refused with 503. Each may hold one rendered page, about 200 KB
/// at a hundred targets: 13 MB.
pub(crate) const VIEWERS_MAX: usize = 64;

/// Between two updates of one viewer: ten a second are seen as movement, more cost and show nothing.
const PAUSE: Duration = Duration::from_millis(100);

/// Without any news a comment goes out, so that a dead connection is found.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
pub(crate) struct Asked {
    /// `fleet`, or `namespace/name` of a target; without it the fleet goes out as JSON.
    page: Option<String>,
}

/// What one viewer sees.
struct Viewer {
    app: App,
    page: Option<String>,
    news: watch::Receiver<u64>,
    /// Hash of each part as last sent.
    sent: BTreeMap<&'static str, u64>,
    first: bool,
    _slot: OwnedSemaphorePermit,
}

pub(crate) async fn events(State(app): State<App>, Query(asked): Query<Asked>) -> Response {
    let Ok(slot) = Arc::clone(&app.viewers).try_acquire_owned() else {
        let message = format!("{VIEWERS_MAX} viewers already watch; close one");
        return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    };
    let news = app.source.subscribe();
    let viewer = Viewer { app, page: asked.page, news, sent: BTreeMap::new(), first: true, _slot: slot };
    Sse::new(updates(viewer)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

fn updates(viewer: Viewer) -> impl Stream<Item = Result<Event, Infallible>> {
    let batches = stream::unfold(viewer, async |mut viewer| {
        let batch = viewer.next().await?;
        Some((batch, viewer))
    });
    futures_util::StreamExt::flat_map(batches, |batch| stream::iter(batch.into_iter().map(Ok)))
}

impl Viewer {
    /// Waits for news; `None` when the listener stops or the source is gone.
    async fn next(&mut self) -> Option<Vec<Event>> {
        if !self.first {
            tokio::select! {
                () = self.app.stop.cancelled() => return None,
                () = tokio::time::sleep(PAUSE) => {}
            }
            tokio::select! {
                () = self.app.stop.cancelled() => return None,
                changed = self.news.changed() => changed.ok()?,
            }
        }
        self.first = false;
        self.news.mark_unchanged();
        let fleet = self.app.source.fleet();
        let Some(page) = &self.page else {
            return Some(vec![event("fleet", serde_json::to_string(&*fleet).ok()?)]);
        };
        let mut batch = vec![event("tick", json!({ "at_unix_s": fleet.at_unix_s }).to_string())];
        let parts = if page == "fleet" {
            page::fleet_parts(&fleet, &*self.app.source)
        } else {
            self.target(page, &fleet, &mut batch)
        };
        for (id, html) in parts {
            let html = html.into_string();
            let hash = hash(html.as_bytes());
            if self.sent.insert(id, hash) != Some(hash) {
                batch.push(event("part", json!({ "id": id, "html": html }).to_string()));
            }
        }
        Some(batch)
    }

    fn target(&self, name: &str, fleet: &Fleet, batch: &mut Vec<Event>) -> page::Parts {
        let Some(mut target) = fleet.find(name) else {
            return page::gone_parts(name);
        };
        let newest = self.app.source.history(name, 1.0).unwrap_or_default();
        if let Some(text) = newest.last().and_then(|sample| serde_json::to_string(sample).ok()) {
            batch.push(event("sample", text));
        }
        target.decisions = self.app.source.decisions(name);
        let why = self.app.source.why(name, None).ok();
        page::target_parts(fleet, &target, why.as_ref())
    }
}

fn event(name: &'static str, data: String) -> Event {
    Event::default().event(name).data(data)
}
