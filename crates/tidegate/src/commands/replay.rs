//! `tidegate replay`: the same actions again, or the first difference.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tidegate_core::formula::Compiler;
use tidegate_journal::Replayed;
use tidegate_manifest::formula::ExprLang;

use crate::args::{Replay, TextOrJson};
use crate::{journals, output};

pub(crate) fn run(args: &Replay) -> Result<ExitCode> {
    let segments = segments(&args.journal)?;
    let compiler: Arc<dyn Compiler> = Arc::new(ExprLang);
    let mut chain: Box<dyn Read> = Box::new(io::empty());
    for path in &segments {
        let file = File::open(path).with_context(|| format!("cannot read the journal {}", path.display()))?;
        chain = Box::new(chain.chain(file));
    }
    match tidegate_journal::replay(BufReader::new(chain), &compiler) {
        Ok(done) if done.segments == 0 => bail!("{}: no journal in it", args.journal.display()),
        Ok(done) => {
            print(done, args.format)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            output::complain(&format!("{}: {error}", args.journal.display()));
            Ok(ExitCode::from(1))
        }
    }
}

fn segments(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let found = journals::list(path)?;
    if found.is_empty() {
        bail!("{}: no journal-*.jsonl in it", path.display());
    }
    Ok(found)
}

fn print(done: Replayed, format: TextOrJson) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let Replayed { segments, joins, events, actions, cut } = done;
    match format {
        TextOrJson::Json => {
            let value = serde_json::json!({
                "same": true, "segments": segments, "joins": joins, "events": events, "actions": actions, "cut": cut,
            });
            writeln!(out, "{value}")
        }
        TextOrJson::Text => {
            let tail = if cut { "; the last line was cut short and left out" } else { "" };
            writeln!(out, "same: {actions} actions from {events} events in {segments} segments{tail}")
        }
    }
}
