//! A straight line through samples.

use super::summary::Kahan;

/// Slope a second and the value at `there_ms` of the line with the least squares; `None` below two
/// samples.
pub(super) fn line(points: &[(i64, f64)], there_ms: i64) -> Option<(f64, f64)> {
    let (_, first) = *points.first().filter(|_| points.len() >= 2)?;
    #[expect(clippy::float_cmp, reason = "a line without any slope at all, however many points")]
    if points.iter().all(|(_, value)| *value == first) {
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) });
    }
    let (mut x, mut y, mut xy, mut xx) =
        (Kahan::default(), Kahan::default(), Kahan::default(), Kahan::default());
    for (at_ms, value) in points {
        let seconds = (at_ms - there_ms) as f64 / 1000.0;
        x.add(seconds);
        y.add(*value);
        xy.add(seconds * value);
        xx.add(seconds * seconds);
    }
    let count = points.len() as f64;
    let (x, y) = (x.total(), y.total());
    let slope = (xy.total() - x * y / count) / (xx.total() - x * x / count);
    Some((slope, y / count - slope * x / count))
}
