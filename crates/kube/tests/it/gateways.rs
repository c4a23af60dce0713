//! Gateways around an operator's restart: what it does not know of them is not zero.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::json;
use tidegate_core::time::Span;
use tidegate_kube::demand::listen::Inbox;
use tidegate_kube::demand::report::Told;
use tidegate_kube::demand::{Report, proto};
use tidegate_kube::object::{Id, Kind};
use tidegate_kube::routes::Route;
use tidegate_signals::Clock;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::rig::{Operator, Prometheus, Setup, decisions, deployment, pod, scaled_object, until};
use super::server::Server;

/// Gateways at an operator, as over their links.
struct Links {
    reports: mpsc::Sender<Report>,
    _words: watch::Receiver<Arc<proto::Word>>,
}

impl Links {
    fn new() -> (Links, Inbox) {
        let (out, reports) = mpsc::channel(64);
        let (words, heard) = watch::channel(Arc::default());
        (Links { reports: out, _words: heard }, Inbox { reports, words })
    }

    /// One that tells what it has in flight each half second, until it is aborted.
    fn gateway(&self, name: &'static str, pod: &'static str, in_flight: u32) -> JoinHandle<()> {
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let mut ticker = tokio::time::interval(std::time::Duration::from_millis(500));
            loop {
                ticker.tick().await;
                let told = Told { in_flight, ..Told::default() };
                let report = Report {
                    gateway: name.into(),
                    pod: Some(Id::new(Kind::Pod, "prod", pod)),
                    whole: true,
                    leaves: false,
                    targets: [(Route::key_of("prod", "llama"), told)].into(),
                };
                if reports.send(report).await.is_err() {
                    return;
                }
            }
        })
    }
}

/// A target that goes to zero as soon as nobody asks for it.
async fn routed() -> (Server, Prometheus) {
    let (server, prometheus) = (Server::start().await, Prometheus::start(0.0).await);
    server.put("deployments", deployment("llama", 1));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({"cooldownPeriod": 0})));
    for name in ["gateway-0", "gateway-1"] {
        server.put("pods", pod("gateway", name));
    }
    (server, prometheus)
}

/// An operator whose machine's clock goes on so many seconds more.
async fn operator(
    server: &Server,
    ahead: &Arc<AtomicI64>,
    namespaces: Vec<&'static str>,
) -> (Links, Operator) {
    let (links, inbox) = Links::new();
    let (ahead, unix) = (Arc::clone(ahead), Clock::unix());
    let clock = Clock::new(move || unix.now() + Span::from_secs(ahead.load(Ordering::SeqCst)));
    let setup = Setup { gateways: Some(inbox), clock: Some(clock), namespaces, ..Setup::default() };
    (links, Operator::at(server.addr, "operator", setup).await)
}

fn remembered(server: &Server, name: &str) -> bool {
    server.all("configmaps").iter().any(|map| map["data"]["gateways.json"].to_string().contains(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_cannot_connect_after_a_restart_do_not_cost_their_targets_the_replicas() {
    let (server, _prometheus) = routed().await;
    let still = Arc::default();
    let (links, first) = operator(&server, &still, Vec::new()).await;
    let telling = links.gateway("gateway-0_a", "gateway-0", 1);
    until("who there is is written", || remembered(&server, "gateway-0_a")).await;
    first.kill().await;
    telling.abort();
    assert_eq!(server.replicas("llama"), 1);

    let ahead = Arc::new(AtomicI64::new(0));
    let (links, second) = operator(&server, &ahead, Vec::new()).await;
    until("it expects them", || second.told.says("1 gateways are expected")).await;
    decisions(&second, 2).await;
    // A minute, and nobody could connect.
    ahead.store(60, Ordering::SeqCst);
    decisions(&second, 5).await;
    assert_eq!(server.replicas("llama"), 1, "what was asked for a minute ago may still be");
    // Another gateway routes the target and has nothing; the first one's pod is there.
    let other = links.gateway("gateway-1_b", "gateway-1", 0);
    decisions(&second, 5).await;
    assert_eq!(server.replicas("llama"), 1, "the share of one is not all there is");
    // The container was restarted: its pod speaks under another name, and nobody asks.
    let again = links.gateway("gateway-0_c", "gateway-0", 0);
    until("nobody asks for it", || server.replicas("llama") == 0).await;
    other.abort();
    again.abort();
    second.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_some_namespaces_sees_that_a_gateways_pod_there_is_gone() {
    let (server, _prometheus) = routed().await;
    let (links, operator) = operator(&server, &Arc::default(), vec!["prod"]).await;
    let telling = links.gateway("gateway-0_a", "gateway-0", 1);
    until("it is written", || remembered(&server, "gateway-0_a")).await;
    telling.abort();
    server.delete("pods", "prod", "gateway-0");
    until("it is gone", || operator.told.says("gateway gateway-0_a is gone")).await;
    until("nobody asks for it", || server.replicas("llama") == 0).await;
    until("who comes after is told", || !remembered(&server, "gateway-0_a")).await;
    operator.stop().await;
}
