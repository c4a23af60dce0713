//! The loop: what is seen becomes events, decisions become writes.
//!
//! One task owns the index, the scale machines and the queue of writes. It never waits for a source or for
//! the API server: readings, news and outcomes come in when they are there, and each second everything is
//! decided on what there is.
//!
//! It decides from the moment it leads (or at once where it only advises) until another leads. An API
//! server that is away costs the lease's renewal and so the right to write, and nothing else: decisions go
//! on from what was seen last, and what they ask for waits in the queue.

mod access;
mod act;
mod adopt;
mod demand;
mod end;
mod entry;
mod jobs;
mod keda;
mod leases;
mod leaving;
mod news;
mod own;
mod refusal;
mod registered;
mod room;
mod say;
mod scrapes;
mod see;
mod shards;
mod sight;
mod tell;
mod time;
mod trust;
mod users;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::formula::Compiler;
use tidegate_core::scale::{Action, Decision, Event, Reading};
use tidegate_core::time::{Span, Time};
use tidegate_decide::{Control, Recorder};
use tidegate_manifest::formula::ExprLang;
use tidegate_signals::sources::Cluster;
use tidegate_signals::{Asker, Clock, Kept, Pushed, Queries, Rounds};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::Connection;
use crate::demand::Book;
use crate::demand::listen::Inbox;
use crate::endpoints::Services;
use crate::index::target::Key;
use crate::index::{Index, Touched};
use crate::lease::elector::Standing;
use crate::lease::{self, Which};
use crate::live::Live;
use crate::object::Scope;
use crate::persist::{self, Recalled};
use crate::watch::{NEWS_MAX, News, Sight, Watches};
use crate::write::{self, Gate, Hold, Permit, Queue, Write};
pub(crate) use act::FINALIZER;
pub use entry::{Advice, Entry, Started};
pub use leaving::Leave;
pub use registered::Registered;

/// How often everything is decided, whatever happens in between.
const TICK: Duration = Duration::from_secs(1);

/// After a tick, who still waits for answers is decided on what there is.
const GRACE: Duration = tidegate_signals::asker::GRACE;

/// News taken at once before anything else is looked at.
const NEWS_AT_ONCE: usize = 512;

/// Reports of gateways taken before something else has its turn: one of each gateway. Some 20 us each, they delay a
/// reading by a millisecond.
const REPORTS_AT_ONCE: usize = crate::demand::book::GATEWAYS_MAX;

/// Readings of metrics adapters and outcomes on their way to the loop: each target has at most one reading
/// under way, and no more than 16 writes are; who sends waits.
const ANSWERS_MAX: usize = 4096;

/// How the operator is run.
pub struct Config {
    /// The API server.
    pub connection: Connection,
    /// What is looked at.
    pub sight: Sight,
    /// The operator's own namespace: of its lease, its memory, and of what a
    /// ClusterTriggerAuthentication refers to.
    pub namespace: String,
    /// Tells operators that share the cluster apart, by what they look at.
    pub shard: String,
    /// Who we are among those who would lead.
    pub me: String,
    /// Time.
    pub clock: Clock,
    /// Who is told.
    pub audience: Box<dyn Audience>,
    /// Takes down every event and what followed from it.
    pub recorder: Option<Box<dyn Recorder + Send>>,
    /// What gateways say; `None` where there is no listener for them.
    pub gateways: Option<Inbox>,
    /// Where `prometheus` triggers are answered, unless an object's annotation says so.
    pub queries: Queries,
    /// What is kept of the pages of pods.
    pub kept: Arc<Kept>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("namespace", &self.namespace)
            .field("shard", &self.shard)
            .finish_non_exhaustive()
    }
}

/// How much a remark matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Worth knowing.
    Info,
    /// Something is not as it was asked for.
    Warning,
}

/// Who is told what happens.
pub trait Audience: Send {
    /// A decision was made, changed or not; `from` is the count it was made from.
    fn decided(&mut self, at: Time, from: u32, decision: &Arc<Decision>);
    /// A remark.
    fn remark(&mut self, at: Time, weight: Weight, text: &str);
    /// The loop has not begun for want of an API server; it asks for one each second.
    fn waits(&mut self) {
        // Who only shows what is has nothing to show yet.
    }
    /// Everything as it is, once a second.
    fn look(&mut self, view: &View<'_>);
}

/// Everything as it is, for who shows it.
#[derive(Debug)]
pub struct View<'a> {
    /// When.
    pub at: Time,
    /// How we stand; an operator that only advises leads nobody.
    pub standing: Standing,
    /// Whether nothing is written.
    pub advise: bool,
    /// Whether everything that is always watched was listed once.
    pub synced: bool,
    /// Whether we decide.
    pub deciding: bool,
    /// The targets.
    pub entries: &'a BTreeMap<Key, Entry>,
    /// Writes that wait.
    pub waiting: usize,
    /// Watches that cannot see, and why.
    pub blind: &'a BTreeMap<Scope, String>,
    /// How late the last tick was, in seconds.
    pub lag_s: f64,
    /// What gateways say.
    pub gateways: &'a Book,
    /// What there is to be decided, and by what.
    pub registered: &'a Registered,
    /// Targets of which nothing is remembered, because there is no more room for it.
    pub left_out: usize,
    /// Events that were never written.
    pub events_dropped: u64,
    /// Whether there are more objects than are kept.
    pub full: bool,
}

/// Why the loop ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The journal cannot be written.
    #[error("cannot write the journal: {0}; free space and start again")]
    Journal(#[from] io::Error),
}

/// What metrics adapters said for a target.
type Said = (Key, Vec<(Arc<str>, Reading)>);

/// What became of a write: the write, in which term it was decided and how often it had failed before, and the outcome.
type Outcome = (Write, (u64, u32), Result<write::Sent, write::Error>);

/// The operator at work.
pub(crate) struct Operator {
    connection: Connection,
    sight: Sight,
    namespace: String,
    shard: String,
    clock: Clock,
    setting: time::Setting,
    asker: Asker,
    /// Whose questions are answered.
    rounds: Rounds<Key>,
    /// Until when answers are waited for, if somebody waits.
    patience: Option<Instant>,
    /// Nobody pushes to an operator; who asks for what is pushed reads that nothing was.
    pushed: Pushed,
    audience: Box<dyn Audience>,
    recorder: Option<Box<dyn Recorder + Send>>,
    gateways: demand::Gateways,
    control: Control,
    index: Index,
    entries: BTreeMap<Key, Entry>,
    queue: Queue,
    gate: Arc<Gate>,
    watches: Watches,
    said: mpsc::Sender<Said>,
    outcomes: mpsc::Sender<Outcome>,
    recalled: mpsc::Sender<Result<Recalled, String>>,
    /// Targets whose sources have news.
    knocks: mpsc::Sender<news::Knock>,
    /// The cluster, as sources see it.
    cluster: Cluster,
    queries: Queries,
    kept: Arc<Kept>,
    scrapes: scrapes::Scrapes,
    live: Live,
    usage: own::Look,
    tasks: TaskTracker,
    standing: watch::Receiver<Standing>,
    /// Whether everything that is always watched was listed once.
    synced: bool,
    mind: Mind,
    /// How often we have begun to lead: what was decided in an earlier term is nobody's wish any more.
    term: u64,
    memory: persist::Book,
    /// What of it was refused.
    unwritten: refusal::Refusals,
    blind: BTreeMap<Scope, String>,
    /// KEDAs that are at work beside us.
    kedas: keda::Kedas,
    /// Other operators of our own kind: those of our namespace, and of others by what they have claimed.
    shards: leases::Leases,
    /// The leases of those in other namespaces that have claimed an object we look at.
    afar: shards::Afar,
    /// Single objects that were asked for last.
    singles: BTreeSet<Scope>,
    /// Those of them that there is no room to watch.
    refused: BTreeSet<Scope>,
    /// Objects whose claim or release was overtaken, to be looked at with the next tick.
    again: BTreeSet<Key>,
    /// Objects that cannot be given back or let go, because it is refused.
    parting: BTreeMap<Key, refusal::Refusal>,
    last_tick: Option<Time>,
    lag_s: f64,
    /// What there is.
    registered: Registered,
    /// Who uses which authentication.
    users: users::Look,
}

/// Whether we decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mind {
    /// Another does, or nobody yet.
    Rests,
    /// We lead; what was remembered is being read.
    Recalls,
    /// We do.
    Decides,
}

/// Runs until it is cancelled; then gives the lease up.
///
/// # Errors
/// When the journal cannot be written.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), Error> {
    let Config { connection, sight, namespace, shard, clock, mut audience, .. } = config;
    let Some(clock) = reckon(&connection, clock, &mut *audience, &stop).await else { return Ok(()) };
    let ((news_out, news), (recalled_out, recalled)) = (mpsc::channel(NEWS_MAX), mpsc::channel(1));
    let (outcomes_out, outcomes) = mpsc::channel(ANSWERS_MAX);
    let ((said_out, said), (used_out, used)) = (mpsc::channel(ANSWERS_MAX), mpsc::channel(ANSWERS_MAX));
    let (knocks_out, knocks) = mpsc::channel(news::KNOCKS_MAX);
    let (setting, set, ahead) = time::Setting::begin(&clock);
    let (hold, live) = (Hold::default(), Live::default());
    let (standing_out, standing) = watch::channel(Standing::Standby);
    let permit = if connection.read_only { Permit::Never } else { Permit::Lease(hold.clone()) };
    let gate = Arc::new(Gate::new(connection.client.clone(), permit, clock.clone(), config.me.clone()));
    let watches = Watches::start(&connection, sight.clone(), &namespace, news_out);
    let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
    let election = (!connection.read_only).then(|| {
        let selector = sight.selector.clone().unwrap_or_default();
        let which =
            Which { namespace: namespace.clone(), name: shards::lease(&shard), selector, me: config.me };
        let client = connection.client.clone();
        tasks.spawn(lease::run(client, which, clock.clone(), hold, standing_out.clone(), ended.clone()))
    });
    let operator = Operator {
        asker: Asker::new(set.clone()),
        rounds: Rounds::default(),
        patience: None,
        pushed: Pushed::new(set.clone()),
        gateways: demand::Gateways::new(config.gateways),
        control: Control::new(Arc::new(ExprLang)),
        index: Index::of_shard(sight.selector.as_deref(), &shards::claim(&namespace, &shard)),
        entries: BTreeMap::new(),
        queue: Queue::default(),
        said: said_out,
        outcomes: outcomes_out,
        recalled: recalled_out,
        knocks: knocks_out,
        cluster: Cluster { endpoints: Services::new(connection.client.clone()).endpoints() },
        queries: config.queries,
        kept: config.kept,
        scrapes: scrapes::Scrapes::start(set.clone(), live.clone()),
        live,
        usage: own::Look::new(used_out),
        tasks: tasks.clone(),
        synced: false,
        mind: Mind::Rests,
        term: 0,
        memory: persist::Book::default(),
        unwritten: refusal::Refusals::default(),
        blind: BTreeMap::new(),
        kedas: keda::Kedas::default(),
        shards: leases::Leases::default(),
        afar: shards::Afar::default(),
        singles: BTreeSet::new(),
        refused: BTreeSet::new(),
        again: BTreeSet::new(),
        parting: BTreeMap::new(),
        last_tick: None,
        lag_s: 0.0,
        registered: Registered::default(),
        users: users::Look::default(),
        connection,
        sight,
        namespace,
        shard,
        clock: set,
        setting,
        audience,
        recorder: config.recorder,
        gate,
        watches,
        standing,
    };
    let outcome = operator.run(Inboxes { news, said, outcomes, recalled, used, ahead, knocks }, &stop).await;
    // The lease last: nobody writes beside what is still under way.
    ended.cancel();
    if let Some(election) = election {
        let _ = election.await;
    }
    drop(standing_out);
    outcome
}

/// Our clock, set by the API server's; `None` when we are told to end before it answers. Until it does there is
/// nothing to decide on.
async fn reckon(
    connection: &Connection,
    clock: Clock,
    audience: &mut dyn Audience,
    stop: &CancellationToken,
) -> Option<Clock> {
    let mut told = String::new();
    loop {
        audience.waits();
        let why = tokio::select! {
            () = stop.cancelled() => return None,
            ahead = crate::clock::ahead(connection, &clock) => match ahead {
                Ok(None) => return Some(clock),
                Ok(Some(ahead)) => {
                    let text = format!(
                        "the API server's clock is {:.1} s ahead of this machine's: its time is the one that counts",
                        ahead.as_secs_f64()
                    );
                    audience.remark(clock.now(), Weight::Warning, &text);
                    return Some(crate::clock::shifted(clock, ahead));
                }
                Err(why) => why,
            },
        };
        if told != why {
            audience.remark(
                clock.now(),
                Weight::Warning,
                &format!("no API server: {why}; asked again each second"),
            );
            told = why;
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Waits until then; for ever where there is no then.
async fn patient(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

struct Inboxes {
    news: mpsc::Receiver<News>,
    said: mpsc::Receiver<Said>,
    outcomes: mpsc::Receiver<Outcome>,
    recalled: mpsc::Receiver<Result<Recalled, String>>,
    used: mpsc::Receiver<own::Used>,
    ahead: mpsc::Receiver<Span>,
    knocks: mpsc::Receiver<news::Knock>,
}

impl Operator {
    async fn run(mut self, mut inboxes: Inboxes, stop: &CancellationToken) -> Result<(), Error> {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut news = Vec::with_capacity(NEWS_AT_ONCE);
        let mut heard = 0;
        loop {
            // Writes that wait for their time are looked at with each tick, the others at once.
            self.flush();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = ticker.tick() => self.tick()?,
                Some((write, since, outcome)) = inboxes.outcomes.recv() => {
                    self.landed(write, since, outcome)?;
                }
                Ok(()) = self.standing.changed() => self.stand(),
                // A request that waits goes before numbers that come each second, and not for ever.
                Some(report) = self.gateways.next(), if heard < REPORTS_AT_ONCE => {
                    heard += 1;
                    self.hear(report)?;
                    continue;
                }
                keys = self.rounds.over() => keys.iter().try_for_each(|key| self.answered(key))?,
                () = patient(self.patience) => {
                    self.patience = None;
                    self.waited()?;
                }
                Some((key, readings)) = inboxes.said.recv() => {
                    self.take_readings(&key, readings)?;
                    self.decide(&key)?;
                }
                Some(used) = inboxes.used.recv() => self.used(used)?,
                Some(ahead) = inboxes.ahead.recv() => self.set_clock(ahead),
                Some(remembered) = inboxes.recalled.recv() => self.recall(remembered)?,
                count = inboxes.news.recv_many(&mut news, NEWS_AT_ONCE) => {
                    if count > 0 {
                        self.see(news.drain(..))?;
                    }
                }
                // Last of all: there may be ten a second of each target, and with the next tick all are asked anyway.
                Some(knock) = inboxes.knocks.recv() => self.knocked(&knock)?,
                // Nothing else is there.
                () = std::future::ready(()), if heard >= REPORTS_AT_ONCE => {}
            }
            heard = 0;
        }
        self.part(&mut inboxes.outcomes).await;
        Ok(())
    }

    /// Sends what is due, as long as there is room.
    fn flush(&mut self) {
        if !self.connection.read_only && !self.gate.open() {
            return;
        }
        while let Some((write, failures)) = self.queue.pop(self.clock.now()) {
            let (gate, out, term) = (Arc::clone(&self.gate), self.outcomes.clone(), self.term);
            self.tasks.spawn(async move {
                let outcome = gate.send(&write).await;
                // The loop has ended when nobody takes it.
                let _ = out.send((write, (term, failures), outcome)).await;
            });
        }
    }

    /// The end: what is remembered is written once more, and what is under way may land.
    async fn part(&mut self, outcomes: &mut mpsc::Receiver<Outcome>) {
        self.remember(true);
        self.flush();
        let landed = async {
            while !self.queue.is_empty() {
                let Some((write, _, _)) = outcomes.recv().await else { break };
                self.queue.landed(&write);
                self.flush();
            }
        };
        let _ = tokio::time::timeout(write::PART, landed).await;
    }

    fn leads(&self) -> bool {
        self.connection.read_only || *self.standing.borrow() != Standing::Standby
    }

    /// The election has turned, or everything has been listed: begin to decide, or end.
    fn stand(&mut self) {
        match (self.mind, self.synced && self.leads()) {
            (Mind::Rests, true) => {
                self.mind = Mind::Recalls;
                self.term += 1;
                self.queue.clear();
                self.remark(Weight::Info, "everything is listed: what was remembered is read");
                let (client, out) = (self.connection.client.clone(), self.recalled.clone());
                let (namespace, shard) = (self.namespace.clone(), self.shard.clone());
                self.tasks.spawn(async move {
                    let _ = out.send(persist::read(&client, &namespace, &shard).await).await;
                });
            }
            (Mind::Decides | Mind::Recalls, false) if !self.leads() => {
                self.mind = Mind::Rests;
                self.remark(Weight::Warning, "another operator leads: this one rests");
                self.queue.clear();
                self.entries.clear();
                self.parting.clear();
                (self.memory, self.users) = (persist::Book::default(), users::Look::default());
                self.scrapes.clear();
                self.live.drain(|_| true, &BTreeSet::new());
                let compiler: Arc<dyn Compiler> = Arc::new(ExprLang);
                self.control = Control::new(compiler);
            }
            _ => {}
        }
    }

    /// What was remembered is here: every target goes on from it.
    fn recall(&mut self, remembered: Result<Recalled, String>) -> Result<(), Error> {
        if self.mind != Mind::Recalls {
            return Ok(());
        }
        let remembered = match remembered {
            Ok(remembered) => remembered,
            Err(why) => {
                // Without memory a cooldown would be forgotten. It is asked again until it can be read.
                self.remark(Weight::Warning, &format!("what was remembered cannot be read: {why}"));
                self.mind = Mind::Rests;
                return Ok(());
            }
        };
        self.expect_gateways(remembered.gateways.clone());
        self.memory = persist::Book::new(remembered);
        self.mind = Mind::Decides;
        let keys: BTreeSet<Key> = self.keys();
        let read = Touched { read: keys, ..Touched::default() };
        self.touch(&read)?;
        self.remark(Weight::Info, &format!("deciding {} targets", self.entries.len()));
        Ok(())
    }

    fn remark(&mut self, weight: Weight, text: &str) {
        self.audience.remark(self.clock.now(), weight, text);
    }

    /// One event of a target, written down with what followed from it.
    fn step(&mut self, key: &Key, event: &Event) -> Result<Vec<Action>, Error> {
        let Some(entry) = self.entries.get(key) else { return Ok(Vec::new()) };
        let (now, name) = (self.clock.now(), Arc::clone(&entry.name));
        let mut actions = Vec::new();
        let recorder = self.recorder.as_mut().map(|recorder| &mut **recorder as &mut dyn Recorder);
        self.control.step(now, &name, event, recorder, &mut actions)?;
        Ok(actions)
    }
}
