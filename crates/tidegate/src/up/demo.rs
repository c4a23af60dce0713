//! Without files: three stand-in models, and a trace played at them.

use std::sync::Arc;

use anyhow::{Context, Result};
use tidegate_dashboard::model::Severity;
use tidegate_load::schedule::Arrivals;
use tidegate_load::{Mix, Options, Plan, Schedule};
use tidegate_manifest::Source;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::show::Notes;
use crate::output;

/// The manifests, also a good first thing to read.
const FLEET: &str = include_str!("../../demo/fleet.yaml");

/// Stand-in GPUs of the demo: steady may have four, grand two of two, and then swift has none to spare.
pub(crate) const GPUS: u32 = 8;

/// What asks the model that idles at zero: nobody for a while, then a few people at once, and again.
const VISITS: &str = "0s:0rps 5s:0rps 6s:2rps 20s:4rps 21s:0rps 60s:0rps";

/// The demo is the same each time.
const SEED: u64 = 7;

/// The speed that stands in the files.
const SPEED_WRITTEN: &str = "--speed 3 ";

/// The demo's files, with engines as fast as the trace is played.
pub(crate) fn sources(speed: f64) -> Vec<Source> {
    let fleet = FLEET.replace(SPEED_WRITTEN, &format!("--speed {speed} "));
    vec![Source::new("demo/fleet.yaml", fleet.into_bytes())]
}

/// Plays the trace over and over until stopped: most of it at the warm model and the large one, and
/// visits now and then at the one that idles at zero.
pub(crate) async fn play(
    gateway: String,
    speed: f64,
    stop: CancellationToken,
    clock: Clock,
    notes: Arc<Notes>,
) {
    let both = async {
        tokio::try_join!(trace(&gateway, speed, &stop), visits(&gateway, &stop))?;
        anyhow::Ok(())
    };
    if let Err(error) = both.await {
        let text = format!("The demo's load ended: {error:#}");
        output::complain(&text);
        let at_unix_s = clock.unix_s();
        notes.add(at_unix_s, Severity::Error, text);
    }
}

async fn trace(gateway: &str, speed: f64, stop: &CancellationToken) -> Result<()> {
    let trace = tidegate_sim::trace::demo_trace().context("the demo's trace does not read")?;
    let mut mix = Mix::of("steady");
    mix.models.add("grand", 0.15);
    let mut options = Options::to(gateway)?;
    options.stop = stop.clone();
    let schedule = Schedule::from_trace(trace, speed, SEED, mix)?.repeated();
    tidegate_load::run(options, schedule, &mut ()).await?;
    Ok(())
}

async fn visits(gateway: &str, stop: &CancellationToken) -> Result<()> {
    let mut round = 0;
    while !stop.is_cancelled() {
        round += 1;
        let mut options = Options::to(gateway)?;
        options.stop = stop.clone();
        let schedule =
            Schedule::from_plan(Plan::parse(VISITS)?, Arrivals::Poisson, SEED + round, Mix::of("swift"));
        tidegate_load::run(options, schedule, &mut ()).await?;
    }
    Ok(())
}
