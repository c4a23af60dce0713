//! From values to places on an axis, and where its ticks stand.

use super::{Axis, Unit};
use crate::number;

/// Ticks an axis aims at: with fewer a value is hard to read off, with more the labels touch on a phone.
const TICKS: f64 = 6.0;

/// Steps that read well on a clock, in seconds: up to a day; above it, whole days in decimal steps.
const CLOCK_STEPS_S: [f64; 15] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 86_400.0,
];

/// An axis with its range known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    unit: Unit,
    log: bool,
}

impl Scale {
    /// The range that shows all `values`; any two bounds that cannot span a range are set apart.
    pub(super) fn new(axis: &Axis, values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.chain(axis.end).filter(|value| value.is_finite() && (!axis.log || *value > 0.0)) {
            low = low.min(value);
            high = high.max(value);
        }
        let mut scale = Scale { low, high, unit: axis.unit, log: axis.log };
        if axis.log {
            scale.spread_log();
        } else {
            scale.spread_linear();
        }
        scale
    }

    fn spread_log(&mut self) {
        if self.low > self.high {
            (self.low, self.high) = (1.0, 10.0);
        }
        // Whole decades at both ends when there is more than one, so that the ends carry labels.
        let (down, up) = (libm::floor(libm::log10(self.low)), libm::ceil(libm::log10(self.high)));
        self.low = libm::pow(10.0, down.max(-300.0));
        self.high = libm::pow(10.0, up.max(down + 1.0).min(300.0));
        if self.high <= self.low {
            self.high = self.low * 10.0;
        }
    }

    fn spread_linear(&mut self) {
        if self.low > self.high {
            (self.low, self.high) = (0.0, 1.0);
        }
        // Beyond 1e300 the width would overflow: no axis of ours means anything there.
        self.low = self.low.clamp(-1e300, 0.0);
        self.high = self.high.clamp(0.0, 1e300);
        if self.high - self.low <= 0.0 {
            self.high = self.low + 1.0;
        }
        if self.unit != Unit::Elapsed {
            let step = self.step();
            self.high = libm::ceil(self.high / step - 1e-9) * step;
            self.low = libm::floor(self.low / step + 1e-9) * step;
        }
    }

    /// Where a value stands, 0 to 1 along the axis; `None` for what the axis cannot show.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        if !value.is_finite() || self.log && value <= 0.0 {
            return None;
        }
        let place = if self.log {
            let low = libm::log10(self.low);
            (libm::log10(value) - low) / (libm::log10(self.high) - low)
        } else {
            (value - self.low) / (self.high - self.low)
        };
        place.is_finite().then_some(place.clamp(0.0, 1.0))
    }

    /// The values that carry a tick, each with its label.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        if self.log {
            return self.decades().map(|value| (value, self.label(value, value))).collect();
        }
        let step = self.step();
        let first = libm::ceil(self.low / step - 1e-9);
        // Twice the aim is more than a range of 1, 2, 5 steps can give; the bound keeps odd ranges finite.
        let values = (0..=2 * TICKS as u32).map(|index| (first + f64::from(index)) * step);
        let shown = values.take_while(|value| *value <= self.high + step * 1e-6);
        shown.map(|value| (value, self.label(value, step))).collect()
    }

    fn decades(&self) -> impl Iterator<Item = f64> + use<> {
        let (first, last) = (libm::log10(self.low), libm::log10(self.high));
        let every = libm::ceil((last - first) / (TICKS + 2.0)).max(1.0);
        let count = libm::floor((last - first) / every + 1e-9) as u32;
        (0..=count).map(move |index| libm::pow(10.0, libm::round(first) + f64::from(index) * every))
    }

    fn step(&self) -> f64 {
        let rough = (self.high - self.low) / TICKS;
        if self.unit == Unit::Elapsed && rough > 0.5 {
            let clock = CLOCK_STEPS_S.into_iter().find(|step| *step >= rough * 0.8);
            return clock.unwrap_or_else(|| decimal(rough / 86_400.0) * 86_400.0);
        }
        decimal(rough)
    }

    fn label(&self, value: f64, step: f64) -> String {
        match self.unit {
            Unit::Count => tick_number(value, step),
            Unit::Seconds => number::seconds(value),
            Unit::Share => format!("{} %", tick_number(value * 100.0, step * 100.0)),
            Unit::Elapsed if step < 1.0 => format!("{} s", tick_number(value, step)),
            Unit::Elapsed => clock(value),
        }
    }
}

/// The least of 1, 2, 5 times a power of ten that is not below `rough`.
fn decimal(rough: f64) -> f64 {
    let power = libm::pow(10.0, libm::floor(libm::log10(rough)));
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// A number with the decimals its step needs: 0, 0.5, 1, not 0, 0.5, 1.0.
fn tick_number(value: f64, step: f64) -> String {
    if libm::fabs(value) >= 9_999.5 || step < 1e-6 {
        return number::count(value);
    }
    let decimals = libm::ceil(-libm::log10(step) - 1e-9).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// `45 s`, `1:30`, `2:00:00`.
fn clock(value_s: f64) -> String {
    let whole = libm::round(value_s.clamp(0.0, 1e15)) as u64;
    let (hours, minutes, seconds) = (whole / 3_600, whole / 60 % 60, whole % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}
