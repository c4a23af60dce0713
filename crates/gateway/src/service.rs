//! What happens to a request between its head and its answer.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use http::StatusCode;
use tidegate_core::route::{Arrival, Priority};

use crate::answer::{self, Problem};
use crate::clock::span;
use crate::desk::{Claim, Fate};
use crate::forward::{self, Job, Progress};
use crate::framing::Fields;
use crate::inbound::Inbound;
use crate::incoming::{self, Opened};
use crate::kept::{Allowance, Kept};
use crate::live::Account;
use crate::outgoing::{Out, Waiting, sign};
use crate::reply::Reply;
use crate::request::asked::Asked;
use crate::request::paths::{Route, route};
use crate::request::who::Entry;
use crate::sse::Dialect;
use crate::ticket::Ticket;
use crate::told::Told;
use crate::worker::Worker;

/// Bytes of JSON for a token of prompt: four for English text, less the dress around it. The machine learns
/// the rest from what engines count.
const BYTES_PER_TOKEN: u64 = 4;

/// Answers a request; never fails, for an error is an answer too.
pub(crate) async fn answer(worker: Rc<Worker>, asked: Asked, body: Inbound) -> Reply {
    let (path, marks) = (asked.path(), &asked.marks);
    let entry = || marks.entry(worker.shared.config.api_keys.as_deref());
    let problem = match route(&asked.method, path) {
        Route::Infer { dialect, form } => match entry() {
            Entry::Tenant(tenant) => {
                let (priority, patience) = (marks.priority(), marks.patience());
                let ask = Ask { dialect, form, tenant, priority, patience };
                return infer(worker, asked, body, ask).await;
            }
            other => Problem::no_key(other == Entry::Unknown),
        },
        Route::Live => return answer::ok("text/plain", "ok\n"),
        Route::Ready if worker.shared.stopping.load(Ordering::Relaxed) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "the gateway is stopping")
        }
        Route::Ready => return answer::ok("text/plain", "ready\n"),
        local @ (Route::Models | Route::Model(_) | Route::Metrics) => match entry() {
            Entry::Tenant(_) => match local_answer(&worker, local) {
                Ok(reply) => return reply,
                Err(problem) => problem,
            },
            other => Problem::no_key(other == Entry::Unknown),
        },
        Route::Forbidden => Problem::forbidden(path),
        Route::Method(allow) => Problem::method(allow),
        Route::Unknown => Problem::no_such_path(path),
    };
    reject(&worker, &problem)
}

/// What is answered without any engine.
fn local_answer(worker: &Worker, route: Route<'_>) -> Result<Reply, Problem> {
    let table = worker.shared.table.load();
    let model = |id: &str, created: i64| serde_json::json!({ "id": id, "object": "model", "created": created, "owned_by": "tidegate" });
    match route {
        Route::Models => {
            let data: Vec<_> = table.models().map(|(id, target)| model(id, target.created_s)).collect();
            let list = serde_json::json!({ "object": "list", "data": data });
            Ok(answer::ok("application/json", list.to_string()))
        }
        Route::Model(id) => {
            let target = table.by_model(id).ok_or_else(|| Problem::unknown_model(id))?;
            Ok(answer::ok("application/json", model(id, target.created_s).to_string()))
        }
        _ => {
            let mut text = String::new();
            crate::metrics::write(&worker.shared, &mut text);
            Ok(answer::ok("text/plain; version=0.0.4", text))
        }
    }
}

/// Tells a problem to a request that never came to a target. What it still sends is its connection's business.
fn reject(worker: &Worker, problem: &Problem) -> Reply {
    worker.shared.rejected(problem.status.as_u16());
    problem.reply()
}

/// What path and headers ask for.
struct Ask {
    dialect: Dialect,
    form: bool,
    tenant: u64,
    priority: Priority,
    patience: Option<Duration>,
}

/// Brings a request to its target.
async fn infer(worker: Rc<Worker>, asked: Asked, body: Inbound, ask: Ask) -> Reply {
    let arrived = Instant::now();
    let may = Allowance {
        body_max: worker.sizes().body_max,
        idle: worker.times().body_idle,
        budget: &worker.shared.budget,
        wheel: &worker.wheel,
    };
    let Opened { kept, mut scan, prefix } = match incoming::open(body, ask.form, may).await {
        Ok(opened) => opened,
        Err(problem) => return reject(&worker, &problem),
    };
    let (whole, model) = (matches!(kept, Kept::Whole(_)), scan.model.take());
    let target = match model.as_deref().map(|model| worker.shared.table.load().by_model(model).cloned()) {
        Some(Some(target)) => target,
        Some(None) => {
            return reject(&worker, &Problem::unknown_model(model.as_deref().unwrap_or_default()));
        }
        None => return reject(&worker, &Problem::no_model()),
    };
    let desk = &worker.shared.desk;
    let request = desk.next_request();
    let now = desk.clock().at(arrived);
    let arrival = Arrival {
        request,
        target: target.id,
        priority: ask.priority,
        tenant: ask.tenant,
        prompt_tokens: u32::try_from(kept.len() / BYTES_PER_TOKEN).unwrap_or(u32::MAX),
        max_tokens: scan.max_tokens,
        prefix,
        bytes: kept.len(),
        deadline: ask.patience.map(|wait| now + span(wait)),
    };
    let claim = Claim::of(&arrival);
    // Where the body came with the head, as it nearly always does, now is when the request came.
    let fate = desk.arrive(arrival, if whole { now } else { desk.clock().now() });
    if !fate.is_over_own_limit() {
        target.stats.arrived(claim.prompt_tokens);
    }
    let mut told = Told::new(worker.shared.run, request);
    let hold = match &fate {
        Fate::Held(hold) => Some((hold.expected, hold.cold)),
        Fate::Done(_) => None,
    };
    if let Some((expected, cold)) = hold {
        told.hold(expected, cold);
    }
    let ticket = Ticket::new(desk.clone(), claim, fate);
    let progress = Rc::new(Progress { held: Cell::new(hold.is_some()), streaming: Cell::new(false) });
    let job = Box::new(Job {
        account: Account::new(ticket, target.stats.clone(), arrived),
        target: target.config.name.clone(),
        asked,
        kept,
        dialect: ask.dialect,
        told,
        progress,
        waiting: hold.map(|(_, cold)| (arrived, cold)),
        worker,
    });
    if scan.stream { stream(job, model.unwrap_or_default()).await } else { forward::run(job).await }
}

/// Runs a request whose client streams: after the grace it gets its headers, and signs of life from then on.
async fn stream(job: Box<Job>, model: String) -> Reply {
    let (worker, progress, dialect) = (job.worker.clone(), job.progress.clone(), job.dialect);
    let (mut told, path) = (job.told.clone(), job.asked.path().to_owned());
    let mut rest: LocalBoxFuture<'static, Reply> = Box::pin(forward::run(job));
    let mut grace = Some(worker.wheel.after(worker.times().grace));
    let done = poll_fn(|cx| {
        if let Poll::Ready(reply) = rest.as_mut().poll(cx) {
            return Poll::Ready(Some(reply));
        }
        if grace.as_mut().is_some_and(|grace| grace.poll_due(cx).is_ready()) {
            grace = None;
        }
        // A request that an engine has and says nothing of may still get any status, so it waits for that.
        if grace.is_none() && (progress.held.get() || progress.streaming.get()) {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await;
    if let Some(reply) = done {
        return reply;
    }
    told.was_held(progress.held.get());
    let sign = sign(worker.shared.config.keep_alive, &path, &model, told.expected_s());
    let every = worker.times().keep_alive;
    let waiting = Waiting::new(rest, worker.wheel.after(every), every, sign, dialect);
    let mut fields = Fields::with_room(512);
    fields.push_lines(b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n");
    // nginx, where it stands in front, would gather events into pages otherwise.
    fields.push(b"x-accel-buffering", b"no");
    told.write(&mut fields, None);
    Reply::new(StatusCode::OK, fields, Out::Waiting(Box::new(waiting)))
}
