use super::*;

/// Seconds of a moment written as RFC 3339.
fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second()
}

fn window(timezone: &str, start: &str, end: &str) -> CronWindow {
    CronWindow::parse(timezone, start, end).unwrap()
}

/// All firings of an expression in a zone after one moment and no later than another.
fn firings(timezone: &str, text: &str, after: &str, until: &str) -> Vec<String> {
    let schedule = Schedule::parse(Edge::Start, text, &zone(timezone).unwrap()).unwrap();
    let mut found = Vec::new();
    let mut now = at(after);
    while let Some(next) = schedule.next(now).filter(|next| *next <= at(until)) {
        found.push(Timestamp::from_second(next).unwrap().to_string());
        now = next;
    }
    found
}

#[test]
fn a_working_day_is_active_from_its_start_until_its_end() {
    let office = window("Europe/Berlin", "0 8 * * 1-5", "0 18 * * 1-5");
    for (moment, active) in [
        ("2024-01-15T06:59:59Z", false),
        ("2024-01-15T07:00:00Z", true),
        ("2024-01-15T16:59:59Z", true),
        ("2024-01-15T17:00:00Z", false),
        // Friday night to Monday morning.
        ("2024-01-19T17:00:00Z", false),
        ("2024-01-20T10:00:00Z", false),
        ("2024-01-22T07:00:00Z", true),
    ] {
        assert_eq!(office.active_at(at(moment)), active, "{moment}");
    }
}

#[test]
fn a_window_may_span_midnight() {
    let night = window("America/New_York", "0 22 * * *", "0 6 * * *");
    assert!(night.active_at(at("2024-01-15T03:00:00Z")));
    assert!(night.active_at(at("2024-01-15T10:59:59Z")));
    assert!(!night.active_at(at("2024-01-15T11:00:00Z")));
    assert!(!night.active_at(at("2024-01-15T20:00:00Z")));
}

#[test]
fn an_end_at_the_same_moment_as_a_start_keeps_the_window_open() {
    // At 12:00 both fire; from 11:00 to 12:00 the next end is not later than the next start.
    let odd = window("UTC", "0 8,12 * * *", "0 12,18 * * *");
    for (moment, active) in [
        ("2024-01-15T07:00:00Z", false),
        ("2024-01-15T08:00:00Z", true),
        ("2024-01-15T12:00:00Z", true),
        ("2024-01-15T18:00:00Z", false),
    ] {
        assert_eq!(odd.active_at(at(moment)), active, "{moment}");
    }
}

#[test]
fn upstreams_examples_are_active_when_upstream_says_so() {
    let even_hours = window("Etc/UTC", "0 */2 * * *", "0 1-23/2 * * *");
    for hour in 0..24 {
        let now = at("2024-01-15T00:30:00Z") + hour * 3600;
        assert_eq!(even_hours.active_at(now), hour % 2 == 0, "{hour}");
    }
    let thursday = window("Etc/UTC", "0 0 * * Thu", "59 23 * * Thu");
    assert!(thursday.active_at(at("2024-01-18T12:00:00Z")));
    assert!(!thursday.active_at(at("2024-01-19T12:00:00Z")));
}

#[test]
fn a_time_skipped_in_spring_does_not_fire_that_day() {
    // Clocks go from 02:00 to 03:00 on 31 March in Berlin and on 10 March in New York.
    assert_eq!(
        firings("Europe/Berlin", "30 2 * * *", "2024-03-29T12:00:00Z", "2024-04-01T12:00:00Z"),
        ["2024-03-30T01:30:00Z", "2024-04-01T00:30:00Z"]
    );
    assert_eq!(
        firings("America/New_York", "30 2 * * *", "2024-03-08T12:00:00Z", "2024-03-11T12:00:00Z"),
        ["2024-03-09T07:30:00Z", "2024-03-11T06:30:00Z"]
    );
    // As upstream: from Saturday's end the next start is Monday's, so Sunday's end comes first and
    // the window stays open for the whole day in between.
    let gap = window("Europe/Berlin", "30 2 * * *", "0 5 * * *");
    for (moment, active) in [
        ("2024-03-30T00:00:00Z", false),
        ("2024-03-30T01:30:00Z", true),
        ("2024-03-30T12:00:00Z", true),
        ("2024-03-31T02:59:59Z", true),
        ("2024-03-31T03:00:00Z", false),
        ("2024-04-01T00:30:00Z", true),
    ] {
        assert_eq!(gap.active_at(at(moment)), active, "{moment}");
    }
}

#[test]
fn a_time_repeated_in_autumn_fires_twice() {
    assert_eq!(
        firings("Europe/Berlin", "30 2 * * *", "2024-10-26T12:00:00Z", "2024-10-28T12:00:00Z"),
        ["2024-10-27T00:30:00Z", "2024-10-27T01:30:00Z", "2024-10-28T01:30:00Z"]
    );
    assert_eq!(
        firings("America/New_York", "30 1 * * *", "2024-11-02T12:00:00Z", "2024-11-04T12:00:00Z"),
        ["2024-11-03T05:30:00Z", "2024-11-03T06:30:00Z", "2024-11-04T06:30:00Z"]
    );
    // An end that comes twice closes the window the second time, and a start opens it the second time.
    let end = window("Europe/Berlin", "0 1 * * *", "30 2 * * *");
    assert!(end.active_at(at("2024-10-27T00:30:00Z")));
    assert!(end.active_at(at("2024-10-27T01:29:59Z")));
    assert!(!end.active_at(at("2024-10-27T01:30:00Z")));
    let start = window("Europe/Berlin", "30 2 * * *", "0 6 * * *");
    assert!(!start.active_at(at("2024-10-27T01:29:59Z")));
    assert!(start.active_at(at("2024-10-27T01:30:00Z")));
}

#[test]
fn hours_around_a_change_are_counted_by_the_wall_clock() {
    assert_eq!(
        firings("Europe/Berlin", "0 */2 * * *", "2024-03-30T22:59:59Z", "2024-03-31T04:00:00Z"),
        ["2024-03-30T23:00:00Z", "2024-03-31T02:00:00Z", "2024-03-31T04:00:00Z"]
    );
    assert_eq!(
        firings("Australia/Lord_Howe", "0 2 * * *", "2024-10-05T00:00:00Z", "2024-10-07T00:00:00Z").len(),
        1,
        "half an hour is skipped from 02:00"
    );
}

#[test]
fn a_day_matches_either_day_field_unless_one_is_a_star() {
    let days = |text: &str| {
        firings("UTC", text, "2024-02-29T23:00:00Z", "2024-03-31T23:00:00Z")
            .iter()
            .map(|time| time[8..10].to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (text, expected) in [
        ("0 0 13 * 5", "01 08 13 15 22 29"),
        ("0 0 13 * *", "13"),
        ("0 0 13 * ?", "13"),
        ("0 0 ? * 5", "01 08 15 22 29"),
        ("0 0 * * 5", "01 08 15 22 29"),
        // A step of one is still a star; any other is a list, so that either field matches.
        ("0 0 */1 * 5", "01 08 15 22 29"),
        ("0 0 */15 * 5", "01 08 15 16 22 29 31"),
        ("0 0 13 * */6", "02 03 09 10 13 16 17 23 24 30 31"),
    ] {
        assert_eq!(days(text), expected, "{text}");
    }
}

#[test]
fn ranges_lists_steps_and_names_mean_what_they_mean_upstream() {
    for (one, same) in [
        ("0 0 * jan-mar mon", "0 0 * 1,2,3 1"),
        ("0 0 * JAN-Mar MON-fri", "0 0 * 1-3 1-5"),
        ("5/15 * * * *", "5,20,35,50 * * * *"),
        ("5-40/15 * * * *", "5,20,35 * * * *"),
        ("? ? ? ? ?", "* * * * *"),
        ("0-59 * * * *", "*/1 * * * *"),
        ("1,,2 * * * *", "1,2 * * * *"),
        ("  0   8 * * * ", "0 8 * * *"),
        ("00 08 * * *", "0 8 * * *"),
        ("0 0 * * sun/3", "0 0 * * 0,3,6"),
    ] {
        let (from, to) = ("2024-01-01T00:00:00Z", "2024-01-20T00:00:00Z");
        assert_eq!(firings("UTC", one, from, to), firings("UTC", same, from, to), "{one}");
    }
}

#[test]
fn what_the_standard_parser_refuses_is_refused() {
    for (text, part) in [
        ("", "has 0 fields"),
        ("* * * *", "has 4 fields"),
        ("0 * * * * *", "has 6 fields"),
        ("@daily", "is a macro"),
        ("60 * * * *", "minute \"60\"; it must be from 0 to 59"),
        ("* 24 * * *", "hour \"24\""),
        ("* * 0 * *", "day of month \"0\""),
        ("* * 32 * *", "day of month \"32\""),
        ("* * * 13 *", "month \"13\""),
        ("* * * * 7", "day of week \"7\"; it must be from 0 to 6"),
        ("* * * * mon-sun", "ends before it begins"),
        ("* * L * *", "day of month \"L\""),
        ("* * 15W * *", "day of month \"15W\""),
        ("* * * * 5#2", "day of week \"5#2\""),
        ("* * * * +5", "day of week \"+5\""),
        ("-30 * * * *", "minute \"\""),
        ("1-2-3 * * * *", "minute \"2-3\""),
        ("*/0 * * * *", "step \"0\""),
        ("*/x * * * *", "step \"x\""),
        ("1/2/3 * * * *", "step \"2/3\""),
        ("* * * janu *", "month \"janu\""),
        ("mon * * * *", "minute \"mon\""),
        (", * * * *", "names no minute"),
        ("99999999999 * * * *", "minute \"99999999999\""),
    ] {
        let error = CronWindow::parse("UTC", text, "0 0 * * *").unwrap_err();
        assert!(matches!(error, Error::BadExpression { which: Edge::Start, .. }), "{text}: {error}");
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
    let long = format!("{} * * * *", "1,".repeat(400));
    assert!(CronWindow::parse("UTC", "0 0 * * *", &long).unwrap_err().to_string().contains("longer than"));
}

#[test]
fn an_expression_that_never_fires_is_refused() {
    for text in ["0 0 31 2 *", "0 0 30 feb *", "0 0 31 4,6,9,11 *"] {
        let error = CronWindow::parse("UTC", "0 0 * * *", text).unwrap_err();
        assert_eq!(error, Error::NeverFires { which: Edge::End, text: text.to_owned() });
    }
    // With a weekday beside it the other field fires.
    assert!(CronWindow::parse("UTC", "0 0 31 2 mon", "0 0 29 2 *").is_ok());
}

#[test]
fn the_leap_day_is_found_across_the_year_that_skips_it() {
    assert_eq!(
        firings("UTC", "0 0 29 2 *", "2096-02-28T00:00:00Z", "2105-01-01T00:00:00Z"),
        ["2096-02-29T00:00:00Z", "2104-02-29T00:00:00Z"]
    );
}

#[test]
fn an_unknown_zone_is_refused_at_once() {
    for name in ["", "Mars/Olympus", "europe/berlin", "Local", "+02:00", "../etc/passwd"] {
        let error = CronWindow::parse(name, "0 8 * * *", "0 9 * * *").unwrap_err();
        assert_eq!(error, Error::UnknownZone(name.to_owned()));
    }
    for name in ["UTC", "Etc/UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Calcutta", "US/Eastern", "GMT"] {
        assert!(CronWindow::parse(name, "0 8 * * *", "0 9 * * *").is_ok(), "{name}");
    }
}

#[test]
fn the_same_expression_twice_is_no_window() {
    let error = CronWindow::parse("UTC", "0 8 * * *", "0 8 * * *").unwrap_err();
    assert_eq!(error, Error::Same("0 8 * * *".to_owned()));
}

#[test]
fn an_expression_may_bring_its_own_zone() {
    let both = window("UTC", "TZ=Asia/Tokyo 0 9 * * *", "CRON_TZ=Europe/Berlin 0 18 * * *");
    assert!(!both.active_at(at("2024-01-14T23:59:59Z")));
    assert!(both.active_at(at("2024-01-15T00:00:00Z")));
    assert!(both.active_at(at("2024-01-15T16:59:59Z")));
    assert!(!both.active_at(at("2024-01-15T17:00:00Z")));
    assert!(CronWindow::parse("UTC", "TZ=Nowhere 0 9 * * *", "0 10 * * *").is_err());
}

#[test]
fn the_next_edge_is_where_the_window_opens_or_closes() {
    let office = window("Europe/Berlin", "*/15 8-9 * * 1-5", "0 18 * * 1-5");
    assert_eq!(office.next_edge(at("2024-01-15T00:00:00Z")), Some(at("2024-01-15T08:45:00Z")));
    let plain = window("Europe/Berlin", "0 8 * * 1-5", "0 18 * * 1-5");
    for (after, edge) in [
        ("2024-01-15T00:00:00Z", "2024-01-15T07:00:00Z"),
        ("2024-01-15T07:00:00Z", "2024-01-15T17:00:00Z"),
        ("2024-01-19T17:00:00Z", "2024-01-22T07:00:00Z"),
    ] {
        assert_eq!(plain.next_edge(at(after)), Some(at(edge)), "{after}");
        assert_ne!(plain.active_at(at(after)), plain.active_at(at(edge)));
        assert_eq!(plain.active_at(at(after)), plain.active_at(at(edge) - 1));
    }
}

#[test]
fn a_search_for_an_edge_ends_even_where_there_is_none() {
    // Both fire every minute, so the end is never later than the start.
    let always = window("UTC", "* * * * *", "*/1 * * * *");
    let now = at("2024-01-15T00:00:00Z");
    assert!(always.active_at(now));
    assert_eq!(always.next_edge(now), Some(now + 60 * FIRINGS_MAX as i64));
}

#[test]
fn times_beyond_the_calendar_are_neither_active_nor_a_panic() {
    let office = window("Europe/Berlin", "0 8 * * *", "0 18 * * *");
    for now in [i64::MIN, i64::MAX, 253_402_300_799, -377_705_116_800] {
        assert!(!office.active_at(now) || office.next_edge(now).is_some());
    }
}

/// An independent reading of the same expressions, in a zone without changes, where both agree.
#[test]
fn another_cron_implementation_agrees_in_utc() {
    use croner::parser::{CronParser, Seconds};
    let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
    for text in [
        "0 8 * * *",
        "*/7 3-5 * * *",
        "0 0 13 * 5",
        "59 23 31 12 *",
        "0 0 29 2 *",
        "15,45 1-23/2 * jan-jun mon-fri",
        "0 12 1,15 * *",
        "30 4 * * 0,6",
    ] {
        let schedule = Schedule::parse(Edge::Start, text, &TimeZone::UTC).unwrap();
        let peer = parser.parse(text).unwrap();
        let mut now = at("2023-12-30T23:59:59Z");
        for _ in 0..60 {
            let next = schedule.next(now).unwrap();
            let here = Timestamp::from_second(now).unwrap().to_zoned(TimeZone::UTC);
            let expected = peer.find_next_occurrence(&here, false).unwrap().timestamp().as_second();
            assert_eq!(next, expected, "{text} after {here}");
            now = next;
        }
    }
}
