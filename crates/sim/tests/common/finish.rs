//! Driving an engine to its end.

use tidegate_core::time::Time;
use tidegate_sim::engine::{Engine, Outputs};

/// Steps until the engine is idle.
pub(crate) fn finish(engine: &mut Engine, mut now: Time) -> Outputs {
    let mut out = Outputs::default();
    while let Some(end) = engine.next_iteration(now) {
        assert!(end > now || out.is_empty(), "time goes on");
        now = end;
        engine.step(now, &mut out);
    }
    out
}
