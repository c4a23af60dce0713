//! A cluster with a ScaledObject, an operator, two gateways, and clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testkit::cluster::{Cluster, Options};

use super::account;
use super::kubelet::{Kubelet, address, metrics_port};
use super::program::Program;

/// A wait that takes longer than this has failed; on a busy machine most take a few seconds.
const PATIENCE: Duration = Duration::from_secs(120);

const MANIFESTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: prod}
---
apiVersion: v1
kind: Service
metadata: {name: llama, namespace: prod}
spec: {ports: [{name: http, port: 8000}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: llama, namespace: prod}
spec:
  replicas: 0
  selector: {matchLabels: {app: llama}}
  template:
    metadata:
      labels: {app: llama}
      annotations: {test.tidegate.dev/load: 300ms, test.tidegate.dev/stop: 3s, prometheus.io/port: "METRICS"}
    spec:
      containers:
        - name: engine
          image: vllm/vllm-openai:latest
          args: [--max-num-seqs, "2"]
          resources: {limits: {nvidia.com/gpu: "1"}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: llama
  namespace: prod
  annotations: {tidegate.dev/model: demo}
spec:
  scaleTargetRef: {name: llama}
  minReplicaCount: 0
  maxReplicaCount: 3
  cooldownPeriod: 2
  advanced:
    horizontalPodAutoscalerConfig:
      behavior: {scaleDown: {stabilizationWindowSeconds: 2}}
  triggers:
    - type: external
      metadata: {scalerAddress: "tidegate-gateway.tidegate:8081", metric: demand, targetValue: "4"}
"#;

/// A token every fiftieth of a second, however many streams there are.
const SLOW: &str = r#"{
    "name": "slow", "decode_base_ms": 20, "decode_per_seq_ms": 0, "decode_per_context_token_us": 0,
    "prefill_base_ms": 1, "prefill_per_token_us": 0, "prefill_quadratic_ns": 0,
    "kv_tokens": 1000000, "block_tokens": 16, "max_num_seqs": 1024, "max_batched_tokens": 8192,
    "max_model_len": 32768, "prefix_caching": false,
    "cold_start": {"init_s": 0, "load_s": 0, "compile_s": 0, "warm_s": 0}
}"#;

/// Everything at work.
pub(crate) struct Stage {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) kubelet: Kubelet,
    /// Kubeconfigs of the chart's accounts.
    operates: String,
    routes: String,
    pub(crate) operator: Option<Program>,
    pub(crate) gateways: Vec<(Program, String, String)>,
    demand: String,
    /// The operator's pages.
    pub(crate) board: String,
    directory: TempDir,
    pub(crate) client: Client<HttpConnector, Full<Bytes>>,
    next: AtomicUsize,
}

impl Stage {
    /// A stage with so many gateways; none, after saying so, on a machine that cannot have one.
    pub(crate) async fn set(what: &str, gateways: usize) -> Option<Stage> {
        let cluster = Arc::new(Cluster::start_or_say(what, Options::default()).await?);
        let ip = address().expect("an address that is not loopback: give the machine a network, or `ip addr add 10.99.0.1/32 dev lo` and a route");
        let metrics = metrics_port();
        account::install(&cluster).await;
        cluster.apply(&MANIFESTS.replace("METRICS", &metrics.to_string())).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let profile = directory.path().join("slow.json");
        std::fs::write(&profile, SLOW).unwrap();
        let kubelet =
            Kubelet::start(Arc::clone(&cluster), "llama", ip, profile.display().to_string(), metrics);
        let client = Client::builder(TokioExecutor::new()).build_http();
        let operates = account::kubeconfig(&cluster, "tidegate-operator", directory.path()).await;
        let routes = account::kubeconfig(&cluster, "tidegate-gateway", directory.path()).await;
        let mut stage = Stage {
            cluster,
            kubelet,
            operates,
            routes,
            operator: None,
            gateways: Vec::new(),
            demand: "127.0.0.1:0".to_owned(),
            board: String::new(),
            directory,
            client,
            next: AtomicUsize::new(0),
        };
        stage.operate();
        stage.trust().await;
        for _ in 0..gateways {
            stage.open().await;
        }
        Some(stage)
    }

    /// Starts an operator, where the last one was.
    pub(crate) fn operate(&mut self) {
        let arguments = [
            "operator",
            "--kubeconfig",
            &self.operates,
            "--namespace",
            "tidegate",
            "--admin-addr",
            "127.0.0.1:0",
            "--demand-addr",
            &self.demand,
            "--demand-host",
            "127.0.0.1",
        ];
        let (operator, [demand, board]) = Program::listening(&arguments, ["demand ", "dashboard "]);
        (self.demand, self.board) = (demand, board);
        self.operator = Some(operator);
    }

    /// Fetches the token and the authority as a pod has them mounted.
    async fn trust(&self) {
        let token =
            ["-n", "tidegate", "create", "token", "tidegate-gateway", "--audience", "tidegate-operator"];
        let token = self.cluster.succeed(&token, "").await.unwrap();
        std::fs::write(self.directory.path().join("token"), token).unwrap();
        let ca = self.until("an authority", async || {
            let map = self.cluster.get(&["-n", "tidegate", "configmap", "tidegate-demand-ca"]).await.ok()?;
            map["data"]["ca.crt"].as_str().map(str::to_owned)
        });
        std::fs::write(self.directory.path().join("ca.crt"), ca.await).unwrap();
    }

    /// Starts one more gateway, and waits until the operator is told.
    pub(crate) async fn open(&mut self) {
        let file = |name: &str| self.directory.path().join(name).display().to_string();
        let arguments = [
            "gateway",
            "--kubeconfig",
            &self.routes,
            "--gateway-addr",
            "127.0.0.1:0",
            "--admin-addr",
            "127.0.0.1:0",
            "--operator",
            &self.demand,
            "--operator-ca",
            &file("ca.crt"),
            "--operator-token",
            &file("token"),
        ];
        let (program, [gateway, admin]) = Program::listening(&arguments, ["gateway ", "dashboard "]);
        self.gateways.push((program, gateway, admin.clone()));
        self.until("a link to the operator", async || {
            let metrics = self.text(&format!("{admin}/metrics")).await?;
            metrics.contains("tidegate_gateway_operators_told 1").then_some(())
        })
        .await;
    }

    /// Asks until there is an answer.
    pub(crate) async fn until<T>(&self, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            if begin.elapsed() > PATIENCE {
                panic!("never: {what}\n{}", self.talk());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What all programs have said.
    pub(crate) fn talk(&self) -> String {
        let operator = self.operator.as_ref().map(Program::talk).unwrap_or_default();
        let gateways: Vec<String> = self.gateways.iter().map(|(program, ..)| program.talk()).collect();
        format!("operator:\n{operator}\ngateways:\n{}", gateways.join("\n--\n"))
    }

    pub(crate) async fn text(&self, url: &str) -> Option<String> {
        let answer = self.client.get(url.parse().unwrap()).await.ok()?;
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some(String::from_utf8_lossy(&body).into_owned())
    }

    pub(crate) async fn replicas(&self) -> u64 {
        let deployment = self.cluster.get(&["-n", "prod", "deployment", "llama"]).await.unwrap();
        deployment["spec"]["replicas"].as_u64().unwrap()
    }

    /// Waits until the Deployment is asked for so many replicas.
    pub(crate) async fn until_replicas(&self, is: impl Fn(u64) -> bool) -> u64 {
        self.until("so many replicas", async || Some(self.replicas().await).filter(|count| is(*count))).await
    }

    /// One chat completion through the gateways in turn: status and body.
    pub(crate) async fn chat(&self, max_tokens: u32, stream: bool) -> (u16, String) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.gateways.len();
        self.chat_at(at, max_tokens, stream).await
    }

    pub(crate) async fn chat_at(&self, gateway: usize, max_tokens: u32, stream: bool) -> (u16, String) {
        let body = json!({
            "model": "demo", "max_tokens": max_tokens, "ignore_eos": true, "stream": stream,
            "messages": [{"role": "user", "content": "Tell me of the tides."}],
        });
        let request = http::Request::post(format!("{}/v1/chat/completions", self.gateways[gateway].1))
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .unwrap();
        let answer = self.client.request(request);
        let Ok(answer) = tokio::time::timeout(PATIENCE, answer).await else {
            panic!("a request is lost\n{}", self.talk())
        };
        let answer = answer.expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

/// Whether an answer is whole: a stream with its end, or a completion.
pub(crate) fn whole(answer: &(u16, String), stream: bool) -> bool {
    let (status, body) = answer;
    if stream {
        return *status == 200 && body.contains("data: [DONE]") && !body.contains("\"error\"");
    }
    *status == 200 && serde_json::from_str::<Value>(body).is_ok_and(|body| body["choices"].is_array())
}
