//! `--from-journal`: what really happened in the place of a trace.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use tidegate_report::number::{count, seconds};
use tidegate_sim::Profile;
use tidegate_sim::fleet::Setup;
use tidegate_sim::recorded::{Recorded, Totals};
use tidegate_sim::trace::{Error, TraceRequest};

use super::What;
use crate::journals;

/// A journal is read once for all runs of a command.
pub(crate) type Kept = Arc<OnceLock<Arc<Past>>>;

/// A journal, and the requests made of it.
#[derive(Debug)]
pub(crate) struct Past {
    recorded: Recorded,
    requests: Vec<TraceRequest>,
}

/// The journal of the arguments, where they name one.
pub(super) fn of(what: &What, profile: &Profile) -> Result<Option<Arc<Past>>> {
    let Some(path) = &what.from_journal else { return Ok(None) };
    if let Some(past) = what.past.get() {
        return Ok(Some(Arc::clone(past)));
    }
    let name = || format!("cannot read the journal {}", path.display());
    let inside = path.join("journal");
    let segments: Vec<PathBuf> = match (path.is_dir(), inside.is_dir()) {
        (false, _) => vec![path.clone()],
        (true, true) => journals::list(&inside)?,
        (true, false) => journals::list(path)?,
    };
    let mut chain: Box<dyn Read> = Box::new(io::empty());
    for segment in &segments {
        chain = Box::new(chain.chain(File::open(segment).with_context(name)?));
    }
    let recorded = Recorded::read(BufReader::new(chain), what.target.as_deref()).with_context(name)?;
    let requests = recorded.requests(profile);
    let past = Arc::new(Past { recorded, requests });
    Ok(Some(Arc::clone(what.past.get_or_init(|| past))))
}

/// What the recorded policy did, where there is a journal.
pub(crate) fn totals(what: &What, profile: &Profile) -> Result<Option<Totals>> {
    Ok(of(what, profile)?.map(|past| past.recorded.totals()))
}

/// The same in a line.
pub(crate) fn line(totals: &Totals, gpus: u32) -> String {
    let starts = match totals.start_p50_s {
        Some(start_s) => format!("{} starts of {}", totals.starts, seconds(start_s)),
        None => "no start measured".to_owned(),
    };
    format!(
        "recorded: {} GPU hours in {}, at most {} replicas, {} changes, {starts}",
        count(totals.replica_hours * f64::from(gpus)),
        seconds(totals.span_s),
        totals.replicas_max,
        totals.scale_actions
    )
}

impl Past {
    /// Replicas at the beginning, and starts as measured.
    pub(super) fn apply(&self, setup: &mut Setup) {
        setup.initial = self.recorded.initial().min(setup.max);
        if let Some(start_s) = self.recorded.start_s() {
            setup.start = setup.start.scaled_to(start_s);
        }
        if let Some(spread) = self.recorded.start_spread() {
            setup.start_spread = spread;
        }
    }

    /// The requests in order.
    pub(super) fn requests(self: Arc<Self>) -> impl Iterator<Item = Result<TraceRequest, Error>> {
        (0..self.requests.len()).map(move |place| Ok(self.requests[place].clone()))
    }
}
