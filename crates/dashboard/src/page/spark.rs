//! Small lines without axes, as SVG.

use maud::{Markup, html};

use crate::history::Sample;

/// Seconds shown: what happened since one looked last.
const SPAN_S: f64 = 300.0;

/// One point in 5 s, so that a quiet card stays the same text and is not sent again each second.
const STEP_S: f64 = 5.0;

const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 28.0;

/// A line of the greatest value in each step, up to the newest. Gaps stay gaps.
pub(super) fn spark(samples: &[Sample], class: &str, value: impl Fn(&Sample) -> Option<f64>) -> Markup {
    let end = samples.last().map_or(0.0, |sample| (sample.at_unix_s / STEP_S).floor() * STEP_S);
    let steps = (SPAN_S / STEP_S) as usize;
    let mut points: Vec<Option<f64>> = vec![None; steps + 1];
    for sample in samples {
        let back = ((end - sample.at_unix_s) / STEP_S).ceil().max(0.0) as usize;
        let (Some(place), Some(value)) = (steps.checked_sub(back), value(sample)) else { continue };
        points[place] = Some(points[place].map_or(value, |known: f64| known.max(value)));
    }
    let top = points.iter().flatten().fold(0.0_f64, |top, value| top.max(*value));
    let path = line(&points, top);
    html! {
        svg class={ "spark " (class) } viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none"
            aria-hidden="true" focusable="false" {
            line class="base" x1="0" x2=(WIDTH) y1=(HEIGHT - 0.5) y2=(HEIGHT - 0.5) {}
            @if !path.is_empty() { path d=(path) {} }
        }
    }
}

fn line(points: &[Option<f64>], top: f64) -> String {
    let mut path = String::new();
    let mut pen_down = false;
    for (place, value) in points.iter().enumerate() {
        let Some(value) = value else {
            pen_down = false;
            continue;
        };
        let x = place as f64 * WIDTH / (points.len().max(2) - 1) as f64;
        // One unit of air above the peak; a line of zeros lies on the ground.
        let y = HEIGHT - 1.0 - if top > 0.0 { value / top * (HEIGHT - 3.0) } else { 0.0 };
        path.push_str(&format!("{}{x:.0} {y:.1}", if pen_down { "L" } else { "M" }));
        pen_down = true;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(t: u32, in_flight: u32) -> Sample {
        Sample { at_unix_s: f64::from(t), in_flight, ..Sample::default() }
    }

    #[test]
    fn a_quiet_second_more_is_the_same_line() {
        let draw = |until: u32| {
            let samples: Vec<Sample> = (0..=until).map(|t| at(t, 7)).collect();
            spark(&samples, "demand", |sample| Some(f64::from(sample.in_flight))).into_string()
        };
        assert_eq!(draw(1001), draw(1004));
    }

    #[test]
    fn what_was_not_measured_is_a_gap() {
        let points = [Some(1.0), None, Some(2.0), Some(2.0)];
        assert_eq!(line(&points, 2.0).matches('M').count(), 2);
    }
}
