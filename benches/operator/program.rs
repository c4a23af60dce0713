//! The operator's process: built, started, looked at, ended.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

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

/// An operator or a gateway at work; it ends when this is dropped.
pub(super) struct Program {
    child: Child,
    admin: String,
    /// Where it listens for what it is for: demand or requests; nowhere if it is not told to.
    pub(super) addr: String,
}

/// The options of a client of the stand-in API server.
pub(super) fn kubeconfig(server: &str, directory: &Path) -> Outcome<PathBuf> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": format!("http://{server}")}}],
        "users": [{"name": "bench", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench", "namespace": "tidegate"}}],
    });
    let file = directory.join("kubeconfig");
    fs::write(&file, config.to_string())?;
    Ok(file)
}

impl Program {
    /// An operator.
    pub(super) fn operator(program: &Path, kubeconfig: &Path, more: &[&str]) -> Outcome<Program> {
        let mut command = Command::new(program);
        command.args(["operator", "--namespace", "tidegate", "--kubeconfig"]).arg(kubeconfig).args(more);
        Program::start(command, more.contains(&"--demand-addr"))
    }

    /// A program that says on its first lines where it listens: its dashboard, and what else it `serves`.
    pub(super) fn start(mut command: Command, serves: bool) -> Outcome<Program> {
        command.args(["--admin-addr", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let mut program = Program { child, admin: String::new(), addr: String::new() };
        while program.admin.is_empty() || (serves && program.addr.is_empty()) {
            let line = lines.next().ok_or("it ended before it listened")??;
            let (what, addr) = line.split_once(' ').ok_or("a line without an address")?;
            let addr = addr.trim_start_matches("http://").trim_end_matches('/').to_owned();
            *if what == "dashboard" { &mut program.admin } else { &mut program.addr } = addr;
        }
        Ok(program)
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

    /// CPU time so far, in seconds.
    pub(super) fn cpu_s(&self) -> Outcome<f64> {
        cpu_s(self.child.id())
    }

    /// Waits until a series without labels has at least this value.
    pub(super) fn until(&self, name: &str, value: f64, patience_s: u64) -> Outcome<()> {
        let begin = Instant::now();
        while self.metric(name).unwrap_or(0.0) < value {
            if begin.elapsed().as_secs() >= patience_s {
                return Err(format!("{name} was below {value} for {patience_s} s").into());
            }
            pause(250);
        }
        Ok(())
    }

    /// Waits until so many objects were decided.
    pub(super) fn decided(&self, objects: u32, patience_s: u64) -> Outcome<()> {
        let begin = Instant::now();
        let lines = |text: &str| text.lines().filter(|line| line.starts_with("keda_scaler_active{")).count();
        while lines(&self.metrics()?) < objects as usize {
            if begin.elapsed().as_secs() >= patience_s {
                return Err(format!("not everything was decided in {patience_s} s").into());
            }
            // A text of some megabytes, to be made and read.
            pause(if objects > 1000 { 1000 } else { 100 });
        }
        Ok(())
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

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of a process so far, in seconds: 100 ticks are one, as everywhere on Linux.
pub(super) fn cpu_s(process: u32) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let of = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).ok_or("no such field");
    Ok((of(11)? + of(12)?) / 100.0)
}

/// Waits without sleeping on a condition that another process makes true.
pub(super) fn pause(ms: u64) {
    std::thread::park_timeout(std::time::Duration::from_millis(ms));
}

/// The middle, and the highest.
pub(super) fn spread(mut all: Vec<f64>) -> (f64, f64) {
    all.sort_by(f64::total_cmp);
    let at = |part: f64| all.get(((all.len() as f64 - 1.0) * part) as usize).copied().unwrap_or(f64::NAN);
    (at(0.5), at(1.0))
}
