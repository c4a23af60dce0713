//! The probes of one running replica, with Kubernetes' meaning and a quicker eye.
//!
//! Kubernetes asks every `periodSeconds`, so that a replica that is ready 1 s after a probe is used 9 s
//! later. A probe on loopback costs microseconds, so while a replica starts we ask every 50 ms, and
//! every 100 ms after the first ten seconds. `failureThreshold` keeps its meaning in time: a startup
//! probe of 60 × 5 s fails after 300 s, however often it was asked. Once a replica was ready, every
//! probe is asked at its own pace and thresholds are counted as written. Commands cost a process each,
//! so they are asked once a second at the most.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::link::Handle;
use crate::probe::{self, Ports};
use crate::unit::{Check, Probe, Template};

/// Between attempts while a replica starts.
const QUICK: Duration = Duration::from_millis(50);
/// The same after [`QUICK_FOR`].
const STEADY: Duration = Duration::from_millis(100);
/// See [`QUICK`].
const QUICK_FOR: Duration = Duration::from_secs(10);
/// Between attempts of a command while a replica starts.
const COMMAND: Duration = Duration::from_secs(1);

/// What the probes found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The port that serves is open.
    PortOpen,
    /// The replica takes requests.
    Ready,
    /// It no longer does.
    Unready(String),
    /// It must be started again.
    Dead(String),
}

/// Asks until it is dropped.
pub(super) struct Probing {
    pub(super) template: std::sync::Arc<Template>,
    pub(super) ports: Ports,
    pub(super) handle: Handle,
    pub(super) news: mpsc::Sender<News>,
    pub(super) ready: AtomicBool,
}

impl Probing {
    pub(super) async fn run(self) {
        tokio::join!(self.port_opens(), self.health());
    }

    async fn tell(&self, news: News) {
        if news == News::Ready {
            self.ready.store(true, Ordering::Relaxed);
        }
        // Nobody listens once the replica is on its way out.
        let _ = self.news.send(news).await;
    }

    async fn ask(&self, probe: &Probe) -> Result<(), String> {
        probe::ask(&probe.check, &self.ports, probe.timeout, &self.handle).await
    }

    async fn port_opens(&self) {
        let address = probe::address(&self.ports, self.template.serving);
        let since = Instant::now();
        while probe::connect(address).await.is_err() {
            if self.ready.load(Ordering::Relaxed) {
                // It answers nobody, or at another port.
                return;
            }
            sleep(if since.elapsed() < QUICK_FOR { QUICK } else { STEADY }).await;
        }
        self.tell(News::PortOpen).await;
    }

    async fn health(&self) {
        if let Some(probe) = &self.template.startup
            && let Err(why) = self.starts(probe).await
        {
            let allowed = probe.period * probe.failure_threshold;
            let within = format!("{} s", allowed.as_secs_f64());
            return self.tell(News::Dead(format!("its startup probe failed for {within}: {why}"))).await;
        }
        tokio::join!(self.readiness(), self.liveness());
    }

    async fn starts(&self, probe: &Probe) -> Result<(), String> {
        sleep(probe.initial_delay).await;
        let since = Instant::now();
        let until = since + probe.period * probe.failure_threshold;
        loop {
            let why = match self.ask(probe).await {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            if Instant::now() >= until {
                return Err(why);
            }
            tokio::time::sleep_until(until.min(Instant::now() + pace(probe, since))).await;
        }
    }

    async fn readiness(&self) {
        let Some(probe) = &self.template.readiness else {
            return self.tell(News::Ready).await;
        };
        sleep(probe.initial_delay).await;
        let since = Instant::now();
        let (mut ready, mut was_ready) = (false, false);
        let (mut successes, mut failures) = (0_u32, 0_u32);
        loop {
            match self.ask(probe).await {
                Ok(()) => {
                    (successes, failures) = (successes.saturating_add(1), 0);
                    if !ready && successes >= probe.success_threshold {
                        (ready, was_ready) = (true, true);
                        self.tell(News::Ready).await;
                    }
                }
                Err(why) => {
                    (successes, failures) = (0, failures.saturating_add(1));
                    if ready && failures >= probe.failure_threshold {
                        ready = false;
                        self.tell(News::Unready(format!("its readiness probe fails: {why}"))).await;
                    }
                }
            }
            let starting = !was_ready && successes == 0;
            sleep(if starting { pace(probe, since) } else { probe.period }).await;
        }
    }

    async fn liveness(&self) {
        let Some(probe) = &self.template.liveness else { return };
        sleep(probe.initial_delay).await;
        let mut failures = 0_u32;
        loop {
            match self.ask(probe).await {
                Ok(()) => failures = 0,
                Err(why) => {
                    failures = failures.saturating_add(1);
                    if failures >= probe.failure_threshold {
                        return self.tell(News::Dead(format!("its liveness probe failed: {why}"))).await;
                    }
                }
            }
            sleep(probe.period).await;
        }
    }
}

/// The pace while a replica starts, never slower than the manifest's.
fn pace(probe: &Probe, since: Instant) -> Duration {
    let pace = match probe.check {
        Check::Exec(_) => COMMAND,
        _ if since.elapsed() < QUICK_FOR => QUICK,
        _ => STEADY,
    };
    pace.min(probe.period)
}
