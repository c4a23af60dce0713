//! The body of the fuzzer of traces: request logs and tables of clients.

use tidegate_sim::trace::{Lengths, Part, Scaled, ServeGen, Spread, Stretch, Trace};

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
