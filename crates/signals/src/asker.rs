//! Asks each distinct question once a tick for all targets, and never twice at the same time.
//!
//! A target follows questions. At its tick a question that is due is asked, in a task of its own; who
//! comes to the same question in the same tick gets the same answer. The tick waits [`GRACE`] for answers
//! and then goes on without the rest: a server that is slow makes its own signal late, and nobody else's.
//! A driver of many targets does not wait for each: its [`Rounds`](crate::rounds::Rounds) tell whose
//! questions are answered.
//! While an ask has been under way for [`SILENT`] its signal is stale, or an error where there never was
//! a value. Nothing is asked of a question that nobody follows any more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tidegate_core::scale::Reading;
use tidegate_core::time::{Span, Time};
use tokio::sync::{Semaphore, watch};

use crate::clock::Clock;
use crate::https::Clients;
use crate::remote::{Question, Remote};
use crate::rounds::Waiter;
use crate::series::error;

/// How long a tick waits for answers: a server next door answers in 1 to 50 ms, one across a region in
/// 100, and the rest of a second is left to act.
pub const GRACE: Duration = Duration::from_millis(250);

/// After this long without an answer what was said last no longer counts as said now: one tick.
pub const SILENT: Span = Span::from_secs(1);

/// The longest an ask may take, whatever its own time-out says: two polls of KEDA's default of 30 s.
pub const ASK_MAX: Duration = Duration::from_secs(60);

/// Ticks come a little early or late; a question asked 0.95 s ago is due at a pace of one a second.
const SLACK: Span = Span::from_micros(100_000);

/// The least time between two asks of one question, however often its server has news.
const NEWS_PACE: Span = Span::from_micros(100_000);

/// Asks under way at one server: what is more waits its turn. A server that hangs holds these and no
/// other's; with 64 triggers an object that is one whole object at once.
pub(crate) const TURNS_MAX: usize = 64;

/// Distinct questions: 10,000 targets of four triggers each. At some 2 KiB apiece (connections to a server
/// are shared) that is 80 MiB; who comes later is told so.
pub const QUESTIONS_MAX: usize = 40_000;

/// Asks for everybody. Clones are the same one.
#[derive(Clone)]
pub struct Asker(Arc<Shared>);

struct Shared {
    clock: Clock,
    clients: Clients,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    questions: BTreeMap<Question, Weak<Asked>>,
    servers: BTreeMap<String, Weak<Semaphore>>,
    /// Questions at which those nobody follows are looked for: looking each time would be 10,000 times
    /// 10,000 looks while a fleet is read.
    sweep_at: usize,
}

/// Why a question is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are too many.
    #[error("{QUESTIONS_MAX} different questions are asked already; let triggers share servers and queries")]
    TooMany,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("questions", &self.questions()).finish_non_exhaustive()
    }
}

impl Asker {
    /// Nobody follows anything yet. `clock` is the one whose time ticks are given in.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Asker(Arc::new(Shared { clock, clients: Clients::default(), table: Mutex::default() }))
    }

    /// The connections that sources of this driver share.
    #[must_use]
    pub fn clients(&self) -> &Clients {
        &self.0.clients
    }

    /// Follows what `remote` asks, at this pace. Where somebody already follows an equal question their
    /// reader goes on, with its connection, and `remote` is dropped.
    ///
    /// # Errors
    /// When [`QUESTIONS_MAX`] others are followed.
    pub fn follow(&self, remote: Box<dyn Remote>, pace: Span) -> Result<Follower, Error> {
        let mut table = self.table();
        let question = remote.question();
        let known = table.questions.get(question).and_then(Weak::upgrade);
        let asked = match known {
            Some(asked) => asked,
            None => {
                if table.questions.len() >= table.sweep_at.min(QUESTIONS_MAX) {
                    table.forget();
                }
                if table.questions.len() >= QUESTIONS_MAX {
                    return Err(Error::TooMany);
                }
                let (question, turns) = (question.clone(), table.turns(question.server()));
                let asked = Arc::new(Asked::new(remote, turns, self.0.clock.clone()));
                table.questions.insert(question, Arc::downgrade(&asked));
                asked
            }
        };
        Ok(Follower { asked, pace, seen: AtomicU64::new(0) })
    }

    /// Questions somebody follows.
    #[must_use]
    pub fn questions(&self) -> usize {
        let mut table = self.table();
        table.forget();
        table.questions.len()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Whole after every statement that holds it.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn forget(&mut self) {
        self.questions.retain(|_, asked| asked.strong_count() > 0);
        self.servers.retain(|_, turns| turns.strong_count() > 0);
        self.sweep_at = (self.questions.len() * 2).max(64);
    }

    fn turns(&mut self, server: &str) -> Arc<Semaphore> {
        if let Some(turns) = self.servers.get(server).and_then(Weak::upgrade) {
            return turns;
        }
        let turns = Arc::new(Semaphore::new(TURNS_MAX));
        self.servers.insert(server.to_owned(), Arc::downgrade(&turns));
        turns
    }
}

/// A question with its reader and what it answered last.
struct Asked {
    remote: Box<dyn Remote>,
    turns: Arc<Semaphore>,
    clock: Clock,
    news: Option<watch::Receiver<u64>>,
    state: Mutex<State>,
    /// Answers so far.
    answers: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// When it was last asked.
    asked_at: Option<Time>,
    /// Whether an ask is under way.
    under_way: bool,
    /// The version of the news that was last asked for.
    news: u64,
    last: Option<Reading>,
    last_good: Option<(Time, f64)>,
    /// How long the last answer took, with the turn that was waited for.
    took: Option<Span>,
    /// Who wants to know when the ask under way is answered.
    waiting: Vec<Arc<dyn Waiter>>,
}

impl Asked {
    fn new(remote: Box<dyn Remote>, turns: Arc<Semaphore>, clock: Clock) -> Self {
        let news = remote.news();
        Asked { remote, turns, clock, news, state: Mutex::default(), answers: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks if it is time and nobody does. Whether an ask has just begun.
    fn begin(self: &Arc<Self>, now: Time, pace: Span) -> bool {
        let news = self.news.as_ref().map_or(0, |news| *news.borrow());
        {
            let mut state = self.state();
            let since = state.asked_at.map(|at| now.since(at));
            let due =
                since.is_none_or(|since| since + SLACK >= pace || (news != state.news && since >= NEWS_PACE));
            if state.under_way || !due {
                return false;
            }
            state.under_way = true;
            state.asked_at = Some(now);
            state.news = news;
        }
        let turn = Turn(Some(Arc::clone(self)));
        tokio::spawn(turn.take());
        true
    }

    fn answered(&self, answer: Result<Reading, String>) {
        let reading = match answer {
            Ok(reading) if reading.is_finite() => reading,
            Ok(_) => error("the source answered with a number that is not finite"),
            Err(failed) => error(failed),
        };
        let mut state = self.state();
        state.under_way = false;
        state.took = state.asked_at.map(|at| self.clock.now().since(at));
        if let Reading::Value { value, .. } = reading {
            state.last_good = Some((self.clock.now(), value));
        }
        state.last = Some(reading);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.answers.send_modify(|answers| *answers += 1);
        waiting.iter().for_each(|waiter| waiter.answered());
    }

    /// What it says now; `None` if that is what `seen` has seen already.
    fn says(&self, seen: &AtomicU64) -> Option<Reading> {
        let state = self.state();
        let now = self.clock.now();
        let under_way_for = state.asked_at.filter(|_| state.under_way).map(|at| now.since(at));
        if let Some(waited) = under_way_for.filter(|waited| *waited >= SILENT) {
            return Some(match state.last_good {
                Some((at, value)) => Reading::Stale { value, age: now.since(at) },
                None => error(format!("{:?} has not answered for {waited}", self.remote.question())),
            });
        }
        let answers = *self.answers.borrow();
        (seen.swap(answers, Ordering::Relaxed) != answers).then(|| state.last.clone()).flatten()
    }
}

/// Whether an ask is under way that this tick has begun, or somebody else's just now.
fn fresh(state: &State, now: Time) -> bool {
    state.under_way && state.asked_at.is_some_and(|at| now.since(at) < NEWS_PACE)
}

/// One ask under way. However it ends, also in a panic or with the runtime, the question can be asked
/// again.
struct Turn(Option<Arc<Asked>>);

impl Turn {
    async fn take(mut self) {
        let Some(asked) = self.0.clone() else { return };
        let answer = tokio::time::timeout(ASK_MAX, async {
            let _turn = asked.turns.acquire().await;
            asked.remote.ask().await
        });
        let answer = answer.await.unwrap_or_else(|_| {
            let question = asked.remote.question();
            Err(format!("{question:?} has not answered within {} s", ASK_MAX.as_secs()))
        });
        self.0 = None;
        asked.answered(answer);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(asked) = self.0.take() {
            asked.answered(Err("the reader broke off; a report of it would be welcome".to_owned()));
        }
    }
}

/// One target's interest in a question. The question is asked as long as somebody has one.
pub struct Follower {
    asked: Arc<Asked>,
    pace: Span,
    /// Answers taken.
    seen: AtomicU64,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.asked.remote.fmt(f)
    }
}

impl Follower {
    /// What is asked.
    #[must_use]
    pub fn question(&self) -> &Question {
        self.asked.remote.question()
    }

    /// Asks if it is time, and says what is new: an answer not taken yet, or that there is none. `None`
    /// between two answers. Waits [`GRACE`] at the most, and not for what was already under way.
    pub async fn reading(&self, now: Time) -> Option<Reading> {
        let mut answers = self.asked.answers.subscribe();
        if self.asked.begin(now, self.pace) || fresh(&self.asked.state(), now) {
            // What is not there in time is looked at with the next tick.
            let _ = tokio::time::timeout(GRACE, answers.changed()).await;
        }
        self.says()
    }

    /// Asks if it is time. `waiter` is told of the answer, if one is awaited that belongs to this tick.
    pub(crate) fn begin(&self, now: Time, waiter: impl FnOnce() -> Arc<dyn Waiter>) {
        self.asked.begin(now, self.pace);
        let mut state = self.asked.state();
        if fresh(&state, now) {
            state.waiting.push(waiter());
        }
    }

    /// Whether an ask is under way, whoever has begun it.
    pub(crate) fn awaits(&self) -> bool {
        self.asked.state().under_way
    }

    /// What is new: an answer not taken yet, or that there is none.
    pub(crate) fn says(&self) -> Option<Reading> {
        self.asked.says(&self.seen)
    }

    /// How long the last answer took; `None` before the first.
    #[must_use]
    pub fn took(&self) -> Option<Span> {
        self.asked.state().took
    }

    /// Changes when the source has news.
    fn news(&self) -> Option<watch::Receiver<u64>> {
        self.asked.news.clone()
    }
}

/// News of several sources.
#[derive(Debug)]
pub struct News(Vec<watch::Receiver<u64>>);

impl News {
    /// Of those among `followers` that have some; `None` if none has.
    #[must_use]
    pub fn of<'a>(followers: impl Iterator<Item = &'a Follower>) -> Option<Self> {
        let receivers: Vec<_> = followers.filter_map(Follower::news).collect();
        (!receivers.is_empty()).then_some(News(receivers))
    }

    /// Waits for the next. `false` when there will be none.
    pub async fn next(&mut self) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let changes = self.0.iter_mut().map(|receiver| Box::pin(receiver.changed()));
        let (changed, at, _) = futures_util::future::select_all(changes).await;
        if changed.is_err() {
            self.0.swap_remove(at);
        }
        !self.0.is_empty()
    }
}
