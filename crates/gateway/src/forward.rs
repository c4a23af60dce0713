//! One request's way: wait for a place, send it there, and elsewhere if that fails before the first byte.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use tidegate_core::route::Outcome;

use crate::answer::Problem;
use crate::desk::{Endpoint, Verdict};
use crate::framing::answer::{Head, Kind};
use crate::framing::decimal;
use crate::kept::{Kept, Stop};
use crate::live::{Account, Begun, Live};
use crate::outgoing::Out;
use crate::reply::Reply;
use crate::request::asked::Asked;
use crate::sse::{self, Dialect, Usage, Watcher};
use crate::told::Told;
use crate::upstream::{Lost, Upstream};
use crate::wheel::Timer;
use crate::worker::Worker;

/// An answer in JSON of up to this much is read whole before its first byte goes out, so that a replica that
/// dies in the middle of it costs the client nothing. 1 MiB is an answer of 200,000 tokens.
const WHOLE_BYTES_MAX: usize = 1 << 20;

/// How far a request has come, for who decides whether its client should get headers already.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// It had to wait in the gateway.
    pub(crate) held: Cell<bool>,
    /// An engine began a stream, and has sent no event yet.
    pub(crate) streaming: Cell<bool>,
}

/// A request that was let in.
pub(crate) struct Job {
    pub(crate) worker: Rc<Worker>,
    pub(crate) account: Account,
    pub(crate) target: Arc<str>,
    pub(crate) asked: Asked,
    pub(crate) kept: Kept,
    pub(crate) dialect: Dialect,
    pub(crate) told: Told,
    pub(crate) progress: Rc<Progress>,
    /// Since when it waits, and whether for a first replica.
    pub(crate) waiting: Option<(Instant, bool)>,
}

/// Why an attempt came to nothing.
enum Miss {
    /// Nothing has reached the client: another replica may do it.
    Retry,
    /// It is over, and the engine is to blame.
    Final(Problem),
    /// The client's body failed.
    Client(Stop),
}

/// Brings a request to its answer, or to the beginning of one.
pub(crate) async fn run(mut job: Box<Job>) -> Reply {
    loop {
        let endpoint = match job.place().await {
            Ok(Verdict::Go(endpoint)) => endpoint,
            Ok(Verdict::Refused { refusal, retry_after }) => {
                let problem = Problem::refused(&refusal, retry_after, &job.target);
                job.account.count(problem.status.as_u16());
                return job.problem(&problem);
            }
            // The ticket, dropped with the job, tells the machine that nobody waits any more.
            Err(Stop::Gone) => return job.problem(&Problem::body_stalled()),
            Err(stop) => {
                let problem = stop.problem(job.worker.sizes().body_max);
                job.account.count(problem.status.as_u16());
                return job.problem(&problem);
            }
        };
        let problem = match job.attempt(&endpoint).await {
            Ok(begun) => return job.answer(begun, &endpoint),
            Err(Miss::Retry) if job.kept.is_replayable() => {
                job.again(&endpoint);
                continue;
            }
            Err(Miss::Retry) => Problem::lost(),
            Err(Miss::Final(problem)) => problem,
            Err(Miss::Client(stop)) => {
                let problem = stop.problem(job.worker.sizes().body_max);
                job.account.finish(Outcome::Left, problem.status.as_u16());
                return job.problem(&problem);
            }
        };
        job.account.finish(Outcome::Failed, problem.status.as_u16());
        return job.problem(&problem);
    }
}

/// An answer whose beginning, or whole, was read.
enum Answer {
    Whole { head: Head, body: Bytes, usage: Usage },
    Begun { head: Head, begun: Box<Begun> },
}

impl Job {
    /// Waits for a place.
    async fn place(&mut self) -> Result<Verdict, Stop> {
        let Some((since, cold)) = self.waiting else { return Ok(self.account.ticket.verdict().await) };
        let verdict = tokio::select! {
            biased;
            verdict = self.account.ticket.verdict() => verdict,
            stop = self.kept.read_on() => return Err(stop),
        };
        self.account.stats.held(since.elapsed(), cold);
        self.account.placed();
        self.waiting = None;
        Ok(verdict)
    }

    /// The replica failed: back into the line.
    fn again(&mut self, endpoint: &Endpoint) {
        tracing::info!(replica = %endpoint.replica, "a request is tried elsewhere");
        self.account.stats.retried();
        self.account.placed();
        self.progress.streaming.set(false);
        if let Some((expected, cold)) = self.account.ticket.retry() {
            self.told.hold(expected, cold);
            self.progress.held.set(true);
            self.waiting = Some((Instant::now(), cold));
        }
    }

    fn problem(&self, problem: &Problem) -> Reply {
        let mut reply = problem.reply();
        self.told.write(&mut reply.fields, None);
        reply
    }

    async fn attempt(&mut self, endpoint: &Endpoint) -> Result<Answer, Miss> {
        let mut late = self.worker.wheel.after(self.worker.times().first_byte);
        loop {
            let pooled = self.worker.pool.borrow_mut().take(endpoint.id, self.worker.wheel.now());
            let mut upstream = match pooled {
                Some(upstream) => upstream,
                None => connect(&self.worker, endpoint).await?,
            };
            let mut body = self.kept.send();
            upstream.begin(|out| self.write_head(out, endpoint));
            let exchanged = poll_fn(|cx| {
                if let Poll::Ready(done) = upstream.poll_exchange(cx, &mut body) {
                    return Poll::Ready(done.map_err(Some));
                }
                late.poll_due(cx).map(|()| Err(None))
            });
            match exchanged.await {
                Ok(head) => return self.read(head, upstream, &mut late).await,
                Err(None) => return Err(Miss::Final(Problem::first_byte_late())),
                Err(Some(Lost::Client(stop))) => return Err(Miss::Client(stop)),
                Err(Some(error)) => {
                    tracing::debug!(%error, replica = %endpoint.replica, "no answer");
                    // An engine may close an idle connection just as it is used again. That is no failure:
                    // the next is a new one, or another from the pool, which runs out.
                    if !(upstream.reused && self.kept.is_replayable()) {
                        return Err(Miss::Retry);
                    }
                }
            }
        }
    }

    /// The request's head as the engine gets it.
    fn write_head(&self, out: &mut Vec<u8>, endpoint: &Endpoint) {
        let asked = &self.asked;
        out.extend_from_slice(asked.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(asked.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        out.extend_from_slice(asked.fields.as_bytes());
        if !asked.has_host {
            out.extend_from_slice(b"host: tidegate\r\n");
        }
        if !asked.has_id {
            line(out, b"x-request-id", self.told.id());
        }
        if let Some(authorization) = &endpoint.authorization {
            line(out, b"authorization", authorization.as_bytes());
        }
        match self.kept.length() {
            Some(length) => {
                let mut digits = [0; 20];
                line(out, b"content-length", decimal(length, &mut digits));
            }
            None => line(out, b"transfer-encoding", b"chunked"),
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Reads as much of an answer as must be there before the client may see any of it.
    async fn read(&mut self, head: Head, upstream: Box<Upstream>, late: &mut Timer) -> Result<Answer, Miss> {
        use StatusCode as S;
        if matches!(head.status, S::BAD_GATEWAY | S::SERVICE_UNAVAILABLE | S::GATEWAY_TIMEOUT) {
            return Err(Miss::Retry);
        }
        let begun = Begun {
            upstream,
            first: Vec::new(),
            watcher: None,
            dialect: self.dialect,
            status: head.status.as_u16(),
            length: head.body.length(),
        };
        match head.kind {
            Kind::Events => {
                self.progress.streaming.set(true);
                let begun = first_event(begun, late).await?;
                Ok(Answer::Begun { head, begun: Box::new(begun) })
            }
            Kind::Other if head.status.is_success() => Ok(Answer::Begun { head, begun: Box::new(begun) }),
            Kind::Json | Kind::Other => self.whole(head, begun, late).await,
        }
    }

    /// A JSON answer, read to its end where that is not too far.
    async fn whole(&self, head: Head, mut begun: Begun, late: &mut Timer) -> Result<Answer, Miss> {
        let mut body = Bytes::new();
        while let Some(data) = next(&mut begun, late).await? {
            body = if body.is_empty() { data } else { [&*body, &*data].concat().into() };
            // Joined anew with every read; reads double, so a megabyte is joined a dozen times at most.
            if body.len() > WHOLE_BYTES_MAX {
                begun.first.push(body);
                return Ok(Answer::Begun { head, begun: Box::new(begun) });
            }
        }
        if self.dialect == Dialect::OpenAi && sse::is_aborted(&body) {
            return Err(Miss::Retry);
        }
        let usage =
            if head.status.is_success() { sse::usage(&body).unwrap_or_default() } else { Usage::default() };
        if let Verdict::Go(endpoint) = self.account.ticket.standing() {
            self.worker.pool.borrow_mut().put(endpoint.id, begun.upstream, self.worker.wheel.now());
        }
        Ok(Answer::Whole { head, body, usage })
    }

    /// The answer as the client gets it.
    fn answer(mut self: Box<Self>, answer: Answer, endpoint: &Arc<Endpoint>) -> Reply {
        let (head, body) = match answer {
            Answer::Whole { head, body, usage } => {
                let outcome = if head.status.is_server_error() {
                    Outcome::Failed
                } else {
                    Outcome::Answered {
                        prompt_tokens: usage.prompt_tokens,
                        output_tokens: usage.output_tokens,
                    }
                };
                self.account.finish(outcome, head.status.as_u16());
                (head, Out::full(body))
            }
            Answer::Begun { head, begun } => {
                let live = Live::new(self.worker.clone(), endpoint.id, self.account, *begun);
                (head, Out::Live(Box::new(live)))
            }
        };
        let mut fields = head.fields;
        self.told.write(&mut fields, Some(&endpoint.header));
        Reply { status: head.status, fields, has_date: head.has_date, body }
    }
}

async fn connect(worker: &Worker, endpoint: &Endpoint) -> Result<Box<Upstream>, Miss> {
    let mut limit = worker.wheel.after(worker.times().connect);
    let mut connecting = pin!(Upstream::connect(endpoint.addr));
    poll_fn(|cx| {
        if let Poll::Ready(done) = connecting.as_mut().poll(cx) {
            return Poll::Ready(done.map_err(|_| Miss::Retry));
        }
        limit.poll_due(cx).map(|()| Err(Miss::Retry))
    })
    .await
}

/// The next bytes of an answer nothing of which has reached the client.
async fn next(begun: &mut Begun, late: &mut Timer) -> Result<Option<Bytes>, Miss> {
    poll_fn(|cx| {
        if let Poll::Ready(read) = begun.upstream.poll_body(cx) {
            return Poll::Ready(read.map_err(|_| Miss::Retry));
        }
        late.poll_due(cx).map(|()| Err(Miss::Final(Problem::first_byte_late())))
    })
    .await
}

/// Waits for a stream's first event: until then another replica may still do it.
async fn first_event(mut begun: Begun, late: &mut Timer) -> Result<Begun, Miss> {
    let mut watcher = Watcher::new(begun.dialect);
    while let Some(data) = next(&mut begun, late).await? {
        let fed = watcher.feed(data);
        if fed.broken.is_some() {
            return Err(Miss::Retry);
        }
        if !fed.pass.is_empty() {
            begun.first.push(fed.pass);
            begun.watcher = Some(watcher);
            return Ok(begun);
        }
    }
    let rest = watcher.end().map_err(|_| Miss::Retry)?;
    if !rest.is_empty() {
        begun.first.push(rest);
    }
    begun.watcher = Some(watcher);
    Ok(begun)
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
