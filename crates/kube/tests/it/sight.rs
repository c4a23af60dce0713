//! What the operator sees by itself: pods, what they use, what stands behind services, their own pages.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::rig::{
    Operator, Prometheus, condition, decisions, deployment, pod, scaled_object, triggered, until,
};
use super::server::Server;

/// A server on loopback whose page the test chooses: an engine's metrics, or JSON.
pub(crate) struct Page {
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    text: Arc<Mutex<String>>,
}

impl Page {
    pub(crate) async fn start(text: &str) -> Page {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Page::on(listener, text)
    }

    /// Several at one port, as pods have it: each at an address of its own.
    pub(crate) async fn several<const N: usize>(texts: [String; N]) -> Vec<Page> {
        loop {
            let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = first.local_addr().unwrap().port();
            let mut listeners = vec![first];
            for number in 2..=N {
                let ip = IpAddr::from([127, 0, 0, u8::try_from(number).unwrap()]);
                // Somebody else may have that port there: then with another.
                let Ok(listener) = TcpListener::bind((ip, port)).await else { break };
                listeners.push(listener);
            }
            if listeners.len() == N {
                return listeners.into_iter().zip(&texts).map(|(one, text)| Page::on(one, text)).collect();
            }
        }
    }

    fn on(listener: TcpListener, text: &str) -> Page {
        Page::guarded(listener, text, None)
    }

    /// One that speaks TLS and shows its page only to who has the key.
    pub(crate) fn guarded(
        listener: TcpListener,
        text: &str,
        guard: Option<(TlsAcceptor, &'static str)>,
    ) -> Page {
        let addr = listener.local_addr().unwrap();
        let page = Page { ip: addr.ip(), port: addr.port(), text: Arc::new(Mutex::new(text.to_owned())) };
        let shared = Arc::clone(&page.text);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (shared, guard) = (Arc::clone(&shared), guard.clone());
                tokio::spawn(async move {
                    let key = guard.as_ref().map(|(_, key)| format!("Bearer {key}"));
                    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                        let shown =
                            request.headers().get("authorization").and_then(|value| value.to_str().ok());
                        let mut answer =
                            Response::new(Full::new(Bytes::from(shared.lock().unwrap().clone())));
                        if key.is_some() && shown != key.as_deref() {
                            answer = Response::new(Full::default());
                            *answer.status_mut() = hyper::StatusCode::UNAUTHORIZED;
                        }
                        async move { Ok::<_, std::convert::Infallible>(answer) }
                    });
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = match guard {
                        None => server.serve_connection(TokioIo::new(socket), service).await,
                        Some((tls, _)) => match tls.accept(socket).await {
                            Ok(socket) => server.serve_connection(TokioIo::new(socket), service).await,
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        page
    }

    pub(crate) fn set(&self, text: &str) {
        text.clone_into(&mut self.text.lock().unwrap());
    }
}

/// The page of a vLLM with so many requests.
pub(crate) fn vllm(waiting: u32, running: u32) -> String {
    format!(
        "# TYPE vllm:num_requests_waiting gauge\n\
         vllm:num_requests_waiting{{model_name=\"m\"}} {waiting}\n\
         # TYPE vllm:num_requests_running gauge\n\
         vllm:num_requests_running{{model_name=\"m\"}} {running}\n\
         # TYPE vllm:kv_cache_usage_perc gauge\n\
         vllm:kv_cache_usage_perc{{model_name=\"m\"}} 0.5\n"
    )
}

fn workload_trigger(selector: &str) -> Value {
    json!([{"type": "kubernetes-workload", "metadata": {"podSelector": selector, "value": "2"}}])
}

/// A certificate for a name, and who believes it.
fn tls(name: &str) -> (TlsAcceptor, String) {
    let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = certified.signing_key.serialize_der().try_into().unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), certified.cert.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_service_account_is_asked_for_and_shown() {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let page = Page::guarded(listener, r#"{"waiting": 11}"#, Some((tls("localhost").0, "token-of-reader")));
    let metadata = json!({
        "url": format!("https://localhost:{}/", page.port), "valueLocation": "waiting", "targetValue": "5",
        "authMode": "bearer", "unsafeSsl": "true",
    });
    let trigger =
        json!({"type": "metrics-api", "metadata": metadata, "authenticationRef": {"name": "account"}});
    let token = json!({"parameter": "token", "serviceAccountName": "reader"});
    server.put(
        "triggerauthentications",
        json!({
            "metadata": {"namespace": "prod", "name": "account"},
            "spec": {"boundServiceAccountToken": [token]},
        }),
    );
    server.put("deployments", deployment("llama", 1));
    server.put("scaledobjects", triggered("llama", json!([trigger]), json!({})));
    let operator = Operator::start(&server, false).await;
    // Eleven wait for five a replica.
    until("three replicas", || server.replicas("llama") == 3).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_only_advises_says_once_that_it_makes_no_tokens() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(8.0).await);
    for name in ["one", "two"] {
        let token = json!({"parameter": "token", "serviceAccountName": name});
        server.put(
            "triggerauthentications",
            json!({
                "metadata": {"namespace": "prod", "name": name},
                "spec": {"boundServiceAccountToken": [token]},
            }),
        );
        let metadata = json!({"url": "https://localhost:9/", "valueLocation": "waiting", "targetValue": "5", "authMode": "bearer"});
        let trigger =
            json!({"type": "metrics-api", "metadata": metadata, "authenticationRef": {"name": name}});
        server.put("deployments", deployment(name, 1));
        server.put("scaledobjects", triggered(name, json!([trigger]), json!({})));
    }
    server.put("deployments", deployment("other", 1));
    server.put("scaledobjects", scaled_object("other", &prometheus, json!({})));
    let operator = Operator::start(&server, true).await;
    let why = "an operator that only advises makes no tokens of ServiceAccounts";
    for name in ["one", "two"] {
        let text = format!("cannot read a token of the ServiceAccount prod/{name}: {why}");
        until("its object says so", || operator.told.troubled(&text)).await;
    }
    decisions(&operator, 3).await;
    let said = operator.told.remarks().iter().filter(|remark| remark.contains(why)).count();
    assert_eq!((said, operator.told.troubled("other")), (1, false));
    assert!(server.written().is_empty(), "{:?}", server.written());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_want_tls_and_a_key_are_asked_with_what_stands_in_a_secret() {
    let server = Server::start().await;
    let (acceptor, ca) = tls("engine.internal");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let page = Page::guarded(listener, &vllm(24, 1), Some((acceptor, "hunter2")));
    let mut workload = deployment("llama", 1);
    workload["spec"]["template"]["metadata"] = json!({"annotations": {
        "prometheus.io/port": page.port.to_string(), "prometheus.io/scheme": "https",
        "tidegate.dev/metrics-key": "engine/key", "tidegate.dev/metrics-ca": "engine/ca.crt",
        "tidegate.dev/metrics-host": "engine.internal",
    }});
    server.put("deployments", workload);
    server.put("pods", pod("llama", "llama-0"));
    let query = json!({"serverAddress": "http://127.0.0.1:9", "query": "sum(vllm:num_requests_waiting)", "threshold": "5"});
    let mut object = triggered("llama", json!([{"type": "prometheus", "metadata": query}]), json!({}));
    object["metadata"]["annotations"] = json!({"tidegate.dev/prometheus": "embedded"});
    server.put("scaledobjects", object);
    let operator = Operator::start(&server, false).await;
    until("it says what is missing", || operator.told.read("there is no Secret prod/engine")).await;
    let text = |text: &str| serde_json::to_value(ByteString(text.as_bytes().to_vec())).unwrap();
    let secret = |key: &str| {
        json!({
            "metadata": {"namespace": "prod", "name": "engine"},
            "data": {"key": text(key), "ca.crt": text(&ca)},
        })
    };
    server.put("secrets", secret("a wrong one"));
    until("it is refused", || operator.told.read("none of 1 replicas answers")).await;
    server.put("secrets", secret("hunter2\n"));
    // 24 wait for five a replica.
    until("five replicas", || server.replicas("llama") == 5).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_selector_are_counted_but_for_those_that_have_ended() {
    let server = Server::start().await;
    server.put("deployments", deployment("llama", 0));
    server.put("scaledobjects", triggered("llama", workload_trigger("app=worker,tier in (a, b)"), json!({})));
    for (number, phase) in ["Running", "Pending", "Running", "Succeeded", "Failed"].iter().enumerate() {
        let mut pod = pod("worker", &format!("w-{number}"));
        pod["metadata"]["labels"]["tier"] = json!("a");
        pod["status"]["phase"] = json!(phase);
        server.put("pods", pod);
    }
    let operator = Operator::start(&server, false).await;
    // Three at two a replica.
    until("two replicas", || server.replicas("llama") == 2).await;
    for number in 5..8 {
        let mut pod = pod("worker", &format!("w-{number}"));
        pod["metadata"]["labels"]["tier"] = json!("b");
        server.put("pods", pod);
    }
    until("three replicas", || server.replicas("llama") == 3).await;
    // Of another tier: not counted.
    for number in 8..20 {
        server.put("pods", pod("worker", &format!("w-{number}")));
    }
    decisions(&operator, 4).await;
    assert_eq!(server.replicas("llama"), 3);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_counted_where_the_trigger_says_so() {
    let server = Server::start().await;
    server.put("deployments", deployment("llama", 0));
    let metadata = json!({"podSelector": "app=worker", "value": "1", "groupByNode": "true"});
    let trigger = json!([{"type": "kubernetes-workload", "metadata": metadata}]);
    server.put("scaledobjects", triggered("llama", trigger, json!({})));
    for number in 0..6 {
        let mut pod = pod("worker", &format!("w-{number}"));
        pod["spec"]["nodeName"] = json!(format!("node-{}", number % 3));
        server.put("pods", pod);
    }
    let operator = Operator::start(&server, false).await;
    until("three replicas", || server.replicas("llama") == 3).await;
    decisions(&operator, 3).await;
    assert_eq!(server.replicas("llama"), 3);
    operator.stop().await;
}

pub(crate) fn measured(name: &str, cpu: &str) -> Value {
    json!({
        "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
        "metadata": {"namespace": "prod", "name": name}, "timestamp": "2026-06-01T00:00:00Z", "window": "15s",
        "containers": [{"name": "main", "usage": {"cpu": cpu, "memory": "512Mi"}}],
    })
}

pub(crate) fn cpu_trigger() -> Value {
    json!([{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}])
}

#[tokio::test(flavor = "multi_thread")]
async fn cpu_that_pods_use_scales_them_and_a_pod_without_a_sample_does_not() {
    let server = Server::start().await;
    server.put("deployments", deployment("llama", 2));
    let two = json!({"minReplicaCount": 1});
    server.put("scaledobjects", triggered("llama", cpu_trigger(), two));
    for name in ["llama-a", "llama-b"] {
        server.put("pods", pod("llama", name));
        server.put("podmetrics", measured(name, "900000000n"));
    }
    let operator = Operator::start(&server, false).await;
    // 90 % of what they ask for, at 60: half as many again.
    until("three replicas", || server.replicas("llama") == 3).await;
    // The third is there and not measured: on the way up it counts as idle.
    server.put("pods", pod("llama", "llama-c"));
    server.edit("deployments", "prod", "llama", |object| object["status"]["replicas"] = json!(3));
    decisions(&operator, 4).await;
    assert_eq!(server.replicas("llama"), 3);
    server.put("podmetrics", measured("llama-c", "900m"));
    until("five replicas", || server.replicas("llama") == 5).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_metrics_server_nothing_moves_and_the_reason_says_what_to_install() {
    let server = Server::start().await;
    server.put("deployments", deployment("llama", 2));
    server.put("scaledobjects", triggered("llama", cpu_trigger(), json!({"minReplicaCount": 1})));
    server.put("pods", pod("llama", "llama-a"));
    let operator = Operator::start(&server, false).await;
    until("it says so", || operator.told.read("nobody serves metrics.k8s.io")).await;
    decisions(&operator, 3).await;
    assert_eq!(server.replicas("llama"), 2);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_every_ready_endpoint_of_a_service_is_summed() {
    let (server, page) = (Server::start().await, Page::start("{\"queue\": 6}").await);
    server.put("deployments", deployment("llama", 0));
    let metadata = json!({
        "url": format!("http://workers.prod.svc:{}/stats", page.port), "valueLocation": "queue", "targetValue": "5",
        "aggregateFromKubeServiceEndpoints": "true", "aggregationType": "sum",
    });
    let trigger = json!([{"type": "metrics-api", "metadata": metadata}]);
    server.put("scaledobjects", triggered("llama", trigger, json!({})));
    let slice = |name: &str, service: &str, addresses: &[&str]| {
        let endpoints: Vec<Value> = addresses
            .iter()
            .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
            .collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"namespace": "prod", "name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": page.port}],
        })
    };
    server.put("endpointslices", slice("other-1", "other", &["127.0.0.1"]));
    let operator = Operator::start(&server, false).await;
    until("no endpoint is an error", || {
        operator.told.read("no endpoints URLs were given for the service name workers/prod")
            || operator.told.read("no endpoints URLs were given for the service name prod/workers")
    })
    .await;
    assert_eq!(server.replicas("llama"), 0);
    server.put("endpointslices", slice("workers-1", "workers", &["127.0.0.1"]));
    until("six at five a replica", || server.replicas("llama") == 2).await;
    page.set("{\"queue\": 14}");
    until("fourteen", || server.replicas("llama") == 3).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_over_the_pods_own_pages_needs_no_prometheus() {
    let (server, page) = (Server::start().await, Page::start(&vllm(7, 1)).await);
    let mut deployment = deployment("llama", 1);
    deployment["spec"]["template"]["metadata"] =
        json!({"annotations": {"prometheus.io/port": page.port.to_string()}});
    server.put("deployments", deployment);
    let query = "sum(vllm:num_requests_waiting{namespace=\"prod\", deployment=\"llama\"})";
    let metadata = json!({"serverAddress": "http://127.0.0.1:9", "query": query, "threshold": "5"});
    let mut object = triggered("llama", json!([{"type": "prometheus", "metadata": metadata}]), json!({}));
    object["metadata"]["annotations"] = json!({"tidegate.dev/prometheus": "embedded"});
    server.put("scaledobjects", object);
    server.put("pods", pod("llama", "llama-a"));
    let operator = Operator::start(&server, false).await;
    until("seven at five a replica", || server.replicas("llama") == 2).await;
    server.put("pods", pod("llama", "llama-b"));
    until("fourteen of two pods", || server.replicas("llama") == 3).await;
    let object = || server.get("scaledobjects", "prod", "llama").unwrap();
    assert_eq!(condition(&object(), "Active").map(|(status, _)| status), Some("True".to_owned()));
    operator.stop().await;
}
