//! `tidegate`: the binary. Arguments, files, output; every decision is made elsewhere.
#![forbid(unsafe_code)]

mod args;
mod commands;
#[cfg(test)]
mod documented;
mod files;
mod front;
mod journals;
mod output;
mod signals;
mod up;

use std::process::ExitCode;

use clap::Parser;

/// How `up` calls this program as the keeper of one replica; nobody else does.
const SUPERVISE: &str = "__supervise";

/// Ends with 0 when all is well, 1 when something was found or refused, 2 for wrong usage.
fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == SUPERVISE) {
        return tidegate_local::supervisor::main(std::env::args_os().skip(2));
    }
    let cli = args::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("{error:#}"));
            ExitCode::from(1)
        }
    }
}
