//! A supervisor by itself, for the tests of this crate: what `tidegate` does with its own subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_local::supervisor::main(std::env::args_os().skip(1))
}
