//! A family of series in Prometheus' text format.

use std::fmt::Write as _;

/// A family of series under one head.
pub(super) struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl<'a> Family<'a> {
    pub(super) fn new(out: &'a mut String, name: &'static str, help: &str) -> Self {
        Family::of(out, name, help, "gauge")
    }

    /// What only grows.
    pub(super) fn counter(out: &'a mut String, name: &'static str, help: &str) -> Self {
        Family::of(out, name, help, "counter")
    }

    fn of(out: &'a mut String, name: &'static str, help: &str, type_: &str) -> Self {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {type_}");
        Family { out, name }
    }

    /// One series. With 10,000 targets 50,000 are written each second, so nothing is allocated for one.
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        self.out.push_str(self.name);
        for (at, (name, text)) in labels.iter().enumerate() {
            self.out.push_str(if at == 0 { "{" } else { "," });
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(text, self.out);
            self.out.push('"');
        }
        let _ = writeln!(self.out, "}} {value}");
    }
}

fn escape(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some((before, special)) = rest.find(['\\', '"', '\n']).and_then(|at| rest.split_at_checked(at))
    {
        out.push_str(before);
        let mut letters = special.chars();
        match letters.next() {
            Some('\n') => out.push_str("\\n"),
            Some(letter) => out.extend(['\\', letter]),
            None => {}
        }
        rest = letters.as_str();
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_label_is_escaped() {
        let mut out = String::new();
        Family { out: &mut out, name: "a" }.add(&[("x", "1\"\\2\n"), ("y", "")], 0.5);
        assert_eq!(out, "a{x=\"1\\\"\\\\2\\n\",y=\"\"} 0.5\n");
    }
}
