//! NATS with JetStream: one server, or a cluster whose servers share their ports on addresses of loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::process::{Process, http};
use crate::ports::free_port_of;

const INSTALL: &str = "apt-get install -y nats-server";

/// A server or a cluster; it ends with this value.
#[derive(Debug)]
pub struct Nats {
    nodes: Vec<Node>,
    /// Clients', monitoring and cluster port, the same on every address.
    ports: [u16; 3],
    directory: TempDir,
}

#[derive(Debug)]
struct Node {
    address: Ipv4Addr,
    name: String,
    process: Option<Process>,
}

impl Nats {
    /// One server that answers.
    pub async fn start() -> Self {
        Nats::cluster(1).await
    }

    /// This many servers that have a leader. Their streams have as many copies as they say.
    ///
    /// # Panics
    /// When they cannot be started.
    pub async fn cluster(size: u8) -> Self {
        let addresses: Vec<_> = (1..=size).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect();
        let all: Vec<IpAddr> = addresses.iter().copied().map(IpAddr::from).collect();
        let mut ports = [0; 3];
        while ports[0] == ports[1] || ports[1] == ports[2] || ports[0] == ports[2] {
            ports = [0; 3].map(|_: u16| free_port_of(&all));
        }
        let nodes = addresses.iter().zip(1..).map(|(address, number)| Node {
            address: *address,
            name: format!("n{number}"),
            process: None,
        });
        let directory = tempfile::tempdir().expect("a directory for the server");
        let mut nats = Nats { nodes: nodes.collect(), ports, directory };
        nats.start_again().await;
        nats
    }

    /// Starts whatever has been killed, and waits until all answer.
    ///
    /// # Panics
    /// When a server cannot be started.
    pub async fn start_again(&mut self) {
        let [port, monitoring, cluster] = self.ports.map(|port| port.to_string());
        let routes: Vec<_> =
            self.nodes.iter().map(|node| format!("nats-route://{}:{cluster}", node.address)).collect();
        let whole = self.nodes.len() > 1;
        for node in self.nodes.iter_mut().filter(|node| node.process.is_none()) {
            let mut command = Command::new("nats-server");
            let address = node.address.to_string();
            let store = self.directory.path().join(&node.name);
            command.args(["-a", &address, "-p", &port, "-m", &monitoring, "-n", &node.name, "-js", "-sd"]);
            command.arg(store);
            if whole {
                let own = format!("nats://{address}:{cluster}");
                command.args(["--cluster_name", "c", "--cluster", &own, "--routes", &routes.join(",")]);
            }
            node.process = Some(Process::start("nats-server", command, self.directory.path(), INSTALL));
        }
        let monitoring = self.ports[1];
        for node in &mut self.nodes {
            let address = SocketAddr::from((node.address, monitoring));
            let Some(process) = &mut node.process else { continue };
            // A cluster is there when its servers have agreed on a leader.
            process
                .ready(async || match http(address, "GET", "/jsz", "", "").await {
                    Some((200, body)) => !whole || body.contains("\"leader\": \""),
                    _ => false,
                })
                .await;
        }
    }

    /// The monitoring port of the first server, or of another by number.
    #[must_use]
    pub fn monitoring(&self, node: usize) -> SocketAddr {
        (self.nodes[node].address, self.ports[1]).into()
    }

    /// The name of a server.
    #[must_use]
    pub fn name(&self, node: usize) -> &str {
        &self.nodes[node].name
    }

    /// Kills one server.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].process = None;
    }

    /// Asks JetStream's API, as `nats` on the command line does, and gives its answer.
    ///
    /// # Panics
    /// When the first server does not answer, or says no.
    pub async fn api(&self, subject: &str, body: &str) -> String {
        let answer = self.request(&format!("$JS.API.{subject}"), body).await;
        assert!(!answer.contains("\"error\""), "{subject}: {answer}");
        answer
    }

    /// Stores messages.
    ///
    /// # Panics
    /// When the server does not take them.
    pub async fn publish(&self, subject: &str, messages: usize) {
        for _ in 0..messages {
            let answer = self.request(subject, "m").await;
            assert!(answer.contains("\"seq\""), "{answer}");
        }
    }

    /// Takes messages of a pull consumer without acknowledging them.
    ///
    /// # Panics
    /// When there is none.
    pub async fn take(&self, stream: &str, consumer: &str) {
        self.request(&format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"), "1").await;
    }

    async fn request(&self, subject: &str, body: &str) -> String {
        let address = SocketAddr::from((self.nodes[0].address, self.ports[0]));
        let stream = TcpStream::connect(address).await.expect("the server runs");
        let mut stream = BufReader::new(stream);
        let (bytes, connect) = (body.len(), r#"CONNECT {"verbose":false}"#);
        let text = format!("{connect}\r\nSUB answer 1\r\nPUB {subject} answer {bytes}\r\n{body}\r\n");
        stream.write_all(text.as_bytes()).await.expect("the server reads");
        loop {
            let mut line = String::new();
            let read = stream.read_line(&mut line).await.expect("the server answers");
            assert!(read > 0, "the server closed the connection instead of answering {subject}");
            // MSG <subject> <sid> [reply] <bytes>
            if let Some(head) = line.strip_prefix("MSG ") {
                let bytes: usize =
                    head.trim().rsplit(' ').next().expect("a length").parse().expect("a number");
                let mut body = vec![0; bytes];
                stream.read_exact(&mut body).await.expect("the whole message");
                return String::from_utf8(body).expect("text");
            }
            assert!(!line.starts_with("-ERR"), "{line}");
        }
    }
}
