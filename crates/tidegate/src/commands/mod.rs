//! One module a command.

mod admin;
pub(crate) mod compare;
mod decide;
pub(crate) mod doctor;
pub(crate) mod engine;
pub(crate) mod gateway;
mod lint;
pub(crate) mod load;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod operator;
mod replay;
pub(crate) mod simulate;
mod tls;
pub(crate) mod top;
pub(crate) mod tune;
pub(crate) mod why;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;

use crate::args::{Cli, Command};

/// Runs a command to its exit code.
pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Up(args) => crate::up::run(&args),
        Command::Operator(args) => operator::run(&args),
        Command::Gateway(args) => gateway::run(&args),
        Command::Adopt(args) => migrate::adopt(&args),
        Command::Release(args) => migrate::release(&args),
        Command::Engine(args) => engine::run(args),
        Command::Load(args) => load::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Decide(args) => decide::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Lint(args) => lint::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Crds => {
            io::stdout().lock().write_all(tidegate_manifest::crd::yaml().as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut text);
            io::stdout().lock().write_all(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man(args) => man::run(&args),
    }
}
