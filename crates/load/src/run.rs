//! Plays a schedule: sends on time, whatever happens to what was sent.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::exchange::{self, Exchange, Outcome};
use crate::options::Options;
use crate::record::Recorder;
use crate::report::{Kind, Report};
use crate::schedule::{Planned, Schedule};

/// How often progress is told: often enough for a bar that moves, too seldom to be felt.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Requests sent before the run looks at what else there is: at 10,000 a second, a timer's millisecond
/// brings 10 at once.
const BATCH_MAX: usize = 64;

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address leads nowhere.
    #[error("no request can be sent to {0}; name a server, such as http://127.0.0.1:8080")]
    Address(String),
    /// The server does not say which models it has.
    #[error("{url} does not say which models it has ({why}); name one with --model")]
    Models {
        /// The server.
        url: String,
        /// What happened.
        why: String,
    },
    /// No memory for the histograms.
    #[error("the histograms cannot be made: {0}; free some memory and try again")]
    Histogram(#[from] hdrhistogram::CreationError),
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Since the start, in seconds.
    pub elapsed_s: f64,
    /// How long sending takes in all, in seconds, if known.
    pub length_s: Option<f64>,
    /// About how many requests there will be, if known.
    pub expected: Option<u64>,
    /// Requests due so far.
    pub requests: u64,
    /// Sent and not yet answered.
    pub in_flight: usize,
    /// Answered whole.
    pub ok: u64,
    /// Failed.
    pub failed: u64,
    /// All is sent; the last answers are waited for.
    pub sent_all: bool,
}

/// Who is told how a run goes.
pub trait Progress: Send {
    /// Called some times a second and once at the end.
    fn update(&mut self, now: &Snapshot);
}

/// Nobody.
impl Progress for () {
    fn update(&mut self, _: &Snapshot) {}
}

/// The models a server lists at `/v1/models`, at least one.
///
/// # Errors
/// When it cannot be asked or lists none.
pub async fn models(options: &Options) -> Result<Vec<String>, Error> {
    let wrong = |why| Error::Models { url: options.base.to_string(), why };
    let models = exchange::models(options).await.map_err(wrong)?;
    if models.is_empty() { Err(wrong("the list is empty".to_owned())) } else { Ok(models) }
}

/// A run's state between two events.
struct Run<'a> {
    schedule: Schedule,
    exchange: Exchange,
    in_flight: JoinSet<Outcome>,
    in_flight_max: usize,
    recorder: Recorder,
    start: Instant,
    next: Option<Planned>,
    length_s: Option<f64>,
    expected: Option<u64>,
    progress: &'a mut dyn Progress,
}

/// Plays the schedule and waits for the last answer. A request that fails is in the report, not an error.
///
/// Cancelling [`Options::stop`] ends the run at once: what is in flight then counts as `unfinished`. So does
/// it when the future is dropped, without a report.
///
/// # Errors
/// When the run cannot begin.
pub async fn run(options: Options, schedule: Schedule, progress: &mut dyn Progress) -> Result<Report, Error> {
    let exchange = Exchange::new(&options).ok_or_else(|| Error::Address(options.base.to_string()))?;
    let (length, expected) = schedule.outlook();
    let mut run = Run {
        exchange,
        in_flight: JoinSet::new(),
        in_flight_max: options.in_flight_max,
        recorder: Recorder::new(options.slo)?,
        start: Instant::now(),
        next: None,
        length_s: length.map(|length| length.as_secs_f64()),
        expected,
        schedule,
        progress,
    };
    run.next = run.schedule.next();
    let mut ticks = interval(PROGRESS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut interrupted = false;
    while run.next.is_some() || !run.in_flight.is_empty() {
        let due = run.due();
        tokio::select! {
            () = options.stop.cancelled() => {
                interrupted = true;
                break;
            }
            () = sleep_until(due.unwrap_or(run.start)), if due.is_some() => run.send_due(),
            Some(ended) = run.in_flight.join_next() => run.ended(ended),
            _ = ticks.tick() => run.tell(),
        }
    }
    run.tell();
    let unfinished = run.in_flight.len() as u64;
    run.in_flight.shutdown().await;
    let seconds = run.start.elapsed().as_secs_f64();
    Ok(run.recorder.report(&options.base.to_string(), seconds, unfinished, interrupted))
}

impl Run<'_> {
    fn due(&self) -> Option<Instant> {
        self.next.as_ref().map(|next| self.start + after(next))
    }

    /// Sends what is due by now.
    fn send_due(&mut self) {
        let now = Instant::now();
        for _ in 0..BATCH_MAX {
            let Some(planned) = self.next.take_if(|next| self.start + after(next) <= now) else { break };
            self.send(planned);
            self.next = self.schedule.next();
        }
    }

    fn send(&mut self, planned: Planned) {
        let intended = self.start + after(&planned);
        self.recorder.due(after(&planned));
        if self.in_flight.len() >= self.in_flight_max {
            let detail = format!("{} requests were in flight already", self.in_flight_max);
            let outcome = Outcome::new(planned, intended).failed(Kind::NotSent, &detail);
            self.recorder.ended(outcome, self.start, self.in_flight.len());
            return;
        }
        self.in_flight.spawn(self.exchange.clone().play(planned, intended));
        self.recorder.in_flight(self.start.elapsed(), self.in_flight.len());
    }

    fn ended(&mut self, ended: Result<Outcome, tokio::task::JoinError>) {
        match ended {
            Ok(outcome) => self.recorder.ended(outcome, self.start, self.in_flight.len()),
            Err(error) => self.recorder.lost(&error.to_string()),
        }
    }

    fn tell(&mut self) {
        let (requests, ok, failed) = self.recorder.counts();
        self.progress.update(&Snapshot {
            elapsed_s: self.start.elapsed().as_secs_f64(),
            length_s: self.length_s,
            expected: self.expected,
            requests,
            in_flight: self.in_flight.len(),
            ok,
            failed,
            sent_all: self.next.is_none(),
        });
    }
}

fn after(planned: &Planned) -> Duration {
    Duration::from_micros(u64::try_from(planned.at.as_micros()).unwrap_or(0))
}
