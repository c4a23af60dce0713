//! `tidegate up`: everything on this machine.
//!
//! ```text
//! files ─▶ world ─▶ units ───────────────▶ machine (processes)
//!            │                                ▲        │ status
//!            └▶ specs ─▶ fleet (the loop) ────┘        ▼
//!                 ▲  ▲                  └─▶ journal   board ─▶ dashboard
//!        scrapes ─┘  └─ demand ─ gateway ◀─ clients
//! ```

mod auth;
mod clock;
mod demo;
mod devices;
mod fleet;
mod here;
pub(crate) mod limits;
pub(crate) mod scrape;
pub(crate) mod show;
mod swap;
mod traffic;
mod trust;
mod usage;
mod watch;
mod work;
mod world;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tidegate_core::formula::Compiler;
use tidegate_core::scale::State;
use tidegate_dashboard::{Board, Number, Push};
use tidegate_decide::Control;
use tidegate_gateway::Gateway;
use tidegate_journal::Journal;
use tidegate_local::{Machine, Status};
use tidegate_manifest::formula::ExprLang;
use tidegate_signals::{Asker, Kept, Pushed};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch as watch_channel};
use tokio_util::sync::CancellationToken;

use self::auth::AuthFiles;
use self::clock::Clock;
use self::devices::Devices;
use self::fleet::{Loop, Message};
use self::world::World;
use crate::args::Up;
use crate::journals::Directory;
use crate::{front, output};

/// How long running streams may take to end after a first Ctrl-C; a second ends them.
const STOP_GRACE: Duration = Duration::from_secs(30);

pub(crate) fn run(args: &Up) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(up(args));
    // Blocking reads that hang must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn up(args: &Up) -> Result<ExitCode> {
    let Some(world) = first(args)? else { return Ok(ExitCode::from(1)) };
    let state_dir = state_dir(args)?;
    let clock = Clock::start();
    let (outbox, inbox) = mpsc::unbounded_channel();
    let gateway = Arc::new(gateway(args, outbox.clone())?);
    let board = Arc::new(Board::new());
    let scrapes = scrape::Scrapes::start(Arc::clone(&gateway), clock);
    let traffic = Arc::new(traffic::Joined::new(Arc::clone(&gateway), Arc::clone(&scrapes)));
    // The machine locks the directory, so from here on its journal is ours alone.
    let (machine, status) = machine(args, &state_dir, clock, traffic).await?;
    let (control, journal) = resume(&state_dir, &world, clock, args.file.is_empty())?;
    let notes = Arc::new(show::Notes::default());
    let signals_clock = tidegate_signals::Clock::new(move || clock.now());
    let pushed = Pushed::new(signals_clock.clone());
    let push = push(&state_dir, pushed.clone())?;
    let kept = Arc::new(Kept::new(args.store_all));
    let admin = admin(args, Arc::clone(&board), &gateway, (push, &kept)).await?;

    let known = (world.hash.clone(), world.auth.clone());
    let stop = CancellationToken::new();
    let watched = args.dcgm_exporter.clone();
    let devices = watched.map(|url| Devices::watch(url, stop.clone(), clock, Arc::clone(&notes)));
    let mut fleet = Loop {
        devices: devices.unwrap_or_default(),
        clock,
        control,
        journal,
        machine,
        status,
        gateway: Arc::clone(&gateway),
        board,
        inbox,
        outbox: outbox.clone(),
        scrapes,
        kept,
        usage: usage::Look::default(),
        asker: Asker::new(signals_clock),
        pushed,
        queries: args.prometheus.into(),
        entries: BTreeMap::new(),
        world,
        notes: Arc::clone(&notes),
        counted: BTreeMap::new(),
        in_vain: BTreeMap::new(),
        failing: BTreeMap::new(),
        state_dir: state_dir.clone(),
    };
    fleet.install();
    announce(args, &gateway, &admin)?;
    if !args.file.is_empty() {
        tokio::spawn(watch::watch(
            args.file.clone(),
            args.filepath_auth_root_path.clone(),
            known,
            outbox.clone(),
        ));
    } else if !args.no_load {
        let url = format!("http://{}", gateway.addr());
        tokio::spawn(demo::play(url, args.demo_speed, stop.clone(), clock, notes));
    }
    tokio::spawn(stop_at_signal(outbox));
    let ended = fleet.run().await;
    stop.cancel();
    let machine = match ended {
        Ok(machine) => machine,
        Err(error) => return Err(error),
    };
    drain(&gateway, machine).await;
    admin.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// The files as they are at the start; `None` after telling why they are refused.
fn first(args: &Up) -> Result<Option<World>> {
    let read = if args.file.is_empty() {
        world::understand(demo::sources(args.demo_speed), AuthFiles::default())
    } else {
        world::read(&args.file, args.filepath_auth_root_path.as_deref())?
    };
    match read {
        Ok(world) if world.units.is_empty() => {
            bail!("no Deployment or StatefulSet in the files; name one that has one")
        }
        Ok(world) => Ok(Some(world)),
        Err(refused) => {
            output::complain_findings(&refused.findings, &refused.sources);
            output::complain("the manifests are refused whole; `tidegate lint` tells more");
            Ok(None)
        }
    }
}

fn state_dir(args: &Up) -> Result<PathBuf> {
    let directory = match &args.state_dir {
        Some(directory) => directory.clone(),
        None => {
            let home = default_state_dir()?;
            if args.file.is_empty() { home.join("demo") } else { home }
        }
    };
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make the state directory {}", directory.display()))?;
    fs::canonicalize(&directory).with_context(|| format!("cannot find {}", directory.display()))
}

/// `$XDG_STATE_HOME/tidegate`, else `~/.local/state/tidegate`.
pub(crate) fn default_state_dir() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    Ok(home
        .context("neither XDG_STATE_HOME nor HOME is set; name a directory with --state-dir")?
        .join("tidegate"))
}

/// Where the last run ended: what its journal says each target remembers, and asked for.
fn resume(
    state_dir: &Path,
    world: &World,
    clock: Clock,
    demo: bool,
) -> Result<(Control, Journal<Directory>)> {
    let directory = state_dir.join("journal");
    if demo && directory.exists() {
        // The demo begins the same each time.
        fs::remove_dir_all(&directory).with_context(|| format!("cannot empty {}", directory.display()))?;
    }
    let compiler: Arc<dyn Compiler> = Arc::new(ExprLang);
    let (segments, recovered, number) = Directory::resume(&directory, &compiler)?;
    let recovered = recovered.unwrap_or_else(|error| {
        output::complain(&format!(
            "the last journal is not gone on from, and everything starts fresh: {error}"
        ));
        tidegate_journal::Recovered::default()
    });
    // A wall clock set back since then would make time go backwards in the journal.
    if recovered.last.is_some_and(|last| last > clock.now()) {
        bail!(
            "the journal in {} ends in the future; set the clock, or move the journal away",
            directory.display()
        );
    }
    let mut control = Control::new(compiler);
    let mut known = recovered.targets;
    for target in &world.targets {
        // With the spec it had: what changed since is an event like any other, and in the journal.
        match known.remove(&target.spec.target) {
            Some(snapshot) => control.add(snapshot.spec, snapshot.state)?,
            None => control.add(target.spec.clone(), State::default())?,
        }
    }
    let journal = Journal::new(segments, world.hash.clone(), 0).after(number);
    Ok((control, journal))
}

fn gateway(args: &Up, outbox: mpsc::UnboundedSender<Message>) -> Result<Gateway> {
    let tls = args.tls_cert.as_deref().zip(args.tls_key.as_deref());
    let mut config = front::config(args.gateway_addr, args.keep_alive, args.api_keys.as_deref(), tls)?;
    config.on_demand = Arc::new(move |target, demand| {
        // Nobody takes it once the loop has ended.
        let _ = outbox.send(Message::Demand(Arc::from(target), demand));
    });
    Ok(Gateway::start(config)?)
}

async fn machine(
    args: &Up,
    state_dir: &Path,
    clock: Clock,
    traffic: Arc<traffic::Joined>,
) -> Result<(Machine, watch_channel::Receiver<Arc<Status>>)> {
    let counted = args.gpus.or_else(|| args.file.is_empty().then_some(demo::GPUS));
    let mut config = tidegate_local::Config::new(state_dir.to_owned(), traffic);
    config.gpus = tidegate_local::gpu::detect(counted).await;
    config.clock = Arc::new(move || clock.now());
    Ok(Machine::start(config).await?)
}

async fn admin(
    args: &Up,
    board: Arc<Board>,
    gateway: &Arc<Gateway>,
    (push, kept): (Push, &Kept),
) -> Result<tidegate_dashboard::Running> {
    let writer = Arc::clone(gateway);
    board.add_metrics(move |out| writer.write_metrics(out));
    let token = if args.admin_addr.ip().is_loopback() { None } else { Some(token()?) };
    if let Some(token) = &token {
        output::note(&format!("the dashboard asks for this token: {token}"));
    }
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(cert), Some(key)) if token.is_some() => Some(tidegate_gateway::tls::load(cert, key)?),
        _ => None,
    };
    let config = tidegate_dashboard::Config {
        addr: args.admin_addr,
        token,
        tls,
        push: Some(push),
        series: Some(Arc::clone(kept.store())),
    };
    Ok(tidegate_dashboard::serve(config, board).await?)
}

/// Where a pusher finds its token, in the state directory.
const PUSH_TOKEN: &str = "push-token";

/// Takes pushed signals from who shows the token, which stays the same from one run to the next.
fn push(state_dir: &Path, pushed: Pushed) -> Result<Push> {
    let file = state_dir.join(PUSH_TOKEN);
    let shown = file.display();
    let token = match fs::read_to_string(&file) {
        Ok(text) if text.trim().len() >= tidegate_dashboard::TOKEN_CHARS_MIN => text.trim().to_owned(),
        _ => {
            let token = token()?;
            let mut options = File::options();
            options.write(true).create(true).truncate(true).mode(0o600);
            let opened = options.open(&file).with_context(|| format!("cannot write {shown}"))?;
            writeln!(&opened, "{token}").with_context(|| format!("cannot write {shown}"))?;
            token
        }
    };
    let take = move |target: &str, signal: &str, number: Number| {
        pushed.push(target, signal, number.value, number.active).map_err(|refused| refused.to_string())
    };
    Ok(Push { token, take: Arc::new(take) })
}

/// 128 bits nobody can guess, in hex.
pub(crate) fn token() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom for a token")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Where things are, for people and for programs that chose port 0.
fn announce(args: &Up, gateway: &Gateway, admin: &tidegate_dashboard::Running) -> Result<()> {
    let tls = if args.tls_cert.is_some() { "https" } else { "http" };
    let admin_tls = if args.tls_cert.is_some() && !admin.addr.ip().is_loopback() { "https" } else { "http" };
    let mut out = io::stdout().lock();
    writeln!(out, "gateway {tls}://{}", gateway.addr())?;
    writeln!(out, "dashboard {admin_tls}://{}/", admin.addr)?;
    out.flush()?;
    Ok(())
}

/// Tells the loop to end at the first signal; a second one ends the program.
async fn stop_at_signal(outbox: mpsc::UnboundedSender<Message>) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        output::complain("cannot listen to signals; end it with SIGKILL");
        return;
    };
    let mut told = false;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if told {
            // The replicas' supervisors see our end and end them.
            std::process::abort();
        }
        told = true;
        output::note("stopping: running streams may end; once more stops at once");
        let _ = outbox.send(Message::Stop);
    }
}

async fn drain(gateway: &Gateway, machine: Machine) {
    gateway.stop(STOP_GRACE).await;
    machine.stop(STOP_GRACE).await;
}
