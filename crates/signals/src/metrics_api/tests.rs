use super::*;

fn read(format: Format, location: &str, body: &str) -> Result<f64, Error> {
    Location::parse(location, format).expect(location).read(body.as_bytes())
}

fn got(format: Format, location: &str, body: &str) -> String {
    match read(format, location, body) {
        Err(Error::Number { got }) => got,
        other => panic!("{location} of {body}: {other:?}"),
    }
}

#[test]
fn json_gives_numbers_and_quantities() {
    let body = r#"{"tasks": 7, "share": "250m", "size": "1.5Ki", "digits": "0.123456", "list": [1, 2]}"#;
    for (location, value) in
        [("tasks", 7.0), ("share", 0.25), ("size", 1536.0), ("digits", 0.123_456), ("list.#", 2.0)]
    {
        assert_eq!(read(Format::Json, location, body), Ok(value), "{location}");
    }
    let odd = r#"{"text": "many", "null": null, "yes": true, "list": [1], "nan": "NaN"}"#;
    for (location, told) in [
        ("text", "many"),
        ("null", "Null"),
        ("yes", "True"),
        ("list", "JSON"),
        ("nan", "NaN"),
        ("list.#.x", "JSON"),
    ] {
        assert_eq!(got(Format::Json, location, odd), told, "{location}");
    }
    assert!(matches!(read(Format::Json, "tasks", "{}"), Err(Error::Missing { .. })));
    assert!(matches!(read(Format::Json, "tasks", "<html>"), Err(Error::Form { format: "JSON", .. })));
    let deep = "[".repeat(100_000);
    assert!(matches!(read(Format::Json, "0", &deep), Err(Error::Form { .. })));
}

#[test]
fn yaml_gives_numbers_and_quantities() {
    let body = "components:\n  worker:\n    tasks: 32\n    share: 500m\n  list: [4, 5]\n";
    for (location, value) in
        [("components.worker.tasks", 32.0), ("components.worker.share", 0.5), ("components.list.1", 5.0)]
    {
        assert_eq!(read(Format::Yaml, location, body), Ok(value), "{location}");
    }
    assert!(matches!(read(Format::Yaml, "components.other", body), Err(Error::Missing { .. })));
    assert!(matches!(read(Format::Yaml, "a", "a: [1"), Err(Error::Form { format: "YAML", .. })));
}

#[test]
fn xml_gives_texts_and_attributes() {
    let body = r#"<?xml version="1.0"?><stats><worker id="7"><tasks>3</tasks></worker>
        <worker id="8"><tasks> 4k </tasks></worker></stats>"#;
    for (location, value) in [
        ("stats.worker.tasks", 3.0),
        ("worker.tasks", 3.0),
        ("stats.worker.1.tasks", 4000.0),
        ("worker.1.-id", 8.0),
    ] {
        assert_eq!(read(Format::Xml, location, body), Ok(value), "{location}");
    }
    assert!(matches!(read(Format::Xml, "stats.other", body), Err(Error::Missing { .. })));
    let bomb = r#"<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>"#;
    assert!(matches!(read(Format::Xml, "a", bomb), Err(Error::Form { format: "XML", .. })));
    let many = format!("<a>{}</a>", "<b/>".repeat(200_000));
    assert!(matches!(read(Format::Xml, "b", &many), Err(Error::Form { format: "XML", .. })));
}

#[test]
fn a_metrics_page_gives_the_first_series_that_fits() {
    let body = "# TYPE jobs gauge\njobs{q=\"a\"} 5\njobs{q=\"b\",x=\"1\"} 6\njobs_total 9\n";
    for (location, value) in [
        ("jobs", 5.0),
        ("jobs{q=\"b\"}", 6.0),
        ("jobs{q!=\"a\"}", 6.0),
        ("{__name__=\"jobs\",x=\"1\"}", 6.0),
        ("jobs_total", 9.0),
        ("jobs{}", 5.0),
    ] {
        assert_eq!(read(Format::Prometheus, location, body), Ok(value), "{location}");
    }
    assert!(matches!(read(Format::Prometheus, "jobs{q=\"c\"}", body), Err(Error::Missing { .. })));
    assert!(matches!(read(Format::Prometheus, "jobs", "jobs{ 1"), Err(Error::Form { .. })));
}

#[test]
fn a_location_that_is_none_is_refused_when_it_is_read() {
    for (location, format) in [
        ("rate(jobs[1m])", Format::Prometheus),
        ("sum(jobs)", Format::Prometheus),
        ("jobs + 1", Format::Prometheus),
        ("-jobs", Format::Prometheus),
        ("jobs offset 5m", Format::Prometheus),
        ("jobs{q=~\"a.*\"}", Format::Prometheus),
        ("jobs{", Format::Prometheus),
        ("a..b", Format::Yaml),
        ("a.", Format::Xml),
        ("@this", Format::Json),
    ] {
        let told = Location::parse(location, format);
        assert!(matches!(told, Err(Error::Location { .. })), "{location}: {told:?}");
    }
}
