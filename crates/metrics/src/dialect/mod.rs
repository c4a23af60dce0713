//! What each engine writes to `/metrics`: names on the wire, types, labels, meaning, and what became
//! of the names that older guides still use.
//!
//! The tables are data, one file an engine. Names are matched whole: `vllm:num_requests_waiting` is
//! a prefix of `vllm:num_requests_waiting_by_reason`, and a reader that matches prefixes adds up the
//! same requests twice. Metrics of exporters we do not know (`nvidia_gpu_…`, a home-made server's)
//! are nobody's here, and nobody's mistake.

mod dcgm;
mod dynamo;
mod engine;
mod labels;
mod llamacpp;
mod lmdeploy;
mod nearest;
mod sglang;
mod tgi;
mod triton;
mod trtllm;
mod vllm;

pub use engine::Engine;
pub use labels::{SCRAPE_LABELS, SCRAPE_PREFIXES, pod_label_as_scraped, suggest_label, unknown_label};
pub use nearest::nearest;

/// How a metric behaves over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; use a rate.
    Counter,
    /// A level.
    Gauge,
    /// Cumulative buckets: `_bucket`, `_sum`, `_count` on the wire, never the bare name.
    Histogram,
    /// Quantiles the engine computed itself, with `_sum` and `_count`.
    Summary,
}

/// What a metric tells a scaler. Several metrics of one engine may tell the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Signal {
    /// Requests that wait for the engine.
    Waiting,
    /// Requests the engine works on.
    Running,
    /// KV cache in use.
    KvUse,
    /// KV cache there is.
    KvCapacity,
    /// Time to first token.
    Ttft,
    /// Time between tokens, or per output token.
    Itl,
    /// Time from request to last token.
    E2e,
    /// Time spent waiting.
    QueueTime,
    /// Time spent in prefill.
    PrefillTime,
    /// Time spent in decode.
    DecodeTime,
    /// Prompt tokens, in total or per request.
    PromptTokens,
    /// Output tokens, in total or per request.
    OutputTokens,
    /// Prefix cache hits, or their rate.
    PrefixHits,
    /// Prefix cache look-ups.
    PrefixQueries,
    /// Requests that came in.
    Arrived,
    /// Requests that ended.
    Finished,
    /// Requests that failed or were refused.
    Failed,
    /// Requests pushed out of the batch for lack of KV cache.
    Preempted,
    /// Model or engine start-up time.
    Startup,
    /// GPU activity.
    GpuUse,
    /// GPU memory.
    GpuMemory,
    /// GPU power or energy.
    GpuPower,
    /// GPU or link faults.
    GpuFault,
}

/// The values one series can take. None is ever negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// A fraction, whatever its name says about per cent.
    ZeroToOne,
    /// A percentage.
    ZeroToHundred,
    /// No upper end.
    Unbounded,
    /// Never above the engine's own number of slots (`--max-num-seqs`, `--parallel`, …), which the
    /// manifest may or may not state: a target above it is never reached.
    CappedBySlots,
}

/// Whether today's engine still writes a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Yes.
    Current,
    /// Under another name.
    Renamed {
        /// The name to use.
        to: &'static str,
    },
    /// No, and nothing took its place one to one.
    Removed {
        /// What to ask for instead: a query or an advice.
        instead: &'static str,
        /// The release that dropped it, as far as known.
        since: &'static str,
    },
}

/// Who writes a metric, and so: when it disappears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The replicas that are scaled. At zero replicas there is no series.
    Replica,
    /// A frontend or router that stays when the replicas go.
    Frontend,
    /// An exporter on the node.
    Node,
}

/// One metric family of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Who the name belongs to.
    pub engine: Engine,
    /// The name on the wire, `_total` included; of a histogram, the part before `_bucket`.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What it tells a scaler.
    pub signal: Option<Signal>,
    /// The values one series can take.
    pub range: Range,
    /// Whether it still exists.
    pub status: Status,
    /// Who writes it.
    pub writer: Writer,
    /// Labels the engine itself writes.
    pub labels: &'static [&'static str],
    /// What a reader of the number should know; may be empty.
    pub note: &'static str,
}

impl Metric {
    const fn new(engine: Engine, name: &'static str, kind: Kind, labels: &'static [&'static str]) -> Metric {
        Metric {
            engine,
            name,
            kind,
            signal: None,
            range: Range::Unbounded,
            status: Status::Current,
            writer: Writer::Replica,
            labels,
            note: "",
        }
    }

    const fn tells(mut self, signal: Signal) -> Metric {
        self.signal = Some(signal);
        self
    }

    const fn fraction(mut self) -> Metric {
        self.range = Range::ZeroToOne;
        self
    }

    const fn percent(mut self) -> Metric {
        self.range = Range::ZeroToHundred;
        self
    }

    const fn capped(mut self) -> Metric {
        self.range = Range::CappedBySlots;
        self
    }

    const fn labels(mut self, labels: &'static [&'static str]) -> Metric {
        self.labels = labels;
        self
    }

    const fn note(mut self, note: &'static str) -> Metric {
        self.note = note;
        self
    }

    const fn by(mut self, writer: Writer) -> Metric {
        self.writer = writer;
        self
    }

    const fn renamed(mut self, to: &'static str) -> Metric {
        self.status = Status::Renamed { to };
        self
    }

    const fn removed(mut self, since: &'static str, instead: &'static str) -> Metric {
        self.status = Status::Removed { instead, since };
        self
    }

    /// Whether `name` is a series of this family that a selector can match. The bare name of a
    /// histogram is not: only `_bucket`, `_sum` and `_count` are on the wire.
    #[must_use]
    pub fn is_series(&self, name: &str) -> bool {
        match self.kind {
            Kind::Histogram => !same_name(self.name, name) && self.answers_to(name),
            _ => self.answers_to(name),
        }
    }

    fn answers_to(&self, name: &str) -> bool {
        if same_name(self.name, name) {
            return true;
        }
        if let Some(base) = name.strip_suffix("_created") {
            let made = match self.kind {
                Kind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
                Kind::Gauge => return false,
                Kind::Histogram | Kind::Summary => self.name,
            };
            return same_name(made, base);
        }
        let suffixes: &[&str] = match self.kind {
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Summary => &["_sum", "_count"],
            Kind::Counter | Kind::Gauge => return false,
        };
        suffixes.iter().any(|suffix| name.strip_suffix(suffix).is_some_and(|base| same_name(self.name, base)))
    }
}

/// Every metric we know of `engine`, old names included.
#[must_use]
pub const fn metrics(engine: Engine) -> &'static [Metric] {
    match engine {
        Engine::Vllm => vllm::METRICS,
        Engine::Sglang => sglang::METRICS,
        Engine::Tgi => tgi::METRICS,
        Engine::TensorRtLlm => trtllm::METRICS,
        Engine::Triton => triton::METRICS,
        Engine::LlamaCpp => llamacpp::METRICS,
        Engine::Lmdeploy => lmdeploy::METRICS,
        Engine::Dynamo => dynamo::METRICS,
        Engine::Dcgm => dcgm::METRICS,
    }
}

/// The family `name` belongs to: the whole name, or the name with a suffix its type puts on the
/// wire. `vllm_x` finds `vllm:x`, because some paths cannot carry a colon.
#[must_use]
pub fn lookup(name: &str) -> Option<&'static Metric> {
    let by_engine = |engine| metrics(engine).iter();
    match Engine::of_metric(name) {
        Some(engine) => by_engine(engine).find(|metric| metric.answers_to(name)),
        // Triton also writes names without a prefix of its own (`nv_gpu_…`).
        None => by_engine(Engine::Triton).find(|metric| metric.answers_to(name)),
    }
}

/// The names on the wire of everything that tells a scaler something, of every engine: what a store of
/// series keeps without being asked.
pub fn telling() -> impl Iterator<Item = String> {
    let families = Engine::ALL.iter().flat_map(|engine| metrics(*engine));
    families.filter(|metric| metric.signal.is_some()).flat_map(|metric| {
        let suffixes: &[&str] = match metric.kind {
            Kind::Counter | Kind::Gauge => &[""],
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Summary => &["", "_sum", "_count"],
        };
        suffixes.iter().map(|suffix| format!("{}{suffix}", metric.name))
    })
}

/// Equal, or equal but for `_` where the engine writes its first colon.
pub(crate) fn same_name(wire: &str, asked: &str) -> bool {
    if wire == asked {
        return true;
    }
    match (wire.split_once(':'), wire.len() == asked.len()) {
        (Some((head, tail)), true) => {
            asked.strip_prefix(head).and_then(|rest| rest.strip_prefix('_')).is_some_and(|rest| rest == tail)
        }
        _ => false,
    }
}
