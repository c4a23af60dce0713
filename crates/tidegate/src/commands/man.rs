//! `tidegate man`: the pages of `man`, made of the same definitions as `--help`.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, CommandFactory};
use clap_mangen::Man;

use crate::args::Cli;

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The command whose page is printed; without it the program's own.
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
    /// Write the pages of the program and of every command into this directory instead; it is made where there is none.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &ManArgs) -> Result<ExitCode> {
    let mut program = Cli::command();
    if let Some(directory) = &args.output {
        let context = || format!("cannot write the pages into {}", directory.display());
        fs::create_dir_all(directory).with_context(context)?;
        clap_mangen::generate_to(program, directory).with_context(context)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Only then a command knows its whole name.
    program.build();
    let chosen = match &args.command {
        None => program,
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command.clone(),
            None => bail!("there is no command {name}; `tidegate --help` lists them"),
        },
    };
    let mut page = Vec::new();
    Man::new(chosen).render(&mut page)?;
    io::stdout().lock().write_all(&page)?;
    Ok(ExitCode::SUCCESS)
}
