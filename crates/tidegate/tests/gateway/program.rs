//! One of our own processes, ended with the test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// A running `tidegate COMMAND`.
pub(crate) struct Program {
    child: Child,
    talk: Arc<Mutex<String>>,
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> (Program, BufReader<std::process::ChildStdout>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let talk = Arc::new(Mutex::new(String::new()));
        let mut errors = child.stderr.take().expect("a pipe");
        let kept = Arc::clone(&talk);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = errors.read(&mut buffer) {
                kept.lock().expect("a lock").push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        (Program { child, talk }, out)
    }

    /// Starts it, and reads where it listens: the words after these, one a line.
    pub(crate) fn listening<const N: usize>(arguments: &[&str], words: [&str; N]) -> (Program, [String; N]) {
        let (program, mut out) = Program::start(arguments);
        let mut found = [const { String::new() }; N];
        while found.iter().any(String::is_empty) {
            let mut line = String::new();
            let read = out.read_line(&mut line).expect("a line");
            assert!(read > 0, "it ended before it listened:\n{}", program.talk());
            for (word, place) in words.iter().zip(&mut found) {
                if let Some(rest) = line.trim().strip_prefix(word) {
                    *place = rest.trim().trim_end_matches('/').to_owned();
                }
            }
        }
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        (program, found)
    }

    /// What it said on standard error.
    pub(crate) fn talk(&self) -> String {
        self.talk.lock().expect("a lock").clone()
    }

    /// Asks it to end, and does not wait.
    pub(crate) fn terminate(&self) {
        signal(self.child.id(), "TERM");
    }

    /// Holds it still, or lets it go on.
    pub(crate) fn pause(&self, still: bool) {
        signal(self.child.id(), if still { "STOP" } else { "CONT" });
    }

    /// Waits until it has ended by itself; its exit code, if it has one.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let begin = std::time::Instant::now();
        while begin.elapsed() < std::time::Duration::from_secs(120) {
            if let Some(status) = self.child.try_wait().expect("a process") {
                return status.code();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("it does not end:\n{}", self.talk())
    }

    /// Ends it as nobody should.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a kill");
        self.child.wait().expect("an end");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // What it would still tell is of no use any more.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success());
}
