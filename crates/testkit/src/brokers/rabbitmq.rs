//! RabbitMQ with its management API, and an epmd of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::certificates::Certificates;
use super::process::{Process, http, listens};
use crate::ports::free_port;

/// Debian's own start script, without the wrapper that changes the user.
const SCRIPT: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

const INSTALL: &str = "apt-get install -y rabbitmq-server";

/// guest:guest
const GUEST: &str = "Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\nContent-Type: application/json\r\n";

/// A server; it ends with this value. Its user is `guest` with that password.
#[derive(Debug)]
pub struct RabbitMq {
    process: Option<Process>,
    _names: Process,
    ports: Ports,
    /// Who signed the certificate of the port with TLS.
    pub certificates: Certificates,
    directory: TempDir,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    amqp: u16,
    amqps: u16,
    management: u16,
    management_tls: u16,
    distribution: u16,
    names: u16,
}

impl RabbitMq {
    /// A server that answers over AMQP and HTTP.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the server");
        let certificates = Certificates::new();
        let ports = Ports {
            amqp: free_port(),
            amqps: free_port(),
            management: free_port(),
            management_tls: free_port(),
            distribution: free_port(),
            names: free_port(),
        };
        configure(directory.path(), ports, &certificates);
        // Erlang would start one that outlives it.
        let mut command = Command::new("epmd");
        command.args(["-port", &ports.names.to_string(), "-address", "127.0.0.1"]);
        let mut names = Process::start("epmd", command, directory.path(), INSTALL);
        names.ready(async || listens(loopback(ports.names)).await).await;
        let mut rabbit = RabbitMq { process: None, _names: names, ports, certificates, directory };
        rabbit.start_again().await;
        rabbit
    }

    /// Starts it after [`RabbitMq::kill`], with the data it had.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start_again(&mut self) {
        let directory = self.directory.path();
        let within = |name: &str| directory.join(name);
        let mut command = Command::new(SCRIPT);
        command
            .env("HOME", directory)
            .env("RABBITMQ_NODENAME", format!("tidegate{}@localhost", self.ports.amqp))
            .env("RABBITMQ_DIST_PORT", self.ports.distribution.to_string())
            .env("RABBITMQ_MNESIA_BASE", within("data"))
            .env("RABBITMQ_LOG_BASE", within("log"))
            .env("RABBITMQ_CONFIG_FILE", within("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", within("plugins"))
            .env("RABBITMQ_PID_FILE", within("pid"))
            .env("ERL_EPMD_PORT", self.ports.names.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // Schedulers that spin while they wait take the processor from whoever is tested.
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none");
        let mut process = Process::start("rabbitmq-server", command, directory, INSTALL);
        let (management, amqp) = (self.management(), self.amqp());
        process
            .ready(async || {
                let answer = http(management, "GET", "/api/overview", GUEST, "").await;
                matches!(answer, Some((200, _))) && listens(amqp).await
            })
            .await;
        self.process = Some(process);
    }

    /// Kills it, as a machine that fails does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Where AMQP is spoken.
    #[must_use]
    pub fn amqp(&self) -> SocketAddr {
        loopback(self.ports.amqp)
    }

    /// Where AMQP over TLS is spoken.
    #[must_use]
    pub fn amqps(&self) -> SocketAddr {
        loopback(self.ports.amqps)
    }

    /// Where the management API is.
    #[must_use]
    pub fn management(&self) -> SocketAddr {
        loopback(self.ports.management)
    }

    /// Where the management API is over TLS.
    #[must_use]
    pub fn management_tls(&self) -> SocketAddr {
        loopback(self.ports.management_tls)
    }

    /// Asks the management API, which has to agree, and gives its answer.
    ///
    /// # Panics
    /// When it does not.
    pub async fn api(&self, method: &str, path: &str, body: &str) -> String {
        let answer = http(self.management(), method, path, GUEST, body).await;
        let (status, answer) = answer.expect("the server runs");
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Declares a durable queue of the virtual host `/`.
    pub async fn declare(&self, queue: &str) {
        self.api("PUT", &format!("/api/queues/%2F/{queue}"), r#"{"durable": true}"#).await;
    }

    /// Puts messages into a queue; they survive a restart.
    pub async fn publish(&self, queue: &str, messages: usize) {
        let body = format!(
            r#"{{"routing_key": "{queue}", "payload": "m", "payload_encoding": "string", "properties": {{"delivery_mode": 2}}}}"#
        );
        for _ in 0..messages {
            self.api("POST", "/api/exchanges/%2F/amq.default/publish", &body).await;
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn configure(directory: &Path, ports: Ports, certificates: &Certificates) {
    let write = |name: &str, text: &str| -> PathBuf {
        let path = directory.join(name);
        fs::write(&path, text).expect("its directory can be written");
        path
    };
    let ca = write("ca.pem", &certificates.ca_pem);
    let cert = write("cert.pem", &certificates.cert_pem);
    let key = write("key.pem", &certificates.key_pem);
    let (ca, cert, key) = (ca.display(), cert.display(), key.display());
    let Ports { amqp, amqps, management, management_tls, .. } = ports;
    // Counts are fresh after 200 ms instead of 5 s, so that tests need not wait.
    let settings = format!(
        "listeners.tcp.1 = 127.0.0.1:{amqp}\n\
         listeners.ssl.1 = 127.0.0.1:{amqps}\n\
         ssl_options.cacertfile = {ca}\n\
         ssl_options.certfile = {cert}\n\
         ssl_options.keyfile = {key}\n\
         ssl_options.verify = verify_peer\n\
         ssl_options.fail_if_no_peer_cert = true\n\
         management.tcp.ip = 127.0.0.1\n\
         management.tcp.port = {management}\n\
         management.ssl.ip = 127.0.0.1\n\
         management.ssl.port = {management_tls}\n\
         management.ssl.cacertfile = {ca}\n\
         management.ssl.certfile = {cert}\n\
         management.ssl.keyfile = {key}\n\
         collect_statistics_interval = 200\n\
         disk_free_limit.absolute = 1MB\n"
    );
    write("rabbitmq.conf", &settings);
    write("plugins", "[rabbitmq_management].\n");
}
