//! The program that starts the components: a line of JSON when they answer, commands in, answers out.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::{Error, Options};

/// A running cluster of ours.
#[derive(Debug)]
pub(super) struct Supervisor {
    child: Child,
    ready: Ready,
    /// Blocking pipes: they outlive the runtime of the test that started the cluster.
    pipes: Arc<Mutex<Pipes>>,
}

/// Where things are, as its first line says.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) kubeconfig: PathBuf,
    pub(super) directory: PathBuf,
    pub(super) audit: PathBuf,
}

#[derive(Debug)]
struct Pipes {
    /// None when it has been told to end.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    talk: ChildStderr,
}

impl Supervisor {
    pub(super) async fn start(program: &Path, options: Options) -> Result<Self, Error> {
        let mut command = Command::new(program);
        command.arg(format!("-gpu-nodes={}", options.gpu_nodes));
        command.arg(format!("-gpus={}", options.gpus_each));
        command.arg(format!("-bare={}", options.bare));
        if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
            command.arg("-assets").arg(assets);
        }
        let begin = move || {
            let mut child = spawn(&mut command)?;
            let pipes = Arc::new(Mutex::new(take_pipes(&mut child)?));
            let line = with(&pipes, Pipes::read)?;
            Ok(Self { child, ready: ready(&line)?, pipes })
        };
        blocking(begin).await
    }

    pub(super) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// One command and its answer.
    pub(super) async fn tell(&self, command: &str) -> Result<Value, Error> {
        let pipes = Arc::clone(&self.pipes);
        let command = command.to_owned();
        let ask = move || {
            let line = with(&pipes, |pipes| {
                pipes.write(&command)?;
                pipes.read()
            })?;
            let answer = json(&line)?;
            if answer["ok"] == true {
                return Ok(answer);
            }
            let said = answer["error"].as_str().unwrap_or("without a reason").to_owned();
            Err(Error::Refused { said })
        };
        blocking(ask).await
    }

    pub(super) async fn pids(&self) -> Result<BTreeMap<String, u32>, Error> {
        let answer = self.tell("status").await?;
        let mut pids = BTreeMap::from([("controlplane".to_owned(), self.child.id())]);
        for (name, status) in answer["components"].as_object().into_iter().flatten() {
            let pid = status["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            pids.extend(pid.map(|pid| (name.clone(), pid)));
        }
        Ok(pids)
    }
}

impl Drop for Supervisor {
    /// It ends with its stdin: it kills what it started and removes its directory. That takes milliseconds,
    /// or three seconds while it waits for a component that was told to stop.
    fn drop(&mut self) {
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner).commands = None;
        // Nobody is left to be told that there is nothing to wait for.
        let _ = self.child.wait();
    }
}

impl Pipes {
    fn write(&mut self, command: &str) -> Result<(), Error> {
        let Some(commands) = &mut self.commands else {
            return Err(Error::Refused { said: format!("{command}: the cluster is ending") });
        };
        writeln!(commands, "{command}").map_err(broken)
    }

    /// The next line. Where there is none it has ended, and what it said is the error.
    fn read(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        if self.answers.read_line(&mut line).map_err(broken)? > 0 {
            return Ok(line);
        }
        let mut said = String::new();
        self.talk.read_to_string(&mut said).map_err(broken)?;
        Err(Error::Start { said: said.trim().to_owned() })
    }
}

fn with<T>(pipes: &Mutex<Pipes>, what: impl FnOnce(&mut Pipes) -> T) -> T {
    what(&mut pipes.lock().unwrap_or_else(PoisonError::into_inner))
}

fn broken(source: std::io::Error) -> Error {
    Error::Io { what: "the test cluster".to_owned(), source }
}

fn spawn(command: &mut Command) -> Result<Child, Error> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(broken)
}

fn take_pipes(child: &mut Child) -> Result<Pipes, Error> {
    match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(commands), Some(answers), Some(talk)) => {
            Ok(Pipes { commands: Some(commands), answers: BufReader::new(answers), talk })
        }
        _ => Err(broken(std::io::ErrorKind::BrokenPipe.into())),
    }
}

fn json(line: &str) -> Result<Value, Error> {
    serde_json::from_str(line)
        .map_err(|source| Error::NotJson { what: "the test cluster".to_owned(), source })
}

fn ready(line: &str) -> Result<Ready, Error> {
    let said = json(line)?;
    let path = |name: &str| match said[name].as_str() {
        Some(path) => Ok(PathBuf::from(path)),
        None => Err(Error::Start { said: format!("it does not say its {name}: {line}") }),
    };
    Ok(Ready { kubeconfig: path("kubeconfig")?, directory: path("directory")?, audit: path("audit")? })
}

async fn blocking<T: Send + 'static>(
    what: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(what).await.map_err(|ended| broken(ended.into()))?
}
