//! Kubernetes quantities: `500m`, `1.5Gi`, `1e3`, `12E`.

use tidegate_core::units::Milli;

/// Longest text that is read: 64 bits of milli-units have 19 digits, and every unit is shorter.
/// The limit also keeps the digits within 128 bits.
const TEXT_MAX: usize = 32;

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing at all.
    #[error("is empty; write a quantity such as 500m, 2 or 1.5Gi")]
    Empty,
    /// More than any quantity needs.
    #[error("is longer than {TEXT_MAX} characters")]
    TooLong,
    /// No digits where they are due.
    #[error("is not a quantity; write a number and at most one unit, such as 500m, 2 or 1.5Gi")]
    Malformed,
    /// A unit that Kubernetes does not have.
    #[error("has the unknown unit \"{0}\"; units are n, u, m, k, M, G, T, P, E and Ki, Mi, Gi, Ti, Pi, Ei")]
    UnknownUnit(String),
    /// Beyond what 64 bits of thousandths hold.
    #[error("is too large; the largest is about 9.2 quadrillion (9.2P)")]
    OutOfRange,
}

/// Reads a quantity in thousandths, rounded away from zero as `Quantity.MilliValue()` rounds.
///
/// # Errors
/// When the text is not a quantity or does not fit.
pub fn parse(text: &str) -> Result<Milli, Error> {
    if text.is_empty() {
        return Err(Error::Empty);
    }
    if text.len() > TEXT_MAX {
        return Err(Error::TooLong);
    }
    let (negative, unsigned) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let number_end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, unit) = unsigned.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(Error::Malformed);
    }
    let (base, power) = multiplier(unit)?;
    let fraction = fraction.trim_end_matches('0');
    let digits = whole
        .bytes()
        .chain(fraction.bytes())
        .try_fold(0_u128, |all, digit| all.checked_mul(10)?.checked_add(u128::from(digit - b'0')));
    let digits = digits.ok_or(Error::OutOfRange)?;
    // A thousand for the thousandths; the fraction's digits come off the power of ten.
    let tens = 3 - fraction.len() as i64 + if base == 10 { power } else { 0 };
    let twos = if base == 2 { power } else { 0 };
    let milli = if digits == 0 {
        0
    } else {
        let up = digits.checked_mul(1 << twos).ok_or(Error::OutOfRange)?;
        match u32::try_from(tens) {
            Ok(tens) => {
                10_u128.checked_pow(tens).and_then(|scale| up.checked_mul(scale)).ok_or(Error::OutOfRange)?
            }
            // Below any digit we hold, what is left is the smallest thousandth.
            Err(_) => match u32::try_from(-tens).ok().and_then(|tens| 10_u128.checked_pow(tens)) {
                Some(scale) => up.div_ceil(scale),
                None => 1,
            },
        }
    };
    let milli = i64::try_from(milli).map_err(|_| Error::OutOfRange)?;
    Ok(Milli(if negative { -milli } else { milli }))
}

/// The base and the power a unit stands for.
fn multiplier(unit: &str) -> Result<(u8, i64), Error> {
    let known = match unit {
        "n" => (10, -9),
        "u" => (10, -6),
        "m" => (10, -3),
        "" => (10, 0),
        "k" => (10, 3),
        "M" => (10, 6),
        "G" => (10, 9),
        "T" => (10, 12),
        "P" => (10, 15),
        "E" => (10, 18),
        "Ki" => (2, 10),
        "Mi" => (2, 20),
        "Gi" => (2, 30),
        "Ti" => (2, 40),
        "Pi" => (2, 50),
        "Ei" => (2, 60),
        _ => {
            // Blanks, signs and letters after an `e` all fail to parse, as they do upstream.
            let exponent = unit.strip_prefix(['e', 'E']).and_then(|exponent| exponent.parse().ok());
            let exponent: i64 = exponent.ok_or_else(|| Error::UnknownUnit(unit.to_owned()))?;
            // Any power beyond these is out of range one way or rounds up to a thousandth the other way.
            (10, exponent.clamp(-100, 100))
        }
    };
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_counts_as_kubernetes_counts_it() {
        for (text, milli) in [
            ("0", 0),
            ("5", 5_000),
            ("500m", 500),
            ("1.5", 1_500),
            ("1.", 1_000),
            (".5", 500),
            ("+2", 2_000),
            ("1k", 1_000_000),
            ("1M", 1_000_000_000),
            ("1G", 1_000_000_000_000),
            ("1T", 1_000_000_000_000_000),
            ("9P", 9_000_000_000_000_000_000),
            ("1Ki", 1_024_000),
            ("1.5Mi", 1_572_864_000),
            ("1Gi", 1_073_741_824_000),
            ("1Ti", 1_099_511_627_776_000),
            ("8Pi", 9_007_199_254_740_992_000),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("1e+3", 1_000_000),
            ("15e-1", 1_500),
            ("0.000001E", 1_000_000_000_000_000),
            ("0.0001Ei", 115_292_150_460_684_698),
            ("-1500m", -1_500),
            ("0E", 0),
            ("0e99", 0),
            ("1.50000000000000000000Gi", 1_610_612_736_000),
        ] {
            assert_eq!(parse(text), Ok(Milli(milli)), "{text}");
        }
    }

    #[test]
    fn what_is_finer_than_a_thousandth_rounds_away_from_zero() {
        for (text, milli) in [
            ("1n", 1),
            ("1u", 1),
            ("0.0001", 1),
            ("1500001u", 1_501),
            ("1e-99999", 1),
            ("-1n", -1),
            ("0.1Ki", 102_400),
        ] {
            assert_eq!(parse(text), Ok(Milli(milli)), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for text in ["10P", "12E", "1.5Ei", "1e30", "1e99999", "-12E", "9223372036854775808"] {
            assert_eq!(parse(text), Err(Error::OutOfRange), "{text}");
        }
        assert_eq!(parse(&"1".repeat(40)), Err(Error::TooLong));
    }

    #[test]
    fn what_is_not_a_quantity_is_refused() {
        for text in [".", "k", "Gi", "-", "+", "1.2.3", "- 1", "abc"] {
            assert_eq!(parse(text), Err(Error::Malformed), "{text}");
        }
        for (text, unit) in [
            ("1K", "K"),
            ("1g", "g"),
            ("1gb", "gb"),
            ("1 Gi", " Gi"),
            ("1e", "e"),
            ("80%", "%"),
            ("1e1.5", "e1.5"),
            ("1eh", "eh"),
        ] {
            let error = parse(text);
            let unit = if text == "1e1.5" { "e" } else { unit };
            assert!(
                matches!(&error, Err(Error::UnknownUnit(name)) if name.starts_with(unit)),
                "{text}: {error:?}"
            );
        }
        assert_eq!(parse(""), Err(Error::Empty));
    }
}
