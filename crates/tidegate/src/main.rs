//! `tidegate`: the binary. Arguments, files, output; every decision is made elsewhere.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod files;
mod output;

use std::process::ExitCode;

use clap::Parser;

/// Ends with 0 when all is well, 1 when something was found or refused, 2 for wrong usage.
fn main() -> ExitCode {
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
