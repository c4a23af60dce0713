//! The ledger of GPUs as a strip.

use maud::{Markup, html};

use super::parts::{hue, target_path};
use crate::model::{Fleet, GpuView};

pub(super) fn strip(fleet: &Fleet) -> Markup {
    let held = fleet.gpus.iter().filter(|gpu| gpu.holder.is_some()).count();
    html! {
        @if !fleet.gpus.is_empty() {
            section class="panel" aria-labelledby="gpus" {
                header class="panel-head" {
                    h2 id="gpus" { "GPUs" }
                    span class="aside" { (held) " of " (fleet.gpus.len()) " held" }
                }
                ul class="devices" { @for gpu in &fleet.gpus { (device(fleet, gpu)) } }
            }
        }
    }
}

fn device(fleet: &Fleet, gpu: &GpuView) -> Markup {
    let hue = gpu.target.as_deref().map(|target| hue(fleet, target)).unwrap_or_default();
    let free = if gpu.holder.is_some() { "" } else { "free" };
    html! {
        li class={ "device " (hue) " " (free) } {
            span class="device-index" { (gpu.index) }
            span class="device-holder" {
                @match (&gpu.target, &gpu.holder) {
                    (Some(target), Some(replica)) => {
                        a href=(target_path(target)) title=(replica) { (short(target)) }
                    }
                    (_, Some(replica)) => span { (replica) },
                    _ => span { "free" },
                }
            }
            @if let Some(memory) = gpu.memory_mib.filter(|memory| *memory > 0) {
                @let used = gpu.used_mib.unwrap_or(0).min(memory);
                svg class="meter" viewBox="0 0 100 4" preserveAspectRatio="none" role="img"
                    aria-label={ (used) " of " (memory) " MiB used" } {
                    rect class="ground" width="100" height="4" {}
                    rect class="fill" width=(used * 100 / memory) height="4" {}
                }
            }
            span class="device-name" title=(gpu.name) {
                @match (&gpu.target, &gpu.holder, gpu.memory_mib.zip(gpu.used_mib)) {
                    (Some(target), Some(replica), Some((memory, used))) => {
                        (replica_tail(target, replica)) " · " (used.div_ceil(1024)) " of " (memory.div_ceil(1024)) " GiB"
                    }
                    (Some(target), Some(replica), None) => (replica_tail(target, replica)),
                    _ => (gpu.name.strip_prefix("NVIDIA ").unwrap_or(&gpu.name)),
                }
            }
            @if let Some(state) = state(gpu) { span class="device-name" { (state) } }
        }
    }
}

/// What an exporter adds: how busy it is, its slices, its last error.
fn state(gpu: &GpuView) -> Option<String> {
    let active = gpu.active.map(|share| format!("{:.0} % active", share * 100.0));
    let slices = (!gpu.slices.is_empty()).then(|| format!("{} slices", gpu.slices.len()));
    let xid = gpu.last_xid.map(|number| format!("XID {number}"));
    let words: Vec<String> = [active, slices, xid].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(" · "))
}

fn short(target: &str) -> &str {
    target.rsplit('/').next().unwrap_or(target)
}

/// A replica's id without the target's name before it.
fn replica_tail<'a>(target: &str, replica: &'a str) -> &'a str {
    replica.strip_prefix(short(target)).map_or(replica, |tail| tail.trim_start_matches('-'))
}
