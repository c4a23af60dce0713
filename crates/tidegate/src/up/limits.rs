//! What a unit's manifest says of its requests, as the gateway wants it.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::route::Limits;
use tidegate_core::time::Span;
use tidegate_gateway::{Secret, TargetConfig};
use tidegate_local::unit::Unit;

/// Requests that wait at the most, where `tidegate.dev/hold-max` says nothing: at 4 KB of prompt each, 4 MB.
const HOLD_COUNT_MAX: u32 = 1_000;

/// Bytes of bodies that wait at the most for one target: a thousand prompts of 64 KB.
const HOLD_BYTES_MAX: u64 = 64 << 20;

/// How long a request waits for a first replica, where `tidegate.dev/hold-timeout` says nothing. Large
/// models take minutes to load, and who does not want to wait says so with a deadline.
const WAIT_NO_REPLICA: Span = Span::from_secs(600);

/// How long a request waits while all replicas are busy: longer than that, and more replicas are not coming.
const WAIT_BUSY: Span = Span::from_secs(120);

/// Requests an engine is given at once where its command does not say how many it batches: vLLM's default.
const SLOTS: u32 = 256;

/// Requests of one tenant, waiting and in flight: ten times what may wait, so only a runaway client meets it.
const TENANT_COUNT_MAX: u32 = 10_000;

/// How engines are told how many requests to batch.
const BATCH_FLAGS: [&str; 5] =
    ["--max-num-seqs", "--max-running-requests", "--max-concurrent-requests", "--parallel", "-np"];

/// A unit's place in the gateway; `ttft` is what its policy promises.
pub(crate) fn routed(unit: &Unit, ttft: Option<Span>) -> TargetConfig {
    TargetConfig {
        name: Arc::clone(&unit.target),
        models: unit.models.clone(),
        limits: limits(unit.hold_max, unit.hold_timeout.map(span), &unit.template.command),
        upstream_key: unit.upstream_key.as_ref().map(|key| Secret::new(key.0.clone())),
        ttft,
    }
}

fn span(duration: Duration) -> Span {
    Span::from_micros(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

/// What requests may use where annotations and the command say so much, or nothing.
pub(crate) fn limits(hold_max: Option<u32>, hold_timeout: Option<Span>, command: &[String]) -> Limits {
    Limits {
        hold_count_max: hold_max.unwrap_or(HOLD_COUNT_MAX),
        hold_bytes_max: HOLD_BYTES_MAX,
        wait_no_replica: hold_timeout.unwrap_or(WAIT_NO_REPLICA),
        wait_busy: WAIT_BUSY,
        slots: slots(command).unwrap_or(SLOTS),
        tenant_count_max: TENANT_COUNT_MAX,
    }
}

/// What the command says of its batch: `--max-num-seqs 64` or `--max-num-seqs=64`.
fn slots(command: &[String]) -> Option<u32> {
    command.iter().enumerate().find_map(|(index, argument)| {
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (argument.as_str(), command.get(index + 1).map(String::as_str)),
        };
        BATCH_FLAGS.contains(&flag).then_some(value?.parse().ok().filter(|slots| *slots > 0)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn an_engine_is_given_what_its_command_says_it_batches() {
        assert_eq!(slots(&command("vllm serve m --max-num-seqs 64 --port 1")), Some(64));
        assert_eq!(slots(&command("vllm serve m --max-num-seqs=64")), Some(64));
        assert_eq!(slots(&command("llama-server -m m.gguf -np 4")), Some(4));
        assert_eq!(slots(&command("vllm serve m --max-num-seqs")), None);
        assert_eq!(slots(&command("vllm serve m --max-num-seqs 0")), None);
        assert_eq!(slots(&command("vllm serve m")), None);
    }
}
