//! What the engine counts, and `/metrics` in the dialect of each engine it stands for.

mod bounds;
mod exposition;
pub(crate) mod http;
mod llamacpp;
pub(crate) mod recorder;
mod sglang;
mod tgi;
mod vllm;

pub(crate) use recorder::Recorder;

use tidegate_sim::Stats;

use crate::options::Dialect;

/// All a dialect may want to say.
pub(crate) struct View<'a> {
    pub(crate) recorder: &'a Recorder,
    pub(crate) stats: &'a Stats,
    /// Tokens the batch may come to hold.
    pub(crate) reserved_tokens: u64,
}

/// The text of `/metrics`.
pub(crate) fn render(view: &View<'_>) -> String {
    match view.recorder.about.dialect {
        Dialect::Vllm => vllm::render(view),
        Dialect::Sglang => sglang::render(view),
        Dialect::Tgi => tgi::render(view),
        Dialect::LlamaCpp => llamacpp::render(view),
    }
}

/// What the answer's `Content-Type` says.
pub(crate) const fn content_type(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Vllm | Dialect::Sglang => "text/plain; version=1.0.0; charset=utf-8",
        Dialect::Tgi => "text/plain; charset=utf-8",
        Dialect::LlamaCpp => "text/plain; version=0.0.4",
    }
}
