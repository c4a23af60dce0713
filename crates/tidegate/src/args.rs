//! The command line: the contract users and later work rely on.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Keeps exactly enough GPUs behind a language model.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Decide from observations: JSON lines in, explained decisions out.
    Decide(Decide),
    /// Find the mistakes in manifests, each with its place, its reason and its fix.
    Lint(Lint),
    /// Run a journal again: the same actions, or the first difference.
    Replay(Replay),
    /// Print the CustomResourceDefinitions of the kinds Tidegate reads.
    Crds,
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Reads ScaledObjects, ScaledJobs and HorizontalPodAutoscalers, then one JSON object a line:
///
///   {"t": 0, "replicas": {"spec": 1, "ready": 1}, "signals": {"s0-prometheus": 25}}
///
/// and prints one decision a line. Bad lines are reported with their number and do not stop the others.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Decide {
    /// Manifests: files or directories.
    #[arg(short, long = "file", value_name = "FILE|DIR", required = true)]
    pub(crate) file: Vec<PathBuf>,
    /// Observations, one JSON object a line; `-` reads standard input.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) observations: PathBuf,
    /// Write a journal of the run, in segments, into this directory; it must be empty or absent.
    #[arg(long, value_name = "DIR")]
    pub(crate) journal: Option<PathBuf>,
    /// How to print decisions.
    #[arg(long, value_enum, default_value_t = TextOrJson::Json)]
    pub(crate) format: TextOrJson,
}

#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// Manifests: files or directories.
    #[arg(value_name = "PATH", required_unless_present = "explain")]
    pub(crate) paths: Vec<PathBuf>,
    /// How to print findings.
    #[arg(long, value_enum, default_value_t = LintFormat::Text)]
    pub(crate) format: LintFormat,
    /// Print the page of a code instead, such as TG101; `all` lists every code.
    #[arg(long, value_name = "CODE", conflicts_with = "paths")]
    pub(crate) explain: Option<String>,
    /// Also end with 1 for these findings.
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub(crate) deny: Option<Deny>,
    /// Colour, where the terminal has it.
    #[arg(long, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(crate) color: Colour,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// A journal: a segment, or the directory that holds them.
    pub(crate) journal: PathBuf,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub(crate) format: TextOrJson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextOrJson {
    /// For people.
    Text,
    /// For machines.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LintFormat {
    /// The lines with a caret, for people.
    Text,
    /// An array of findings.
    Json,
    /// SARIF 2.1.0, for code hosts.
    Sarif,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Deny {
    /// Warnings count as errors.
    Warnings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// When standard output is a terminal and NO_COLOR is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
