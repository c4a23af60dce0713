//! Gateways and the operator's listener: TLS with a certificate of its own making, tokens that a real API
//! server reviews.

use std::path::Path;

use tidegate_core::route::{Demand, Flow};
use tidegate_kube::client::{Connection, Options};
use tidegate_kube::demand::client::{self, Routed, Teller};
use tidegate_kube::demand::listen::{self, Listening};
use tidegate_kube::demand::{Report, proto};
use tidegate_kube::routes::Route;
use tidegate_testkit::cluster::{self, Cluster};
use tokio_util::sync::CancellationToken;

use super::real::{account, complete};
use super::rig::{until, within};

/// Somebody else of the same namespace.
const STRANGER: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: stranger, namespace: tidegate}
"#;

/// The listener, as a pod of the chart's operator would have it.
pub(crate) async fn listening(cluster: &Cluster, stop: &CancellationToken) -> Listening {
    let kubeconfig = Some(account(cluster, "tidegate", "tidegate-operator").await);
    let connection = Connection::new(&Options { kubeconfig, ..Options::default() }).await.unwrap();
    let config = listen::Config {
        addr: "127.0.0.1:0".parse().unwrap(),
        namespace: "tidegate".to_owned(),
        names: vec!["127.0.0.1".to_owned()],
        secret: "tidegate-demand-certs".to_owned(),
        ca_config: "tidegate-demand-ca".to_owned(),
        accounts: vec![("tidegate".to_owned(), "tidegate-gateway".to_owned())],
    };
    listen::start(connection.client.clone(), config, stop.clone()).await.unwrap()
}

pub(crate) async fn token(cluster: &Cluster, account: &str, audience: &[&str], into: &Path) {
    let arguments = [&["-n", "tidegate", "create", "token", account], audience].concat();
    std::fs::write(into, cluster.succeed(&arguments, "").await.unwrap()).unwrap();
}

/// A gateway with a token in a file of its own, which trusts the authority in `ca`.
pub(crate) fn teller(listening: &Listening, name: &str, directory: &Path, ca: &str) -> Teller {
    Teller::start(client::Config {
        operator: listening.addr.to_string(),
        ca: Some(directory.join(ca)),
        token: directory.join(name),
        gateway: name.to_owned(),
    })
}

async fn refused(teller: &Teller, why: &str) {
    let links = teller.links();
    let says = || links.borrow().down.values().any(|told| told.contains(why));
    until(why, says).await;
    assert!(links.borrow().up.is_empty());
}

async fn heard(listening: &mut Listening, what: &str, is: impl Fn(&Report) -> bool) -> Report {
    within(what, async {
        loop {
            let report = listening.inbox.reports.recv().await.expect("the listener is there");
            if is(&report) {
                return report;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_says_whose_tokens_are_taken_and_words_go_both_ways() {
    let options = cluster::Options { bare: true, ..cluster::Options::default() };
    let Some(cluster) = Cluster::start_or_say("tokens of gateways", options).await else { return };
    complete(&cluster).await;
    cluster.apply(STRANGER).await.unwrap();
    let stop = CancellationToken::new();
    let mut listening = listening(&cluster, &stop).await;
    let directory = std::env::temp_dir().join(format!("tidegate-demand-{}", fastrand::u64(..)));
    std::fs::create_dir_all(&directory).unwrap();
    let ours = ["--audience", "tidegate-operator"];
    token(&cluster, "tidegate-gateway", &ours, &directory.join("good")).await;
    token(&cluster, "stranger", &ours, &directory.join("stranger")).await;
    token(&cluster, "tidegate-gateway", &[], &directory.join("for-another")).await;
    let ca = within("an authority", async {
        loop {
            if let Ok(map) = cluster.get(&["-n", "tidegate", "configmap", "tidegate-demand-ca"]).await {
                break map["data"]["ca.crt"].as_str().unwrap().to_owned();
            }
        }
    });
    std::fs::write(directory.join("ca"), ca.await).unwrap();
    // Another authority, whoever's: that of the cluster.
    let other = ["-n", "tidegate", "secret", "tidegate-demand-certs"];
    let certificate = cluster.get(&other).await.unwrap();
    assert!(certificate["data"]["ca.key"].is_string(), "the next operator goes on with it");
    std::fs::write(directory.join("other"), OTHER).unwrap();

    refused(&teller(&listening, "stranger", &directory, "ca"), "may not tell demand").await;
    refused(&teller(&listening, "for-another", &directory, "ca"), "does not take the token").await;
    refused(&teller(&listening, "good", &directory, "other"), "certificate").await;

    let good = teller(&listening, "good", &directory, "ca");
    let key = Route::key_of("prod", "llama");
    let routed = || {
        vec![Routed {
            name: "prod/llama".into(),
            key: key.clone(),
            pods: [].into(),
            flow: Flow { arrived: 7, late: 1, ..Flow::default() },
        }]
    };
    good.whole(routed());
    heard(&mut listening, "a whole report", |report| report.whole && report.targets.contains_key(&key)).await;
    // An edge goes out at once, by itself, and a number beside it does not.
    let demand = |waiting| Demand { waiting, ..Demand::default() };
    good.demand("prod/llama", demand(1));
    good.demand("prod/llama", demand(2));
    good.demand("prod/llama", demand(0));
    let first = heard(&mut listening, "the edge", |report| !report.whole).await;
    let second = heard(&mut listening, "the other", |report| !report.whole).await;
    assert_eq!((first.targets[&key].waiting, second.targets[&key].waiting), (1, 0));
    // And back: what a listener says comes to every gateway.
    let drain = proto::Drain { namespace: "prod".to_owned(), pod: "a".to_owned() };
    let word = proto::Word { drains: vec![drain], outlooks: Vec::new() };
    listening.inbox.words.send_replace(word.clone().into());
    let words = good.words();
    until("the word", || words.borrow().values().any(|told| **told == word)).await;
    // An operator that ends says nothing any more.
    stop.cancel();
    until("nothing is said", || words.borrow().is_empty()).await;
    std::fs::remove_dir_all(&directory).unwrap();
}

/// An authority that has signed nothing here.
const OTHER: &str = "\
-----BEGIN CERTIFICATE-----
MIIBjzCCATWgAwIBAgIUN4IgiGtpC8VvTkKWgPrC54SrvsswCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRYW5vdGhlciBhdXRob3JpdHkwIBcNMjYxMTIyMTAyOTMzWhgP
MjEyNjEwMjkxMDI5MzNaMBwxGjAYBgNVBAMMEWFub3RoZXIgYXV0aG9yaXR5MFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqdk7OAtzm0fSj6tqOHkkOPpvZb6Umfwf
eHV2DxEKZUHZR5ZhlJANHjvWUjct9zmLR/CLegmr629pi8Cquxs3daNTMFEwHQYD
VR0OBBYEFLnUcClQGidFdcYXQ0kLQc/bc4MOMB8GA1UdIwQYMBaAFLnUcClQGidF
dcYXQ0kLQc/bc4MOMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIh
AOSfaCYF0X9fgBrhoiCU2A/NbYQIVs4764SASwZOHk//AiBfr8Aqi9yCvoo/rJ1O
FiHNkh6YRO9igFc8rK0HyTrSMg==
-----END CERTIFICATE-----
";
