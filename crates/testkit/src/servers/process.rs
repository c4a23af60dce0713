//! A server as a process: started as a user it accepts, awaited by its log, ended with its directory.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Generous: a server that needs longer does not start at all.
pub(super) const START_MAX: Duration = Duration::from_secs(300);

/// `nobody`, everywhere. Database servers refuse to run as root, and CI often is.
const NOBODY: u32 = 65_534;

fn root() -> bool {
    rustix::process::getuid().is_root()
}

/// Gives a directory to the user that [`command`] runs programs as.
pub(super) fn hand_over(directory: &Path) {
    if root() {
        chown(directory, Some(NOBODY), Some(NOBODY)).expect("root may give a directory away");
    }
}

/// A program, as a user that servers accept.
pub(super) fn command(program: &Path) -> Command {
    if !root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()]);
    command.arg(program);
    command
}

/// Runs a program to its end.
pub(super) fn run(command: &mut Command, install: &str) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; {install}"));
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{command:?}: {}\n{}", said[0], said[1]);
}

/// A server that runs.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    stop: Signal,
}

impl Server {
    /// Starts it and waits until its log says `ready`. `None` when it ends before that.
    pub(super) fn start(
        command: &mut Command,
        ready: &'static str,
        stop: Signal,
        install: &str,
    ) -> Option<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; {install}"));
        let log = child.stderr.take().expect("it was piped");
        let server = Server { child, stop };
        let (told, heard) = mpsc::channel();
        // Reads on to the end, or the server would block on a full pipe.
        thread::spawn(move || {
            let mut told = Some(told);
            let mut said = String::new();
            let mut lines = BufReader::new(log);
            while lines.by_ref().take(1 << 16).read_line(&mut said).is_ok_and(|bytes| bytes > 0) {
                if said.contains(ready)
                    && let Some(told) = told.take()
                {
                    let _ = told.send(());
                }
                said.clear();
            }
        });
        heard.recv_timeout(START_MAX).ok().map(|()| server)
    }

    /// Ends it at once, as a crash does.
    pub(super) fn kill(mut self) {
        self.child.kill().expect("it is ours");
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, self.stop);
            }
            let _ = self.child.wait();
        }
    }
}

/// One server for all tests that need no other and run at the same time; it ends with the last of them.
pub(super) fn shared<S>(one: &Mutex<Weak<S>>, start: fn() -> S) -> Arc<S> {
    // A test that failed to start it has said why.
    let mut one = one.lock().unwrap_or_else(PoisonError::into_inner);
    one.upgrade().unwrap_or_else(|| {
        let server = Arc::new(start());
        *one = Arc::downgrade(&server);
        server
    })
}

/// Tries until it works: what a crash leaves behind is gone a moment later.
pub(super) fn again(mut start: impl FnMut() -> Option<Server>, what: &str) -> Server {
    let begin = Instant::now();
    loop {
        if let Some(server) = start() {
            return server;
        }
        assert!(begin.elapsed() < START_MAX, "{what} does not start");
        thread::yield_now();
    }
}
