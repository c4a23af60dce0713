//! Models that nobody wrote down: a ready endpoint is asked for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tidegate_kube::routes::{Route, Table, said};
use tokio::sync::mpsc;

/// An engine answers this from memory.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer: 256 models of 4 KB each, as vLLM lists them with their permissions.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Between two questions of one target: adapters come and go, and who answers nothing may be starting.
const AGAIN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(5));

/// Answers on their way: one a target that nobody wrote a model for.
const ANSWERS_MAX: usize = 256;

/// What came back: the models, or none where nothing that can be read did.
pub(super) type Answer = (Arc<str>, Option<Vec<String>>);

/// One target that must be asked.
struct Asked {
    models: Vec<String>,
    /// Since when nobody has asked, and whether somebody is asking.
    next: Instant,
    asking: bool,
}

/// What endpoints have said.
pub(super) struct Models {
    known: BTreeMap<Arc<str>, Asked>,
    client: Client<HttpConnector, Empty<Bytes>>,
    out: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
}

impl Default for Models {
    fn default() -> Self {
        let (out, answers) = mpsc::channel(ANSWERS_MAX);
        let client = Client::builder(TokioExecutor::new()).build_http();
        Models { known: BTreeMap::new(), client, out, answers }
    }
}

impl Models {
    /// The models of a target, as written, else as its endpoints said last. They are remembered at zero, as
    /// long as the target is there.
    pub(super) fn of(&self, route: &Route) -> Vec<String> {
        if !route.models.is_empty() {
            return route.models.clone();
        }
        self.known.get(&route.name).map(|asked| asked.models.clone()).unwrap_or_default()
    }

    /// Asks whom it is time to ask.
    pub(super) fn want(&mut self, table: &Table) {
        let now = Instant::now();
        self.known.retain(|name, _| table.get(name).is_some_and(|route| route.models.is_empty()));
        for route in table.values().filter(|route| route.models.is_empty()) {
            let Some(ready) = route.endpoints.values().find(|endpoint| !endpoint.draining) else { continue };
            let asked = self.known.entry(Arc::clone(&route.name)).or_insert(Asked {
                models: Vec::new(),
                next: now,
                asking: false,
            });
            if asked.asking || asked.next > now {
                continue;
            }
            asked.asking = true;
            let (client, out, name) = (self.client.clone(), self.out.clone(), Arc::clone(&route.name));
            let addr = ready.addr;
            tokio::spawn(async move {
                let answer = tokio::time::timeout(TIMEOUT, ask(&client, addr)).await;
                // The gateway has ended when nobody takes it.
                let _ = out.send((name, answer.ok().flatten())).await;
            });
        }
    }

    /// The next answer.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }

    /// Takes an answer; whether it is another than before. One that says nothing changes nothing.
    pub(super) fn take(&mut self, (name, models): Answer) -> bool {
        let Some(asked) = self.known.get_mut(&name) else { return false };
        let pause = if models.is_some() { AGAIN.0 } else { AGAIN.1 };
        (asked.asking, asked.next) = (false, Instant::now() + pause);
        match models {
            Some(models) if models != asked.models => {
                asked.models = models;
                true
            }
            _ => false,
        }
    }
}

#[derive(Deserialize)]
struct List {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

async fn ask(client: &Client<HttpConnector, Empty<Bytes>>, addr: SocketAddr) -> Option<Vec<String>> {
    let request = hyper::Request::get(format!("http://{addr}/v1/models")).body(Empty::new()).ok()?;
    let answer = client.request(request).await.ok().filter(|answer| answer.status().is_success())?;
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.ok()?.to_bytes();
    models(&body)
}

/// The names in an answer, if it is one and has any.
fn models(body: &[u8]) -> Option<Vec<String>> {
    let list: List = serde_json::from_slice(body).ok()?;
    let names = said::names(list.data.iter().map(|model| model.id.as_str()));
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_model_is_none() {
        assert_eq!(models(br#"{"object":"list","data":[{"id":"a"},{"id":"b"}]}"#).unwrap(), ["a", "b"]);
        for nothing in [&br#"{"data":[]}"#[..], b"{}", b"<html>", br#"{"data":[{"id":" "}]}"#] {
            assert_eq!(models(nothing), None);
        }
    }
}
