//! Which GPUs this machine has, by `nvidia-smi`.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::ledger::Gpu;

/// `nvidia-smi` takes a second or two on a machine whose driver sleeps, and hangs on one whose driver
/// is broken.
const WITHIN: Duration = Duration::from_secs(20);
/// Its fields, in order.
const FIELDS: &str = "index,uuid,name,memory.total,memory.used";

/// The devices there are: what `nvidia-smi` lists and `CUDA_VISIBLE_DEVICES` of our own environment
/// leaves over, or `counted` devices of which nothing is known. None of either is no device.
pub async fn detect(counted: Option<u32>) -> Vec<Gpu> {
    if let Some(number) = counted {
        return Gpu::counted(number);
    }
    let query = Command::new("nvidia-smi")
        .args([&format!("--query-gpu={FIELDS}"), "--format=csv,noheader,nounits"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(WITHIN, query).await {
        Ok(Ok(output)) if output.status.success() => output.stdout,
        Ok(Ok(output)) => {
            tracing::warn!(
                "nvidia-smi failed ({}): no GPU is used; say how many with --gpus N",
                output.status
            );
            return Vec::new();
        }
        // There is none: no device, and nothing to tell.
        Ok(Err(_)) => return Vec::new(),
        Err(_) => {
            tracing::warn!("nvidia-smi does not answer: no GPU is used; say how many with --gpus N");
            return Vec::new();
        }
    };
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    only_visible(parse(&String::from_utf8_lossy(&output)), visible.as_deref())
}

/// One device a line: `0, GPU-5f…, NVIDIA A100-SXM4-80GB, 81920, 4`.
fn parse(text: &str) -> Vec<Gpu> {
    let device = |line: &str| {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [index, uuid, name, total, used] = fields[..] else { return None };
        Some(Gpu {
            index: index.parse().ok()?,
            uuid: uuid.to_owned(),
            name: name.to_owned(),
            // "[N/A]" on devices that share the machine's memory.
            memory_total_mib: total.parse().ok(),
            memory_used_mib: used.parse().ok(),
        })
    };
    text.lines().filter_map(device).collect()
}

/// Those that we were left: by number or by name, as CUDA reads the variable; it stops at the first
/// word that names none.
fn only_visible(gpus: Vec<Gpu>, visible: Option<&str>) -> Vec<Gpu> {
    let Some(visible) = visible else { return gpus };
    let find = |word: &str| match word.parse::<u32>() {
        Ok(index) => gpus.iter().find(|gpu| gpu.index == index),
        Err(_) => gpus.iter().find(|gpu| !word.is_empty() && gpu.uuid.starts_with(word)),
    };
    visible.split(',').map(str::trim).map_while(find).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0, GPU-aa11, NVIDIA A100-SXM4-80GB, 81920, 4\n\
                        1, GPU-bb22, NVIDIA GB10, [N/A], [N/A]\nno device here\n";

    #[test]
    fn devices_are_read_with_their_memory() {
        let gpus = parse(TEXT);
        assert_eq!(gpus.len(), 2);
        assert_eq!((gpus[0].memory_total_mib, gpus[0].memory_used_mib), (Some(81_920), Some(4)));
        assert_eq!((&*gpus[1].name, gpus[1].memory_total_mib), ("NVIDIA GB10", None));
    }

    #[test]
    fn only_what_we_may_see_is_used() {
        let indexes = |visible: Option<&str>| -> Vec<u32> {
            only_visible(parse(TEXT), visible).iter().map(|gpu| gpu.index).collect()
        };
        assert_eq!(indexes(None), [0, 1]);
        assert_eq!(indexes(Some("1")), [1]);
        assert_eq!(indexes(Some("GPU-bb,0")), [1, 0]);
        assert_eq!(indexes(Some("0,-1,1")), [0]);
        assert_eq!(indexes(Some("")), [0; 0]);
    }
}
