//! Charts as SVG: several series over two axes.
//!
//! The drawing is deterministic: the same chart gives the same bytes. Colours live in CSS variables inside
//! the SVG, which follow `prefers-color-scheme`, so one file serves light and dark.

mod scale;
mod svg;

/// Series a chart draws: as many as there are colours one can tell apart. The legend counts the rest.
pub const SERIES_MAX: usize = 8;

/// Points of one series that are drawn. A chart is 440 units wide: more than four points a unit cannot be
/// told apart. Of more points, each run keeps its lowest and highest, so that no peak is lost.
pub const POINTS_MAX: usize = 2_000;

/// What an axis counts; it decides the ticks and how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things, or things a second: `0`, `250`, `1.5 k`.
    Count,
    /// A length of time in seconds, written as `5 ms` or `2.5 s`.
    Seconds,
    /// Time since the start in seconds, with ticks at whole minutes and hours: `1:30`.
    Elapsed,
    /// A share of one, written as per cent.
    Share,
}

/// One axis.
#[derive(Clone, Debug)]
pub struct Axis {
    name: String,
    unit: Unit,
    log: bool,
    end: Option<f64>,
}

impl Axis {
    /// A linear axis from zero (or below, if a value is) to the largest value.
    #[must_use]
    pub fn new(name: &str, unit: Unit) -> Self {
        Axis { name: name.to_owned(), unit, log: false, end: None }
    }

    /// The same with a logarithmic scale. Values that are not above zero are not drawn.
    #[must_use]
    pub fn log(mut self) -> Self {
        self.log = true;
        self
    }

    /// The same reaching at least to `end`: two charts of one time line then line up.
    #[must_use]
    pub fn until(mut self, end: f64) -> Self {
        self.end = Some(end).filter(|end| end.is_finite());
        self
    }
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Straight from point to point.
    Line,
    /// A value holds until the next one: replicas, cumulative shares.
    Steps,
    /// Steps with the area below filled: histograms, requests in flight.
    Area,
    /// A dot at each point, which shows its note where the pointer rests on it.
    Marks,
}

/// A named run of points, in the order of their x.
#[derive(Clone, Debug)]
pub struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    style: Style,
    /// For [`Style::Marks`]: what is said of each point.
    notes: Vec<String>,
}

/// Marks of one series that are drawn, with some 200 bytes each: 400 KB.
pub const MARKS_MAX: usize = 2_000;

impl Series {
    /// Points joined by straight lines. A point whose y is no number leaves a gap.
    #[must_use]
    pub fn line(name: &str, points: Vec<(f64, f64)>) -> Self {
        Series { name: name.to_owned(), points, style: Style::Line, notes: Vec::new() }
    }

    /// Points whose value holds until the next.
    #[must_use]
    pub fn steps(name: &str, points: Vec<(f64, f64)>) -> Self {
        Series { name: name.to_owned(), points, style: Style::Steps, notes: Vec::new() }
    }

    /// Dots, each with what is to be said of it: shown as a tooltip, without a script. Past [`MARKS_MAX`]
    /// they are left out.
    #[must_use]
    pub fn marks(name: &str, marks: Vec<(f64, f64, String)>) -> Self {
        let marks = marks.into_iter().filter(|(x, _, _)| x.is_finite()).take(MARKS_MAX);
        let (points, notes) = marks.map(|(x, y, note)| ((x, y), note)).unzip();
        Series { name: name.to_owned(), points, style: Style::Marks, notes }
    }

    /// Steps with the area below filled.
    #[must_use]
    pub fn area(name: &str, points: Vec<(f64, f64)>) -> Self {
        Series { name: name.to_owned(), points, style: Style::Area, notes: Vec::new() }
    }
}

/// A chart being put together.
#[derive(Clone, Debug)]
pub struct Chart {
    title: String,
    x: Axis,
    y: Axis,
    series: Vec<Series>,
    left_out: usize,
}

impl Chart {
    /// An empty chart. Without a point it says "no data" between its axes.
    #[must_use]
    pub fn new(title: &str, x: Axis, y: Axis) -> Self {
        Chart { title: title.to_owned(), x, y, series: Vec::new(), left_out: 0 }
    }

    /// The chart with one more series; past [`SERIES_MAX`] it is only counted.
    #[must_use]
    pub fn with(mut self, mut series: Series) -> Self {
        if self.series.len() >= SERIES_MAX {
            self.left_out += 1;
            return self;
        }
        series.points = thinned(series.points);
        self.series.push(series);
        self
    }

    /// What the chart shows, in a line.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The SVG element, with its own style; it stands alone and inside HTML.
    #[must_use]
    pub fn svg(&self) -> String {
        svg::draw(self)
    }
}

/// The cumulative share of samples up to each value: `[(value, share)]`, for [`Series::steps`].
/// Samples that are not numbers are left out.
#[must_use]
pub fn cumulative(mut samples: Vec<f64>) -> Vec<(f64, f64)> {
    samples.retain(|sample| sample.is_finite());
    samples.sort_by(f64::total_cmp);
    let count = samples.len() as f64;
    let steps = samples.into_iter().enumerate();
    steps.map(|(index, sample)| (sample, (index + 1) as f64 / count)).collect()
}

/// How many samples fall into each of `bins` equal parts of their range: `[(left edge, count)]` and a last
/// point at the right edge, for [`Series::area`]. Empty without a finite sample or without bins.
#[must_use]
pub fn histogram(samples: &[f64], bins: usize) -> Vec<(f64, f64)> {
    let finite = || samples.iter().copied().filter(|sample| sample.is_finite());
    let (Some(low), Some(high)) = (finite().min_by(f64::total_cmp), finite().max_by(f64::total_cmp)) else {
        return Vec::new();
    };
    let bins = bins.min(POINTS_MAX);
    if bins == 0 {
        return Vec::new();
    }
    // All samples equal: one bin of width one around the value is wide enough to be seen.
    let (low, width) =
        if high > low { (low, (high - low) / bins as f64) } else { (low - 0.5, 1.0 / bins as f64) };
    let mut counts = vec![0_u64; bins];
    for sample in finite() {
        let bin = ((sample - low) / width) as usize;
        counts[bin.min(bins - 1)] += 1;
    }
    let edges = counts.iter().enumerate();
    let mut points: Vec<_> = edges.map(|(bin, count)| (low + width * bin as f64, *count as f64)).collect();
    points.push((low + width * bins as f64, 0.0));
    points
}

/// At most [`POINTS_MAX`] points: of each run of neighbours its lowest and highest, in their order.
fn thinned(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.retain(|(x, _)| x.is_finite());
    if points.len() <= POINTS_MAX {
        return points;
    }
    let run = points.len().div_ceil(POINTS_MAX / 2);
    let mut kept = Vec::with_capacity(POINTS_MAX);
    for part in points.chunks(run) {
        let by_y = |a: &usize, b: &usize| part[*a].1.total_cmp(&part[*b].1);
        let (low, high) = ((0..part.len()).min_by(by_y), (0..part.len()).max_by(by_y));
        let (Some(low), Some(high)) = (low, high) else { continue };
        kept.push(part[low.min(high)]);
        if low != high {
            kept.push(part[low.max(high)]);
        }
    }
    kept
}

#[cfg(test)]
mod tests;
