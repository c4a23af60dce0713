//! What one scrape says of one replica, whatever engine wrote it.
//!
//! # Several engines in one replica
//! A data-parallel vLLM exports each series once an engine. Requests, tokens, capacity and buckets are
//! **summed**. KV use is a share of each engine's own cache, so a sum means nothing: [`EngineSample::kv_use`]
//! is the **mean** (what of the replica's cache is used, since engines of one replica are alike: this is
//! what to scale on), and [`EngineSample::kv_use_max`] the **fullest** (where the next request may have
//! to wait: this is what to route by).
//!
//! SGLang can export the same queue once a tensor-parallel rank (`tp_rank`, `pp_rank`, …): those are copies,
//! so of each data-parallel rank only the first writer counts.
//!
//! # Absent is not zero
//! A field whose metric is not on the page is `None`. llama.cpp has no KV use; that does not make its
//! cache empty.

mod plan;
mod take;

use crate::dialect::Engine;
use crate::exposition::{self, Format, Sample, Wanted};
use crate::histogram::Histogram;

use plan::Entry;
use take::Take;

/// What one scrape says of one replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineSample {
    /// Requests that wait for the engine.
    pub waiting: Option<f64>,
    /// Requests the engine works on.
    pub running: Option<f64>,
    /// Share of the KV cache in use, 0 to 1: the mean over the replica's engines.
    pub kv_use: Option<f64>,
    /// The same of the fullest engine.
    pub kv_use_max: Option<f64>,
    /// Tokens the KV cache holds at most, over all engines of the replica.
    pub kv_capacity_tokens: Option<f64>,
    /// Prompt tokens since the engine started.
    pub prompt_tokens_total: Option<f64>,
    /// Output tokens since the engine started.
    pub output_tokens_total: Option<f64>,
    /// Requests that ended well or were ended by the client, since the engine started.
    pub finished_total: Option<f64>,
    /// Requests pushed out of the batch since the engine started.
    pub preempted_total: Option<f64>,
    /// Prompt tokens found in the prefix cache since the engine started.
    pub prefix_hits_total: Option<f64>,
    /// Prompt tokens looked up in the prefix cache since the engine started.
    pub prefix_queries_total: Option<f64>,
    /// Time to first token, in seconds.
    pub ttft_s: Option<Histogram>,
    /// Time between tokens, in seconds.
    pub itl_s: Option<Histogram>,
    /// Time spent waiting, in seconds.
    pub queue_s: Option<Histogram>,
}

/// Why a page gives no sample.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    #[error(transparent)]
    Page(#[from] exposition::Error),
    /// It can be read, and nothing on it is this engine's.
    #[error(
        "the page has no metric that {} writes; {}",
        .engine.name(),
        match .engine.metrics_flag() {
            Some(flag) => format!("start the engine with {flag}"),
            None => format!("is {} the right path?", .engine.metrics_path()),
        }
    )]
    Nothing {
        /// The engine expected.
        engine: Engine,
    },
    /// No engine we know wrote it.
    #[error(
        "no engine we know writes such a page; known are vLLM, SGLang, TGI, llama.cpp, TensorRT-LLM, \
             Triton, LMDeploy and Dynamo"
    )]
    Unrecognised,
}

/// Reads pages of one engine.
#[derive(Clone, Debug)]
pub struct Reader {
    engine: Engine,
    entries: &'static [Entry],
    wanted: Wanted<plan::Part>,
}

impl Reader {
    /// A reader for pages of `engine`.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        let entries = plan::entries(engine);
        Reader { engine, entries, wanted: plan::names(entries).collect() }
    }

    /// The engine whose pages it reads.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        self.engine
    }

    /// The sample of a page.
    ///
    /// # Errors
    /// When the page cannot be read or has nothing of this engine.
    pub fn read(&self, page: &str, format: Format) -> Result<EngineSample, Error> {
        self.read_with(page, format, |_| false, |_| {})
    }

    /// The sample of a page, and beside it every series whose name `also` asks for, in the same pass.
    ///
    /// # Errors
    /// As [`Reader::read`]; what `each` got by then is then worth nothing.
    pub fn read_with<'t>(
        &self,
        page: &'t str,
        format: Format,
        also: impl Fn(&str) -> bool,
        mut each: impl FnMut(Sample<'t>),
    ) -> Result<EngineSample, Error> {
        let mut take = Take::new(self.entries);
        let wants = |name: &'t str| {
            let (part, besides) = (self.wanted.find(name), also(name));
            (part.is_some() || besides).then_some((part, besides))
        };
        exposition::read(page, format, wants, |(part, besides), sample| {
            if let Some(part) = part {
                take.add(part, &sample);
            }
            if besides {
                each(sample);
            }
        })?;
        take.finish().ok_or(Error::Nothing { engine: self.engine })
    }
}

/// The engines a replica can run, those that others wrap first: a Dynamo worker also shows what the
/// vLLM inside it writes, and that says more.
const REPLICAS: [Engine; 8] = [
    Engine::Vllm,
    Engine::Sglang,
    Engine::Tgi,
    Engine::TensorRtLlm,
    Engine::Lmdeploy,
    Engine::LlamaCpp,
    Engine::Triton,
    Engine::Dynamo,
];

/// The engine that wrote a page, told from the names on it alone: no line is taken apart. `None` for what
/// is no metrics page, and for one that holds nothing we would use.
#[must_use]
pub fn recognise(page: &str, format: Format) -> Option<Engine> {
    let mut found: Option<usize> = None;
    let readers: Vec<Wanted<plan::Part>> =
        REPLICAS.iter().map(|engine| plan::names(plan::entries(*engine)).collect()).collect();
    let wants = |name: &str| {
        let place = readers.iter().position(|wanted| wanted.find(name).is_some());
        if let Some(place) = place {
            found = Some(found.map_or(place, |known| known.min(place)));
        }
        None::<()>
    };
    exposition::read(page, format, wants, |(), _| {}).ok()?;
    found.and_then(|place| REPLICAS.get(place).copied())
}
