//! Tidegate's gateway beside nginx, haproxy, envoy, sglang-router and vllm-router: one back end, one
//! machine, one run. CPU time is the figure to trust on a shared machine; rates and latencies show the order.
//!
//! `cargo bench -p tidegate-benches --bench gateway -- [--quick] [--only nginx,tidegate] [--json FILE]`

mod arguments;
mod backend;
mod error;
mod http;
mod load;
mod measure;
mod message;
mod peers;
mod process;
mod report;
mod streams;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::{Role, Settings};
use crate::error::Error;
use crate::measure::{PHASES, Sample};
use crate::peers::Peer;
use crate::process::Process;
use crate::report::{LeftOut, Memory, Report};
use crate::streams::Streams;

/// Files a proxy needs beside two for each stream: its listeners, libraries, event queues and kept connections.
const SPARE_FILES: u64 = 500;
/// Addresses of the back end. A replica takes at most 4,096 requests at a time from Tidegate, which holds
/// the rest: 3 would be enough for 10,000 streams, 4 are a usual fleet.
const REPLICAS: usize = 4;
/// The smaller number of open streams.
const FEW_STREAMS: usize = 1000;

fn main() -> ExitCode {
    let done = Role::read(std::env::args().skip(1)).and_then(|role| match role {
        Role::Backend(listen) => backend::run(&listen),
        Role::Peer(command) => process::become_peer(&command),
        Role::Bench(settings) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(Error::io("start a runtime"))?.block_on(bench(&settings))
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("gateway bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Talk goes to stderr; the tables alone go to stdout.
fn say(line: &str) {
    // Nobody may be listening, which is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// An address nobody listens on now.
fn free_address() -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("find a free port"))?;
    listener.local_addr().map_err(Error::io("find a free port"))
}

async fn bench(settings: &Settings) -> Result<(), Error> {
    let directory = tempfile::tempdir().map_err(Error::io("make a directory for configurations"))?;
    let open_files = process::raise_open_files();
    let (targets, left_out) = targets(settings)?;

    let addresses = (0..REPLICAS).map(|_| free_address()).collect::<Result<Vec<_>, _>>()?;
    let own = std::env::current_exe().map_err(Error::io("find this program"))?;
    let mut command = vec![own.display().to_string(), "--backend".into()];
    command.extend(addresses.iter().map(SocketAddr::to_string));
    let mut backend =
        Process::start("backend", addresses[0], &command, directory.path().join("backend.log"))?;
    backend.ready(&measure::small(addresses[0])).await?;

    let mut report = Report {
        targets: vec![("direct".into(), String::new())],
        left_out,
        rounds: settings.rounds,
        seconds: settings.seconds,
        samples: Vec::new(),
        memory: Vec::new(),
    };
    let here = Place { directory: directory.path(), backend: &addresses };
    let mut good = Vec::new();
    for peer in targets {
        match here.memory(&peer, settings, open_files).await {
            Ok(memory) => {
                report.memory.extend(memory);
                report.targets.push((peer.name.to_owned(), peer.version.clone()));
                good.push(peer);
            }
            Err(error) => {
                report.left_out.push(LeftOut { target: peer.name.to_owned(), why: error.to_string() })
            }
        }
    }
    let mut proxies = Vec::new();
    for peer in &good {
        proxies.push(here.start(peer).await?);
    }
    report.samples = rounds(settings, addresses[0], &proxies).await?;
    for proxy in proxies {
        proxy.stop().await;
    }
    if let Some(path) = &settings.json {
        let text =
            serde_json::to_string_pretty(&report).map_err(|error| Error::Argument(error.to_string()))?;
        fs::write(path, text).map_err(Error::file(path))?;
    }
    std::io::stdout().write_all(report.markdown().as_bytes()).map_err(Error::io("print the tables"))
}

/// What is to be measured, and what is left out with the reason.
fn targets(settings: &Settings) -> Result<(Vec<Peer>, Vec<LeftOut>), Error> {
    let wanted = |name: &str| settings.only.is_empty() || settings.only.iter().any(|only| only == name);
    let (mut here, missing) = peers::look();
    let missing = missing.into_iter().filter(|peer| wanted(peer.name));
    let left_out = missing.map(|peer| LeftOut {
        target: peer.name.to_owned(),
        why: format!("not installed; {}", peer.install),
    });
    let left_out = left_out.collect();
    here.retain(|peer| wanted(peer.name));
    if wanted("tidegate") {
        let program = match &settings.ours {
            Some(path) => path.clone(),
            None => peers::build_ours()?,
        };
        here.insert(0, peers::ours(program));
    }
    Ok((here, left_out))
}

/// Where proxies are run.
struct Place<'a> {
    directory: &'a Path,
    backend: &'a [SocketAddr],
}

impl Place<'_> {
    /// Starts a proxy and waits until it answers.
    async fn start(&self, peer: &Peer) -> Result<Process, Error> {
        let (address, spare) = (free_address()?, free_address()?);
        let command = peer.command(self.directory, address, self.backend, spare.port())?;
        let log = self.directory.join(format!("{}.log", peer.name));
        let mut process = Process::start(peer.name, address, &command, log.clone())?;
        let ready = process.ready(&measure::small(address)).await;
        if ready.is_err() {
            let text = fs::read_to_string(&log).unwrap_or_default();
            say(&format!("{}: the end of its log:\n{}", peer.name, last_lines(&text, 10)));
        }
        ready.map(|()| process)
    }

    /// Memory of a fresh proxy: idle, with 1,000 streams, with the most. `None` when no streams are wanted.
    async fn memory(
        &self,
        peer: &Peer,
        settings: &Settings,
        open_files: u64,
    ) -> Result<Option<Memory>, Error> {
        let process = self.start(peer).await?;
        if settings.streams == 0 {
            process.stop().await;
            return Ok(None);
        }
        let allowed = usize::try_from(open_files.saturating_sub(SPARE_FILES) / 2).unwrap_or(usize::MAX);
        let most = settings.streams.min(allowed);
        let mut memory = Memory {
            target: peer.name.to_owned(),
            idle_kib: process.memory_kib(),
            open: Vec::new(),
            lost: 0,
            failure: None,
        };
        let mut streams = Streams::new(process.address)?;
        for count in [FEW_STREAMS.min(most), most] {
            streams.grow(count).await;
            // Every stream has had one more chunk when the memory is read.
            tokio::time::sleep(streams::GAP).await;
            let open = streams.open();
            memory.open.push((open, process.memory_kib()));
            memory.lost = count - open.min(count);
        }
        memory.failure = streams.failure();
        drop(streams);
        process.stop().await;
        say(&format!("{}: idle {} KiB, open {:?}", memory.target, memory.idle_kib, memory.open));
        Ok(Some(memory))
    }
}

/// Every phase on every target, round by round. The order of the targets turns with the rounds, so that
/// none is always measured after the same neighbour.
async fn rounds(settings: &Settings, backend: SocketAddr, proxies: &[Process]) -> Result<Vec<Sample>, Error> {
    let span = Duration::from_secs_f64(settings.seconds);
    let mut samples = Vec::new();
    for round in 0..settings.rounds {
        for phase in &PHASES {
            let count = proxies.len() + 1;
            for index in (0..count).map(|index| (index + round) % count) {
                let proxy = index.checked_sub(1).and_then(|index| proxies.get(index));
                let to = proxy.map_or(backend, |proxy| proxy.address);
                samples.push(measure::run(phase, to, proxy, span, round).await?);
            }
        }
        say(&format!("round {} of {} done", round + 1, settings.rounds));
    }
    Ok(samples)
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
