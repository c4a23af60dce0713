//! `tidegate gateway`: the request path on its own, for pods of a Kubernetes cluster.
//!
//! ```text
//! API server ─▶ routes ─▶ join ─▶ gateway ◀─ clients
//!                 ▲         ▲        │ demand, pods in flight
//!      /v1/models ┘         └ drains ┴──▶ teller ─▶ every operator
//! ```
//!
//! It writes nothing to the API server. Without it, and without any operator, it routes what it saw last. Told to end,
//! it takes requests for a little longer, and then brings what runs to its end ([`leave`]).

mod join;
mod leave;
mod models;
mod scrape;
mod show;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use tidegate_core::route::Demand;
use tidegate_dashboard::model::{Fleet, Severity};
use tidegate_dashboard::{Board, Health};
use tidegate_gateway::{Clock, Gateway};
use tidegate_kube::client::{Connection, Options};
use tidegate_kube::demand::client::{Config as Telling, Teller, Words};
use tidegate_kube::routes::{self, Seen};
use tidegate_kube::watch::Sight;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use self::join::Join;
use self::models::Models;
use self::scrape::Scrapes;
use crate::args::KeepAlive;
use crate::up::show::Notes;
use crate::{front, output};

/// How often everything is told and shown, whatever happens in between.
const TICK: Duration = Duration::from_secs(1);

/// Why a gateway is not ready at first.
const UNSEEN: &str = "targets and endpoints were not listed yet";

/// How long the last word to the operators may take.
const LAST_WORD: Duration = Duration::from_millis(300);

/// Watches a cluster's ScaledObjects, workloads and EndpointSlices, and serves all their models at one
/// OpenAI-compatible address. Requests for a model without a ready pod are held while the operator, which
/// is told at once, starts one.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct GatewayArgs {
    /// A kubeconfig; without it $KUBECONFIG, ~/.kube/config, then the pod's service account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Look at these namespaces only; without it at all.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', env = "WATCH_NAMESPACE")]
    watch_namespace: Vec<String>,
    /// Where requests come in.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    gateway_addr: SocketAddr,
    /// Where the dashboard, the metrics and the admin API are.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8081")]
    admin_addr: SocketAddr,
    /// The operator's listener for gateways; every address behind the name is told what is asked for.
    /// Without it nobody is, and nothing starts at zero.
    #[arg(long, value_name = "HOST:PORT")]
    operator: Option<String>,
    /// A PEM file with the authorities that the operator's certificate is checked against, instead of the
    /// machine's; read again with each connection.
    #[arg(long, value_name = "FILE", requires = "operator")]
    operator_ca: Option<PathBuf>,
    /// The ServiceAccount token to show the operator, for audience tidegate-operator; read again with each
    /// connection.
    #[arg(long, value_name = "FILE", default_value = "/var/run/secrets/tidegate/token")]
    operator_token: PathBuf,
    /// Let in only who shows one of these keys: a key a line.
    #[arg(long, value_name = "FILE")]
    api_keys: Option<PathBuf>,
    /// Certificate of the gateway, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// What a streaming client gets while it waits for a replica.
    #[arg(long, value_enum, default_value_t = KeepAlive::Comments, value_name = "WHAT")]
    keep_alive: KeepAlive,
    #[command(flatten)]
    leave: leave::LeaveArgs,
}

pub(crate) fn run(args: &GatewayArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(serve(args));
    // A name server that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn serve(args: &GatewayArgs) -> Result<ExitCode> {
    let options = Options {
        kubeconfig: args.kubeconfig.clone(),
        context: args.context.clone(),
        // What only routes has nothing to write.
        read_only: true,
    };
    let connection = Connection::new(&options).await?;
    let mut end = Signals::listen()?;
    let namespaces = args.watch_namespace.iter().filter(|name| !name.is_empty());
    let sight = Sight { namespaces: namespaces.map(|name| name.as_str().into()).collect(), selector: None };
    let (seen_out, mut seen) = watch::channel(Seen::default());
    let watching = tokio::spawn(routes::watch(connection.client.clone(), sight, seen_out));
    let (board, notes) = (Arc::new(Board::new()), Arc::new(Notes::default()));
    let health = Arc::new(Health::new(UNSEEN));
    board.set_health(Arc::clone(&health));
    // First of all: a gateway that waits for an API server works, and its pod must not be ended for it.
    let admin = admin(args, &board).await?;
    // Before everything was listed a model that is there would be refused as unknown.
    let listed = tokio::select! {
        listed = first(&mut seen, &health, &board, &notes) => listed,
        () = end.next() => {
            admin.stop().await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    listed.context("the watches ended")?;
    let teller = args.operator.as_ref().map(|operator| Arc::new(Teller::start(telling(args, operator))));
    let gateway = Arc::new(gateway(args, teller.clone())?);
    measure(&board, &gateway, teller.as_deref());
    let scrapes = Arc::new(Scrapes::start(Arc::clone(&gateway)));
    let mut run = Run {
        join: Join::new(Arc::clone(&gateway), Arc::clone(&scrapes)),
        scrapes,
        models: Models::default(),
        words: teller.as_ref().map(|teller| teller.words()),
        teller,
        gateway: Arc::clone(&gateway),
        seen,
        board,
        health: Arc::clone(&health),
        notes,
        counted: BTreeMap::new(),
    };
    run.settle();
    let scheme = if args.tls_cert.is_some() { "https" } else { "http" };
    announce(&format!("gateway {scheme}://{}", gateway.addr()))?;
    health.set_ready(Ok(()));
    run.until(end.next()).await;
    // The port that is routed to says it first: who heard it of the admin address finds it true everywhere.
    gateway.wind_down();
    health.set_ready(Err("it is leaving"));
    // What it sees and says goes on meanwhile: streams are demand, and who waits here is still to be answered.
    run.until(args.leave.carry_out(&gateway, end.next())).await;
    watching.abort();
    if let Some(teller) = &run.teller {
        teller.leave();
        tokio::time::sleep(LAST_WORD).await;
    }
    admin.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Waits until everything was listed once, and says what it waits for.
async fn first(
    seen: &mut watch::Receiver<Seen>,
    health: &Health,
    board: &Board,
    notes: &Notes,
) -> Result<()> {
    let (clock, mut told) = (Clock::unix(), None);
    loop {
        health.tick();
        let at_unix_s = clock.now().as_secs_f64();
        let (complete, why) = {
            let now = seen.borrow_and_update();
            (now.complete, now.blind.values().next().cloned())
        };
        if complete {
            return Ok(());
        }
        if why.is_some() && why != told {
            let text = why.as_deref().unwrap_or_default();
            let text = format!("the cluster cannot be seen yet, and no request is taken: {text}");
            output::note(&text);
            notes.add(at_unix_s, Severity::Warning, text);
            told = why;
        }
        let version = env!("CARGO_PKG_VERSION").to_owned();
        board.publish(Fleet { at_unix_s, version, notes: notes.list(), ..Fleet::default() });
        if let Ok(changed) = tokio::time::timeout(TICK, seen.changed()).await {
            changed?;
        }
    }
}

fn telling(args: &GatewayArgs, operator: &str) -> Telling {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "gateway".to_owned());
    Telling {
        operator: operator.to_owned(),
        ca: args.operator_ca.clone(),
        token: args.operator_token.clone(),
        gateway: tidegate_kube::lease::identity(&host),
    }
}

fn gateway(args: &GatewayArgs, teller: Option<Arc<Teller>>) -> Result<Gateway> {
    let tls = args.tls_cert.as_deref().zip(args.tls_key.as_deref());
    let mut config = front::config(args.gateway_addr, args.keep_alive, args.api_keys.as_deref(), tls)?;
    config.clock = Clock::unix();
    config.on_demand = Arc::new(move |target: &str, demand: Demand| {
        if let Some(teller) = &teller {
            teller.demand(target, demand);
        }
    });
    Ok(Gateway::start(config)?)
}

/// Puts what the gateway counts beside the metrics of the fleet.
fn measure(board: &Board, gateway: &Arc<Gateway>, teller: Option<&Teller>) {
    let writer = Arc::clone(gateway);
    board.add_metrics(move |out| writer.write_metrics(out));
    if let Some(links) = teller.map(Teller::links) {
        board.add_metrics(move |out| show::links(&links.borrow(), out));
    }
}

/// Opens the admin listener, and says where it is.
async fn admin(args: &GatewayArgs, board: &Arc<Board>) -> Result<tidegate_dashboard::Running> {
    const TOKEN: &str = "TIDEGATE_ADMIN_TOKEN";
    let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
    if token.is_none() && !args.admin_addr.ip().is_loopback() {
        bail!("{} can be reached by others; set {TOKEN} to what they must show", args.admin_addr)
    }
    let token = token.filter(|_| !args.admin_addr.ip().is_loopback());
    let config =
        tidegate_dashboard::Config { addr: args.admin_addr, token, tls: None, series: None, push: None };
    let board: Arc<Board> = Arc::clone(board);
    let running = tidegate_dashboard::serve(config, board).await?;
    announce(&format!("dashboard http://{}/", running.addr))?;
    Ok(running)
}

/// Where something is, for people and for programs that chose port 0.
fn announce(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

/// SIGINT and SIGTERM.
struct Signals(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

impl Signals {
    fn listen() -> Result<Self> {
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        Ok(Signals(interrupt, terminate))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// A gateway at work.
struct Run {
    join: Join,
    scrapes: Arc<Scrapes>,
    models: Models,
    teller: Option<Arc<Teller>>,
    words: Option<watch::Receiver<Words>>,
    gateway: Arc<Gateway>,
    seen: watch::Receiver<Seen>,
    board: Arc<Board>,
    health: Arc<Health>,
    notes: Arc<Notes>,
    counted: BTreeMap<Arc<str>, crate::up::show::Counted>,
}

impl Run {
    /// Works until `end` is there, and says nothing of how it was.
    async fn until(&mut self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut end => return,
                Ok(()) = self.seen.changed() => self.settle(),
                () = changed(&mut self.words) => self.settle(),
                Some(answer) = self.models.next() => {
                    if self.models.take(answer) {
                        self.settle();
                    }
                }
                _ = ticker.tick() => self.tick(),
            }
        }
    }

    /// Brings the gateway to what is seen and said.
    fn settle(&mut self) {
        let seen = self.seen.borrow_and_update().clone();
        let words = self.words.as_mut().map(|words| words.borrow_and_update().clone()).unwrap_or_default();
        for (scope, why) in &seen.blind {
            let text =
                format!("cannot see {}: {why}; what was seen last is routed on", scope.kind.gvk().kind);
            self.note(Severity::Warning, text);
        }
        self.models.want(&seen.table);
        self.join.settle(&seen.table, &self.models, &words);
        self.tell();
    }

    fn tick(&mut self) {
        self.health.tick();
        let table = Arc::clone(&self.seen.borrow().table);
        self.models.want(&table);
        self.tell();
        let view = show::fleet(&self.gateway, &self.scrapes, &table, &self.notes, &mut self.counted);
        self.board.publish(view);
    }

    fn tell(&self) {
        if let Some(teller) = &self.teller {
            teller.whole(self.join.routed());
        }
    }

    fn note(&self, severity: Severity, text: String) {
        self.notes.add(self.gateway.clock().now().as_secs_f64(), severity, text);
    }
}

/// Ends when an operator has said something new; never where none is told.
async fn changed(words: &mut Option<watch::Receiver<Words>>) {
    if let Some(words) = words
        && words.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
