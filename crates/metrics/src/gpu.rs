//! What a DCGM exporter says of the GPUs of a node.
//!
//! For the state of a GPU, never for scaling up: `DCGM_FI_DEV_GPU_UTIL` says that a kernel ran, which in
//! decode is near 100 % at any batch size. What it is good for: is a GPU idle before its replica goes, how
//! much memory is taken, which fault came last, which MIG slice belongs to whom.

use std::collections::BTreeMap;

use crate::exposition::{self, Format, Labels, Wanted};

/// GPUs and slices on one page: 16 GPUs of 7 slices are 112 and their parents.
pub const GPUS_MAX: usize = 1_024;

/// Below this share of its engines' time a GPU is idle: a driver's own housekeeping stays below.
const IDLE: f64 = 0.01;

/// A slice of a GPU.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slice {
    /// Its size: `1g.10gb`.
    pub profile: String,
    /// Its number on the GPU.
    pub id: String,
}

/// Who a GPU or slice is: its UUID and, under MIG, the slice.
pub type Identity = (String, Option<Slice>);

/// One GPU, or one slice of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpu {
    /// Its number on its node, as `CUDA_VISIBLE_DEVICES` counts.
    pub index: Option<u32>,
    /// `NVIDIA H100 80GB HBM3`.
    pub model: String,
    /// `namespace/pod` it is given to, where the exporter knows.
    pub pod: Option<String>,
    /// Share of time in which a kernel ran, 0 to 1. A MIG slice has none.
    pub utilisation: Option<f64>,
    /// Share of time in which its engines worked, 0 to 1.
    pub active: Option<f64>,
    /// Memory in use, in MiB. Engines reserve theirs at the start.
    pub used_mib: Option<f64>,
    /// Memory not in use, in MiB.
    pub free_mib: Option<f64>,
    /// The number of the last XID error; `None` if there was none.
    pub last_xid: Option<u32>,
}

impl Gpu {
    /// Whether nothing runs on it: by its engines where they are told, else by its kernels. `None` where
    /// neither is.
    #[must_use]
    pub fn is_idle(&self) -> Option<bool> {
        self.active.or(self.utilisation).map(|share| share < IDLE)
    }
}

#[derive(Clone, Copy)]
enum Field {
    Utilisation,
    Active,
    Used,
    Free,
    Xid,
}

const FIELDS: [(&str, Field); 5] = [
    ("DCGM_FI_DEV_GPU_UTIL", Field::Utilisation),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", Field::Active),
    ("DCGM_FI_DEV_FB_USED", Field::Used),
    ("DCGM_FI_DEV_FB_FREE", Field::Free),
    ("DCGM_FI_DEV_XID_ERRORS", Field::Xid),
];

/// The GPUs of a page; empty if it is no DCGM exporter's. Beyond [`GPUS_MAX`] they are left out.
///
/// # Errors
/// When the page cannot be read.
pub fn read(page: &str, format: Format) -> Result<BTreeMap<Identity, Gpu>, exposition::Error> {
    let wanted: Wanted<Field> = FIELDS.into_iter().collect();
    let mut gpus: BTreeMap<Identity, Gpu> = BTreeMap::new();
    exposition::read(
        page,
        format,
        |name| wanted.find(name),
        |field, sample| {
            let Some(identity) = identity(&sample.labels) else { return };
            if gpus.len() >= GPUS_MAX && !gpus.contains_key(&identity) {
                return;
            }
            let gpu = gpus.entry(identity).or_insert_with(|| named(&sample.labels));
            match field {
                Field::Utilisation => gpu.utilisation = Some((sample.value / 100.0).clamp(0.0, 1.0)),
                Field::Active => gpu.active = Some(sample.value.clamp(0.0, 1.0)),
                Field::Used => gpu.used_mib = Some(sample.value.max(0.0)),
                Field::Free => gpu.free_mib = Some(sample.value.max(0.0)),
                // The last error's number, and 0 where there was none.
                Field::Xid => gpu.last_xid = (sample.value >= 1.0).then_some(sample.value as u32),
            }
        },
    )?;
    Ok(gpus)
}

fn text(labels: &Labels<'_>, name: &str) -> Option<String> {
    labels.get(name).filter(|value| !value.is_empty()).map(|value| value.into_owned())
}

fn identity(labels: &Labels<'_>) -> Option<Identity> {
    let slice = text(labels, "GPU_I_PROFILE")
        .map(|profile| Slice { profile, id: text(labels, "GPU_I_ID").unwrap_or_default() });
    Some((text(labels, "UUID")?, slice))
}

fn named(labels: &Labels<'_>) -> Gpu {
    // Prometheus renames the exporter's own labels when it adds its own.
    let own = |name: &str, renamed: &str| text(labels, renamed).or_else(|| text(labels, name));
    let pod = own("pod", "exported_pod");
    let pod = pod.map(|pod| format!("{}/{pod}", own("namespace", "exported_namespace").unwrap_or_default()));
    Gpu {
        index: labels.get("gpu").and_then(|index| index.parse().ok()),
        model: text(labels, "modelName").unwrap_or_default(),
        pod,
        ..Gpu::default()
    }
}
