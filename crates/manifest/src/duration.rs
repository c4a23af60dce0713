//! Durations as Go writes them: `1h2m3.5s`, `300ms`, `-1s`, `0`.

use tidegate_core::time::Span;

/// Longest text that is read; the longest useful one, `-2562047h47m16.854775807s`, has 25 characters.
const TEXT_MAX: usize = 64;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing but blanks, or a sign alone.
    #[error("is empty; write a number with its unit, such as 30s or 1m30s")]
    Empty,
    /// More than any duration needs.
    #[error("is longer than {TEXT_MAX} characters")]
    TooLong,
    /// A number without a unit.
    #[error("has a number without a unit; add ns, us, ms, s, m or h")]
    NoUnit,
    /// A unit Go does not have.
    #[error("has the unknown unit \"{0}\"; units are ns, us, ms, s, m and h")]
    UnknownUnit(String),
    /// Anything else.
    #[error("is not a duration; write numbers with their units, such as 30s or 1m30s")]
    Malformed,
    /// Beyond what 64 bits of nanoseconds hold, which is where Go stops.
    #[error("is longer than 292 years")]
    OutOfRange,
}

/// Reads a duration as Go's `time.ParseDuration` does.
///
/// What is finer than a microsecond is rounded away from zero, so that no positive duration becomes none.
///
/// # Errors
/// When the text is not a duration or does not fit.
pub fn parse(text: &str) -> Result<Span, Error> {
    if text.len() > TEXT_MAX {
        return Err(Error::TooLong);
    }
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest.trim().is_empty() {
        return Err(Error::Empty);
    }
    if rest == "0" {
        return Ok(Span::ZERO);
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        nanos += part(number, unit)?;
        rest = next;
    }
    // Go holds 2^63 − 1 nanoseconds, and one more below zero.
    if nanos > i128::from(i64::MAX) + i128::from(negative) {
        return Err(Error::OutOfRange);
    }
    let micros = i64::try_from((nanos + 999) / 1000).map_err(|_| Error::OutOfRange)?;
    Ok(Span::from_micros(if negative { -micros } else { micros }))
}

/// One number and its unit, in nanoseconds; the fraction is cut there, as Go cuts it.
fn part(number: &str, unit: &str) -> Result<i128, Error> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(Error::Malformed);
    }
    let unit: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err(Error::NoUnit),
        other => return Err(Error::UnknownUnit(other.to_owned())),
    };
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| Error::OutOfRange)? };
    // An hour has fewer than 10^13 nanoseconds, so digits after the thirteenth cannot count.
    let (mut digits, mut scale): (i128, i128) = (0, 1);
    for digit in fraction.bytes().take(14) {
        digits = digits * 10 + i128::from(digit - b'0');
        scale *= 10;
    }
    let nanos = digits * unit / scale;
    whole
        .checked_mul(unit)
        .and_then(|all| all.checked_add(nanos))
        .filter(|sum| *sum <= i128::from(i64::MAX) + 1)
        .ok_or(Error::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        for (text, micros) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("300ms", 300_000),
            ("1h2m3.5s", 3_723_500_000),
            ("-1s", -1_000_000),
            ("+5s", 5_000_000),
            (".5s", 500_000),
            ("1.s", 1_000_000),
            ("10µs", 10),
            ("10μs", 10),
            ("10us", 10),
            ("1.5h", 5_400_000_000),
            ("0.000001h", 3_600),
            ("2m2m", 240_000_000),
        ] {
            assert_eq!(parse(text), Ok(Span::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn what_is_finer_than_a_microsecond_never_becomes_nothing() {
        assert_eq!(parse("1ns"), Ok(Span::from_micros(1)));
        assert_eq!(parse("-1ns"), Ok(Span::from_micros(-1)));
        assert_eq!(parse("1001ns"), Ok(Span::from_micros(2)));
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for (text, error) in [
            ("", Error::Empty),
            ("-", Error::Empty),
            ("  ", Error::Empty),
            ("30", Error::NoUnit),
            ("1h30", Error::NoUnit),
            ("30 s", Error::UnknownUnit(" s".to_owned())),
            ("1d", Error::UnknownUnit("d".to_owned())),
            ("1e3s", Error::UnknownUnit("e".to_owned())),
            ("s", Error::Malformed),
            (".s", Error::Malformed),
            ("1.2.3s", Error::Malformed),
            ("--1s", Error::Malformed),
            ("9223372036854775808ns", Error::OutOfRange),
            ("2562048h", Error::OutOfRange),
            ("2562047h47m16.854775808s", Error::OutOfRange),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        assert_eq!(parse(&"9".repeat(80)), Err(Error::TooLong));
        assert_eq!(parse(&format!("{}h", "9".repeat(60))), Err(Error::OutOfRange));
    }

    #[test]
    fn the_longest_duration_of_go_still_fits() {
        assert_eq!(parse("2562047h47m16.854775807s"), Ok(Span::from_micros(9_223_372_036_854_776)));
        assert_eq!(parse("-9223372036854775808ns"), Ok(Span::from_micros(-9_223_372_036_854_776)));
    }
}
