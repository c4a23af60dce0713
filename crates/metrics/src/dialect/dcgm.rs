//! NVIDIA's DCGM exporter. `pod`, `namespace` and `container` are there only with its Kubernetes
//! mapping, and then become `exported_pod` and so on unless the scrape honours labels.
//!
//! GPU utilisation means "a kernel ran in this interval": a decoding engine shows nearly 100 at any
//! batch size, so it says *idle or not*, never *how full*. Memory is flat, because engines reserve it.

use super::{Engine, Kind, Metric, Signal, Writer};

const OWN: &[&str] = &[
    "gpu",
    "UUID",
    "device",
    "pci_bus_id",
    "modelName",
    "Hostname",
    "namespace",
    "pod",
    "container",
    "GPU_I_PROFILE",
    "GPU_I_ID",
    "DCGM_FI_DRIVER_VERSION",
    "err_code",
    "err_msg",
];

const NOT_LOAD: &str = "says that a kernel ran, not how full the GPU is";

const fn gauge(name: &'static str) -> Metric {
    Metric::new(Engine::Dcgm, name, Kind::Gauge, OWN).by(Writer::Node)
}

const fn counter(name: &'static str) -> Metric {
    Metric::new(Engine::Dcgm, name, Kind::Counter, OWN).by(Writer::Node)
}

const fn opt_in(metric: Metric) -> Metric {
    metric.note("not in the exporter's default counters")
}

pub(super) const METRICS: &[Metric] = &[
    gauge("DCGM_FI_DEV_GPU_UTIL").tells(Signal::GpuUse).percent().note(NOT_LOAD),
    gauge("DCGM_FI_DEV_MEM_COPY_UTIL")
        .tells(Signal::GpuUse)
        .percent()
        .note("memory bandwidth use, not memory use"),
    gauge("DCGM_FI_DEV_ENC_UTIL").percent(),
    gauge("DCGM_FI_DEV_DEC_UTIL").percent(),
    gauge("DCGM_FI_DEV_FB_USED")
        .tells(Signal::GpuMemory)
        .note("MiB; flat, because engines reserve memory at start"),
    gauge("DCGM_FI_DEV_FB_FREE")
        .tells(Signal::GpuMemory)
        .note("MiB; flat, because engines reserve memory at start"),
    gauge("DCGM_FI_DEV_FB_RESERVED").tells(Signal::GpuMemory).note("MiB"),
    opt_in(gauge("DCGM_FI_DEV_FB_TOTAL").tells(Signal::GpuMemory)),
    opt_in(gauge("DCGM_FI_DEV_FB_USED_PERCENT").tells(Signal::GpuMemory).fraction()),
    gauge("DCGM_FI_PROF_GR_ENGINE_ACTIVE").tells(Signal::GpuUse).fraction().note(NOT_LOAD),
    gauge("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE").tells(Signal::GpuUse).fraction(),
    gauge("DCGM_FI_PROF_DRAM_ACTIVE").tells(Signal::GpuUse).fraction(),
    opt_in(gauge("DCGM_FI_PROF_SM_ACTIVE").tells(Signal::GpuUse).fraction()),
    opt_in(gauge("DCGM_FI_PROF_SM_OCCUPANCY").tells(Signal::GpuUse).fraction()),
    opt_in(gauge("DCGM_FI_PROF_PIPE_FP16_ACTIVE").fraction()),
    opt_in(gauge("DCGM_FI_PROF_PIPE_FP32_ACTIVE").fraction()),
    opt_in(gauge("DCGM_FI_PROF_PIPE_FP64_ACTIVE").fraction()),
    gauge("DCGM_FI_PROF_PCIE_TX_BYTES"),
    gauge("DCGM_FI_PROF_PCIE_RX_BYTES"),
    opt_in(gauge("DCGM_FI_PROF_NVLINK_TX_BYTES")),
    opt_in(gauge("DCGM_FI_PROF_NVLINK_RX_BYTES")),
    gauge("DCGM_FI_DEV_POWER_USAGE").tells(Signal::GpuPower).note("watts"),
    counter("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION").tells(Signal::GpuPower).note("millijoules"),
    gauge("DCGM_FI_DEV_GPU_TEMP").note("degrees Celsius"),
    gauge("DCGM_FI_DEV_MEMORY_TEMP").note("degrees Celsius"),
    gauge("DCGM_FI_DEV_SM_CLOCK").note("MHz"),
    gauge("DCGM_FI_DEV_MEM_CLOCK").note("MHz"),
    gauge("DCGM_FI_DEV_XID_ERRORS").tells(Signal::GpuFault).note("the last XID's number, not a count"),
    counter("DCGM_FI_DEV_PCIE_REPLAY_COUNTER").tells(Signal::GpuFault),
    counter("DCGM_FI_DEV_PCIE_TX_THROUGHPUT"),
    counter("DCGM_FI_DEV_PCIE_RX_THROUGHPUT"),
    counter("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL"),
    counter("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS").tells(Signal::GpuFault),
    counter("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS").tells(Signal::GpuFault),
    gauge("DCGM_FI_DEV_ROW_REMAP_FAILURE").tells(Signal::GpuFault),
    gauge("DCGM_FI_DEV_VGPU_LICENSE_STATUS"),
    opt_in(counter("DCGM_FI_DEV_POWER_VIOLATION")),
    opt_in(counter("DCGM_FI_DEV_THERMAL_VIOLATION")),
    opt_in(counter("DCGM_FI_DEV_SYNC_BOOST_VIOLATION")),
    opt_in(counter("DCGM_FI_DEV_BOARD_LIMIT_VIOLATION")),
    opt_in(counter("DCGM_FI_DEV_LOW_UTIL_VIOLATION")),
    opt_in(counter("DCGM_FI_DEV_RELIABILITY_VIOLATION")),
    opt_in(counter("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL").tells(Signal::GpuFault)),
    opt_in(counter("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL").tells(Signal::GpuFault)),
    opt_in(counter("DCGM_FI_DEV_ECC_SBE_AGG_TOTAL").tells(Signal::GpuFault)),
    opt_in(counter("DCGM_FI_DEV_ECC_DBE_AGG_TOTAL").tells(Signal::GpuFault)),
];
