use super::*;
use proptest::prelude::*;

fn at(seconds: i64) -> Time {
    Time::from_secs(seconds)
}

fn windows(up_s: i64, down_s: i64) -> Windows {
    Windows { up: Span::from_secs(up_s), down: Span::from_secs(down_s), down_inclusive: false }
}

#[test]
fn the_greatest_recommendation_holds_until_it_is_older_than_the_window() {
    let mut seen = Recommendations::default();
    seen.record(at(0), 9, windows(0, 300));
    for t in 1..300 {
        assert_eq!(seen.record(at(t), 2, windows(0, 300)).greatest, 9);
    }
    assert_eq!(seen.record(at(300), 2, windows(0, 300)).greatest, 2);
}

#[test]
fn without_behavior_an_entry_exactly_as_old_as_the_window_still_counts() {
    let inclusive = Windows { down_inclusive: true, ..windows(0, 300) };
    let mut seen = Recommendations::default();
    seen.record(at(0), 9, inclusive);
    assert_eq!(seen.record(at(300), 2, inclusive).greatest, 9);
    assert_eq!(seen.record(at(301), 2, inclusive).greatest, 2);
}

#[test]
fn a_steady_second_by_second_input_stays_within_a_kilobyte() {
    let mut seen = Recommendations::default();
    for t in 0..10_000_i64 {
        // The worst shape for the memory: a long staircase down and back up.
        let value = (t % 200).abs_diff(100) as u32;
        seen.record(at(t), value, windows(0, 300));
        assert!(seen.heap_bytes() <= 1024, "{} bytes at {t} s", seen.heap_bytes());
    }
}

#[test]
fn the_memory_is_bounded_even_where_every_entry_could_still_decide() {
    let mut seen = Recommendations::default();
    for t in 0..20_000_u32 {
        seen.record(Time::from_micros(i64::from(t) * 100_000), 100_000 - t, windows(0, 3600));
        assert!(seen.heap_bytes() <= RECOMMENDATIONS_MAX * size_of::<Entry>());
    }
}

#[test]
fn the_epoch_moves_after_49_days_and_the_window_still_holds() {
    let mut seen = Recommendations::default();
    let mut done = ScaleEvents::default();
    seen.record(at(0), 50, windows(0, 300));
    done.record(at(0), 3, Span::from_secs(60));
    let later = 60 * 86_400;
    seen.record(at(later), 7, windows(0, 300));
    done.record(at(later), 2, Span::from_secs(60));
    assert_eq!(seen.record(at(later + 10), 1, windows(0, 300)).greatest, 7);
    assert_eq!(done.changed_within(at(later + 10), Span::from_secs(60)), 2);
}

#[test]
fn events_past_the_limit_are_joined_and_count_for_longer_never_for_less() {
    let mut done = ScaleEvents::default();
    for t in 0..100 {
        done.record(at(t), 1, Span::from_secs(1800));
    }
    assert_eq!(done.changed_within(at(100), Span::from_secs(1800)), 100);
    assert!(done.heap_bytes() <= EVENTS_MAX * size_of::<Entry>());
}

#[test]
fn joined_events_count_towards_what_was_changed_at_the_most_and_not_at_the_least() {
    let period = Span::from_secs(1800);
    let mut done = ScaleEvents::default();
    for t in 0..EVENTS_MAX as i64 {
        done.record(at(t), 1, period);
    }
    assert_eq!(done.surely_changed_within(at(40), period), 32);
    done.record(at(40), 1, period);
    done.record(at(41), 1, period);
    // Three of the first second or so are one entry now.
    assert_eq!(done.changed_within(at(42), period), 34);
    assert_eq!(done.surely_changed_within(at(42), period), 31);
    // Once that entry's slot is taken again, nothing is in doubt.
    done.record(at(1803), 5, period);
    assert_eq!(done.surely_changed_within(at(1803), period), done.changed_within(at(1803), period));
    assert_eq!(done.changed_within(at(1803), period), 31 - 1 + 5);
}

#[test]
fn a_change_that_was_not_carried_out_can_be_taken_back() {
    let mut done = ScaleEvents::default();
    done.record(at(0), 4, Span::from_secs(15));
    done.record(at(5), 2, Span::from_secs(15));
    done.retract_newest();
    assert_eq!(done.changed_within(at(6), Span::from_secs(15)), 4);
}

proptest! {
    /// The compacted memory answers as one that forgets nothing.
    #[test]
    fn compaction_never_changes_an_answer(
        ticks in prop::collection::vec((1..20_i64, 0..101_u32), 1..400),
        up_s in 0..200_i64,
        down_s in 0..400_i64,
    ) {
        let mut seen = Recommendations::default();
        let mut all = alloc::vec::Vec::new();
        let mut t = 0;
        for (gap, value) in ticks {
            t += gap;
            all.push((t, value));
            let extremes = seen.record(at(t), value, windows(up_s, down_s));
            let inside = |w: i64| all.iter().filter(move |(s, _)| *s == t || t - s < w).map(|e| e.1);
            prop_assert_eq!(extremes.greatest, inside(down_s).max().unwrap_or(value));
            prop_assert_eq!(extremes.least, inside(up_s).min().unwrap_or(value));
            prop_assert!(seen.heap_bytes() <= (101 + SLACK) * size_of::<Entry>());
        }
    }
}
