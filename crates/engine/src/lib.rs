//! A stand-in inference server: the OpenAI API, engine metrics and cold starts around the engine model.
//!
//! It says nothing sensible, but takes as long as a real engine to say it, queues, fills its KV cache and
//! pushes requests out as one does, and shows the same metrics. The model is `tidegate_sim::engine`, the one
//! the simulator uses; this crate gives it a socket, a clock and a tongue.
//!
//! What it holds to, learnt from real engines:
//! - connections are refused until the engine is ready (llama.cpp listens at once and answers 503);
//! - a client that leaves is forgotten within the iteration under way;
//! - told to stop, it ends its streams properly, or with `abort_on_sigterm` as vLLM does by default.
//!
//! ```no_run
//! # async fn example() -> Result<(), tidegate_engine::Error> {
//! let engine = tidegate_engine::Engine::start(tidegate_engine::Options::new("tiny")).await?;
//! println!("http://{}/v1/models", engine.addr());
//! engine.stop().await
//! # }
//! ```
//!
//! Where to look: `server` (listen, serve, stop), `machine` (the model in real time), `api` (requests and
//! answers), `metrics` (what each engine's `/metrics` says).
#![forbid(unsafe_code)]

mod api;
mod body;
mod error;
mod log;
mod machine;
mod metrics;
mod options;
mod progress;
mod prompt;
mod server;
mod text;

pub use error::Error;
pub use options::{Dialect, Fault, Options};
pub use server::{Engine, Running, run};
