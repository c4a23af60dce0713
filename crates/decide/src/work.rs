//! `work`: what came and what engines did, for policy `slo`.

use serde::Deserialize;
use tidegate_core::slo::{Engines, Load};
use tidegate_core::time::Span;

use crate::observation::{LineError, refuse};

/// Work over a stretch of time, as a line has it. What is left out is 0.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Work {
    /// The stretch in seconds; above 0.
    pub over_s: f64,
    /// Requests that came.
    pub arrived: u32,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Requests that ended.
    pub ended: u32,
    /// Tokens written for those.
    pub output_tokens: u64,
    /// Requests whose first token came, or that were refused.
    pub first_tokens: u32,
    /// Of these, those that were refused or whose first token came later than the objective.
    pub late: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Replicas that said something.
    pub reporting: u32,
    /// Requests in their batches.
    pub running: u32,
    /// Prompt tokens they computed.
    pub prefill_tokens: u64,
    /// Tokens they wrote.
    pub decode_tokens: u64,
    /// Mean time between two tokens, in seconds.
    pub itl_s: f64,
    /// Tokens all their KV caches hold.
    pub kv_tokens: u64,
}

/// Times between tokens at the most: an hour.
const ITL_S_MAX: f64 = 3_600.0;

/// A span of so many seconds above 0, at most a day.
pub(crate) fn span(field: &str, seconds: f64) -> Result<Span, LineError> {
    let span = Span::try_from_secs_f64(seconds).filter(|_| seconds > 0.0 && seconds <= 86_400.0);
    span.map_or_else(|| refuse(format!("{field} is {seconds}, not above 0 and at most 86400")), Ok)
}

impl Work {
    pub(crate) fn load(&self) -> Result<Load, LineError> {
        let over = span("work.over_s", self.over_s)?;
        if !(0.0..=ITL_S_MAX).contains(&self.itl_s) {
            return refuse(format!("work.itl_s is {}, not between 0 and {ITL_S_MAX}", self.itl_s));
        }
        Ok(Load {
            over,
            arrived: self.arrived,
            prompt_tokens: self.prompt_tokens,
            ended: self.ended,
            output_tokens: self.output_tokens,
            first_tokens: self.first_tokens,
            late: self.late,
            waiting: self.waiting,
            engines: Engines {
                reporting: self.reporting,
                running: self.running,
                prefill_tokens: self.prefill_tokens,
                decode_tokens: self.decode_tokens,
                itl_us: (self.itl_s * 1e6).round() as u32,
                kv_tokens: self.kv_tokens,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_work_is_read_and_nonsense_is_refused() {
        let read = |text: &str| serde_json::from_str::<Work>(text).map(|work| work.load());
        let load = read(r#"{"over_s": 10, "arrived": 20, "itl_s": 0.012}"#).unwrap().unwrap();
        assert_eq!((load.over, load.arrived, load.engines.itl_us), (Span::from_secs(10), 20, 12_000));
        assert!(read(r#"{"over_s": 0}"#).unwrap().is_err());
        assert!(read(r#"{"over_s": 1, "itl_s": -1}"#).unwrap().is_err());
        assert!(read(r#"{"over_s": 1, "arived": 20}"#).is_err());
    }
}
