//! Requests that want the model: completions, chats, embeddings.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use tidegate_sim::Request;
use tokio::time::{MissedTickBehavior, interval};

use super::refusal::Refusal;
use super::request::{Embed, Generate, Kind};
use super::shape::{Head, Shape};
use super::stream::{Stream, Writer};
use super::{App, Outcome, embeddings, json_answer, whole};
use crate::body::Body;
use crate::options::Fault;
use crate::progress::Ticket;

/// Between the bytes of the fault `trickle`, at speed 1.
const TRICKLE: tidegate_core::time::Span = tidegate_core::time::Span::from_secs(1);

pub(super) async fn complete(app: &Arc<App>, kind: Kind, id: &str, body: &Bytes) -> Outcome {
    let asked: Generate = serde_json::from_slice(body).map_err(|error| Refusal::json(&error))?;
    let model = app.model(asked.model.as_ref())?;
    let plan = asked.plan(kind, app.block_tokens, app.machine.tokens_max())?;
    let prefix = if kind == Kind::Chat { "chatcmpl-" } else { "cmpl-" };
    let dialect = app.options.dialect;
    let head = Head { dialect, kind, id: format!("{prefix}{id}"), created_s: app.now_s(), model };
    if app.options.fault == Some(Fault::Trickle) {
        let mut writer = Writer::new(Shape::new(head), dialect, &plan);
        let tokens = plan.request.output_tokens;
        let events = writer.events(tokens, Some(plan.finish(tidegate_sim::Finish::Length)));
        let mut ticks = interval(app.clock.real(TRICKLE).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        return Ok(event_stream(Body::trickle(events.into(), ticks)));
    }
    let ticket = app.machine.submit(plan.request.clone())?;
    if asked.stream {
        let writer = Writer::new(Shape::new(head), dialect, &plan);
        return Ok(event_stream(Body::stream(Stream::new(ticket, writer))));
    }
    let (tokens, finish) = ticket.end().await;
    Ok(json_answer(&whole::answer(&head, &plan, tokens, plan.finish(finish))))
}

fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

pub(super) async fn embed(app: &Arc<App>, body: &Bytes) -> Outcome {
    let asked: Embed = serde_json::from_slice(body).map_err(|error| Refusal::json(&error))?;
    let model = app.model(asked.model.as_ref())?;
    let base64 = match asked.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            return Err(Refusal::bad("encoding_format", &format!("{other} is neither float nor base64")));
        }
    };
    let dimensions = asked.dimensions.unwrap_or(embeddings::DIMENSIONS);
    if !(1..=embeddings::DIMENSIONS_MAX).contains(&dimensions) {
        let most = embeddings::DIMENSIONS_MAX;
        return Err(Refusal::bad("dimensions", &format!("dimensions must be between 1 and {most}")));
    }
    let prompts = asked.input.prompts(app.block_tokens);
    if prompts.is_empty() || prompts.len() > embeddings::INPUTS_MAX {
        let most = embeddings::INPUTS_MAX;
        return Err(Refusal::bad("input", &format!("between 1 and {most} inputs a request")));
    }
    let mut seeds = Vec::with_capacity(prompts.len());
    let mut prompt_tokens: u32 = 0;
    let mut tickets: Vec<Ticket> = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        seeds.push(prompt.seed());
        let count = prompt.count();
        prompt_tokens = prompt_tokens.saturating_add(count);
        let prefix = Some(prompt.prefix());
        // One pass over the prompt, whose one output is the vector.
        tickets.push(app.machine.submit(Request {
            id: 0,
            prompt_tokens: count,
            output_tokens: 1,
            max_tokens: 1,
            prefix,
        })?);
    }
    for ticket in tickets {
        ticket.end().await;
    }
    Ok(json_answer(&embeddings::answer(&model, &seeds, dimensions, base64, prompt_tokens)))
}
