//! What a DCGM exporter says of this machine's GPUs: for the pages and the doctor, never for a count.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Uri;
use tidegate_dashboard::model::{GpuView, Severity};
use tidegate_metrics::exposition::Format;
use tidegate_metrics::gpu::{self, Gpu, Identity};
use tidegate_signals::http::{Answer, Client};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::show::Notes;
use crate::output;

/// The exporter itself looks each 30 s by default; each 5 s nothing new is missed for long.
const PERIOD: Duration = Duration::from_secs(5);
/// A page of eight GPUs is 20 KB.
const WITHIN: Duration = Duration::from_secs(2);
/// Looks in vain before what was seen no longer counts: the third begins 10 s after the first.
const IN_VAIN_MAX: u32 = 3;

/// What the exporter said last.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    seen: Mutex<BTreeMap<Identity, Gpu>>,
}

impl Devices {
    /// Asks the exporter at `url` from now on, until `stop`.
    pub(crate) fn watch(url: Uri, stop: CancellationToken, clock: Clock, notes: Arc<Notes>) -> Arc<Devices> {
        let devices = Arc::new(Devices::default());
        let told = Arc::clone(&devices);
        let asked = async move {
            let client = Client::default();
            let mut interval = tokio::time::interval(PERIOD);
            let mut in_vain = 0;
            loop {
                interval.tick().await;
                let page = client.get(&url, None, WITHIN).await.map_err(|error| error.to_string());
                let read = page.and_then(|answer| read(&url, &answer));
                match read {
                    Ok(gpus) => {
                        *told.seen() = gpus;
                        if in_vain >= IN_VAIN_MAX {
                            output::note(&format!("the GPU exporter at {url} answers again"));
                        }
                        in_vain = 0;
                    }
                    Err(why) => {
                        in_vain += 1;
                        if in_vain == IN_VAIN_MAX {
                            // What is old must not look like what is.
                            told.seen().clear();
                            let line = format!("nothing is known of the GPUs: {why}");
                            output::complain(&line);
                            notes.add(clock.now().as_secs_f64(), Severity::Warning, line);
                        }
                    }
                }
            }
        };
        tokio::spawn(async move { stop.run_until_cancelled(asked).await });
        devices
    }

    /// Fills in what is known of a device: by its own name or, where that is not known, by its number.
    pub(crate) fn fill(&self, view: &mut GpuView, uuid: &str) {
        let seen = self.seen();
        let its = |(name, _): &(&Identity, &Gpu), gpu: &Gpu| {
            if uuid.is_empty() { gpu.index == Some(view.index) } else { name.0 == uuid }
        };
        let parts: Vec<(&Identity, &Gpu)> = seen.iter().filter(|pair| its(pair, pair.1)).collect();
        // Under MIG the memory stands at the slices, and the whole device may have a line of its own.
        let whole = parts.iter().find(|((_, slice), _)| slice.is_none()).map(|(_, gpu)| *gpu);
        let slices = || parts.iter().filter(|((_, slice), _)| slice.is_some()).map(|(_, gpu)| *gpu);
        let sum = |of: fn(&Gpu) -> Option<f64>| {
            whole.and_then(of).or_else(|| slices().filter_map(of).reduce(|a, b| a + b))
        };
        let (used, free) = (sum(|gpu| gpu.used_mib), sum(|gpu| gpu.free_mib));
        if let Some(used) = used {
            view.used_mib = Some(used as u64);
            view.memory_mib = view.memory_mib.or(free.map(|free| (used + free) as u64));
        }
        let busy = |gpu: &Gpu| gpu.active.or(gpu.utilisation);
        view.active = whole.and_then(busy).or_else(|| slices().filter_map(busy).reduce(f64::max));
        view.last_xid = parts.iter().find_map(|(_, gpu)| gpu.last_xid);
        view.slices = parts
            .iter()
            .filter_map(|((_, slice), _)| slice.as_ref())
            .map(|slice| format!("{}/{}", slice.profile, slice.id))
            .collect();
        if view.name.is_empty()
            && let Some((_, gpu)) = parts.first()
        {
            view.name.clone_from(&gpu.model);
        }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<Identity, Gpu>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(url: &Uri, answer: &Answer) -> Result<BTreeMap<Identity, Gpu>, String> {
    let page = std::str::from_utf8(&answer.body).map_err(|_| format!("{url} answers no text"))?;
    match gpu::read(page, Format::of_content_type(&answer.content_type)) {
        Ok(gpus) if gpus.is_empty() => Err(format!("{url} has no DCGM_FI_DEV_… of any GPU")),
        Ok(gpus) => Ok(gpus),
        Err(error) => Err(format!("{url}: {error}")),
    }
}
