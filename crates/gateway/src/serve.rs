//! The threads: each has its own listener, its own runtime and its own connections.
//!
//! A connection is served by the thread that accepted it, and so are its requests and their connections to
//! engines: nothing of a request ever crosses threads but its word with the machine. The kernel spreads
//! connections over the listeners (`SO_REUSEPORT`).

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::wire::Stream;
use crate::worker::{Shared, Worker};
use crate::{http1, http2};

/// Connections the kernel keeps for us while we are busy: as many as it allows by default.
const BACKLOG: i32 = 4096;

/// Opens as many listeners on one address as there are threads.
///
/// `SO_REUSEPORT` would also let a second Tidegate onto the same port, and the kernel would give each half of
/// the requests; so the address is taken without it first, which fails where it is in use.
pub(crate) fn listen(addr: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    let bound = bind(addr, false)?;
    let addr = bound.local_addr()?;
    drop(bound);
    let listeners = (0..count)
        .map(|_| {
            let listener = bind(addr, true)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .collect::<io::Result<Vec<_>>>()?;
    Ok((addr, listeners))
}

fn bind(addr: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// How a thread is told to stop.
#[derive(Default)]
pub(crate) struct Stop {
    asked: AtomicBool,
    now: AtomicBool,
    told: Notify,
}

impl Stop {
    /// No new requests; what runs may end.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    /// What still runs is cut.
    pub(crate) fn now(&self) {
        self.now.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Ends when no new requests are to be taken.
    pub(crate) async fn asked(&self) {
        self.wait(&self.asked).await;
    }

    async fn wait(&self, which: &AtomicBool) {
        loop {
            let mut told = pin!(self.told.notified());
            told.as_mut().enable();
            if which.load(Ordering::Acquire) {
                return;
            }
            told.await;
        }
    }
}

/// Runs one thread until it is told to stop.
pub(crate) fn run(
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
    stop: &Arc<Stop>,
    first: bool,
) -> io::Result<()> {
    let runtime = tokio::runtime::LocalRuntime::new()?;
    runtime.block_on(async {
        let worker = Rc::new(Worker::new(shared));
        let listener = TcpListener::from_std(listener)?;
        let turning = worker.clone();
        tokio::task::spawn_local(async move { turning.wheel.run().await });
        let sweeping = worker.clone();
        tokio::task::spawn_local(async move { sweep(&sweeping).await });
        if first {
            let desk = worker.shared.desk.clone();
            tokio::task::spawn_local(async move { desk.run_timer().await });
        }
        tokio::select! {
            () = accept(&worker, &listener, stop) => {}
            () = stop.asked() => {}
        }
        // Those that the kernel has taken for us would be reset with the listener.
        for _ in 0..BACKLOG {
            let Some(Ok((stream, _))) = listener.accept().now_or_never() else { break };
            take(&worker, stream, stop);
        }
        drop(listener);
        // Connections of this thread end by themselves; the last one to do so lets go of the worker.
        let ended = async {
            // The first has the timers of all: it stays for those of the others.
            let others = || first && worker.shared.connections.load(Ordering::Relaxed) > 0;
            while Rc::strong_count(&worker) > 3 || others() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = ended => {}
            () = stop.wait(&stop.now) => {}
        }
        Ok(())
    })
}

/// Closes idle connections to engines that are too old, once a second.
async fn sweep(worker: &Worker) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        worker.pool.borrow_mut().sweep(Instant::now(), |endpoint| worker.shared.desk.knows(endpoint));
    }
}

async fn accept(worker: &Rc<Worker>, listener: &TcpListener, stop: &Arc<Stop>) {
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors: trying again at once would spin until one is free.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        take(worker, stream, stop);
    }
}

/// Serves a connection, if there is room for one more.
fn take(worker: &Rc<Worker>, stream: TcpStream, stop: &Arc<Stop>) {
    let shared = &worker.shared;
    if shared.connections.fetch_add(1, Ordering::Relaxed) >= shared.config.sizes.connections_max {
        shared.connections.fetch_sub(1, Ordering::Relaxed);
        shared.connections_refused.fetch_add(1, Ordering::Relaxed);
        let _ = stream.try_write(
                b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            );
        return;
    }
    let _ = stream.set_nodelay(true);
    tokio::task::spawn_local(connection(worker.clone(), stream, stop.clone()));
}

async fn connection(worker: Rc<Worker>, stream: TcpStream, stop: Arc<Stop>) {
    let open = Open(worker.clone());
    match worker.shared.config.tls.clone() {
        None => http1::serve(&worker, Stream::Plain(stream), &stop).await,
        // Boxed: its 3 KB would otherwise be part of every plain connection.
        Some(config) => Box::pin(secure(&worker, stream, config, &stop)).await,
    }
    drop(open);
}

async fn secure(worker: &Rc<Worker>, stream: TcpStream, config: Arc<rustls::ServerConfig>, stop: &Stop) {
    let handshake = TlsAcceptor::from(config).accept(stream);
    // A handshake that trickles is a slow-loris too.
    let Ok(Ok(stream)) = tokio::time::timeout(worker.times().header, handshake).await else { return };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2::serve(worker, stream, stop).await;
    } else {
        http1::serve(worker, Stream::Tls(Box::new(stream)), stop).await;
    }
}

/// Counts a connection for as long as it is open.
struct Open(Rc<Worker>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
