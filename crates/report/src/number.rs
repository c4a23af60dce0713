//! How numbers are written: three significant digits, and the unit that keeps them short.

/// A length of time, from µs to hours: `430 µs`, `12.3 ms`, `1.25 s`, `2 m 05 s`, `3 h 20 m`; `–` when it is
/// not a number.
#[must_use]
pub fn seconds(value_s: f64) -> String {
    let size = libm::fabs(value_s);
    if !value_s.is_finite() {
        "–".to_owned()
    } else if size == 0.0 {
        "0 s".to_owned()
    } else if size < 0.999_5e-3 {
        format!("{} µs", digits(value_s * 1e6))
    } else if size < 0.999_5 {
        format!("{} ms", digits(value_s * 1e3))
    } else if size < 119.95 {
        format!("{} s", digits(value_s))
    } else {
        long(value_s)
    }
}

fn long(value_s: f64) -> String {
    let sign = if value_s < 0.0 { "-" } else { "" };
    // 1e15 s is 31 million years: past it, every longer time is as good as it.
    let whole = libm::round(libm::fabs(value_s).min(1e15)) as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{sign}{hours} h {minutes:02} m")
    } else {
        format!("{sign}{minutes} m {rest:02} s")
    }
}

/// A count or a rate: `0.25`, `12.3`, `1234`, `45.6 k`, `7.89 M`; `–` when it is not a number.
#[must_use]
pub fn count(value: f64) -> String {
    let size = libm::fabs(value);
    if !value.is_finite() {
        "–".to_owned()
    } else if size < 9_999.5 {
        digits(value)
    } else if size < 999_500.0 {
        format!("{} k", digits(value / 1e3))
    } else if size < 999.5e6 {
        format!("{} M", digits(value / 1e6))
    } else if size < 999.5e9 {
        format!("{} G", digits(value / 1e9))
    } else {
        format!("{value:.2e}")
    }
}

/// A share of one as per cent: `99.8 %`. Below 100 it never rounds up to it, so that one failure in a
/// million still shows.
#[must_use]
pub fn share(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let percent = value * 100.0;
    if (99.95..100.0).contains(&percent) { "> 99.9 %".to_owned() } else { format!("{} %", digits(percent)) }
}

/// Three significant digits, without zeros that say nothing; whole from 1,000 on.
fn digits(value: f64) -> String {
    let size = libm::fabs(value);
    let decimals = match size {
        _ if size >= 99.95 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.999_5 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if decimals == 0 {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{count, seconds, share};

    #[test]
    fn a_time_takes_the_unit_that_keeps_it_short() {
        let cases = [
            (0.0, "0 s"),
            (0.000_43, "430 µs"),
            (0.0123, "12.3 ms"),
            (0.999_9, "1 s"),
            (1.25, "1.25 s"),
            (119.96, "2 m 00 s"),
            (125.0, "2 m 05 s"),
            (12_000.0, "3 h 20 m"),
            (f64::NAN, "–"),
        ];
        for (value_s, text) in cases {
            assert_eq!(seconds(value_s), text);
        }
    }

    #[test]
    fn a_count_takes_a_prefix_from_ten_thousand_on() {
        let cases =
            [(0.25, "0.25"), (12.34, "12.3"), (1234.0, "1234"), (45_600.0, "45.6 k"), (7.89e6, "7.89 M")];
        for (value, text) in cases {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn nearly_all_is_not_all() {
        assert_eq!(share(0.999_999), "> 99.9 %");
        assert_eq!(share(1.0), "100 %");
        assert_eq!(share(0.5), "50 %");
    }
}
