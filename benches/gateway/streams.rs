//! Thousands of open streams, kept open while the proxy's memory is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::LocalSet;

use crate::error::Error;
use crate::http::Wire;
use crate::load::Seen;
use crate::message;

/// Requests under way at once while the streams are opened.
const OPENING: usize = 64;
/// A chunk every 5 s keeps 10,000 streams alive with 2,000 writes a second.
pub(crate) const GAP: Duration = Duration::from_secs(5);
/// More than any run lasts: 1,000 × 5 s.
const CHUNKS: u64 = 1000;
/// A proxy that has not opened them by then is reported with what it has: 10,000 in 60 s is 6 ms each.
const PATIENCE: Duration = Duration::from_secs(60);
/// Enough for a head and a chunk: 10,000 of them take 40 MB.
const BUFFER_BYTES: usize = 4096;

/// A set of streams that grows until it is dropped.
pub(crate) struct Streams {
    more: mpsc::UnboundedSender<usize>,
    changed: watch::Receiver<Counts>,
    thread: Option<JoinHandle<()>>,
    wanted: usize,
}

/// How many streams had a first event, and how many of all have ended since or never began.
#[derive(Clone, Debug, Default)]
struct Counts {
    began: usize,
    ended: usize,
    failed: usize,
    failure: Option<String>,
}

impl Streams {
    /// Starts the thread that holds them.
    pub(crate) fn new(to: SocketAddr) -> Result<Self, Error> {
        let (more, wanted) = mpsc::unbounded_channel();
        let (change, changed) = watch::channel(Counts::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::io("start a runtime"))?;
        let thread = std::thread::spawn(move || LocalSet::new().block_on(&runtime, open(to, wanted, change)));
        Ok(Self { more, changed, thread: Some(thread), wanted: 0 })
    }

    /// Opens more until there are `total`; gives how many are open when all have begun or failed, or when
    /// patience ends.
    pub(crate) async fn grow(&mut self, total: usize) -> usize {
        // The thread lives until this value is dropped.
        let _ = self.more.send(total.saturating_sub(self.wanted));
        self.wanted = total;
        let all = self.changed.wait_for(|counts| counts.began + counts.failed >= total);
        let _ = tokio::time::timeout(PATIENCE, all).await;
        self.open()
    }

    /// How many are open now.
    pub(crate) fn open(&self) -> usize {
        let counts = self.changed.borrow();
        counts.began - counts.ended
    }

    /// Why the first of those that did not begin or did not stay was lost.
    pub(crate) fn failure(&self) -> Option<String> {
        self.changed.borrow().failure.clone()
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        let (closed, _) = mpsc::unbounded_channel();
        self.more = closed;
        if let Some(thread) = self.thread.take() {
            // Its panic would have been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}

async fn open(to: SocketAddr, mut wanted: mpsc::UnboundedReceiver<usize>, change: watch::Sender<Counts>) {
    let request: Arc<[u8]> = message::request(message::SMALL_BYTES, Some((CHUNKS, GAP))).into();
    let gate = Arc::new(Semaphore::new(OPENING));
    let change = Arc::new(change);
    while let Some(more) = wanted.recv().await {
        for _ in 0..more {
            let (request, gate, change) = (Arc::clone(&request), Arc::clone(&gate), Arc::clone(&change));
            tokio::task::spawn_local(async move {
                let permit = gate.acquire_owned().await.ok();
                let mut began = false;
                let end = stream(to, &request, || {
                    began = true;
                    change.send_modify(|counts| counts.began += 1);
                    drop(permit);
                })
                .await;
                change.send_modify(|counts| {
                    *(if began { &mut counts.ended } else { &mut counts.failed }) += 1;
                    let why = end.map_or_else(|error| error.to_string(), |()| "it ended early".into());
                    counts.failure.get_or_insert(why);
                });
            });
        }
    }
}

/// One stream, read until it ends. `began` is called at its first event.
async fn stream(to: SocketAddr, request: &[u8], began: impl FnOnce()) -> Result<(), Error> {
    let socket = TcpStream::connect(to).await.map_err(Error::io("connect"))?;
    let mut wire = Wire::new(socket, BUFFER_BYTES)?;
    wire.stream.write_all(request).await.map_err(Error::io("write"))?;
    let head = wire.head().await?.ok_or(Error::Closed)?;
    if wire.second(&head) != b"200" {
        let status = str::from_utf8(wire.second(&head)).ok().and_then(|code| code.parse().ok());
        return Err(Error::Answer { status: status.unwrap_or(0), bytes: 0, events: 0 });
    }
    let seen = Seen::default();
    let mut began = Some(began);
    wire.body(
        &head,
        |piece| seen.take(piece, true),
        || {
            if seen.events() > 0
                && let Some(began) = began.take()
            {
                began();
            }
        },
    )
    .await
}
