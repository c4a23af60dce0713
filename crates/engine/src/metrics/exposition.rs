//! Writing Prometheus text the way each engine's library writes it.

use std::fmt::Write as _;

use super::recorder::Histogram;

/// A label and its value.
pub(super) type Label<'a> = (&'a str, &'a str);

/// The text so far.
#[derive(Debug)]
pub(super) struct Exposition {
    text: String,
    style: Style,
}

/// Whose library writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `prometheus_client` of Python: labels in alphabetical order, `1.0`, `1.7e+09`; with `_created`
    /// series when the moment (seconds since 1970) is given.
    Python {
        /// When the engine started, in microseconds since 1970.
        created_us: Option<i64>,
    },
    /// `metrics-exporter-prometheus` of Rust: `1`, no help text.
    Rust,
    /// llama.cpp: C++ streams with six digits.
    Cpp,
}

impl Exposition {
    pub(super) fn new(style: Style) -> Exposition {
        Exposition { text: String::with_capacity(64 * 1024), style }
    }

    pub(super) fn done(self) -> String {
        self.text
    }

    pub(super) fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        if self.style != Style::Rust {
            let _ = writeln!(self.text, "# HELP {name} {help}");
        }
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[Label<'_>], value: f64) {
        self.text.push_str(name);
        if !labels.is_empty() {
            self.text.push('{');
            for (place, (label, value)) in labels.iter().enumerate() {
                let comma = if place > 0 { "," } else { "" };
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let _ = write!(self.text, "{comma}{label}=\"{value}\"");
            }
            self.text.push('}');
        }
        self.text.push(' ');
        self.number(value);
        self.text.push('\n');
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, labels: &[Label<'_>], value: f64) {
        self.head(name, "gauge", help);
        self.sample(name, labels, value);
    }

    /// A counter with one series for each set of labels. `name` is without `_total`, which Python adds.
    pub(super) fn counters(&mut self, name: &str, help: &str, rows: &[(&[Label<'_>], f64)]) {
        let total = if matches!(self.style, Style::Python { .. }) {
            format!("{name}_total")
        } else {
            name.to_owned()
        };
        self.head(&total, "counter", help);
        for (labels, value) in rows {
            self.sample(&total, labels, *value);
        }
        let rows: Vec<&[Label<'_>]> = rows.iter().map(|(labels, _)| *labels).collect();
        self.created(name, help, &rows);
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, labels: &[Label<'_>], value: f64) {
        self.counters(name, help, &[(labels, value)]);
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, labels: &[Label<'_>], histogram: &Histogram) {
        self.histograms(name, help, &[(labels, histogram)]);
    }

    pub(super) fn histograms(&mut self, name: &str, help: &str, rows: &[(&[Label<'_>], &Histogram)]) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (labels, histogram) in rows {
            for (bound, count) in histogram.cumulative() {
                let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| self.written(bound));
                let mut all = labels.to_vec();
                all.push(("le", &bound));
                if matches!(self.style, Style::Python { .. }) {
                    all.sort_unstable();
                }
                self.sample(&bucket, &all, count as f64);
            }
            self.sample(&format!("{name}_count"), labels, histogram.count() as f64);
            self.sample(&format!("{name}_sum"), labels, histogram.sum());
        }
        let rows: Vec<&[Label<'_>]> = rows.iter().map(|(labels, _)| *labels).collect();
        self.created(name, help, &rows);
    }

    pub(super) fn created(&mut self, name: &str, help: &str, rows: &[&[Label<'_>]]) {
        let Style::Python { created_us: Some(created_us) } = self.style else { return };
        let name = format!("{name}_created");
        self.head(&name, "gauge", help);
        for labels in rows {
            self.sample(&name, labels, created_us as f64 / 1e6);
        }
    }

    fn number(&mut self, value: f64) {
        let written = self.written(value);
        self.text.push_str(&written);
    }

    fn written(&self, value: f64) -> String {
        match self.style {
            Style::Python { .. } => python(value),
            Style::Rust => format!("{value}"),
            Style::Cpp => cpp(value),
        }
    }
}

/// As `prometheus_client` does: `0.5`, `384.0`, and from a million on `1.79e+09`.
fn python(value: f64) -> String {
    let plain = format!("{value:?}");
    match plain.find('.') {
        Some(point) if value > 0.0 && point > 6 => {
            let digits = format!("{}{}", &plain[1..point], &plain[point + 1..]);
            format!("{}.{}e+{:02}", &plain[..1], digits.trim_end_matches('0'), point - 1).replace(".e", "e")
        }
        _ => plain,
    }
}

/// As a C++ stream does by default: six digits, no trailing zeros, an exponent from a million on.
fn cpp(value: f64) -> String {
    if !value.is_finite() {
        return "nan".to_owned();
    }
    let exponent = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    if (-4..6).contains(&exponent) {
        let text = format!("{value:.*}", (5 - exponent).max(0) as usize);
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        let text = format!("{value:.5e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        let (sign, size) = exponent.strip_prefix('-').map_or(('+', exponent), |size| ('-', size));
        format!("{digits}e{sign}{size:0>2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_each_library_writes_them() {
        let cases = [
            (0.0, "0.0", "0"),
            (384.0, "384.0", "384"),
            (0.25, "0.25", "0.25"),
            (140_800.0, "140800.0", "140800"),
            (1_795_299_733.5, "1.7952997335e+09", "1.7953e+09"),
            (2_000_000.0, "2e+06", "2e+06"),
            (5.72445, "5.72445", "5.72445"),
            (0.042_328, "0.042328", "0.042328"),
            (836.412_34, "836.41234", "836.412"),
        ];
        for (value, in_python, in_cpp) in cases {
            assert_eq!(python(value), in_python);
            assert_eq!(cpp(value), in_cpp);
        }
    }
}
