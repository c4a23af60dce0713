//! What a node does for pods that KWOK only pretends to run: a `tidegate engine` for each that is ready, and an
//! EndpointSlice that says where it listens. An EndpointSlice refuses loopback addresses, so engines listen on
//! the address by which this machine would reach another.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testkit::cluster::Cluster;
use tidegate_testkit::ports::free_port_of;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::program::Program;

/// This machine's address that is not loopback; none where it has no network at all.
pub(crate) fn address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the system only looks up by which interface it would be.
    socket.connect("198.51.100.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// Engines of pods, by the pods' names.
type Engines = Arc<Mutex<BTreeMap<String, (Program, u16)>>>;

/// The port at which every pod has its metrics: at an address of its own, as on a cluster.
const fn loopback(number: u8) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 1, number))
}

/// A port that is free at the first of those addresses; another takes it at the others only by chance.
pub(crate) fn metrics_port() -> u16 {
    free_port_of(&[loopback(1)])
}

/// Watches pods and does as a node would.
pub(crate) struct Kubelet {
    pub(crate) engines: Engines,
    task: JoinHandle<()>,
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kubelet {
    /// For the pods of `prod` with label `app`, which answer to model `demo` with the timing of a profile.
    /// Their metrics are at a port of the pod's own address.
    pub(crate) fn start(cluster: Arc<Cluster>, app: &str, ip: IpAddr, profile: String, metrics: u16) -> Self {
        let engines = Engines::default();
        let (program, kubeconfig) = (cluster.kubectl_program().to_owned(), cluster.kubeconfig().to_owned());
        let (app, kept) = (app.to_owned(), Arc::clone(&engines));
        let task = tokio::spawn(async move {
            loop {
                let node =
                    Node { cluster: &cluster, app: &app, ip, profile: &profile, metrics, engines: &kept };
                node.watch(&program, &kubeconfig).await;
                // The API server is away; as a real kubelet, it comes again.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        Kubelet { engines, task }
    }
}

struct Node<'a> {
    cluster: &'a Cluster,
    app: &'a str,
    ip: IpAddr,
    profile: &'a str,
    metrics: u16,
    engines: &'a Engines,
}

impl Node<'_> {
    /// One watch to its end.
    async fn watch(&self, program: &PathBuf, kubeconfig: &Path) {
        let label = format!("app={}", self.app);
        let mut command = Command::new(program);
        command.args([
            "-n",
            "prod",
            "get",
            "pods",
            "-l",
            &label,
            "-o",
            "json",
            "-w",
            "--output-watch-events",
        ]);
        command
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().expect("kubectl runs");
        let mut out = child.stdout.take().expect("a pipe");
        let (mut kept, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        while let Ok(read @ 1..) = out.read(&mut buffer).await {
            kept.extend_from_slice(&buffer[..read]);
            let (whole, taken) = events(&kept);
            kept.drain(..taken);
            for event in whole {
                self.event(&event).await;
            }
        }
    }

    async fn event(&self, event: &Value) {
        let pod = &event["object"];
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        if event["type"] == "DELETED" {
            self.engines.lock().unwrap().remove(name);
            let gone = ["-n", "prod", "delete", "endpointslice", name, "--ignore-not-found", "--wait=false"];
            self.cluster.succeed(&gone, "").await.unwrap();
            return;
        }
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
        let deleting = pod["metadata"]["deletionTimestamp"].is_string();
        let known = self.engines.lock().unwrap().get(name).map(|(_, port)| *port);
        match (known, ready, deleting) {
            (None, true, false) => {
                let (program, port) = engine(self.ip, "demo", self.profile).await;
                self.engines.lock().unwrap().insert(name.to_owned(), (program, port));
                self.slice(name, port, json!({"ready": true, "serving": true, "terminating": false})).await;
                self.address(name, port).await;
            }
            (Some(port), _, true) => {
                // As on a real node the two happen at once; the engine lets running streams end.
                if let Some((engine, _)) = self.engines.lock().unwrap().get(name) {
                    engine.terminate();
                }
                self.slice(name, port, json!({"ready": false, "serving": true, "terminating": true})).await;
            }
            _ => {}
        }
    }

    /// Gives a pod an address of its own, where its engine answers at the port that all pods have.
    async fn address(&self, pod: &str, port: u16) {
        let mut free = None;
        for number in 1..=250 {
            if let Ok(listener) = tokio::net::TcpListener::bind((loopback(number), self.metrics)).await {
                free = Some((loopback(number), listener));
                break;
            }
        }
        let (address, listener) = free.expect("an address of 250");
        let engine = (self.ip, port);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                // The engine has ended: so does its pod's address.
                let Ok(mut far) = tokio::net::TcpStream::connect(engine).await else { return };
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
            }
        });
        let status = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}}).to_string();
        let patch =
            ["-n", "prod", "patch", "pod", pod, "--subresource=status", "--type=merge", "-p", &status];
        // A pod that has just gone needs none.
        let _ = self.cluster.succeed(&patch, "").await;
    }

    async fn slice(&self, pod: &str, port: u16, conditions: Value) {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": pod, "namespace": "prod",
                "labels": {
                    "kubernetes.io/service-name": self.app,
                    "endpointslice.kubernetes.io/managed-by": "test.tidegate.dev",
                },
            },
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
            "endpoints": [{
                "addresses": [self.ip.to_string()], "conditions": conditions,
                "targetRef": {"kind": "Pod", "namespace": "prod", "name": pod},
            }],
        });
        self.cluster.apply(&slice.to_string()).await.unwrap();
    }
}

/// The events that are there whole, and how many bytes they are.
fn events(bytes: &[u8]) -> (Vec<Value>, usize) {
    let mut events = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    let mut whole = Vec::new();
    while let Some(Ok(event)) = events.next() {
        whole.push(event);
    }
    (whole, events.byte_offset())
}

/// An engine of a model, that listens.
async fn engine(ip: IpAddr, model: &str, profile: &str) -> (Program, u16) {
    let port = free_port_of(&[ip]);
    let (host, number) = (ip.to_string(), port.to_string());
    let arguments = [
        "engine",
        "--host",
        &host,
        "--port",
        &number,
        "--model",
        model,
        "--profile",
        profile,
        "--start-s",
        "0",
    ];
    let (program, mut out) = Program::start(&arguments);
    std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    while TcpStream::connect((ip, port)).is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (program, port)
}
