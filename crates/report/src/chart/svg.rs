//! The drawing itself.

use std::fmt::Write as _;

use super::scale::Scale;
use super::{Chart, Series, Style};
use crate::escape::push;

/// The drawing's size in user units; the page scales it to the width it has. A phone shows it 340 px wide,
/// so that letters of 14 units are 9 px high; beside another one on a desk they are 12.
const WIDTH: f64 = 520.0;
const PLOT_HEIGHT: f64 = 210.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
/// Below the plot: the tick labels and the axis' name.
const BOTTOM: f64 = 50.0;
const LEGEND_ROW: f64 = 24.0;
/// A letter's width, near enough to lay out a legend without measuring fonts.
const LETTER: f64 = 7.8;
/// Letters of a legend entry that are shown.
const NAME_LETTERS_MAX: usize = 40;

const STYLE: &str = include_str!("chart.css");

pub(super) fn draw(chart: &Chart) -> String {
    let points = || chart.series.iter().flat_map(|series| series.points.iter());
    let shown = || points().filter(|(_, y)| y.is_finite());
    let x = Scale::new(&chart.x, shown().map(|(x, _)| *x));
    let y = Scale::new(&chart.y, shown().map(|(_, y)| *y));
    let (legend, legend_height) = legend(chart);
    let height = TOP + PLOT_HEIGHT + BOTTOM + legend_height;
    let mut out = String::with_capacity(8 << 10);
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"tg-chart\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" aria-label=\""
    );
    push(&mut out, &chart.title);
    let _ = write!(out, "\"><style>{STYLE}</style>");
    axes(&mut out, chart, &x, &y);
    let mut drawn = false;
    for (index, series) in chart.series.iter().enumerate() {
        drawn |= self::series(&mut out, series, index, &x, &y);
    }
    if !drawn {
        let (middle, line) = (LEFT + plot_width() / 2.0, TOP + PLOT_HEIGHT / 2.0);
        let _ = write!(
            out,
            "<text class=\"l\" x=\"{middle}\" y=\"{line}\" text-anchor=\"middle\">no data</text>"
        );
    }
    out.push_str(&legend);
    out.push_str("</svg>");
    out
}

fn plot_width() -> f64 {
    WIDTH - LEFT - RIGHT
}

fn left_of(place: f64) -> f64 {
    LEFT + place * plot_width()
}

fn top_of(place: f64) -> f64 {
    TOP + (1.0 - place) * PLOT_HEIGHT
}

fn axes(out: &mut String, chart: &Chart, x: &Scale, y: &Scale) {
    let (right, bottom) = (WIDTH - RIGHT, TOP + PLOT_HEIGHT);
    for (value, label) in y.ticks() {
        let Some(top) = y.place(value).map(top_of) else { continue };
        let _ = write!(out, "<path class=\"g\" d=\"M{LEFT} {top:.1}H{right}\"/>");
        text(out, LEFT - 8.0, top + 5.0, "end", &label);
    }
    for (value, label) in x.ticks() {
        let Some(left) = x.place(value).map(left_of) else { continue };
        let _ = write!(out, "<path class=\"a\" d=\"M{left:.1} {bottom}v5\"/>");
        // The outermost labels stay inside the drawing.
        let anchor = if left > right - 12.0 { "end" } else { "middle" };
        text(out, left, bottom + 21.0, anchor, &label);
    }
    let _ = write!(out, "<path class=\"a\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>");
    text(out, right, bottom + 42.0, "end", &chart.x.name);
    text(out, LEFT, bottom + 42.0, "start", &format!("↑ {}", chart.y.name));
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, label: &str) {
    let _ = write!(out, "<text class=\"l\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">");
    push(out, label);
    out.push_str("</text>");
}

/// Draws a series; whether there was anything to draw.
fn series(out: &mut String, series: &Series, index: usize, x: &Scale, y: &Scale) -> bool {
    if series.style == Style::Marks {
        return marks(out, series, index, x, y);
    }
    let floor = top_of(y.place(0.0).unwrap_or(0.0));
    let (mut line, mut area, mut dots) = (String::new(), String::new(), String::new());
    for piece in series.points.split(|(px, py)| x.place(*px).is_none() || y.place(*py).is_none()) {
        let places: Vec<(f64, f64)> = piece
            .iter()
            .filter_map(|(px, py)| Some((left_of(x.place(*px)?), top_of(y.place(*py)?))))
            .collect();
        let Some(first) = places.first() else { continue };
        if places.len() == 1 {
            // A line of one point would not be seen.
            let _ = write!(
                dots,
                "<circle class=\"d s{index}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"/>",
                first.0, first.1
            );
        }
        let start = line.len();
        let _ = write!(line, "M{:.1} {:.1}", first.0, first.1);
        for place in &places[1..] {
            let _ = match series.style {
                Style::Line => write!(line, "L{:.1} {:.1}", place.0, place.1),
                Style::Steps | Style::Area | Style::Marks => write!(line, "H{:.1}V{:.1}", place.0, place.1),
            };
        }
        if series.style == Style::Area {
            area.push_str(&line[start..]);
            let _ = write!(area, "V{floor:.1}H{:.1}Z", first.0);
        }
    }
    if !area.is_empty() {
        let _ = write!(out, "<path class=\"f s{index}\" d=\"{area}\"/>");
    }
    if !line.is_empty() {
        let _ = write!(out, "<path class=\"p s{index}\" d=\"{line}\"/>");
    }
    out.push_str(&dots);
    !line.is_empty()
}

/// Draws dots with their notes; whether there was any.
fn marks(out: &mut String, series: &Series, index: usize, x: &Scale, y: &Scale) -> bool {
    let mut drawn = false;
    for ((px, py), note) in series.points.iter().zip(&series.notes) {
        let (Some(left), Some(top)) = (x.place(*px).map(left_of), y.place(*py).map(top_of)) else { continue };
        let _ = write!(out, "<circle class=\"d s{index}\" cx=\"{left:.1}\" cy=\"{top:.1}\" r=\"3\"><title>");
        push(out, note);
        out.push_str("</title></circle>");
        drawn = true;
    }
    drawn
}

/// The legend below the plot and its height; none for a single series, which the title names.
fn legend(chart: &Chart) -> (String, f64) {
    if chart.series.len() + chart.left_out < 2 {
        return (String::new(), 0.0);
    }
    let mut names: Vec<(Option<usize>, String)> = Vec::new();
    for (index, series) in chart.series.iter().enumerate() {
        names.push((Some(index), series.name.chars().take(NAME_LETTERS_MAX).collect()));
    }
    if chart.left_out > 0 {
        names.push((None, format!("and {} more, not drawn", chart.left_out)));
    }
    let mut out = String::new();
    let (mut left, mut row) = (LEFT, 0.0);
    for (index, name) in names {
        let width = 26.0 + name.chars().count() as f64 * LETTER + 16.0;
        if left > LEFT && left + width > WIDTH - RIGHT {
            (left, row) = (LEFT, row + 1.0);
        }
        let line = TOP + PLOT_HEIGHT + BOTTOM + row * LEGEND_ROW + 14.0;
        if let Some(index) = index {
            let _ = write!(out, "<path class=\"p s{index}\" d=\"M{left:.1} {:.1}h18\"/>", line - 5.0);
        }
        text(&mut out, left + 24.0, line, "start", &name);
        left += width;
    }
    (out, (row + 1.0) * LEGEND_ROW)
}
