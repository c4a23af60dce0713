//! Numbers and times as people read them.

use jiff::Timestamp;
use maud::{Markup, html};

/// What stands where nothing was measured.
pub(super) const NOTHING: &str = "–";

/// A length of time: `12 ms`, `0.84 s`, `14.2 s`, `3 min 20 s`, `2 h 05 min`.
pub(super) fn seconds(value: f64) -> String {
    if !value.is_finite() {
        return NOTHING.to_owned();
    }
    let value = value.max(0.0);
    if value < 0.0995 {
        format!("{:.0} ms", value * 1e3)
    } else if value < 9.995 {
        format!("{value:.2} s")
    } else if value < 99.95 {
        format!("{value:.1} s")
    } else if value < 3600.0 {
        format!("{} min {:02} s", value as u64 / 60, value as u64 % 60)
    } else {
        format!("{} h {:02} min", value as u64 / 3600, value as u64 % 3600 / 60)
    }
}

/// The same where there may be none.
pub(super) fn maybe_seconds(value: Option<f64>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), seconds)
}

/// At most three digits before a unit: `0.4`, `12.5`, `840`, `12.3 k`, `4.1 M`.
pub(super) fn amount(value: f64) -> String {
    // The sum of no numbers is -0, and nobody writes that.
    let value = value + 0.0;
    match value.abs() {
        _ if !value.is_finite() => NOTHING.to_owned(),
        size if size >= 1e6 => format!("{:.1} M", value / 1e6),
        size if size >= 1e4 => format!("{:.1} k", value / 1e3),
        size if size >= 99.95 => format!("{value:.0}"),
        _ => {
            let text = format!("{value:.1}");
            text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
        }
    }
}

/// Money, in the unit of the manifest's price.
pub(super) fn money(value: f64) -> String {
    if value.is_finite() { format!("${value:.2}") } else { NOTHING.to_owned() }
}

/// A share as per cent.
pub(super) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.0} %", share * 100.0) } else { NOTHING.to_owned() }
}

/// `1 replica`, `3 replicas`.
pub(super) fn count(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// An instant: UTC as text, and in the browser the local time, or how long ago it was (`age`).
pub(super) fn time(at_unix_s: f64, age: bool) -> Markup {
    // Microseconds in 64 bits: a cast of anything absurd saturates and is then no timestamp.
    let stamp = Timestamp::from_microsecond((at_unix_s * 1e6) as i64).unwrap_or_default();
    html! {
        time datetime=(stamp.strftime("%Y-%m-%dT%H:%M:%SZ")) data-at=(at_unix_s) data-age[age] {
            (stamp.strftime("%H:%M:%S")) " UTC"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_three_digits_and_their_unit() {
        let shown: Vec<String> = [0.0124, 0.84, 14.23, 200.0, 7500.0].into_iter().map(seconds).collect();
        assert_eq!(shown, ["12 ms", "0.84 s", "14.2 s", "3 min 20 s", "2 h 05 min"]);
        assert_eq!(seconds(f64::NAN), NOTHING);
    }

    #[test]
    fn amounts_keep_three_digits() {
        let shown: Vec<String> = [-0.0, 0.42, 12.0, 840.4, 12_345.0, 4.1e6].into_iter().map(amount).collect();
        assert_eq!(shown, ["0", "0.4", "12", "840", "12.3 k", "4.1 M"]);
    }

    #[test]
    fn an_absurd_time_is_still_a_time() {
        assert!(time(1e300, false).into_string().contains("1970-01-01T00:00:00Z"));
        assert!(time(1_700_000_000.25, false).into_string().contains("2023-11-14T22:13:20Z"));
    }
}
