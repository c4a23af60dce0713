//! Policy `slo` on a cluster: what engines and gateways count becomes decisions that speak of work.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_core::route::Flow;
use tidegate_core::scale::decision::{Because, Rule};
use tidegate_core::time::Time;
use tidegate_kube::demand::listen::Inbox;
use tidegate_kube::demand::report::Told;
use tidegate_kube::demand::{Report, proto};
use tidegate_kube::routes::Route;
use tidegate_signals::Clock;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::rig::{Operator, Prometheus, Setup, deployment, pod, scaled_object, until};
use super::server::Server;
use super::sight::Page;

/// What each engine does.
#[derive(Clone, Copy)]
struct Pace {
    requests_per_s: f64,
    running: u32,
}

/// 1,000 tokens read and 200 written a request, one every 20 ms.
const PROMPT: f64 = 1_000.0;
const OUTPUT: f64 = 200.0;
const ITL_S: f64 = 0.02;

const IDLE: Pace = Pace { requests_per_s: 0.0, running: 0 };
/// 20 requests a second are more than a replica's batch of these.
const BUSY: Pace = Pace { requests_per_s: 20.0, running: 80 };

/// Engines whose counters grow as time passes.
struct Engines {
    pages: Vec<Arc<Page>>,
    pace: Arc<Mutex<Option<Pace>>>,
    task: JoinHandle<()>,
}

impl Drop for Engines {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Engines {
    async fn start<const N: usize>(pace: Pace) -> Engines {
        let pages: Vec<Arc<Page>> =
            Page::several([const { String::new() }; N]).await.into_iter().map(Arc::new).collect();
        let (pace, shown) = (Arc::new(Mutex::new(Some(pace))), pages.clone());
        let shared = Arc::clone(&pace);
        let task = tokio::spawn(async move {
            let (mut requests, mut last) = (0.0, Instant::now());
            loop {
                let now = Instant::now();
                let pace = *shared.lock().unwrap();
                requests += pace.map_or(0.0, |pace| pace.requests_per_s) * (now - last).as_secs_f64();
                last = now;
                let text = pace.map(|pace| page(requests, pace.running)).unwrap_or_default();
                shown.iter().for_each(|page| page.set(&text));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Engines { pages, pace, task }
    }

    /// From now on; `None` for pages that nobody can read.
    fn set(&self, pace: Option<Pace>) {
        *self.pace.lock().unwrap() = pace;
    }

    /// A Deployment with one ready pod for each, and a ScaledObject of policy `slo`.
    fn install(&self, server: &Server, prometheus: &Prometheus) {
        let count = u32::try_from(self.pages.len()).unwrap();
        let mut workload = deployment("llama", count);
        workload["spec"]["template"]["metadata"] =
            json!({"annotations": {"prometheus.io/port": self.pages[0].port.to_string()}});
        server.put("deployments", workload);
        for (number, page) in self.pages.iter().enumerate() {
            server.put("pods", started(number, &page.ip.to_string()));
        }
        let bounds = json!({"minReplicaCount": 1, "maxReplicaCount": 50});
        let mut object = scaled_object("llama", prometheus, bounds);
        object["metadata"]["uid"] = json!("one-and-the-same");
        object["metadata"]["annotations"] =
            json!({"tidegate.dev/policy": "slo", "tidegate.dev/slo-ttft": "2s", "tidegate.dev/model": "m"});
        server.put("scaledobjects", object);
    }
}

/// A pod that took 40 s to start.
fn started(number: usize, ip: &str) -> Value {
    let mut pod = pod("llama", &format!("llama-{number}"));
    pod["status"]["podIP"] = json!(ip);
    let at = |second: u32| format!("2026-01-01T00:00:{second:02}Z");
    pod["status"]["containerStatuses"] =
        json!([{"name": "main", "state": {"running": {"startedAt": at(10)}}}]);
    pod["status"]["conditions"] = json!([
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(0)},
        {"type": "Initialized", "status": "True", "lastTransitionTime": at(1)},
        {"type": "Ready", "status": "True", "lastTransitionTime": at(40)},
    ]);
    pod
}

/// The page of a vLLM that has ended so many requests.
fn page(requests: f64, running: u32) -> String {
    let mut text = format!("vllm:num_requests_running {running}\nvllm:num_requests_waiting 0\n");
    let tokens = requests * OUTPUT;
    for (name, value) in [
        ("prompt_tokens_total", requests * PROMPT),
        ("generation_tokens_total", tokens),
        ("request_success_total{finished_reason=\"stop\"}", requests),
        ("inter_token_latency_seconds_sum", tokens * ITL_S),
        ("inter_token_latency_seconds_count", tokens),
        ("inter_token_latency_seconds_bucket{le=\"0.025\"}", tokens),
        ("inter_token_latency_seconds_bucket{le=\"+Inf\"}", tokens),
        ("time_to_first_token_seconds_bucket{le=\"1.0\"}", requests),
        ("time_to_first_token_seconds_bucket{le=\"+Inf\"}", requests),
        ("time_to_first_token_seconds_sum", requests * 0.1),
        ("time_to_first_token_seconds_count", requests),
    ] {
        writeln!(text, "vllm:{name} {value}").unwrap();
    }
    text
}

fn sighted(operator: &Operator) -> bool {
    matches!(operator.told.because(Rule::Work), Some(Because::Work { .. }))
}

fn deaf(operator: &Operator) -> bool {
    matches!(operator.told.because(Rule::Unsighted), Some(Because::Unsighted { deaf: Some(_) }))
}

fn arrivals_per_s(operator: &Operator) -> f64 {
    match operator.told.because(Rule::Work) {
        Some(Because::Work { arrivals_per_s, .. }) => arrivals_per_s,
        _ => 0.0,
    }
}

fn starts(operator: &Operator) -> Option<u32> {
    match operator.told.because(Rule::Forecast) {
        Some(Because::Forecast { starts, .. }) => Some(starts),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_counters_alone_make_decisions_that_speak_of_work() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(1.0).await);
    let engines = Engines::start::<2>(BUSY).await;
    engines.install(&server, &prometheus);
    let operator = Operator::start(&server, false).await;
    until("it speaks of work", || sighted(&operator)).await;
    // Two engines of 20 requests a second each, 1,000 + 200 tokens; the trigger would be content with one replica.
    until("more replicas", || server.replicas("llama") > 2).await;
    until("all of it is counted", || (30.0..50.0).contains(&arrivals_per_s(&operator))).await;
    let Some(Because::Work { prompt, output, .. }) = operator.told.because(Rule::Work) else {
        panic!("no work in {:?}", operator.told.latest(Clone::clone))
    };
    assert!((prompt - PROMPT).abs() < 100.0 && (output - OUTPUT).abs() < 20.0, "{prompt} + {output}");
    assert!(matches!(operator.told.because(Rule::Capacity), Some(Because::Capacity { .. })));
    assert_eq!(starts(&operator), Some(2), "each pod's start is told once");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_that_fall_silent_are_no_engines_at_rest() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(9.0).await);
    let engines = Engines::start::<2>(Pace { running: 8, requests_per_s: 1.0 }).await;
    engines.install(&server, &prometheus);
    let ahead = Arc::new(AtomicI64::new(0));
    let (now, shift) = (Clock::unix(), Arc::clone(&ahead));
    let clock = Clock::new(move || Time::from_micros(now.now().as_micros() + shift.load(Ordering::SeqCst)));
    let setup = Setup { clock: Some(clock), ..Setup::default() };
    let operator = Operator::at(server.addr, "operator", setup).await;
    until("it speaks of work", || sighted(&operator)).await;
    engines.set(None);
    // Half a minute passes at once; nothing is heard after it.
    ahead.store(40_000_000, Ordering::SeqCst);
    until("it says that it hears nothing", || deaf(&operator)).await;
    // Now the triggers decide: nine waiting at five a replica.
    assert!(server.replicas("llama") >= 2, "silence is no zero");
    engines.set(Some(BUSY));
    until("it speaks of work again", || sighted(&operator)).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_after_goes_on_with_what_was_learned() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(1.0).await);
    let engines = Engines::start::<1>(BUSY).await;
    engines.install(&server, &prometheus);
    let operator = Operator::start(&server, false).await;
    until("it speaks of work", || sighted(&operator) && starts(&operator) == Some(1)).await;
    operator.stop().await;
    // Idle engines teach nothing of what a token takes.
    engines.set(Some(IDLE));
    let next = Operator::start(&server, false).await;
    until("the next speaks of work at once", || sighted(&next)).await;
    assert_eq!(starts(&next), Some(1), "the same start is not told again");
    next.stop().await;
}

/// Gateways that tell the operator as over their link.
struct Gateways {
    reports: mpsc::Sender<Report>,
    _words: watch::Receiver<Arc<proto::Word>>,
}

impl Gateways {
    fn new() -> (Gateways, Inbox) {
        let (out, reports) = mpsc::channel(64);
        let (words, heard) = watch::channel(Arc::default());
        (Gateways { reports: out, _words: heard }, Inbox { reports, words })
    }

    /// What each has counted; of the requests that came, so many wait.
    async fn tell(&self, counted: [f64; 2], waiting: u32) {
        for (name, requests) in ["one", "two"].into_iter().zip(counted) {
            let tokens = |each: f64| (requests * each) as u64;
            let flow = Flow {
                arrived: requests as u64,
                prompt_tokens: tokens(PROMPT),
                first_tokens: requests as u64,
                late: tokens(0.5),
                ..Flow::default()
            };
            let told = Told { waiting, flow: Some(flow), ..Told::default() };
            let targets = [(Route::key_of("prod", "llama"), told)].into();
            let report = Report { gateway: name.into(), pod: None, whole: true, leaves: false, targets };
            self.reports.send(report).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_gateways_count_is_the_work_and_their_wait_makes_requests_late() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(1.0).await);
    // The engine takes 2 requests a second of the 40 that come.
    let engines = Engines::start::<1>(Pace { requests_per_s: 2.0, running: 8 }).await;
    engines.install(&server, &prometheus);
    let (gateways, inbox) = Gateways::new();
    let setup = Setup { gateways: Some(inbox), ..Setup::default() };
    let operator = Operator::at(server.addr, "operator", setup).await;
    let began = Instant::now();
    let telling = tokio::spawn(async move {
        loop {
            let seconds = began.elapsed().as_secs_f64();
            gateways.tell([seconds * 30.0, 5_000.0 + seconds * 10.0], 50).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    until("both are counted", || (30.0..50.0).contains(&arrivals_per_s(&operator))).await;
    until("more replicas", || server.replicas("llama") > 1).await;
    let waits = || match operator.told.because(Rule::Waiting) {
        Some(Because::Waiting { requests, .. }) => Some(requests),
        _ => None,
    };
    until("what waits at both", || waits() == Some(100)).await;
    let late = || match operator.told.because(Rule::Standby) {
        Some(Because::Standby { late, .. }) => late,
        _ => 0.0,
    };
    // Half of what they saw was late, and nothing of what the engine did.
    until("who waited too long is late", || late() > 0.0).await;
    telling.abort();
    operator.stop().await;
}
