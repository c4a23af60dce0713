//! The operator's process: built, started, looked at, ended.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::Outcome;

/// The program, built; or the one that `--program` names.
pub(super) fn build() -> Outcome<PathBuf> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--program");
    if let Some(program) = arguments.nth(1) {
        return Ok(PathBuf::from(program));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built =
        Command::new(cargo).args(["build", "--release", "-p", "tidegate"]).current_dir(&root).status()?;
    if !built.success() {
        return Err("the program does not build".into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release/tidegate").canonicalize()?)
}

/// An operator at work; it ends when this is dropped.
pub(super) struct Operator {
    child: Child,
    admin: String,
    _directory: tempfile::TempDir,
}

impl Operator {
    /// One of the stand-in server.
    pub(super) fn start(program: &Path, server: &str) -> Outcome<Operator> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": format!("http://{server}")}}],
            "users": [{"name": "bench", "user": {}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench", "namespace": "tidegate"}}],
        });
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("kubeconfig");
        fs::write(&file, config.to_string())?;
        Operator::with(program, &file, directory)
    }

    pub(super) fn with(program: &Path, kubeconfig: &Path, directory: tempfile::TempDir) -> Outcome<Operator> {
        let mut command = Command::new(program);
        command.args(["operator", "--admin-addr", "127.0.0.1:0", "--namespace", "tidegate", "--kubeconfig"]);
        let mut child = command.arg(kubeconfig).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let admin = line.trim().rsplit("//").next().unwrap_or_default().trim_end_matches('/').to_owned();
        Ok(Operator { child, admin, _directory: directory })
    }

    /// Its metrics.
    pub(super) fn metrics(&self) -> Outcome<String> {
        let mut socket = TcpStream::connect(&self.admin)?;
        write!(socket, "GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.admin)?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        Ok(text)
    }

    /// A series without labels.
    pub(super) fn metric(&self, name: &str) -> Outcome<f64> {
        let text = self.metrics()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.ok_or_else(|| format!("no {name}"))?.trim().parse()?)
    }

    /// CPU time so far, in seconds: 100 ticks are one, as everywhere on Linux.
    pub(super) fn cpu_s(&self) -> Outcome<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let of =
            |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).ok_or("no such field");
        Ok((of(11)? + of(12)?) / 100.0)
    }

    /// Resident memory now and at its highest, in MiB.
    pub(super) fn memory_mib(&self) -> Outcome<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            kib.map(|kib| kib / 1024.0).ok_or_else(|| format!("no {name}"))
        };
        Ok((of("VmRSS:")?, of("VmHWM:")?))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits without sleeping on a condition that another process makes true.
pub(super) fn pause(ms: u64) {
    std::thread::park_timeout(std::time::Duration::from_millis(ms));
}

/// The middle, and the highest but one of a hundred.
pub(super) fn spread(mut all: Vec<f64>) -> (f64, f64) {
    all.sort_by(f64::total_cmp);
    let at = |part: f64| all.get(((all.len() as f64 - 1.0) * part) as usize).copied().unwrap_or(f64::NAN);
    (at(0.5), at(1.0))
}
