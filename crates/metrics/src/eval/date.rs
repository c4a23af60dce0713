//! Parts of a date in UTC, of seconds since the Unix epoch.

/// A day's seconds.
const DAY_S: i64 = 86_400;

/// The function `name`, if it asks for a part of a date.
pub(super) fn part(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "minute" => |at| of(at, |date| date.second / 60 % 60),
        "hour" => |at| of(at, |date| date.second / 3600),
        "day_of_week" => |at| of(at, |date| (date.days + 4).rem_euclid(7)),
        "day_of_month" => |at| of(at, |date| date.day),
        "day_of_year" => |at| of(at, |date| date.days - days_before_year(date.year) + 1),
        "days_in_month" => |at| of(at, |date| month_length(date.year, date.month)),
        "month" => |at| of(at, |date| date.month),
        "year" => |at| of(at, |date| date.year),
        _ => return None,
    })
}

struct Date {
    /// Since 1970-01-01, a Thursday.
    days: i64,
    /// Of the day.
    second: i64,
    year: i64,
    month: i64,
    day: i64,
}

fn of(at_s: f64, part: impl Fn(&Date) -> i64) -> f64 {
    if !at_s.is_finite() {
        return f64::NAN;
    }
    // 10¹² seconds are 31,000 years; beyond, a date means nothing.
    let whole_s = at_s.clamp(-1e12, 1e12) as i64;
    part(&date(whole_s)) as f64
}

fn date(at_s: i64) -> Date {
    let days = at_s.div_euclid(DAY_S);
    // 146,097 days are 400 years: a first guess, then at most a step or two.
    let mut year = 1970 + (days * 400).div_euclid(146_097);
    while days_before_year(year) > days {
        year -= 1;
    }
    while days_before_year(year + 1) <= days {
        year += 1;
    }
    let mut day = days - days_before_year(year) + 1;
    let mut month = 1;
    while day > month_length(year, month) {
        day -= month_length(year, month);
        month += 1;
    }
    Date { days, second: at_s.rem_euclid(DAY_S), year, month, day }
}

/// Days from 1970-01-01 to the first of January of `year`.
fn days_before_year(year: i64) -> i64 {
    let years = year - 1;
    // 1970 has 719,162 days before it, counted from the year 1.
    years * 365 + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400) - 719_162
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_have_their_dates() {
        for (at_s, expected) in [
            (0.0, [1970.0, 1.0, 1.0, 4.0, 1.0, 31.0, 0.0, 0.0]),
            (951_782_400.0, [2000.0, 2.0, 29.0, 2.0, 60.0, 29.0, 0.0, 0.0]),
            (1_709_251_199.0, [2024.0, 2.0, 29.0, 4.0, 60.0, 29.0, 23.0, 59.0]),
            (-1.0, [1969.0, 12.0, 31.0, 3.0, 365.0, 31.0, 23.0, 59.0]),
            (4_102_444_800.0, [2100.0, 1.0, 1.0, 5.0, 1.0, 31.0, 0.0, 0.0]),
        ] {
            let names = [
                "year",
                "month",
                "day_of_month",
                "day_of_week",
                "day_of_year",
                "days_in_month",
                "hour",
                "minute",
            ];
            for (name, expected) in names.into_iter().zip(expected) {
                let found = part(name).expect("a part")(at_s);
                assert!((found - expected).abs() < 1e-9, "{name} of {at_s}: {found}");
            }
        }
        assert!(part("year").expect("a part")(f64::NAN).is_nan());
    }
}
