//! Kafka's own broker, one node that is its own controller, and Kafka's own client to fill it.
//!
//! Its jars come from Maven Central by `cargo xtask setup`. `Driver.java` is compiled by `java` as it
//! starts; so that the readers are tested against offsets that another client made.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::certificates::Certificates;
use super::process::{Process, listens};
use crate::ports::free_port;

const INSTALL: &str = "apt-get install -y openjdk-17-jdk-headless maven, then cargo xtask setup";

const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// A JVM for a test: small, and quick to start rather than quick in the long run.
const JVM: [&str; 3] = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

/// The user that PLAIN and SCRAM know.
pub const USER: &str = "reader";

/// Its password.
pub const PASSWORD: &str = "hunter2";

/// A broker; it ends with this value.
#[derive(Debug)]
pub struct Kafka {
    process: Option<Process>,
    ports: Ports,
    /// Who signed the certificate of the ports with TLS.
    pub certificates: Certificates,
    directory: TempDir,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    plain: u16,
    sasl: u16,
    tls: u16,
    controller: u16,
}

impl Kafka {
    /// A broker that answers.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the broker");
        let certificates = Certificates::new();
        let ports =
            Ports { plain: free_port(), sasl: free_port(), tls: free_port(), controller: free_port() };
        let settings = directory.path().join("server.properties");
        fs::write(&settings, configuration(directory.path(), ports, &certificates))
            .expect("it can be written");
        format(&settings);
        let mut kafka = Kafka { process: None, ports, certificates, directory };
        kafka.start_again().await;
        kafka
    }

    /// Starts it after [`Kafka::kill`], with the data it had.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start_again(&mut self) {
        let mut command = java(&["-Xms64m"]);
        command.arg("kafka.Kafka").arg(self.directory.path().join("server.properties"));
        let mut process = Process::start("kafka", command, self.directory.path(), INSTALL);
        let ports = [self.ports.plain, self.ports.sasl, self.ports.tls].map(loopback);
        process
            .ready(async || listens(ports[0]).await && listens(ports[1]).await && listens(ports[2]).await)
            .await;
        self.process = Some(process);
    }

    /// Kills it, as a machine that fails does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Anybody may come, without TLS.
    #[must_use]
    pub fn plain(&self) -> SocketAddr {
        loopback(self.ports.plain)
    }

    /// [`USER`] may come by PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512, without TLS.
    #[must_use]
    pub fn sasl(&self) -> SocketAddr {
        loopback(self.ports.sasl)
    }

    /// Who shows a certificate of the same authority may come.
    #[must_use]
    pub fn tls(&self) -> SocketAddr {
        loopback(self.ports.tls)
    }

    /// Kafka's own client, connected.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn driver(&self) -> Driver {
        Driver::start(self.plain())
    }
}

/// Kafka's own client as a process; it ends with this value.
#[derive(Debug)]
pub struct Driver {
    child: Child,
}

impl Driver {
    fn start(broker: SocketAddr) -> Self {
        let mut command = java(&[]);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/brokers/kafka/Driver.java"));
        command.arg(broker.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver =
            Driver { child: command.spawn().unwrap_or_else(|error| panic!("java: {error}; {INSTALL}")) };
        assert_eq!(driver.answer(), "ok", "the client starts; {INSTALL}");
        driver
    }

    /// Makes a topic.
    pub fn create(&mut self, topic: &str, partitions: u32) {
        self.tell(&format!("create {topic} {partitions}"));
    }

    /// Appends messages to a partition.
    pub fn produce(&mut self, topic: &str, partition: u32, messages: u32) {
        self.tell(&format!("produce {topic} {partition} {messages}"));
    }

    /// Commits an offset for a group.
    pub fn commit(&mut self, group: &str, topic: &str, partition: u32, offset: u64) {
        self.tell(&format!("commit {group} {topic} {partition} {offset}"));
    }

    fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("it was piped");
        writeln!(input, "{line}").expect("the client runs");
        assert_eq!(self.answer(), "ok", "{line}");
    }

    /// One line. The client says nothing unasked, so nothing is lost with the buffer.
    fn answer(&mut self) -> String {
        let mut line = String::new();
        let output = self.child.stdout.as_mut().expect("it was piped");
        BufReader::new(output).read_line(&mut line).expect("the client runs");
        line.trim().to_owned()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn jars() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/kafka/lib")
}

fn java(more: &[&str]) -> Command {
    let jars = jars();
    assert!(jars.is_dir(), "Kafka is not in target/tools/kafka; {INSTALL}");
    let mut command = Command::new("java");
    command.args(JVM).args(more).arg("-cp").arg(jars.join("*"));
    command
}

/// Prepares the broker's directory, with the user's SCRAM credentials.
fn format(settings: &Path) {
    let mut command = java(&[]);
    command.args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER, "--config"]).arg(settings);
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        command.args(["--add-scram", &format!("{mechanism}=[name=\"{USER}\",password=\"{PASSWORD}\"]")]);
    }
    let output = command.output().unwrap_or_else(|error| panic!("java: {error}; {INSTALL}"));
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{}{}", said[0], said[1]);
}

fn configuration(directory: &Path, ports: Ports, certificates: &Certificates) -> String {
    let Ports { plain, sasl, tls, controller } = ports;
    let data = directory.join("data");
    // A PEM text in one line of properties.
    let one_line = |pem: &str| pem.trim().replace('\n', "\\n");
    let chain = one_line(&certificates.cert_pem);
    let key = one_line(&certificates.key_pem);
    let ca = one_line(&certificates.ca_pem);
    let jaas = "org.apache.kafka.common.security";
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},SSL://127.0.0.1:{tls},\
         CONTROLLER://127.0.0.1:{controller}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,\
         CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\n\
         log.dirs={data}\n\
         num.partitions=1\n\
         auto.create.topics.enable=true\n\
         offsets.topic.num.partitions=1\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
         listener.name.sasl_plaintext.plain.sasl.jaas.config={jaas}.plain.PlainLoginModule required \
         user_{USER}=\"{PASSWORD}\";\n\
         listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config={jaas}.scram.ScramLoginModule required;\n\
         listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config={jaas}.scram.ScramLoginModule required;\n\
         ssl.client.auth=required\n\
         ssl.keystore.type=PEM\n\
         ssl.keystore.certificate.chain={chain}\n\
         ssl.keystore.key={key}\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.certificates={ca}\n",
        data = data.display(),
    )
}
