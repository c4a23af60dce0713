//! Between fork and exec: what must be set in the replica's own process, without `unsafe`.
//!
//! `Command::pre_exec` would do it in one process image less and is `unsafe`, so the supervisor starts
//! our own binary, which sets what is to be set and becomes the replica. This costs about a
//! millisecond.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{self, Pid, Signal};

/// `arguments`: the supervisor's process number, the program, its arguments. Standard input is a
/// socket on which failure is told; success closes it.
pub(super) fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let supervisor = arguments.next().and_then(|text| text.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let (Some(supervisor), Some(program)) = (supervisor, arguments.next()) else {
        return ExitCode::from(2);
    };
    match become_replica(supervisor, &program, arguments) {
        Ok(never) => match never {},
        Err((mut status, error)) => {
            let _ = status.as_mut().map(|status| write!(status, "{}", message(&program, &error)));
            ExitCode::from(127)
        }
    }
}

type Failure = (Option<File>, io::Error);

fn become_replica(
    supervisor: Pid,
    program: &OsString,
    arguments: impl Iterator<Item = OsString>,
) -> Result<std::convert::Infallible, Failure> {
    // From 3, so that the standard streams stay what they are; closed by a successful exec.
    let status = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3).map_err(|error| (None, error.into()))?;
    let status = File::from(status);
    let prepare = || -> io::Result<()> {
        process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if process::getppid() != Some(supervisor) {
            // It died before the kernel knew whom to tell.
            return Err(io::Error::other("the supervisor is gone"));
        }
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Ok(())
    };
    if let Err(error) = prepare() {
        return Err((Some(status), error));
    }
    let error = Command::new(program).args(arguments).exec();
    Err((Some(status), error))
}

fn message(program: &OsString, error: &io::Error) -> String {
    let program = program.to_string_lossy();
    match error.kind() {
        io::ErrorKind::NotFound if program.contains('/') => {
            format!("command not found: there is no {program}")
        }
        io::ErrorKind::NotFound => format!("command not found: {program} is not on PATH"),
        io::ErrorKind::PermissionDenied => format!("{program} may not be executed (permission denied)"),
        _ => format!("{program} could not be started: {error}"),
    }
}
