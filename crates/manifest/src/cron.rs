//! KEDA's cron windows: a target is wanted between a start and an end, in a time zone.
//!
//! The expressions are those of `robfig/cron` v3's standard parser, which KEDA uses: five fields;
//! `*` and `?` in any of them; names of months and days; ranges, lists and steps, where `5/15` means
//! from 5 to the field's end. A day matches when both day fields match if one of them is `*` or `?`,
//! and when either matches otherwise. There are no seconds, no `@daily`, no `L`, `W` or `#`, and
//! Sunday is 0, never 7. A zone of its own may precede an expression (`TZ=Asia/Tokyo 0 9 * * *`).
//!
//! An expression fires at each whole minute whose wall clock reads as it says. So a time that a
//! change to summer time skips does not fire that day, and one that the change back repeats fires
//! twice. That is why this is not a job scheduler's cron library: those move a skipped job and drop
//! the repeated one. Upstream's rule for a window then has two consequences that are kept here:
//!
//! * A start inside the skipped hour leaves the window open for the day before, since of the two the
//!   end comes first. Do not start a window between 02:00 and 03:00.
//! * An edge inside the repeated hour takes effect at its second passing.
//!
//! Where midnight itself is skipped, upstream can also miss a match on that day; we do not.
//!
//! Zones are those built into the program, so the same build gives the same answer everywhere.

use std::fmt;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan as _, Zoned};

/// Longest expression that is read; a list of all 60 minutes and 24 hours has 230 characters.
const TEXT_MAX: usize = 512;
/// Years a search looks ahead. The rarest date, 29 February, is absent for eight years around 2100.
const YEARS_MAX: i16 = 9;
/// Firings looked at to find when a window opens or closes: two weeks of every minute.
const FIRINGS_MAX: usize = 20_160;

/// Why a window is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No zone of that name.
    #[error("\"{0}\" is not a time zone of the IANA database, such as Europe/Berlin or Etc/UTC")]
    UnknownZone(String),
    /// An expression that cannot be read.
    #[error("the {which} expression \"{text}\" {reason}")]
    BadExpression {
        /// Which one.
        which: Edge,
        /// As it was written.
        text: String,
        /// Why not.
        reason: String,
    },
    /// An expression that matches no day at all, such as 31 February.
    #[error("the {which} expression \"{text}\" never fires: no month it names has such a day")]
    NeverFires {
        /// Which one.
        which: Edge,
        /// As it was written.
        text: String,
    },
    /// Both are the same text.
    #[error("start and end are both \"{0}\"; a window needs two different times")]
    Same(String),
}

/// A window's two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    /// When it opens.
    Start,
    /// When it closes.
    End,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Edge::Start => "start",
            Edge::End => "end",
        })
    }
}

/// A window of time that opens and closes by the clock of a zone.
#[derive(Clone, Debug, PartialEq)]
pub struct CronWindow {
    timezone: String,
    start: Schedule,
    end: Schedule,
}

impl CronWindow {
    /// Reads a window. KEDA notices a bad zone only when it asks; here it is refused at once.
    ///
    /// # Errors
    /// The first of what [`CronWindow::parse_all`] finds.
    pub fn parse(timezone: &str, start: &str, end: &str) -> Result<CronWindow, Error> {
        CronWindow::parse_all(timezone, start, end).map_err(|mut errors| errors.swap_remove(0))
    }

    /// Reads a window and finds everything that is wrong with it.
    ///
    /// # Errors
    /// When the zone is unknown, an expression cannot be read or never fires, or both are the same;
    /// never an empty list.
    pub fn parse_all(timezone: &str, start: &str, end: &str) -> Result<CronWindow, Vec<Error>> {
        let (zone, unknown) = match zone(timezone) {
            Ok(zone) => (zone, None),
            Err(error) => (TimeZone::UTC, Some(error)),
        };
        let first = Schedule::parse(Edge::Start, start, &zone);
        let last = Schedule::parse(Edge::End, end, &zone);
        match (unknown, first, last) {
            (None, Ok(_), Ok(_)) if start == end => Err(vec![Error::Same(start.to_owned())]),
            (None, Ok(start), Ok(end)) => Ok(CronWindow { timezone: timezone.to_owned(), start, end }),
            (unknown, first, last) => Err(unknown.into_iter().chain(first.err()).chain(last.err()).collect()),
        }
    }

    /// The zone's name, as written.
    #[must_use]
    pub fn timezone(&self) -> &str {
        &self.timezone
    }

    /// The expression that opens it, as written.
    #[must_use]
    pub fn start(&self) -> &str {
        &self.start.text
    }

    /// The expression that closes it, as written.
    #[must_use]
    pub fn end(&self) -> &str {
        &self.end.text
    }

    /// Whether the window is open: its next end comes no later than its next start, both strictly
    /// after this second.
    #[must_use]
    pub fn active_at(&self, unix_seconds: i64) -> bool {
        match (self.start.next(unix_seconds), self.end.next(unix_seconds)) {
            (Some(start), Some(end)) => end <= start,
            // Only at the end of the calendar.
            _ => false,
        }
    }

    /// The first second after `after` at which the window opens or closes.
    ///
    /// `None` when it never will again. When very many firings pass without one (starts every minute
    /// in a window of months), the last of them is returned: ask again there.
    #[must_use]
    pub fn next_edge(&self, after: i64) -> Option<i64> {
        let (mut start, mut end) = (self.start.next(after)?, self.end.next(after)?);
        let open = end <= start;
        let mut at = after;
        for _ in 0..FIRINGS_MAX {
            at = start.min(end);
            if start == at {
                start = self.start.next(at)?;
            }
            if end == at {
                end = self.end.next(at)?;
            }
            if (end <= start) != open {
                break;
            }
        }
        Some(at)
    }
}

/// A zone by its exact name. Go's lookup distinguishes case, so a name that does not is refused.
fn zone(name: &str) -> Result<TimeZone, Error> {
    let unknown = || Error::UnknownZone(name.chars().take(64).collect());
    let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| unknown())?;
    if zone.iana_name().is_some_and(|iana| iana != name) {
        return Err(unknown());
    }
    Ok(zone)
}

/// One expression: for each field a set of bits, bit n for the value n.
#[derive(Clone, Debug, PartialEq)]
struct Schedule {
    text: String,
    zone: TimeZone,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// One of the day fields is `*` or `?`: both have to match, else either.
    both_days: bool,
}

/// What a field may hold.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// Names in order, the first for `min`.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, names: &[] },
    Field { name: "hour", min: 0, max: 23, names: &[] },
    Field { name: "day of month", min: 1, max: 31, names: &[] },
    Field {
        name: "month",
        min: 1,
        max: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { name: "day of week", min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

/// Days of each month at most, January first.
const MONTH_DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl Schedule {
    fn parse(which: Edge, text: &str, zone: &TimeZone) -> Result<Schedule, Error> {
        let shown = || text.chars().take(64).collect::<String>();
        let bad = |reason: String| Error::BadExpression { which, text: shown(), reason };
        if text.len() > TEXT_MAX {
            return Err(bad(format!("is longer than {TEXT_MAX} characters")));
        }
        let mut zone = zone.clone();
        let mut fields = text;
        if let Some(rest) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
            let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            zone = self::zone(name)?;
            fields = rest;
        }
        if fields.trim_start().starts_with('@') {
            return Err(bad("is a macro; write the five fields minute, hour, day, month and weekday".into()));
        }
        let fields: Vec<&str> = fields.split_whitespace().collect();
        if fields.len() != FIELDS.len() {
            return Err(bad(format!(
                "has {} fields; it needs five: minute, hour, day, month and weekday",
                fields.len()
            )));
        }
        let mut sets = [(0_u64, false); 5];
        for ((set, text), field) in sets.iter_mut().zip(fields).zip(&FIELDS) {
            *set = field.parse(text).map_err(bad)?;
        }
        let [(minutes, _), (hours, _), (days, any_day), (months, _), (weekdays, any_weekday)] = sets;
        let both_days = any_day || any_weekday;
        let possible = (1..=12_usize).any(|month| {
            let month_days = (1_u64 << (MONTH_DAYS[month - 1] + 1)) - 1;
            months & (1 << month) != 0 && days & month_days != 0
        });
        if both_days && !possible {
            return Err(Error::NeverFires { which, text: shown() });
        }
        Ok(Schedule { text: text.to_owned(), zone, minutes, hours, days, months, weekdays, both_days })
    }

    /// The first whole minute strictly after `after` whose wall clock matches.
    fn next(&self, after: i64) -> Option<i64> {
        let first = Timestamp::from_second(after.checked_add(1)?).ok()?;
        let mut at = first.to_zoned(self.zone.clone());
        let last_year = at.year().checked_add(YEARS_MAX)?;
        // Each round goes on by at least a minute, and by a month, a day or an hour where it can:
        // at most 9 years × 12 months + 31 days × 12 + 24 hours + 60 minutes of rounds in practice.
        while at.year() <= last_year {
            let next = if !holds(self.months, at.month()) {
                let next_month = at.date().first_of_month().checked_add(1.month()).ok()?;
                next_month.to_zoned(self.zone.clone()).ok()?
            } else if !self.day_matches(&at) {
                at.date().tomorrow().ok()?.to_zoned(self.zone.clone()).ok()?
            } else if !holds(self.hours, at.hour()) {
                later(&at, 3600 - i64::from(at.minute()) * 60 - i64::from(at.second()))?
            } else if at.second() != 0 || !holds(self.minutes, at.minute()) {
                later(&at, 60 - i64::from(at.second()))?
            } else {
                return Some(at.timestamp().as_second());
            };
            if next <= at {
                return None;
            }
            at = next;
        }
        None
    }

    fn day_matches(&self, at: &Zoned) -> bool {
        let day = holds(self.days, at.day());
        let weekday = holds(self.weekdays, at.weekday().to_sunday_zero_offset());
        if self.both_days { day && weekday } else { day || weekday }
    }
}

fn holds(set: u64, value: i8) -> bool {
    set & (1 << value) != 0
}

fn later(at: &Zoned, seconds: i64) -> Option<Zoned> {
    at.checked_add(SignedDuration::from_secs(seconds)).ok()
}

impl Field {
    /// The values a field's text names, and whether it is `*` or `?` without a step.
    fn parse(&self, text: &str) -> Result<(u64, bool), String> {
        let mut all = (0, false);
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let (set, any) = self.item(item)?;
            all = (all.0 | set, all.1 | any);
        }
        if all.0 == 0 {
            return Err(format!("names no {}", self.name));
        }
        Ok(all)
    }

    fn item(&self, item: &str) -> Result<(u64, bool), String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let (low, high) = match range.split_once('-') {
            Some((low, high)) => (low, Some(high)),
            None => (range, None),
        };
        let (first, mut last, mut any) = if low == "*" || low == "?" {
            (self.min, self.max, true)
        } else {
            let first = self.value(low)?;
            (first, high.map_or(Ok(first), |high| self.value(high))?, false)
        };
        let step = match step {
            None => 1,
            Some(step) => {
                if high.is_none() {
                    last = self.max;
                }
                number(step).filter(|step| *step > 0).ok_or_else(|| {
                    format!(
                        "has the step \"{step}\" for the {}; it must be a whole number above 0",
                        self.name
                    )
                })?
            }
        };
        any &= step == 1;
        if first > last {
            return Err(format!("has the {} range \"{range}\", which ends before it begins", self.name));
        }
        let mut set = 0;
        let mut value = first;
        while value <= last {
            set |= 1 << value;
            value = value.saturating_add(step);
        }
        Ok((set, any))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let named = self.names.iter().position(|name| text.eq_ignore_ascii_case(name));
        let value = match named {
            Some(position) => u32::try_from(position).ok().map(|position| position + self.min),
            None => number(text),
        };
        value.filter(|value| (self.min..=self.max).contains(value)).ok_or_else(|| {
            format!("has the {} \"{text}\"; it must be from {} to {}", self.name, self.min, self.max)
        })
    }
}

/// A whole number without a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
