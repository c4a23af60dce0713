//! Dates as the Azure traces write them: `2023-11-16 18:15:46.6805900`, in 2024 with `+00:00` behind it.

use tidegate_core::time::Time;

/// Microseconds since 1970 in UTC; digits after the sixth are dropped. `None` for anything else.
pub(super) fn parse(text: &str) -> Option<Time> {
    let text = text.strip_suffix("+00:00").or_else(|| text.strip_suffix('Z')).unwrap_or(text);
    let (date, clock) = text.split_once([' ', 'T'])?;
    let [year, month, day] = numbers(date, '-')?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let [hour, minute, second] = numbers(clock, ':')?;
    let good = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !good {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Time::from_micros(seconds * 1_000_000 + micros(fraction)?))
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(|part| part.parse::<u16>().ok().map(i64::from));
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

fn micros(fraction: &str) -> Option<i64> {
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let six: String = fraction.chars().chain("000000".chars()).take(6).collect();
    six.parse().ok()
}

/// Days since 1970-01-01 in the Gregorian calendar, counting years from March so that a leap day is the
/// year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day - 1;
    // 719,468 days lie between the first of March of year 0 and 1970.
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_both_years_are_read() {
        let time = parse("2023-11-16 18:15:46.6805900").unwrap();
        assert_eq!(time.as_micros(), 1_700_158_546_680_590);
        let time = parse("2024-02-29T00:00:00.009930+00:00").unwrap();
        assert_eq!(time.as_micros(), 1_709_164_800_009_930);
        assert_eq!(parse("1970-01-01 00:00:00").unwrap(), Time::ORIGIN);
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for bad in [
            "",
            "yesterday",
            "2023-13-01 00:00:00",
            "2023-11-16 24:00:00",
            "2023-11-16 1:2:3.x",
            "2023-11-16",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
