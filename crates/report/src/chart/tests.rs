use super::scale::Scale;
use super::*;
use proptest::prelude::*;

fn labels(axis: &Axis, values: &[f64]) -> Vec<String> {
    Scale::new(axis, values.iter().copied()).ticks().into_iter().map(|(_, label)| label).collect()
}

fn count() -> Axis {
    Axis::new("n", Unit::Count)
}

#[test]
fn ticks_stand_at_round_numbers_that_cover_the_values() {
    assert_eq!(labels(&count(), &[0.0, 9.3]), ["0", "2", "4", "6", "8", "10"]);
    assert_eq!(labels(&count(), &[0.4]), ["0", "0.1", "0.2", "0.3", "0.4"]);
    assert_eq!(labels(&count(), &[23_000.0]), ["0", "5000", "10 k", "15 k", "20 k", "25 k"]);
}

#[test]
fn a_time_line_has_ticks_at_whole_minutes() {
    let axis = Axis::new("time", Unit::Elapsed);
    assert_eq!(labels(&axis, &[300.0]), ["0 s", "1:00", "2:00", "3:00", "4:00", "5:00"]);
    assert_eq!(labels(&axis, &[7_300.0]), ["0 s", "30:00", "1:00:00", "1:30:00", "2:00:00"]);
}

#[test]
fn a_logarithmic_axis_has_a_tick_a_decade() {
    let axis = Axis::new("TTFT", Unit::Seconds).log();
    assert_eq!(labels(&axis, &[0.004, 0.2, 3.0]), ["1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
}

#[test]
fn a_share_is_written_as_per_cent() {
    assert_eq!(
        labels(&Axis::new("done", Unit::Share), &[1.0]),
        ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]
    );
}

#[test]
fn a_value_that_is_no_number_leaves_a_gap() {
    let points = vec![(0.0, 1.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 1.0)];
    let svg = Chart::new("t", count(), count()).with(Series::line("a", points)).svg();
    let line = svg.split("class=\"p s0\" d=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(line.matches('M').count(), 2);
}

#[test]
fn a_chart_without_points_says_so() {
    assert!(Chart::new("t", count(), count()).svg().contains("no data"));
}

#[test]
fn a_series_past_the_limit_is_counted_in_the_legend() {
    let mut chart = Chart::new("t", count(), count());
    for _ in 0..SERIES_MAX + 2 {
        chart = chart.with(Series::line("a", vec![(0.0, 0.0), (1.0, 1.0)]));
    }
    assert!(chart.svg().contains("and 2 more, not drawn"));
}

#[test]
fn thinning_keeps_a_single_peak() {
    let mut points: Vec<_> = (0..100_000).map(|x| (f64::from(x), 0.0)).collect();
    points[54_321].1 = 7.0;
    let thin = thinned(points);
    assert!(thin.len() <= POINTS_MAX);
    assert!(thin.contains(&(54_321.0, 7.0)));
}

#[test]
fn the_cumulative_share_ends_at_one() {
    assert_eq!(cumulative(vec![2.0, 1.0, f64::NAN]), [(1.0, 0.5), (2.0, 1.0)]);
}

#[test]
fn a_histogram_counts_every_sample_once() {
    let points = histogram(&[1.0, 1.0, 2.0, 5.0, f64::INFINITY], 4);
    assert_eq!(points, [(1.0, 2.0), (2.0, 1.0), (3.0, 0.0), (4.0, 1.0), (5.0, 0.0)]);
    assert_eq!(histogram(&[3.0; 5], 1), [(2.5, 5.0), (3.5, 0.0)]);
    assert!(histogram(&[], 4).is_empty());
}

#[test]
fn the_same_chart_gives_the_same_bytes() {
    let chart =
        || Chart::new("t", count(), count().log()).with(Series::area("a", vec![(0.0, 3.0), (9.0, 40.0)]));
    assert_eq!(chart().svg(), chart().svg());
}

proptest! {
    #[test]
    fn no_value_and_no_text_breaks_the_drawing(
        name in any::<String>(),
        points in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..50),
        logs in any::<(bool, bool)>(),
        units in (0..4_usize, 0..4_usize),
    ) {
        let unit = |index| [Unit::Count, Unit::Seconds, Unit::Elapsed, Unit::Share][index];
        let axis = |log, index| {
            let axis = Axis::new(&name, unit(index));
            if log { axis.log() } else { axis }
        };
        let chart = Chart::new(&name, axis(logs.0, units.0), axis(logs.1, units.1))
            .with(Series::line(&name, points.clone()))
            .with(Series::area("b", points));
        let svg = chart.svg();
        prop_assert!(!svg.contains("NaN") && !svg.contains("inf"));
        prop_assert_eq!(svg.matches('<').count(), svg.matches('>').count());
        prop_assert!(svg.ends_with("</svg>"));
    }
}

#[test]
fn a_mark_says_its_note_where_the_pointer_rests() {
    let marks = vec![(1.0, 2.0, "1 → 2 <because>".to_owned()), (f64::NAN, 1.0, "nowhere".to_owned())];
    let axis = || Axis::new("x", Unit::Count);
    let svg = Chart::new("t", axis(), axis()).with(Series::marks("changes", marks)).svg();
    assert!(svg.contains("<title>1 → 2 &lt;because&gt;</title></circle>"), "{svg}");
    assert!(!svg.contains("nowhere"));
}
