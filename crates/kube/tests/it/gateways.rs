//! Gateways around an operator's restart: what it does not know of them is not zero.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tidegate_core::time::Span;
use tidegate_kube::demand::book::GATEWAYS_MAX;
use tidegate_kube::demand::client::{self, Teller};
use tidegate_kube::demand::listen::{self, Inbox, Listening};
use tidegate_kube::demand::report::{Load, Told};
use tidegate_kube::demand::{Report, proto};
use tidegate_kube::object::{Id, Kind};
use tidegate_kube::routes::Route;
use tidegate_signals::Clock;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::rig::{
    Operator, Prometheus, Setup, connect, decisions, deployment, pod, scaled_object, until, within,
};
use super::server::Server;

/// Gateways at an operator, as over their links.
struct Links {
    reports: mpsc::Sender<Report>,
    words: watch::Receiver<Arc<proto::Word>>,
}

impl Links {
    fn new() -> (Links, Inbox) {
        let (out, reports) = mpsc::channel(64);
        let (words, heard) = watch::channel(Arc::default());
        (Links { reports: out, words: heard }, Inbox { reports, words })
    }

    /// The pods that are to get nothing new.
    fn drains(&self) -> usize {
        self.words.borrow().drains.len()
    }

    /// One that tells what it has in flight each half second, until it is aborted.
    fn gateway(&self, name: &'static str, pod: &'static str, in_flight: u32) -> JoinHandle<()> {
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let mut ticker = tokio::time::interval(std::time::Duration::from_millis(500));
            loop {
                ticker.tick().await;
                let load = Load { in_flight, ..Load::default() };
                let pods = ["llama-0", "llama-1"].map(|pod| (pod.into(), load)).into();
                let told = Told { in_flight, pods, ..Told::default() };
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
async fn a_list_of_gateways_that_was_refused_is_written_once_it_is_taken_though_none_comes_or_goes() {
    let (server, _prometheus) = routed().await;
    server.refuse(http::Method::PATCH, "-gateways", Some(403));
    let (links, operator) = operator(&server, &Arc::default(), Vec::new()).await;
    let telling = links.gateway("gateway-0_a", "gateway-0", 1);
    until("it is refused", || operator.told.says("what is remembered cannot be written")).await;
    decisions(&operator, 2).await;
    assert!(!remembered(&server, "gateway-0_a"));
    server.refuse(http::Method::PATCH, "-gateways", None);
    until("it is written", || remembered(&server, "gateway-0_a")).await;
    let times = || server.written().iter().filter(|one| one.path.ends_with("-gateways")).count();
    let (before, ticks) = (times(), operator.told.ticks());
    until("more ticks than its pause has", || operator.told.ticks() > ticks + 6).await;
    assert_eq!(times(), before, "and not again");
    telling.abort();
    operator.kill().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_renew_its_lease_announces_no_drain_until_it_can() {
    let (mut server, prometheus) = routed().await;
    prometheus.set(Some(10.0));
    let behavior = json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}});
    let spec = json!({"minReplicaCount": 1, "advanced": {"horizontalPodAutoscalerConfig": behavior}});
    server.put("scaledobjects", scaled_object("llama", &prometheus, spec));
    server.put("deployments", deployment("llama", 2));
    for name in ["llama-0", "llama-1"] {
        server.put("pods", pod("llama", name));
    }
    let (links, operator) = operator(&server, &Arc::default(), Vec::new()).await;
    let telling = links.gateway("gateway-0_a", "gateway-0", 1);
    decisions(&operator, 4).await;
    assert_eq!((server.replicas("llama"), links.drains()), (2, 0));
    prometheus.set(Some(5.0));
    until("one is drained, for both are busy", || links.drains() == 1).await;
    server.pause();
    until("no drain is announced", || links.drains() == 0).await;
    server.resume().await;
    until("it is announced again", || links.drains() == 1).await;
    assert_eq!(server.replicas("llama"), 2);
    telling.abort();
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_never_stop_telling_do_not_keep_news_from_being_seen() {
    let (server, _prometheus) = routed().await;
    let (links, operator) = operator(&server, &Arc::default(), Vec::new()).await;
    let flood: Vec<JoinHandle<()>> = (0..4)
        .map(|number| {
            let (reports, mut waiting) = (links.reports.clone(), 0);
            tokio::spawn(async move {
                loop {
                    waiting = 1 - waiting;
                    let told = Told { waiting: 1 + waiting, ..Told::default() };
                    let report = Report {
                        gateway: format!("gateway-{number}").into(),
                        pod: None,
                        whole: false,
                        leaves: false,
                        targets: [(Route::key_of("prod", "llama"), told)].into(),
                    };
                    if reports.send(report).await.is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    decisions(&operator, 3).await;
    server.edit("deployments", "prod", "llama", |object| object["spec"]["replicas"] = json!(40));
    until("what somebody else set is seen", || server.replicas("llama") <= 10).await;
    flood.iter().for_each(JoinHandle::abort);
    operator.kill().await;
}

/// A listener for gateways, the directory with what they need, and the authority to trust.
async fn listener(server: &Server, stop: &CancellationToken) -> (Listening, PathBuf) {
    let config = listen::Config {
        addr: "127.0.0.1:0".parse().unwrap(),
        namespace: "tidegate".to_owned(),
        names: vec!["127.0.0.1".to_owned()],
        secret: "certs".to_owned(),
        ca_config: "ca".to_owned(),
        accounts: vec![("tidegate".to_owned(), "tidegate-gateway".to_owned())],
    };
    let client = connect(server).await.client;
    let listening = listen::start(client, config, stop.clone()).await.unwrap();
    until("an authority", || server.get("configmaps", "tidegate", "ca").is_some()).await;
    let directory = std::env::temp_dir().join(format!("tidegate-places-{}", fastrand::u64(..)));
    std::fs::create_dir_all(&directory).unwrap();
    let ca = server.get("configmaps", "tidegate", "ca").unwrap();
    std::fs::write(directory.join("ca"), ca["data"]["ca.crt"].as_str().unwrap()).unwrap();
    std::fs::write(directory.join("token"), "any").unwrap();
    (listening, directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_gateway_do_not_keep_their_places() {
    let (server, stop) = (Server::start().await, CancellationToken::new());
    let (listening, directory) = listener(&server, &stop).await;
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls::pki_types::CertificateDer::from_pem_file(directory.join("ca")).unwrap();
    roots.add(ca).unwrap();
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    // All places there are.
    let mut idle = Vec::new();
    for _ in 0..2 * GATEWAYS_MAX {
        let socket = tokio::net::TcpStream::connect(listening.addr).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        idle.push(connector.connect(name, socket).await.unwrap());
    }
    let teller = Teller::start(client::Config {
        operator: listening.addr.to_string(),
        ca: Some(directory.join("ca")),
        token: directory.join("token"),
        gateway: "gateway-0".to_owned(),
    });
    let links = teller.links();
    until("a gateway has a place", || !links.borrow().up.is_empty()).await;
    within("the others are closed", async {
        for connection in &mut idle {
            // What HTTP/2 begins with, and then nothing.
            let _ = connection.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    assert!(!links.borrow().up.is_empty(), "one at work keeps its place");
    stop.cancel();
    std::fs::remove_dir_all(&directory).unwrap();
}
