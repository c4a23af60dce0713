//! Start, listen, serve, stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate_sim::{ColdStart, Phase};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Error;
use crate::api::{self, App};
use crate::log::Log;
use crate::machine::{Clock, Machine};
use crate::metrics::Recorder;
use crate::metrics::recorder::About;
use crate::options::{Dialect, Fault, Options};

/// Open connections at most: 10,000 streams are what a test asks for, and each costs some 12 KiB. More wait
/// in the kernel's queue until one ends.
const CONNECTIONS_MAX: usize = 20_000;
/// The kernel's queue of connections not yet accepted.
const BACKLOG: u32 = 4_096;
/// A client that takes longer to send its head is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of head and of unsent answer a connection may hold.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// After being told to stop, streams may run on for an hour: 131,072 tokens at 20 ms are 44 minutes.
const DRAIN_MAX: Duration = Duration::from_secs(3_600);
/// And with `abort_on_sigterm` clients have this long to read their last bytes.
const ABORT_MAX: Duration = Duration::from_secs(5);

/// Where engines come from.
#[derive(Debug)]
pub struct Engine;

/// An engine that runs. Dropped, it stops as a killed process does: connections are cut.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    stop: CancellationToken,
    kill: CancellationToken,
    ready: watch::Receiver<bool>,
    task: Option<JoinHandle<Result<(), Error>>>,
}

/// Runs an engine until `shutdown` completes, then stops it as SIGTERM would.
///
/// # Errors
/// Options that cannot be used, an address that is taken, or the fault `crash-after`.
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let mut running = Engine::start(options).await?;
    tokio::select! {
        () = shutdown => running.stop().await,
        outcome = running.ended() => outcome,
    }
}

impl Engine {
    /// Takes the port and begins the cold start. Until it is over, connections are refused, or with
    /// llama.cpp's manners answered 503; [`Running::ready`] waits for that. Without a cold start it is ready
    /// on return.
    ///
    /// # Errors
    /// Options that cannot be used, or an address that is taken.
    pub async fn start(options: Options) -> Result<Running, Error> {
        let clock = Clock::new(options.speed);
        let profile = options.settled()?;
        let cold_start = profile.cold_start;
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let about = About {
            dialect: options.dialect,
            model: options.models.first().cloned().unwrap_or_default(),
            profile: profile.clone(),
            created_us: created.as_micros() as i64,
            load_s: cold_start.load_s / options.speed,
            start_s: cold_start.total_s() / options.speed,
        };
        let machine = Arc::new(Machine::new(&profile, Recorder::new(about), clock)?);
        let wanted = SocketAddr::new(options.host, options.port);
        let socket = reserve(wanted).map_err(|source| Error::Listen { addr: wanted, source })?;
        let addr = socket.local_addr().map_err(|source| Error::Listen { addr: wanted, source })?;
        let kill = CancellationToken::new();
        let app = Arc::new(App {
            block_tokens: profile.block_tokens,
            created_s: created.as_secs(),
            ready: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            crash: CancellationToken::new(),
            machine,
            clock,
            options,
        });
        let (tell, ready) = watch::channel(false);
        let stop = CancellationToken::new();
        let server = Server { app, addr, stop: stop.clone(), kill: kill.clone(), tell };
        let slow = cold_start.total_s() > 0.0;
        let mut running = Running { addr, stop, kill, ready, task: None };
        running.task = Some(tokio::spawn(server.run(socket, cold_start)));
        if !slow {
            running.ready().await?;
        }
        Ok(running)
    }
}

impl Running {
    /// Where it listens, or will.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits for the end of the cold start.
    ///
    /// # Errors
    /// When the engine ended before.
    pub async fn ready(&mut self) -> Result<(), Error> {
        if self.ready.wait_for(|ready| *ready).await.is_err() {
            // The sender is gone, so the task is at its end.
            return self.ended().await.and(Err(Error::Lost));
        }
        Ok(())
    }

    /// Stops as SIGTERM does: no new connections, running streams to their end or aborted as
    /// `abort_on_sigterm` says.
    ///
    /// # Errors
    /// As [`run`].
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stop.cancel();
        self.ended().await
    }

    /// Stops as SIGKILL does: every connection is cut.
    pub async fn kill(mut self) {
        self.kill.cancel();
        // Whatever it ended with, it was to end.
        let _ = self.ended().await;
    }

    /// Waits until it ends by itself.
    async fn ended(&mut self) -> Result<(), Error> {
        match self.task.as_mut() {
            Some(task) => task.await.unwrap_or(Err(Error::Lost)),
            None => Err(Error::Lost),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}

/// A socket that has the port but does not listen: connections to it are refused.
fn reserve(addr: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

struct Server {
    app: Arc<App>,
    addr: SocketAddr,
    stop: CancellationToken,
    kill: CancellationToken,
    tell: watch::Sender<bool>,
}

impl Server {
    async fn run(self, socket: TcpSocket, cold_start: ColdStart) -> Result<(), Error> {
        let crash = self.app.crash.clone();
        let kill = self.kill.clone();
        let crashed = match self.app.options.fault {
            Some(Fault::CrashAfter(count)) => Error::Crashed(count),
            _ => Error::Lost,
        };
        let machine = Arc::clone(&self.app.machine);
        // Whatever ends first drops the rest: the listener, the driver, and with `kill` every connection.
        let outcome = tokio::select! {
            outcome = self.serve(socket, cold_start) => outcome,
            () = machine.drive() => Ok(()),
            () = crash.cancelled() => Err(crashed),
            () = kill.cancelled() => Ok(()),
        };
        kill.cancel();
        outcome
    }

    async fn serve(self, socket: TcpSocket, cold_start: ColdStart) -> Result<(), Error> {
        let log = Log { on: self.app.options.log };
        let mut socket = Some(socket);
        let mut listen = || match socket.take().map(|socket| socket.listen(BACKLOG)) {
            Some(Ok(listener)) => Ok(listener),
            Some(Err(source)) => Err(Error::Listen { addr: self.addr, source }),
            None => Err(Error::Lost),
        };
        let connections = Connections::new(&self);
        let early = if self.app.options.dialect == Dialect::LlamaCpp { Some(listen()?) } else { None };
        let listener = tokio::select! {
            () = self.stop.cancelled() => return Ok(()),
            () = connections.accept(early.as_ref()) => return Ok(()),
            () = self.start(cold_start, log) => match early {
                Some(listener) => listener,
                None => listen()?,
            },
        };
        self.app.ready.store(true, Ordering::Release);
        log.info("Application startup complete.");
        log.info(&format!("Listening on http://{}", self.addr));
        self.tell.send_replace(true);
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = connections.accept(Some(&listener)) => {}
        }
        drop(listener);
        log.info("Shutting down");
        let patience = if self.app.options.abort_on_sigterm {
            self.app.machine.abort_all();
            ABORT_MAX
        } else {
            DRAIN_MAX
        };
        connections
            .drain(patience, matches!(self.app.options.fault, Some(Fault::Hang | Fault::Trickle)))
            .await;
        log.info("Application shutdown complete.");
        Ok(())
    }

    /// The cold start, phase by phase, in the words of the engine stood for.
    async fn start(&self, cold_start: ColdStart, log: Log) {
        let options = &self.app.options;
        log.info(&format!(
            "Starting {} stand-in for {}, profile {}, speed {}",
            options.dialect.name(),
            options.models.join(", "),
            options.profile.name,
            options.speed
        ));
        for (phase, span) in cold_start.phases() {
            let real = self.app.clock.real(span);
            tokio::time::sleep(real).await;
            let seconds = real.as_secs_f64();
            match phase {
                Phase::Init => log.info(&format!("Engine process initialised in {seconds:.2} seconds")),
                Phase::Load => log.info(&format!("Loading weights took {seconds:.2} seconds")),
                Phase::Compile => log.info(&format!("torch.compile takes {seconds:.2} s in total")),
                Phase::Warm => log.info(&format!("Graph capturing finished in {seconds:.2} seconds")),
            }
        }
    }
}

/// The connections that are open.
struct Connections {
    app: Arc<App>,
    stop: CancellationToken,
    kill: CancellationToken,
    tasks: TaskTracker,
    seats: Arc<Semaphore>,
}

impl Connections {
    fn new(server: &Server) -> Connections {
        Connections {
            app: Arc::clone(&server.app),
            stop: server.stop.clone(),
            kill: server.kill.clone(),
            tasks: TaskTracker::new(),
            seats: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }

    /// Accepts for as long as it is polled. Without a listener it just waits.
    async fn accept(&self, listener: Option<&TcpListener>) {
        let Some(listener) = listener else { return std::future::pending().await };
        loop {
            let Ok(seat) = Arc::clone(&self.seats).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    // A token must not wait for the acknowledgement of the one before. If it cannot be set,
                    // the connection is already gone.
                    let _ = stream.set_nodelay(true);
                    let (app, stop, kill) = (Arc::clone(&self.app), self.stop.clone(), self.kill.clone());
                    self.tasks.spawn(async move {
                        tokio::select! {
                            () = connection(app, stream, stop) => {}
                            () = kill.cancelled() => {}
                        }
                        drop(seat);
                    });
                }
                // Out of descriptors, or the peer left in between: the next one may do better.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Waits until all are closed, at most `patience`; those that can never end are cut at once.
    async fn drain(&self, patience: Duration, hopeless: bool) {
        self.tasks.close();
        if !hopeless {
            // Too long is no error: what is left is cut.
            let _ = tokio::time::timeout(patience, self.tasks.wait()).await;
        }
        self.kill.cancel();
        self.tasks.wait().await;
    }
}

async fn connection(app: Arc<App>, mut stream: TcpStream, stop: CancellationToken) {
    let garbage = app.options.fault == Some(Fault::Garbage);
    if garbage && wants_model(&stream).await {
        // No status line, no UTF-8, no end of line. The client may be gone already.
        let _ = stream.write_all(&[0xff, 0x00, 0x9c, 0x1b, 0xc3, 0x28, 0xa0, 0xa1].repeat(64)).await;
        return;
    }
    let service = service_fn(move |request| {
        let app = Arc::clone(&app);
        async move { Ok::<_, std::convert::Infallible>(api::serve(app, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        // With garbage to give, every request must come on a connection of its own to be looked at.
        .keep_alive(!garbage)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    // A client that breaks off is no error of ours.
    tokio::select! {
        _ = served.as_mut() => {}
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}

/// Whether the first bytes are those of a request for the model.
async fn wants_model(stream: &TcpStream) -> bool {
    let mut first = [0; 4];
    loop {
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return false,
            Ok(4) => return &first == b"POST",
            // `peek` returns at once with what there is; a request of one segment has all four.
            Ok(_) => tokio::task::yield_now().await,
        }
    }
}
