//! One object of a kind whose numbers only its `/scale` knows.
//!
//! What the object itself has under `spec.replicas` may mean something else or not be there, and would be read as
//! one replica. So what is new of it is held back until `/scale` was read, and until then what was known last stays.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Backoff, Tell, read, said, trim};
use crate::object::{Change, Object};

/// Until an answer: longer than an API server takes that is busy, and short enough to ask again soon.
const ANSWER: Duration = Duration::from_secs(5);

/// What was seen of the object, and is not told yet.
struct Held {
    object: Option<Object>,
    /// Whether the list that brought it is complete: that is told after it.
    listed: bool,
    /// When `/scale` is asked again.
    due: Instant,
    backoff: Backoff,
}

/// Tells of one object, each time with the numbers of its `/scale`.
pub(super) async fn follow(
    api: &Api<DynamicObject>,
    mut events: Pin<&mut (impl Stream<Item = watcher::Result<Event<DynamicObject>>> + Send)>,
    mut tell: Tell,
    back: &Notify,
) {
    let mut held = Held { object: None, listed: false, due: Instant::now(), backoff: Backoff::default() };
    loop {
        let again = async {
            match held.object {
                Some(_) => sleep_until(held.due).await,
                None => std::future::pending().await,
            }
        };
        let heard = tokio::select! {
            // What is held waits for its `/scale`, which is blind by itself.
            () = back.notified() => held.object.is_some() || tell.sees().await,
            event = events.next() => match event {
                // A list is only begun: whether we see is not known yet.
                Some(Ok(Event::Init)) => {
                    (held.object, held.listed) = (None, false);
                    tell.change(Change::Listing(tell.scope.clone())).await
                }
                Some(Ok(event)) => {
                    take(&mut held, event, &tell).await && rescaled(&mut held, api, &mut tell).await
                }
                Some(Err(error)) => tell.blind(super::reason(&error)).await,
                None => return,
            },
            () = again => rescaled(&mut held, api, &mut tell).await,
        };
        if !heard {
            return;
        }
    }
}

/// Whether anybody listens still.
async fn take(held: &mut Held, event: Event<DynamicObject>, tell: &Tell) -> bool {
    match event {
        Event::Init => true,
        Event::Apply(object) | Event::InitApply(object) => {
            held.object = read(&tell.scope, &object);
            held.due = Instant::now();
            true
        }
        Event::InitDone => {
            held.listed = true;
            true
        }
        Event::Delete(object) => {
            held.object = None;
            match read(&tell.scope, &object) {
                Some(object) => tell.change(Change::Gone(object.id)).await,
                None => true,
            }
        }
    }
}

/// Tells what is held, if `/scale` can be read. Whether anybody listens still.
async fn rescaled(held: &mut Held, api: &Api<DynamicObject>, tell: &mut Tell) -> bool {
    if let Some(object) = &mut held.object {
        if Instant::now() < held.due {
            return true;
        }
        let answer = timeout(ANSWER, api.get_scale(&object.id.name)).await;
        let why = match answer {
            Ok(Ok(scale)) if scale.spec.is_some() => {
                trim::rescale(&mut object.json, &scale);
                None
            }
            Ok(Ok(_)) => Some("its /scale has no spec".to_owned()),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Some(
                "it has no /scale; a custom resource gets one by subresources.scale of its definition"
                    .to_owned(),
            ),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                Some(format!("its /scale {}: {}", super::FORBIDDEN, status.message))
            }
            Ok(Err(error)) => Some(format!("its /scale cannot be read: {}", said(&error))),
            Err(_) => Some(format!("its /scale gave no answer within {} s", ANSWER.as_secs())),
        };
        if let Some(why) = why {
            held.due = Instant::now() + held.backoff.next().unwrap_or(ANSWER);
            return tell.blind(why).await;
        }
        held.backoff = Backoff::default();
    }
    if !tell.sees().await {
        return false;
    }
    if let Some(object) = held.object.take()
        && !tell.change(Change::Applied(Box::new(object))).await
    {
        return false;
    }
    !std::mem::take(&mut held.listed) || tell.change(Change::Listed(tell.scope.clone())).await
}
