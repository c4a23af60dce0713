//! The body of the fuzzer of traces: request logs and tables of clients.

use tidegate_sim::Profile;
use tidegate_sim::recorded::{REQUESTS_MAX as MADE_MAX, Recorded};
use tidegate_sim::trace::{Lengths, Part, Scaled, ServeGen, Spread, Stretch, Synth, Trace};

use tidegate_core::time::Span;

/// Requests taken of one input: a damaged table may describe a million a second.
const REQUESTS_MAX: usize = 2_000;

/// A trace of any form, as written, spread, cut and scaled: times never go back, and after an error it ends.
/// The same bytes as ServeGen's tables: what is drawn lies inside the part that was asked for.
pub fn trace(data: &[u8]) {
    if let Ok(trace) = Trace::open(data) {
        let cut = Stretch::new(Spread::new(trace), Span::from_secs(1), Some(Span::from_secs(1 << 20)));
        let Ok(scaled) = Scaled::new(cut, 1.5, 1) else { return };
        let mut last = Span::ZERO;
        for request in scaled.take(REQUESTS_MAX) {
            let Ok(request) = request else { break };
            assert!(request.at >= last, "{:?} after {last:?}", request.at);
            last = request.at;
        }
    }
    let Ok(lengths) = Lengths::read(data).or_else(|_| Lengths::read(&b"tokens,prob\n5,1\n"[..])) else {
        return;
    };
    let part = Part { from_s: 0.0, for_s: 3_600.0, factor: 1.0 };
    let Ok(drawn) = ServeGen::read(data, lengths.clone(), lengths, part, 1) else { return };
    for request in drawn.take(REQUESTS_MAX).flatten() {
        assert!(request.at <= Span::from_secs(3_600), "{:?} is past the part", request.at);
    }
}

/// A journal made into requests: they are in order, not too many, and have lengths that fit the engine.
pub fn recorded(data: &[u8]) {
    let Ok(recorded) = Recorded::read(data, None).or_else(|_| Recorded::read(data, Some("a"))) else {
        return;
    };
    let totals = recorded.totals();
    assert!(totals.replica_hours.is_finite() && totals.span_s.is_finite());
    let profile = Profile::demo();
    let requests = recorded.requests(&profile);
    assert!(requests.len() <= MADE_MAX + 1_000);
    assert!(requests.is_sorted_by_key(|request| request.at));
    for request in requests {
        assert!(request.output_tokens >= 1 && request.output_tokens <= profile.max_model_len);
    }
}

/// A profile's JSON: one that is accepted gives times that are numbers. The same bytes as a shape to be drawn.
pub fn profile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(profile) = Profile::parse(text) {
        for (batch, context) in [(1.0, 1.0), (3.0, 1e3), (1e4, 1e9)] {
            assert!(profile.decode_ms(batch, context).is_finite() && profile.prefill_ms(context).is_finite());
        }
        assert!(profile.work_s(1_000, 1_000) >= 0.0);
    }
    if let Ok(drawn) = Synth::parse(text, 1) {
        let end = Span::try_from_secs_f64(drawn.length_s()).unwrap_or(Span::ZERO);
        let mut last = Span::ZERO;
        for request in drawn.take(REQUESTS_MAX).flatten() {
            assert!(request.at >= last && request.at <= end, "{:?} after {last:?}", request.at);
            last = request.at;
        }
    }
}
