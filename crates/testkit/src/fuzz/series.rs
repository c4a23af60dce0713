//! The series store, its queries, and what others write to it.

use std::sync::LazyLock;

use tidegate_metrics::eval::{Answer, STEPS_MAX, compile, compile_any};
use tidegate_metrics::remote;
use tidegate_metrics::store::{SERIES_MAX, STALE_BITS, Store};

/// 2023-11-14, when the fixed store's samples end.
const NOW_MS: i64 = 1_700_000_000_000;

/// A store with counters, gauges, buckets, a restart, a stale mark and a NaN.
fn filled() -> Store {
    let mut store = Store::new();
    for at in 0..120_i64 {
        let at_ms = NOW_MS - (120 - at) * 1000;
        for (pod, weight) in [("a", 1.0), ("b", 2.5)] {
            let counted = (at % 90) as f64 * weight;
            store.push(&[("__name__", "x_total"), ("pod", pod)], at_ms, counted);
            let odd = if at == 7 { f64::NAN } else { (at % 13) as f64 - weight };
            store.push(&[("__name__", "x"), ("pod", pod), ("k", "1")], at_ms, odd);
            for le in ["0.1", "1", "+Inf"] {
                store.push(
                    &[("__name__", "x_bucket"), ("pod", pod), ("le", le)],
                    at_ms,
                    counted * le.len() as f64,
                );
            }
        }
        let ends = if at == 100 { f64::from_bits(STALE_BITS) } else { 1.0 };
        store.push(&[("__name__", "y")], at_ms, ends);
    }
    store
}

/// A query over the fixed store: answered or refused, in bounded time, a trigger's answer always finite.
pub fn eval(data: &[u8]) {
    static STORE: LazyLock<Store> = LazyLock::new(filled);
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(query) = compile_any(text) {
        let _ = query.evaluate(&STORE, NOW_MS);
        if let Ok(steps) = query.evaluate_range(&STORE, (NOW_MS - 20_000, NOW_MS), 5_000) {
            assert!(steps.len() as i64 <= STEPS_MAX);
        }
    }
    if let Ok(query) = compile(text) {
        let now = tidegate_core::time::Time::from_micros(NOW_MS * 1000);
        if let Ok(Answer::Vector(elements)) = query.ask(&STORE, Some("chat"), now) {
            assert!(elements.iter().all(|(_, value)| value.is_finite()));
        }
    }
}

/// A body of remote-write: every sample is kept or counted as dropped, the store stays bounded.
pub fn remote_write(data: &[u8]) {
    let mut store = Store::new();
    if let Ok(written) = remote::write(&mut store, data, NOW_MS) {
        assert!(store.len() <= written.kept);
    }
    assert!(store.len() <= SERIES_MAX);
    let samples: usize = store.all().map(tidegate_metrics::store::Series::samples).sum();
    assert!(samples <= remote::MESSAGE_BYTES_MAX);
}
