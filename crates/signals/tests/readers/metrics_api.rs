//! Numbers of HTTP responses.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use tidegate_manifest::trigger::Source;
use tidegate_signals::Remote as _;
use tidegate_signals::metrics_api::{Endpoints, Error, MetricsApi, Service};
use tidegate_testkit::servers::{Certificates, free_address};

use crate::trigger::{secrets, source};
use crate::web::Web;

fn made(
    metadata: &[(&str, &str)],
    known: &[(&str, &str)],
    endpoints: Option<Endpoints>,
) -> Result<MetricsApi, Error> {
    let parameters: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let all: Vec<_> = [("targetValue", "5")].iter().chain(metadata).copied().collect();
    let Source::MetricsApi(trigger) = source("metrics-api", &all, &parameters) else {
        panic!("another trigger")
    };
    MetricsApi::new(&trigger, secrets(known), endpoints)
}

fn reader(url: &str, more: &[(&str, &str)], known: &[(&str, &str)]) -> MetricsApi {
    let metadata: Vec<_> = [("url", url), ("valueLocation", "tasks")].iter().chain(more).copied().collect();
    made(&metadata, known, None).expect("the trigger is supported")
}

fn text(body: &str) -> Response<String> {
    Response::new(body.to_owned())
}

async fn seven() -> Web {
    Web::start(|_| text(r#"{"tasks": 7}"#)).await
}

fn header<'r>(request: &'r Request<bytes::Bytes>, name: &str) -> Option<&'r str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

#[tokio::test]
async fn each_way_to_authenticate_is_what_the_server_sees_and_nobody_else() {
    let web = seven().await;
    let url = format!("http://{}/stats?all=1", web.address);
    let key = ("apiKey", "hunter2");
    for (modes, more, known, name, value) in [
        ("apiKey", vec![], vec![key], "x-api-key", "hunter2"),
        ("apiKey", vec![("keyParamName", "X-Mine")], vec![key], "x-mine", "hunter2"),
        ("bearer", vec![], vec![("token", "hunter2")], "authorization", "Bearer hunter2"),
        (
            "basic",
            vec![],
            vec![("username", "ann"), ("password", "hunter2")],
            "authorization",
            "Basic YW5uOmh1bnRlcjI=",
        ),
    ] {
        let more: Vec<_> = [("authMode", modes)].into_iter().chain(more).collect();
        let reader = reader(&url, &more, &known);
        assert_eq!(reader.read().await, Ok(7.0), "{modes}");
        let asked = web.asked();
        assert_eq!(header(&asked[0], name), Some(value), "{modes}");
        assert_eq!(asked[0].uri(), "/stats?all=1");
        assert!(!format!("{reader:?}").contains("hunter2"));
    }
    let query = reader(&url, &[("authMode", "apiKey"), ("method", "query")], &[("apiKey", "hunter 2&")]);
    assert_eq!(query.read().await, Ok(7.0));
    assert_eq!(web.asked()[0].uri(), "/stats?all=1&api_key=hunter%202%26");
    let login = reader(&format!("http://ann:hunter2@{}/", web.address), &[], &[]);
    assert_eq!(login.read().await, Ok(7.0));
    assert_eq!(header(&web.asked()[0], "authorization"), Some("Basic YW5uOmh1bnRlcjI="));
    let other = reader(&url, &[("authMode", "apiKey")], &[("apiKey", "another")]);
    assert_ne!(other.question(), reader(&url, &[("authMode", "apiKey")], &[key]).question());
}

#[tokio::test]
async fn a_redirect_is_an_error_and_its_target_hears_nothing() {
    let target = seven().await;
    let to = format!("http://{}/", target.address);
    let web = Web::start(move |_| {
        let answer = Response::builder().status(StatusCode::FOUND).header("location", &to);
        answer.body(String::new()).expect("a header")
    })
    .await;
    let url = format!("http://{}/", web.address);
    let told = reader(&url, &[("authMode", "bearer")], &[("token", "hunter2")]).read().await;
    assert!(matches!(&told, Err(Error::Status { status, .. }) if *status == 302), "{told:?}");
    assert!(target.asked().is_empty());
}

#[tokio::test]
async fn errors_name_the_server_and_never_the_key() {
    let gone = free_address();
    let known = [("apiKey", "hunter2")];
    let query = [("authMode", "apiKey"), ("method", "query")];
    let told = reader(&format!("http://{gone}/"), &query, &known).read().await.expect_err("nobody listens");
    assert!(told.to_string().contains(&gone.to_string()) && !told.to_string().contains("hunter2"), "{told}");
    let web = Web::start(|_| text(r#"{"other": 1}"#)).await;
    let told = reader(&format!("http://{}/", web.address), &query, &known).read().await;
    assert_eq!(told.expect_err("not there").to_string(), "value tasks not found in the answer");
    let long = Web::start(|_| text(&" ".repeat(9 << 20))).await;
    let told = reader(&format!("http://{}/", long.address), &[], &[]).read().await;
    assert!(told.expect_err("9 MiB").to_string().contains("longer than 8 MiB"));
    let oauth = made(
        &[("url", "http://a/"), ("valueLocation", "a"), ("authMode", "oauth")],
        &[("oauthTokenURI", "http://a/"), ("clientID", "a")],
        None,
    );
    assert!(matches!(oauth, Err(Error::OAuth)), "{oauth:?}");
    for url in ["ftp://a/", "a", "http://", "http://a b/"] {
        let told = made(&[("url", url), ("valueLocation", "a")], &[], None);
        assert!(matches!(told, Err(Error::Address)), "{url}: {told:?}");
    }
}

#[tokio::test]
async fn tls_proves_both_sides() {
    let certificates = Certificates::new();
    let web = Web::start_tls(&certificates, |_| text(r#"{"tasks": 7}"#)).await;
    let url = format!("https://{}/", web.address);
    let [ca, cert, key] = [&certificates.ca_pem, &certificates.cert_pem, &certificates.key_pem];
    let ours = [("cert", cert.as_str()), ("key", key), ("ca", ca)];
    let mode = [("authMode", "tls")];
    assert_eq!(reader(&url, &mode, &ours).read().await, Ok(7.0));
    assert_eq!(reader(&url, &[mode[0], ("unsafeSsl", "true")], &ours[..2]).read().await, Ok(7.0));
    assert!(reader(&url, &mode, &ours[..2]).read().await.is_err(), "an unknown authority");
    assert!(reader(&url, &[], &ours[2..]).read().await.is_err(), "no certificate of ours");
}

#[tokio::test]
async fn endpoints_of_a_service_are_put_together_and_those_that_fail_are_left_out() {
    let first = Web::start(|_| text("tasks 2\n")).await;
    let second = Web::start(|_| text("tasks 7\n")).await;
    let broken = Web::start(|_| text("tasks")).await;
    let ready: Vec<SocketAddr> = [&first, &second, &broken].map(|web| web.address).to_vec();
    let with = |aggregation, ready: Vec<SocketAddr>| {
        let metadata = [
            ("url", "http://vllm.models.svc:8000/metrics?x=1"),
            ("valueLocation", "tasks"),
            ("format", "prometheus"),
            ("aggregateFromKubeServiceEndpoints", "true"),
            ("aggregationType", aggregation),
        ];
        let endpoints: Endpoints = Arc::new(move |service| {
            let expected = Service { name: "vllm".to_owned(), namespace: "models".to_owned(), port: 8000 };
            assert_eq!(*service, expected);
            let ready = ready.clone();
            Box::pin(async move { Ok(ready) })
        });
        made(&metadata, &[], Some(endpoints)).expect("the trigger is supported")
    };
    for (aggregation, value) in [("sum", 9.0), ("average", 4.5), ("max", 7.0), ("min", 2.0)] {
        assert_eq!(with(aggregation, ready.clone()).read().await, Ok(value), "{aggregation}");
    }
    assert_eq!(first.asked()[0].uri(), "/metrics?x=1");
    let told = with("sum", Vec::new()).read().await.expect_err("none is ready").to_string();
    assert_eq!(told, "no endpoints URLs were given for the service name models/vllm");
    let told = with("sum", vec![broken.address]).read().await.expect_err("all fail").to_string();
    assert!(told.contains("could not get any metric successfully from the 1 provided"), "{told}");
    let metadata =
        [("url", "http://a.b/"), ("valueLocation", "a"), ("aggregateFromKubeServiceEndpoints", "true")];
    assert!(matches!(made(&metadata, &[], None), Err(Error::NoCluster)));
}

#[tokio::test]
async fn a_server_that_goes_is_an_error_and_one_that_comes_back_is_read_at_once() {
    let web = seven().await;
    let reader = reader(&format!("http://{}/", web.address), &[], &[]);
    assert_eq!(reader.read().await, Ok(7.0));
    assert_eq!(reader.read().await, Ok(7.0));
    let address = web.address;
    drop(web);
    while reader.read().await.is_ok() {}
    let listener = loop {
        if let Ok(listener) = tokio::net::TcpListener::bind(address).await {
            break listener;
        }
        tokio::task::yield_now().await;
    };
    let web = Web::on(listener, |_| text(r#"{"tasks": 8}"#));
    assert_eq!(reader.read().await, Ok(8.0));
    drop(web);
}
