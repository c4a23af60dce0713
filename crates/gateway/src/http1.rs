//! HTTP/1 to a client: head, answer, body, and again.
//!
//! One request is under way at a time: what a client sends ahead waits in its socket. While it is answered only
//! its leaving is looked for. See [`crate::framing`] for why this is not hyper.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Method;

use crate::answer::Problem;
use crate::framing::{Decoder, request};
use crate::inbound::Inbound;
use crate::outgoing::{Cut, Out};
use crate::reply::{Form, Manner, Reply};
use crate::request::asked::{Asked, Gatherer};
use crate::serve::Stop;
use crate::service;
use crate::wheel::Timer;
use crate::wire::{Stream, Wire};
use crate::worker::Worker;

/// What is thrown away at the most of a body nobody wants: one of 100 MB sent without asking first.
const LINGER_BYTES_MAX: usize = 128 << 20;

type Shared = Rc<RefCell<Wire>>;

/// A request's head, and what its connection must know of it.
struct Next {
    asked: Asked,
    keep: bool,
    is_old: bool,
}

/// How an exchange left the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// It may carry another.
    Keep,
    /// It ends, and nothing more is to come from the client.
    Close,
    /// It ends, and the client may still be sending.
    Linger,
    /// There is nobody there.
    Gone,
}

/// Serves a connection to its end.
pub(crate) async fn serve(worker: &Rc<Worker>, stream: Stream, stop: &Stop) {
    let times = worker.times();
    let wire = Wire::new(stream, worker.sizes().head_bytes_max, &worker.wheel, times.client_stall);
    let mut timer = worker.wheel.after(times.header);
    let mut stopping = pin!(stop.asked());
    let mut registered = false;
    let mut first = true;
    loop {
        timer.reset(if first { times.header } else { times.idle });
        first = false;
        let mut begun = false;
        let next = poll_fn(|cx| {
            // The task never changes, so one poll is enough to be woken when the time comes.
            if !registered {
                registered = true;
                let _ = stopping.as_mut().poll(cx);
            }
            poll_next(&wire, &mut timer, &mut begun, times.header, stop, cx)
        });
        let after = match next.await {
            None => return,
            Some(Ok(next)) => exchange(worker, &wire, next, stop).await,
            Some(Err(error)) => {
                let problem = Problem::unreadable(error);
                worker.shared.rejected(problem.status.as_u16());
                let manner = Manner { close: true, is_old: false, head_only: false };
                match write(worker, &wire, problem.reply(), &manner).await {
                    After::Gone => After::Gone,
                    _ => After::Linger,
                }
            }
        };
        match after {
            After::Keep => {}
            After::Gone => return,
            After::Close => {
                timer.reset(times.linger_quiet);
                return close(&wire, timer).await;
            }
            After::Linger => {
                let until = worker.wheel.after(times.linger);
                return linger(&wire, timer, times.linger_quiet, until).await;
            }
        }
    }
}

/// Waits for the next head: for its first byte as long as a connection may be idle, for its last as long as a head
/// may take. `None` where there will be no other.
fn poll_next(
    wire: &Shared,
    timer: &mut Timer,
    begun: &mut bool,
    header: Duration,
    stop: &Stop,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Next, request::Error>>> {
    let mut wire = wire.borrow_mut();
    let wire = &mut *wire;
    loop {
        if !wire.read.is_empty() {
            let mut gatherer = Gatherer::with_room(wire.read.len());
            match wire.reader.head(&mut wire.read, |name, value| gatherer.take(name, value)) {
                Ok(Some(head)) => {
                    wire.body = head.body;
                    wire.expects = head.expects;
                    let asked = gatherer.finish(head.method, head.target);
                    return Poll::Ready(Some(Ok(Next { asked, keep: head.keep, is_old: head.is_old })));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if !*begun {
                *begun = true;
                timer.reset(header);
            }
        }
        match wire.poll_read(cx) {
            Poll::Ready(Ok(n)) if n > 0 => {}
            Poll::Ready(_) => return Poll::Ready(None),
            // Only now: a request that has come already is answered.
            Poll::Pending if stop.is_asked() && wire.read.is_empty() => return Poll::Ready(None),
            Poll::Pending => {
                ready!(timer.poll_due(cx));
                return Poll::Ready(None);
            }
        }
    }
}

/// One request and its answer.
async fn exchange(worker: &Rc<Worker>, wire: &Shared, next: Next, stop: &Stop) -> After {
    let head_only = next.asked.method == Method::HEAD;
    // Boxed: what a request needs while it is answered is freed while its answer streams.
    let mut answer = Box::pin(service::answer(worker.clone(), next.asked, Inbound::Http1(wire.clone())));
    let reply = poll_fn(|cx| {
        if let Poll::Ready(reply) = answer.as_mut().poll(cx) {
            return Poll::Ready(Some(reply));
        }
        wire.borrow_mut().poll_gone(cx).map(|()| None)
    })
    .await;
    drop(answer);
    let Some(reply) = reply else { return After::Gone };
    let manner = Manner { close: true, is_old: next.is_old, head_only };
    let to_the_end = reply.form(&manner) == Form::ToTheEnd;
    // A body that is not over when its answer begins may never be read to its end.
    let unread = wire.borrow().body != Decoder::Over;
    let leaves = stop.is_asked() || worker.shared.stopping.load(Ordering::Relaxed);
    let close = !next.keep || to_the_end || unread || leaves;
    match write(worker, wire, reply, &Manner { close, ..manner }).await {
        After::Keep if unread => After::Linger,
        After::Keep if close => After::Close,
        after => after,
    }
}

/// Writes an answer, as much at once as there is of it.
async fn write(worker: &Worker, wire: &Shared, reply: Reply, manner: &Manner) -> After {
    let form = reply.form(manner);
    reply.write_head(manner, &worker.date(), wire.borrow_mut().out.front());
    let mut body = match form {
        Form::Nothing => None,
        Form::Plain | Form::Chunked | Form::ToTheEnd => Some(reply.body),
    };
    poll_fn(|cx| {
        while let Some(out) = &mut body {
            match poll_gather(wire, out, form, cx) {
                Poll::Ready(Ok(true)) => body = None,
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(Err(Cut)) => {
                    if form == Form::ToTheEnd {
                        wire.borrow().reset();
                    }
                    return Poll::Ready(After::Gone);
                }
                Poll::Pending => {
                    let mut wire = wire.borrow_mut();
                    if let Poll::Ready(Err(_)) = wire.poll_flush(cx) {
                        return Poll::Ready(After::Gone);
                    }
                    return wire.poll_gone(cx).map(|()| After::Gone);
                }
            }
            if body.is_some() && ready!(wire.borrow_mut().poll_flush(cx)).is_err() {
                return Poll::Ready(After::Gone);
            }
        }
        Poll::Ready(match ready!(wire.borrow_mut().poll_flush(cx)) {
            Ok(()) => After::Keep,
            Err(_) => After::Gone,
        })
    })
    .await
}

/// Gathers what there is of a body until there is enough for one write. Says whether that was the last.
fn poll_gather(wire: &Shared, out: &mut Out, form: Form, cx: &mut Context<'_>) -> Poll<Result<bool, Cut>> {
    while wire.borrow().out.is_joinable() {
        // The wire is not held meanwhile: an answer may have to read the rest of its request first.
        let data = ready!(out.poll_bytes(cx)).transpose()?;
        let outbox = &mut wire.borrow_mut().out;
        match (data, form) {
            (Some(data), Form::Chunked) => outbox.push_chunk(data),
            (Some(data), _) => outbox.push(data, b""),
            (None, form) => {
                if form == Form::Chunked {
                    outbox.front().extend_from_slice(b"0\r\n\r\n");
                }
                return Poll::Ready(Ok(true));
            }
        }
    }
    Poll::Ready(Ok(false))
}

/// Says goodbye, which over TLS takes a write; a client that does not take it is not waited for.
async fn close(wire: &Shared, mut timer: Timer) {
    poll_fn(|cx| match wire.borrow_mut().poll_shutdown(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => timer.poll_due(cx),
    })
    .await;
}

/// Throws away what still comes, for a little: closing at once would reset the connection, and the client, still
/// sending, would lose the answer.
async fn linger(wire: &Shared, mut quiet: Timer, quiet_max: Duration, mut until: Timer) {
    quiet.reset(quiet_max);
    let mut left = LINGER_BYTES_MAX;
    poll_fn(|cx| {
        let mut wire = wire.borrow_mut();
        // As much of it as is possible: reading goes on even where the goodbye cannot be said yet.
        let _ = wire.poll_shutdown(cx);
        loop {
            wire.read.clear();
            match wire.poll_read(cx) {
                Poll::Ready(Ok(n)) if n > 0 && n < left => {
                    left -= n;
                    quiet.reset(quiet_max);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    let over = until.poll_due(cx).is_ready() || quiet.poll_due(cx).is_ready();
                    return if over { Poll::Ready(()) } else { Poll::Pending };
                }
            }
        }
    })
    .await;
}
