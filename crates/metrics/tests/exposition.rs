//! The page reader, against real pages, hostile ones, and pages made up at random.

use std::fmt::Write as _;

use proptest::prelude::*;
use tidegate_metrics::exposition::{
    Error, Format, LABELS_MAX, LINE_BYTES_MAX, LabelProblem, SAMPLES_MAX, Seen, Wanted, read,
};

const PAGES: [&str; 6] = [
    include_str!("data/vllm-0.32.0-idle.txt"),
    include_str!("data/vllm-0.32.0.txt"),
    include_str!("data/vllm-0.32.0-after.txt"),
    include_str!("data/llama.cpp-11434-idle.txt"),
    include_str!("data/llama.cpp-11434.txt"),
    include_str!("data/llama.cpp-11434-after.txt"),
];

/// A sample with its labels unescaped.
type Owned = (String, Vec<(String, String)>, f64, Option<i64>);

fn all(page: &str, format: Format) -> Result<(Vec<Owned>, Seen), Error> {
    let mut samples = Vec::new();
    let seen = read(
        page,
        format,
        |_| Some(()),
        |(), sample| {
            let labels =
                sample.labels.iter().map(|(name, value)| (name.to_owned(), value.into_owned())).collect();
            samples.push((sample.name.to_owned(), labels, sample.value, sample.timestamp_ms));
        },
    )?;
    Ok((samples, seen))
}

fn one(line: &str) -> Owned {
    let (mut samples, _) = all(line, Format::Text).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_eq!(samples.len(), 1, "{line}");
    samples.remove(0)
}

fn refused(page: &str) -> Error {
    all(page, Format::Text).expect_err(page)
}

#[test]
fn every_line_of_a_real_page_is_read_with_its_own_value() {
    for page in PAGES {
        let (samples, seen) = all(page, Format::Text).unwrap();
        let lines = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let expected: Vec<f64> =
            lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        let read: Vec<f64> = samples.iter().map(|sample| sample.2).collect();
        assert_eq!(read, expected);
        assert_eq!((seen.samples, seen.not_finite), (expected.len(), 0));
    }
}

#[test]
fn escapes_in_a_label_value_are_undone() {
    let (_, labels, _, _) = one(r#"x{path="C:\\dir\"a\"",text="two\nlines",odd="a\tb",} 1"#);
    let expected = [("path", "C:\\dir\"a\""), ("text", "two\nlines"), ("odd", "a\\tb")];
    assert_eq!(labels, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn braces_commas_and_hashes_inside_a_value_are_part_of_it() {
    let (_, labels, value, _) = one(r##"x{a="}",b="1,2",c="# {",d="="} 3"##);
    assert_eq!(labels.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["}", "1,2", "# {", "="]);
    assert!((value - 3.0).abs() < f64::EPSILON);
}

#[test]
fn blanks_and_carriage_returns_do_not_matter() {
    for line in ["  x 1", "x\t1", "x { a = \"b\" , } 1 ", "x{a=\"b\"}1", "x 1\r\n", "\n\n x 1\n\n"] {
        assert!((one(line).2 - 1.0).abs() < f64::EPSILON, "{line}");
    }
}

#[test]
fn timestamps_are_milliseconds_in_text_and_seconds_in_open_metrics() {
    assert_eq!(one("x 1 1700000000123").3, Some(1_700_000_000_123));
    let (samples, _) = all("x 1 1700000000.123\n# EOF\n", Format::OpenMetrics).unwrap();
    assert_eq!(samples[0].3, Some(1_700_000_000_123));
}

#[test]
fn an_exemplar_is_passed_over() {
    let page =
        "x_bucket{le=\"+Inf\"} 17 # {trace_id=\"a\"} 0.67 1520879607.789\nx_created 1.5e9\n# EOF\nrubbish{";
    let (samples, _) = all(page, Format::OpenMetrics).unwrap();
    assert_eq!(samples.len(), 2);
    assert_eq!(samples[0].1, [("le".to_owned(), "+Inf".to_owned())]);
}

#[test]
fn a_name_that_is_no_plain_word_stands_quoted_in_the_braces() {
    let (name, labels, _, _) = one(r#"{"http.requests", method="get"} 4"#);
    assert_eq!((name.as_str(), labels.len()), ("http.requests", 1));
    assert_eq!(one(r#"{"http.requests"} 4"#).0, "http.requests");
}

#[test]
fn neither_nan_nor_infinity_is_handed_out() {
    let page = "a nan\nb NaN\nc +Inf\nd -Inf\ne 1e999\nf 1\n";
    let (samples, seen) = all(page, Format::Text).unwrap();
    assert_eq!(samples.len(), 1);
    assert_eq!(seen.not_finite, 5);
}

#[test]
fn an_open_metrics_page_without_its_end_is_refused_as_cut_short() {
    assert_eq!(all("x 1\n", Format::OpenMetrics), Err(Error::CutShort));
    assert!(all("x 1\n# EOF", Format::OpenMetrics).is_ok());
}

#[test]
fn a_page_that_is_no_metrics_page_is_refused_at_its_first_line() {
    for page in ["<html><body>Not Found</body></html>", "{\"error\": 1}", "[]", "404 page not found"] {
        assert!(matches!(refused(page), Error::Name { line: 1, .. }), "{page}: {:?}", refused(page));
    }
}

#[test]
fn a_broken_line_is_refused_with_its_number() {
    let problem = |line: usize, problem| Error::Labels { line, problem };
    assert_eq!(refused("a 1\nb{x=\"1\" 2"), problem(2, LabelProblem::Form));
    assert_eq!(refused("b{x=\"1"), problem(1, LabelProblem::Open));
    assert_eq!(refused("b{x=\"1\\\""), problem(1, LabelProblem::Open));
    assert_eq!(refused("b{x=\"1\","), problem(1, LabelProblem::Open));
    assert_eq!(refused("b{x} 1"), problem(1, LabelProblem::Form));
    assert_eq!(refused("b{1x=\"\"} 1"), problem(1, LabelProblem::Form));
    assert!(matches!(refused("b{}"), Error::Value { line: 1, .. }));
    assert!(matches!(refused("b one"), Error::Value { line: 1, .. }));
    assert!(matches!(refused("b 1 2.5"), Error::Timestamp { line: 1, .. }));
    assert!(matches!(refused("b 1 2 3"), Error::Timestamp { line: 1, .. }));
}

#[test]
fn lines_of_unwanted_families_are_not_taken_apart() {
    let page = "broken{ 1 2 3 4\nwanted 5\n";
    let mut values = Vec::new();
    let wants = |name: &str| (name == "wanted").then_some(());
    read(page, Format::Text, wants, |(), sample| values.push(sample.value)).unwrap();
    assert_eq!(values, [5.0]);
}

#[test]
fn a_name_is_asked_for_once_a_run_of_lines_and_matches_whole() {
    let mut asked = Vec::new();
    let page = "a{x=\"1\"} 1\na{x=\"2\"} 1\nab 1\na 1\n";
    read(
        page,
        Format::Text,
        |name| {
            asked.push(name);
            None::<()>
        },
        |(), _| {},
    )
    .unwrap();
    assert_eq!(asked, ["a", "ab", "a"]);
}

#[test]
fn limits_are_refusals_and_not_truncations() {
    let long = format!("x{{a=\"{}\"}} 1", "y".repeat(LINE_BYTES_MAX));
    assert!(matches!(refused(&long), Error::LineTooLong { line: 1, .. }));
    let labels: String = (0..=LABELS_MAX).fold(String::new(), |mut all, at| {
        let _ = write!(all, "l{at}=\"\",");
        all
    });
    assert_eq!(
        refused(&format!("x{{{labels}}} 1")),
        Error::Labels { line: 1, problem: LabelProblem::TooMany }
    );
    let many = "x 1\n".repeat(SAMPLES_MAX + 1);
    assert_eq!(refused(&many), Error::TooManySamples { line: SAMPLES_MAX + 1 });
}

#[test]
fn an_underscore_stands_for_a_colon_and_nothing_else_does() {
    let wanted: Wanted<u8> = [("vllm:num_requests_waiting", 1), ("tgi_queue_size", 2)].into_iter().collect();
    assert_eq!(wanted.find("vllm:num_requests_waiting"), Some(1));
    assert_eq!(wanted.find("vllm_num_requests_waiting"), Some(1));
    assert_eq!(wanted.find("tgi_queue_size"), Some(2));
    for other in ["vllm:num_requests_waiting_by_reason", "vllm:num:requests_waiting", "tgi:queue_size", ""] {
        assert_eq!(wanted.find(other), None, "{other}");
    }
}

#[test]
fn the_content_type_tells_the_format() {
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(Format::of_content_type(open), Format::OpenMetrics);
    for text in ["text/plain; version=0.0.4", "text/plain; version=1.0.0", "", "nonsense"] {
        assert_eq!(Format::of_content_type(text), Format::Text);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

prop_compose! {
    fn sample()(
        name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,20}",
        labels in prop::collection::vec(("[a-zA-Z_][a-zA-Z0-9_]{0,8}", "[^\r\u{0}]{0,12}"), 0..5),
        value in any::<f64>().prop_filter("finite", |value| value.is_finite()),
        at in prop::option::of(any::<i64>()),
    ) -> Owned {
        (name, labels, value, at)
    }
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(samples in prop::collection::vec(sample(), 0..20)) {
        let mut page = String::new();
        for (name, labels, value, at) in &samples {
            page.push_str("# TYPE nobody cares\n");
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
            let _ = write!(page, "{name}{{{}}} {value:?}", labels.join(","));
            let _ = at.map(|at| write!(page, " {at}"));
            page.push('\n');
        }
        let (read, _) = all(&page, Format::Text).unwrap();
        prop_assert_eq!(read, samples);
    }

    #[test]
    fn no_text_makes_the_reader_panic(page in "\\PC{0,200}") {
        let _ = (all(&page, Format::Text), all(&page, Format::OpenMetrics));
    }

    #[test]
    fn no_damage_to_a_real_page_makes_the_reader_panic(
        page in 0..PAGES.len(), at in any::<prop::sample::Index>(), with in "[{}\",=\\\\# \n0-9a-z]{0,4}",
    ) {
        let mut text = PAGES[page].to_owned();
        let at = at.index(text.len());
        text.replace_range(at..(at + 1), &with);
        let _ = all(&text, Format::Text);
    }
}
