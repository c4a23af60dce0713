//! A Prometheus of the test's own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) struct Prometheus {
    child: Child,
    directory: TempDir,
    address: Option<SocketAddr>,
}

impl Prometheus {
    /// Scrapes `targets` each second, and sends every sample to `receiver`.
    pub(crate) fn start(targets: &[(&str, SocketAddr)], receiver: SocketAddr) -> Prometheus {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = String::from("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n");
        for (pod, addr) in targets {
            let workload = pod.split('-').next().unwrap_or_default();
            config.push_str(&format!(
                "- job_name: {workload}\n  static_configs:\n  - targets: [\"{addr}\"]\n    labels: {{pod: {pod}, \
                 namespace: llm, deployment: {workload}}}\n"
            ));
        }
        config.push_str(&format!(
            "remote_write:\n- url: http://{receiver}/api/v1/write\n  queue_config: {{batch_send_deadline: 200ms, \
             max_samples_per_send: 1000}}\n  metadata_config: {{send: true}}\n"
        ));
        fs::write(directory.path().join("prometheus.yml"), config).expect("a file");
        let log = File::create(directory.path().join("log")).expect("a file");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", directory.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.level=info"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("prometheus does not start: {error}; install it: apt-get install -y --no-install-recommends prometheus")
            });
        Prometheus { child, directory, address: None }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Where it listens: the system chose the port, the log says which.
    pub(crate) fn address(&mut self) -> SocketAddr {
        let begin = Instant::now();
        while self.address.is_none() {
            let log = self.log();
            let listening = log.lines().find(|line| line.contains("Listening on"));
            let address = listening.and_then(|line| line.split("address=").nth(1));
            self.address =
                address.and_then(|text| text.split_whitespace().next()?.trim_matches('"').parse().ok());
            assert!(begin.elapsed() < Duration::from_secs(60), "it does not listen:\n{log}");
            thread::yield_now();
        }
        self.address.expect("found")
    }

    /// Ends it.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.end();
    }
}
