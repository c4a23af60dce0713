//! One run of a replica, from its process to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::Config;
use super::link::{Handle, Link};
use super::probing::{News, Probing};
use crate::ledger::Holder;
use crate::probe::{self, Ports};
use crate::supervisor::protocol::{Exit, Instruction, Report};
use crate::sweep;
use crate::unit::{Hook, Template};

/// What a hook that used the whole grace leaves for SIGTERM; Kubernetes gives the same.
const AFTER_HOOK_MIN: Duration = Duration::from_secs(2);

/// What a run is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on.
    Run,
    /// Finish what you have, then end.
    Leave,
    /// End now.
    Kill,
}

/// What a run tells.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) holder: Holder,
    /// Which run: notes of an earlier one mean nothing.
    pub(super) run: u32,
    pub(super) what: What,
}

/// See [`Note`].
#[derive(Debug)]
pub(super) enum What {
    Spawned {
        pid: i32,
    },
    PortOpen,
    Ready,
    Unready(String),
    /// It is ended because of a probe.
    Dead(String),
    /// Drained; SIGTERM comes next.
    Stopping,
    /// Its first process ended; `failed` when it never was a process.
    Exited {
        exit: Exit,
        failed: bool,
    },
    /// Nothing of it is left.
    Ended,
}

/// All that a run needs.
pub(super) struct Launch {
    pub(super) config: Arc<Config>,
    pub(super) holder: Holder,
    pub(super) run: u32,
    pub(super) template: Arc<Template>,
    pub(super) ports: Ports,
    pub(super) instruction: Instruction,
    pub(super) orders: watch::Receiver<Order>,
    pub(super) notes: mpsc::Sender<Note>,
}

/// Runs a replica to its end.
pub(super) async fn drive(launch: Launch) {
    let link = match Link::open(&launch.config.supervisor, &launch.instruction).await {
        Ok(link) => link,
        Err(error) => {
            let exit = Exit { reason: Some(error.to_string()), ..Exit::default() };
            launch.note(What::Exited { exit, failed: true }).await;
            return launch.note(What::Ended).await;
        }
    };
    let (news_sender, news) = mpsc::channel(16);
    let handle = link.handle();
    let run = Run {
        launch,
        handle,
        news_sender,
        tasks: JoinSet::new(),
        probing: None,
        ending: false,
        ready: false,
    };
    run.watch(link, news).await;
}

impl Launch {
    async fn note(&self, what: What) {
        let note = Note { holder: self.holder.clone(), run: self.run, what };
        // The machine itself may be gone.
        let _ = self.notes.send(note).await;
    }

    fn address(&self) -> SocketAddr {
        probe::address(&self.ports, self.template.serving)
    }
}

struct Run {
    launch: Launch,
    handle: Handle,
    news_sender: mpsc::Sender<News>,
    /// Probes and the way out; both end with the run.
    tasks: JoinSet<()>,
    probing: Option<AbortHandle>,
    ending: bool,
    ready: bool,
}

impl Run {
    async fn watch(mut self, mut link: Link, mut news: mpsc::Receiver<News>) {
        let mut orders = self.launch.orders.clone();
        // An order given before we listened counts too.
        orders.mark_changed();
        let mut exited = false;
        loop {
            tokio::select! {
                report = link.next() => match report {
                    Some(Report::Spawned { pid }) => {
                        self.launch.note(What::Spawned { pid }).await;
                        self.start_probing();
                    }
                    Some(Report::Failed { message }) => {
                        exited = true;
                        let exit = Exit { reason: Some(message), ..Exit::default() };
                        self.launch.note(What::Exited { exit, failed: true }).await;
                    }
                    Some(Report::Exited(exit)) => {
                        exited = true;
                        self.ended(exit).await;
                    }
                    Some(Report::ExecDone { .. }) => {}
                    Some(Report::Gone) => break,
                    None => {
                        if !exited {
                            self.ended(Exit::default()).await;
                        }
                        self.clean_up(&link).await;
                        break;
                    }
                },
                Some(news) = news.recv() => self.heard(news).await,
                changed = orders.changed() => {
                    if changed.is_err() {
                        // The machine was dropped: so is the pipe, and the supervisor ends the replica.
                        return;
                    }
                    let order = *orders.borrow_and_update();
                    self.ordered(order).await;
                }
            }
        }
        self.tasks.abort_all();
        link.close().await;
        self.launch.note(What::Ended).await;
    }

    fn start_probing(&mut self) {
        if self.ending {
            return;
        }
        let probing = Probing {
            template: Arc::clone(&self.launch.template),
            ports: self.launch.ports.clone(),
            handle: self.handle.clone(),
            news: self.news_sender.clone(),
            ready: false.into(),
        };
        self.probing = Some(self.tasks.spawn(probing.run()));
    }

    fn stop_probing(&mut self) {
        if let Some(probing) = self.probing.take() {
            probing.abort();
        }
    }

    async fn heard(&mut self, news: News) {
        if self.ending {
            return;
        }
        let Holder { target, replica } = &self.launch.holder;
        match news {
            News::PortOpen => self.launch.note(What::PortOpen).await,
            News::Ready => {
                self.ready = true;
                self.launch.config.traffic.ready(target, replica, self.launch.address());
                self.launch.note(What::Ready).await;
            }
            News::Unready(why) => {
                self.launch.config.traffic.unready(target, replica);
                self.launch.note(What::Unready(why)).await;
            }
            News::Dead(why) => {
                if self.ready {
                    self.launch.config.traffic.unready(target, replica);
                }
                self.launch.note(What::Dead(why)).await;
                // Nothing is waited for: what it has, it does not answer.
                self.leave(false);
            }
        }
    }

    async fn ordered(&mut self, order: Order) {
        match order {
            Order::Run => {}
            Order::Leave if self.ending => {}
            Order::Leave => self.leave(self.ready),
            Order::Kill => {
                self.ending = true;
                self.stop_probing();
                self.handle.stop(Duration::ZERO).await;
            }
        }
    }

    fn leave(&mut self, drain: bool) {
        self.ending = true;
        self.stop_probing();
        let leaving = Leaving {
            config: Arc::clone(&self.launch.config),
            holder: self.launch.holder.clone(),
            run: self.launch.run,
            template: Arc::clone(&self.launch.template),
            ports: self.launch.ports.clone(),
            handle: self.handle.clone(),
            notes: self.launch.notes.clone(),
            was_ready: self.ready,
        };
        self.tasks.spawn(leaving.run(drain));
    }

    async fn ended(&mut self, exit: Exit) {
        self.stop_probing();
        let Holder { target, replica } = &self.launch.holder;
        if self.ready {
            self.launch.config.traffic.gone(target, replica);
        }
        self.launch.note(What::Exited { exit, failed: false }).await;
    }

    /// The supervisor itself was killed: what it would have killed is killed from here.
    async fn clean_up(&self, link: &Link) {
        let state_dir = &self.launch.config.state_dir;
        let run = &self.launch.instruction.run;
        if let Err(error) = sweep::sweep_run(state_dir, run, link.supervisor).await {
            tracing::error!("{}: {error}", self.launch.holder);
        }
    }
}

/// The way out of one replica.
struct Leaving {
    config: Arc<Config>,
    holder: Holder,
    run: u32,
    template: Arc<Template>,
    ports: Ports,
    handle: Handle,
    notes: mpsc::Sender<Note>,
    was_ready: bool,
}

impl Leaving {
    /// Drains for as long as the grace, and only then begins what Kubernetes calls termination: the
    /// hook, SIGTERM, and SIGKILL when the grace, counted from the hook's start, is over.
    async fn run(self, drain: bool) {
        let grace = self.template.termination_grace;
        if drain {
            let drained = self.config.traffic.drain(&self.holder.target, &self.holder.replica);
            if tokio::time::timeout(grace, drained).await.is_err() {
                tracing::warn!("{}: still busy after {} s, and ended", self.holder, grace.as_secs_f64());
            }
        }
        let note = Note { holder: self.holder.clone(), run: self.run, what: What::Stopping };
        let _ = self.notes.send(note).await;
        let until = Instant::now() + grace;
        let mut left_min = Duration::ZERO;
        // A replica that never took a request has nothing that a hook could protect.
        if let Some(hook) = self.template.pre_stop.as_ref().filter(|_| self.was_ready) {
            if let Err(why) = self.hook(hook, grace).await {
                tracing::warn!("{}: preStop failed: {why}", self.holder);
            }
            left_min = AFTER_HOOK_MIN;
        }
        let left = until.saturating_duration_since(Instant::now()).max(left_min);
        self.handle.stop(left).await;
    }

    async fn hook(&self, hook: &Hook, grace: Duration) -> Result<(), String> {
        let run = async {
            match hook {
                Hook::Exec(command) => self.handle.exec(command, grace).await,
                Hook::Http(request) => probe::get(request, &self.ports).await,
                Hook::Sleep(time) => {
                    tokio::time::sleep(*time).await;
                    Ok(())
                }
            }
        };
        let late = || format!("it did not end within the grace of {} s", grace.as_secs_f64());
        tokio::time::timeout(grace, run).await.unwrap_or_else(|_| Err(late()))
    }
}
