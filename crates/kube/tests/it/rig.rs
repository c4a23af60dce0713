//! An operator at work against an API server, and a Prometheus whose answer the test chooses.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tidegate_core::scale::Decision;
use tidegate_core::scale::decision::{Because, Rule};
use tidegate_core::time::Time;
use tidegate_journal::Recorder;
use tidegate_kube::client::{Connection, Options};
use tidegate_kube::demand::listen::Inbox;
use tidegate_kube::drive::{self, Audience, View, Weight};
use tidegate_kube::watch::Sight;
use tidegate_signals::{Clock, Kept, Queries};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::server::Server;

/// Generous: a busy machine may take its time, and who waits for a condition loses none.
const DEADLINE: Duration = Duration::from_secs(180);

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for what has its own way of waiting.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// What an operator has told.
#[derive(Clone, Default)]
pub(crate) struct Told(
    Arc<Mutex<Vec<String>>>,
    Arc<AtomicU64>,
    Arc<AtomicU64>,
    Arc<Mutex<String>>,
    Latest,
    Arc<[AtomicU64; 4]>,
    Arc<Mutex<String>>,
);

/// The last decision.
type Latest = Arc<Mutex<Option<Decision>>>;

impl Told {
    pub(crate) fn remarks(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn says(&self, text: &str) -> bool {
        self.remarks().iter().any(|remark| remark.contains(text))
    }

    /// Whether some signal was last read as something with this text.
    pub(crate) fn read(&self, text: &str) -> bool {
        self.3.lock().unwrap().contains(text)
    }

    /// Whether some target's trouble has this text.
    pub(crate) fn troubled(&self, text: &str) -> bool {
        self.6.lock().unwrap().contains(text)
    }

    pub(crate) fn decisions(&self) -> u64 {
        self.1.load(Ordering::SeqCst)
    }

    /// What it makes of its last decision.
    pub(crate) fn latest<T>(&self, of: impl FnOnce(&Decision) -> T) -> Option<T> {
        self.4.lock().unwrap().as_ref().map(of)
    }

    /// What the last decision says under a rule.
    pub(crate) fn because(&self, rule: Rule) -> Option<Because> {
        self.latest(|decision| {
            decision.steps.iter().find(|step| step.rule == rule).map(|step| step.because.clone())
        })?
    }

    /// Watches that cannot see.
    pub(crate) fn blind(&self) -> u64 {
        self.5[0].load(Ordering::SeqCst)
    }

    /// Writes that wait or are under way.
    pub(crate) fn waiting(&self) -> u64 {
        self.5[1].load(Ordering::SeqCst)
    }

    /// How often everything was shown: at the end of each tick.
    pub(crate) fn ticks(&self) -> u64 {
        self.5[2].load(Ordering::SeqCst)
    }

    /// How many ticks there had been when a decision last changed a count.
    pub(crate) fn changed_after(&self) -> u64 {
        self.5[3].load(Ordering::SeqCst)
    }

    /// Whether it may write.
    pub(crate) fn leads(&self) -> bool {
        self.2.load(Ordering::SeqCst) == 1
    }
}

impl Audience for Told {
    fn decided(&mut self, _: Time, from: u32, decision: &Arc<Decision>) {
        if decision.replicas != from {
            self.5[3].store(self.ticks(), Ordering::SeqCst);
        }
        *self.4.lock().unwrap() = Some(Decision::clone(decision));
        self.1.fetch_add(1, Ordering::SeqCst);
    }

    fn remark(&mut self, _: Time, _: Weight, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }

    fn look(&mut self, view: &View<'_>) {
        let leads = view.standing == tidegate_kube::lease::elector::Standing::Leads;
        self.2.store(u64::from(leads), Ordering::SeqCst);
        self.5[2].fetch_add(1, Ordering::SeqCst);
        self.5[0].store(view.blind.len() as u64, Ordering::SeqCst);
        self.5[1].store(view.waiting as u64, Ordering::SeqCst);
        let troubles = view.entries.values().filter_map(|entry| entry.trouble.clone());
        *self.6.lock().unwrap() = troubles.collect::<Vec<_>>().join("\n");
        let readings = view.entries.values().flat_map(|entry| entry.readings.values());
        *self.3.lock().unwrap() = readings.map(|reading| format!("{reading:?}\n")).collect();
    }
}

/// A kubeconfig that names an API server, and who asks it; whoever reads it removes it.
pub(crate) fn kubeconfig(addr: SocketAddr, who: &str) -> std::path::PathBuf {
    let file = std::env::temp_dir().join(format!("tidegate-kube-{}", fastrand::u64(..)));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": format!("http://{addr}")}}],
        "users": [{"name": "test", "user": {"token": who}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "tidegate"}}],
    });
    std::fs::write(&file, config.to_string()).unwrap();
    file
}

/// A connection of somebody else's.
pub(crate) async fn connect(server: &Server) -> Connection {
    let file = kubeconfig(server.addr, "somebody");
    let options = Options { kubeconfig: Some(file.clone()), ..Options::default() };
    let connection = Connection::new(&options).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    connection
}

/// How an operator is set up.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) advise: bool,
    /// What it looks at; everything when empty.
    pub(crate) namespaces: Vec<&'static str>,
    /// Its machine's clock; the right one when nothing is said.
    pub(crate) clock: Option<Clock>,
    /// Which objects it looks at, and the name of its share.
    pub(crate) selector: Option<&'static str>,
    pub(crate) shard: Option<&'static str>,
    /// What gateways say.
    pub(crate) gateways: Option<Inbox>,
    /// Who takes down what it does.
    pub(crate) recorder: Option<Box<dyn Recorder + Send>>,
}

/// An operator at work.
pub(crate) struct Operator {
    pub(crate) told: Told,
    pub(crate) connection: Connection,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), drive::Error>>>,
    /// Its own, so that it can die with everything that it has begun.
    runtime: Option<Runtime>,
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Operator {
    pub(crate) async fn start(server: &Server, advise: bool) -> Operator {
        Operator::at(server.addr, "operator", Setup { advise, ..Setup::default() }).await
    }

    /// One that reaches its API server at an address, as somebody.
    pub(crate) async fn at(addr: SocketAddr, who: &str, setup: Setup) -> Operator {
        let file = kubeconfig(addr, who);
        let operator = Operator::of(&file, setup).await;
        std::fs::remove_file(&file).unwrap();
        operator
    }

    /// One of whatever cluster a kubeconfig names.
    pub(crate) async fn with(kubeconfig: &Path, advise: bool) -> Operator {
        Operator::of(kubeconfig, Setup { advise, ..Setup::default() }).await
    }

    pub(crate) async fn of(kubeconfig: &Path, setup: Setup) -> Operator {
        let Setup { advise, namespaces, clock, selector, shard, gateways, recorder } = setup;
        let kubeconfig = Some(kubeconfig.to_owned());
        let options = Options { kubeconfig, read_only: advise, ..Options::default() };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let connection = runtime.spawn(async move { Connection::new(&options).await });
        let connection = connection.await.unwrap().unwrap();
        let (told, stop) = (Told::default(), CancellationToken::new());
        let config = drive::Config {
            connection: connection.clone(),
            sight: Sight {
                namespaces: namespaces.iter().map(|one| Arc::from(*one)).collect(),
                selector: selector.map(str::to_owned),
            },
            namespace: "tidegate".to_owned(),
            shard: shard.unwrap_or("operator").to_owned(),
            me: format!("test_{}", fastrand::u64(..)),
            clock: clock.unwrap_or_else(Clock::unix),
            audience: Box::new(told.clone()),
            recorder,
            gateways,
            queries: Queries::Remote,
            kept: Arc::new(Kept::new(false)),
        };
        let task = Some(runtime.spawn(drive::run(config, stop.clone())));
        Operator { told, connection, stop, task, runtime: Some(runtime) }
    }

    /// Ends it as SIGTERM does.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        self.task.take().unwrap().await.unwrap().unwrap();
    }

    /// Ends it as a machine that loses its power.
    pub(crate) async fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
        let _ = self.task.take().unwrap().await;
    }
}

/// A Prometheus that knows one number, or fails.
pub(crate) struct Prometheus {
    pub(crate) url: String,
    value: Arc<Mutex<Option<f64>>>,
    held: watch::Sender<bool>,
    asked: Arc<AtomicU64>,
}

impl Prometheus {
    pub(crate) async fn start(value: f64) -> Prometheus {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let known = Arc::new(Mutex::new(Some(value)));
        let shared = Arc::clone(&known);
        let (held, holding) = watch::channel(false);
        let asked = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (known, holding) = (Arc::clone(&shared), holding.clone());
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let service = service_fn(move |_| {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let (known, mut holding) = (Arc::clone(&known), holding.clone());
                        async move {
                            let _ = holding.wait_for(|held| !held).await;
                            let value = *known.lock().unwrap();
                            Ok::<_, std::convert::Infallible>(answer(value))
                        }
                    });
                    let socket = TokioIo::new(socket);
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(socket, service).await;
                });
            }
        });
        Prometheus { url, value: known, held, asked }
    }

    /// From now on it answers nobody; with `false` all who wait are answered.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// From now on it knows this; with `None` it fails.
    pub(crate) fn set(&self, value: Option<f64>) {
        *self.value.lock().unwrap() = value;
    }
}

fn answer(value: Option<f64>) -> Response<Full<Bytes>> {
    let Some(value) = value else {
        return Response::builder().status(503).body(Full::new(Bytes::from("away"))).unwrap();
    };
    let result = json!([{"metric": {}, "value": [0, value.to_string()]}]);
    let json = json!({"status": "success", "data": {"resultType": "vector", "result": result}});
    let answer = Response::builder().header("content-type", "application/json");
    answer.body(Full::new(Bytes::from(json.to_string()))).unwrap()
}

/// A Deployment without pods.
pub(crate) fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"namespace": "prod", "name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"spec": {"containers": [{"name": "main", "image": "x"}]}},
        },
        "status": {"replicas": replicas, "readyReplicas": replicas},
    })
}

/// A pod of a Deployment that has been ready for long.
pub(crate) fn pod(app: &str, name: &str) -> Value {
    let since = "2026-01-01T00:00:00Z";
    let conditions: Vec<Value> = ["PodScheduled", "Initialized", "Ready"]
        .iter()
        .map(|type_| json!({"type": type_, "status": "True", "lastTransitionTime": since}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "prod", "name": name, "labels": {"app": app}, "creationTimestamp": since},
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": "main", "image": "x", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}],
        },
        "status": {"phase": "Running", "podIP": "127.0.0.1", "startTime": since, "conditions": conditions},
    })
}

/// A ScaledObject with these triggers.
pub(crate) fn triggered(name: &str, triggers: Value, spec: Value) -> Value {
    let mut whole = json!({
        "scaleTargetRef": {"name": name}, "minReplicaCount": 0, "maxReplicaCount": 10, "cooldownPeriod": 300,
        "triggers": triggers,
    });
    for (field, value) in spec.as_object().unwrap() {
        whole[field] = value.clone();
    }
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"namespace": "prod", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": whole,
    })
}

/// A ScaledObject of it, at five a replica of what `prometheus` knows.
pub(crate) fn scaled_object(name: &str, prometheus: &Prometheus, spec: Value) -> Value {
    let metadata = json!({"serverAddress": prometheus.url, "query": "sum(waiting)", "threshold": "5"});
    triggered(name, json!([{"type": "prometheus", "metadata": metadata}]), spec)
}

/// Waits for so many further decisions, so that what was not done had its chance.
pub(crate) async fn decisions(operator: &Operator, more: u64) {
    let from = operator.told.decisions();
    until("it goes on deciding", || operator.told.decisions() >= from + more).await;
}

/// A condition's status and reason in an object's status.
pub(crate) fn condition(object: &Value, type_: &str) -> Option<(String, String)> {
    let all = object.pointer("/status/conditions")?.as_array()?;
    let found = all.iter().find(|one| one["type"] == type_)?;
    Some((found["status"].as_str()?.to_owned(), found["reason"].as_str()?.to_owned()))
}
