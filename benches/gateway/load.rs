//! The closed-loop load generator: C connections, each with one request under way at a time.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::error::Error;
use crate::http::Wire;

/// One read brings a burst of 64 chunks (about 12 KB) whole.
const BUFFER_BYTES: usize = 16 * 1024;
/// What is still under way this long after the window has failed: the longest answer takes 0.7 s.
const GRACE: Duration = Duration::from_secs(5);
/// The generator uses at most as many threads as the proxies have workers.
const THREADS_MAX: usize = 2;

/// What a right answer is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    /// That many bytes.
    Bytes(u64),
    /// That many whole SSE events, the `[DONE]` among them.
    Events(u64),
}

/// What to send, where to, and how much at once.
#[derive(Clone)]
pub(crate) struct Plan {
    /// The proxy, or the back end itself.
    pub(crate) to: SocketAddr,
    /// One request, ready to be written.
    pub(crate) request: Arc<[u8]>,
    /// What comes back when all is well.
    pub(crate) expect: Expect,
    /// Connections.
    pub(crate) connections: usize,
    /// Between the first request of one connection and the first of the next.
    pub(crate) stagger: Duration,
}

/// The part of time that counts. Requests before it warm up, requests after it are not begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Its first moment.
    pub(crate) begin: Instant,
    /// Its last moment.
    pub(crate) end: Instant,
}

impl Window {
    fn holds(&self, moment: Instant) -> bool {
        self.begin <= moment && moment <= self.end
    }
}

/// What was seen inside the window. Times in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// From the first byte sent to the last received, one each exchange.
    pub(crate) whole_ns: Vec<u64>,
    /// From the first byte sent to the first event.
    pub(crate) first_ns: Vec<u64>,
    /// Between one event and the next; 0 for those that came in the same read.
    pub(crate) gaps_ns: Vec<u64>,
    /// SSE events.
    pub(crate) events: u64,
    /// Exchanges that failed, inside the window or not.
    pub(crate) failed: u64,
    /// The first of those failures.
    pub(crate) failure: Option<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.whole_ns.extend(other.whole_ns);
        self.first_ns.extend(other.first_ns);
        self.gaps_ns.extend(other.gaps_ns);
        self.events += other.events;
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
    }

    fn fail(&mut self, error: &Error) {
        self.failed += 1;
        if self.failure.is_none() {
            self.failure = Some(error.to_string());
        }
    }
}

/// A load under way.
pub(crate) struct Running(Vec<JoinHandle<Tally>>);

impl Running {
    /// Waits for the end and adds the threads up.
    pub(crate) fn finish(self) -> Result<Tally, Error> {
        let mut sum = Tally::default();
        for thread in self.0 {
            sum.add(thread.join().map_err(|_| Error::Thread)?);
        }
        Ok(sum)
    }
}

/// Starts the threads; they begin to send at once, and count inside the window.
pub(crate) fn start(plan: &Plan, window: Window) -> Result<Running, Error> {
    let threads = plan.connections.clamp(1, THREADS_MAX);
    let mut running = Vec::new();
    for number in 0..threads {
        let share = plan.connections / threads + usize::from(number < plan.connections % threads);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::io("start a runtime"))?;
        let plan = plan.clone();
        running.push(thread::spawn(move || {
            let mut sum = Tally::default();
            LocalSet::new().block_on(&runtime, async {
                let tasks: Vec<_> = (0..share)
                    .map(|index| {
                        let wait = plan.stagger * u32::try_from(number + index * threads).unwrap_or(0);
                        tokio::task::spawn_local(connection(plan.clone(), window, wait))
                    })
                    .collect();
                for task in tasks {
                    sum.add(task.await.unwrap_or_default());
                }
            });
            sum
        }));
    }
    Ok(Running(running))
}

/// One connection, made again after a failure.
async fn connection(plan: Plan, window: Window, wait: Duration) -> Tally {
    let mut tally = Tally::default();
    tokio::time::sleep(wait).await;
    while Instant::now() < window.end {
        let last = tokio::time::Instant::from_std(window.end + GRACE);
        match tokio::time::timeout_at(last, exchanges(&plan, window, &mut tally)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tally.fail(&error);
                // A refused connection must not become a busy loop: 100 attempts a second each.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(_) => tally.fail(&Error::Closed),
        }
    }
    tally
}

async fn exchanges(plan: &Plan, window: Window, tally: &mut Tally) -> Result<(), Error> {
    let stream = TcpStream::connect(plan.to).await.map_err(Error::io("connect"))?;
    let mut wire = Wire::new(stream, BUFFER_BYTES)?;
    while Instant::now() < window.end {
        exchange(&mut wire, plan, window, tally).await?;
    }
    Ok(())
}

/// One request and its answer, which must be the expected one.
async fn exchange(wire: &mut Wire, plan: &Plan, window: Window, tally: &mut Tally) -> Result<(), Error> {
    let sent = Instant::now();
    wire.stream.write_all(&plan.request).await.map_err(Error::io("write"))?;
    let head = wire.head().await?.ok_or(Error::Closed)?;
    let status = str::from_utf8(wire.second(&head)).ok().and_then(|code| code.parse().ok()).unwrap_or(0);
    let streaming = matches!(plan.expect, Expect::Events(_));
    let seen = Seen::default();
    let mut events_before = 0;
    let mut last = None;
    wire.body(
        &head,
        |piece| seen.take(piece, streaming),
        || {
            let events = seen.events();
            if events > events_before {
                note(tally, window, sent, &mut last, events - events_before);
                events_before = events;
            }
        },
    )
    .await?;
    let (bytes, events) = (seen.bytes.get(), seen.events());
    let right = match plan.expect {
        Expect::Bytes(expected) => bytes == expected,
        Expect::Events(expected) => events == expected,
    };
    if status != 200 || !right {
        return Err(Error::Answer { status, bytes, events });
    }
    let now = Instant::now();
    if window.holds(now) {
        tally.whole_ns.push(nanoseconds(now - sent));
    }
    Ok(())
}

/// Notes the events of one read.
fn note(tally: &mut Tally, window: Window, sent: Instant, last: &mut Option<Instant>, events: u64) {
    let now = Instant::now();
    if window.holds(now) {
        tally.events += events;
        match *last {
            None => tally.first_ns.push(nanoseconds(now - sent)),
            Some(before) => tally.gaps_ns.push(nanoseconds(now - before)),
        }
        tally.gaps_ns.extend((1..events).map(|_| 0));
    }
    *last = Some(now);
}

/// What has come of one body.
#[derive(Default)]
pub(crate) struct Seen {
    bytes: Cell<u64>,
    events: Cell<u64>,
    line: Cell<Line>,
}

/// Where in a line the last piece of an SSE body ended.
#[derive(Clone, Copy, Default)]
enum Line {
    /// Before its first byte.
    #[default]
    Start,
    /// In one with data.
    Data,
    /// In a comment, as a proxy sends to keep a client waiting.
    Other,
}

impl Seen {
    /// Counts a piece; its events only when asked.
    pub(crate) fn take(&self, piece: &[u8], events: bool) {
        self.bytes.set(self.bytes.get() + piece.len() as u64);
        if !events {
            return;
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', piece) {
            if matches!(self.line_from(piece[start]), Line::Data) {
                self.events.set(self.events.get() + 1);
            }
            self.line.set(Line::Start);
            start = end + 1;
        }
        if let Some(first) = piece.get(start) {
            self.line.set(self.line_from(*first));
        }
    }

    /// What the present line is, when `first` is its first byte or, in its middle, any.
    fn line_from(&self, first: u8) -> Line {
        match (self.line.get(), first) {
            (Line::Start, b'd') => Line::Data,
            (Line::Start, _) => Line::Other,
            (line, _) => line,
        }
    }

    /// Whole events: each of the back end's is one line of data.
    pub(crate) fn events(&self) -> u64 {
        self.events.get()
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Asks once, as [`start`] would, and says whether the answer is right.
pub(crate) async fn ask_once(plan: &Plan, patience: Duration) -> Result<(), Error> {
    let begin = Instant::now();
    let window = Window { begin, end: begin + patience };
    let once = async {
        let stream = TcpStream::connect(plan.to).await.map_err(Error::io("connect"))?;
        let mut wire = Wire::new(stream, BUFFER_BYTES)?;
        exchange(&mut wire, plan, window, &mut Tally::default()).await
    };
    tokio::time::timeout(patience, once).await.unwrap_or(Err(Error::Closed))
}
