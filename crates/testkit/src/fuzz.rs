//! What the fuzzers run, as plain functions, so that every test run replays their corpus too.
//!
//! Each takes any bytes and must return: no panic, no overflow, no unbounded time or memory. What holds
//! for accepted input is asserted.

pub mod brokers;
#[cfg(feature = "kube")]
pub mod cluster;
pub mod series;
pub mod sources;
pub mod traces;
pub mod wire;

use std::sync::{Arc, LazyLock};

use tidegate_core::formula::Compiler;
use tidegate_core::time::Time;
use tidegate_decide::Session;
use tidegate_manifest::formula::ExprLang;
use tidegate_manifest::lint::lint;
use tidegate_manifest::{Source, Target, cron, duration, load, lower, quantity};
use tidegate_metrics::dialect::Engine;
use tidegate_metrics::eval::{Answer, Compiled, compile};
use tidegate_metrics::exposition::{self, Format};
use tidegate_metrics::rates::Trail;
use tidegate_metrics::sample::{EngineSample, Reader, recognise};
use tidegate_metrics::store::Store;

/// A fuzz target: its name and what it runs.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// Every fuzz target.
pub const TARGETS: &[FuzzTarget] = &[
    ("manifest", manifest),
    ("observations", observations),
    ("formula", formula),
    ("promql", promql),
    ("scalars", scalars),
    ("journal", journal),
    ("exposition", exposition),
    ("request", wire::request),
    ("sse", wire::sse),
    ("answer", wire::answer),
    ("client", wire::client),
    ("trace", traces::trace),
    ("recorded", traces::recorded),
    ("profile", traces::profile),
    ("location", sources::location),
    ("connection", sources::connection),
    ("reply", sources::reply),
    ("amqp", brokers::amqp),
    ("kafka", brokers::kafka),
    ("eval", series::eval),
    ("remote_write", series::remote_write),
    ("review", review),
    #[cfg(feature = "kube")]
    ("usage", cluster::usage),
    #[cfg(feature = "kube")]
    ("gateway_report", cluster::gateway_report),
    #[cfg(feature = "kube")]
    ("objects", cluster::objects),
];

/// An admission review: answered or refused, and an answer is a review that refuses only with a reason.
pub fn review(data: &[u8]) {
    let Ok(answer) = tidegate_manifest::review::answer(data) else { return };
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    let response = &answer["response"];
    assert!(response["uid"].is_string());
    let told = response["status"]["message"].as_str().is_some_and(|message| !message.is_empty());
    assert_eq!(response["allowed"] == false, told, "{answer}");
}

/// A manifest: read, lowered, linted; every finding stands inside the file.
pub fn manifest(data: &[u8]) {
    let manifests = load(&[Source::new("fuzz.yaml", data)]);
    let lines = data.iter().filter(|&&byte| byte == b'\n').count() + 1;
    for finding in lint(&manifests) {
        assert!((1..=lines + 1).contains(&(finding.line as usize)), "{finding:?} of {lines} lines");
    }
    for target in lower(&manifests).targets {
        assert!(target.spec.min <= target.spec.max || target.spec.max > 0);
    }
}

const THREE_TARGETS: &str = include_str!("fuzz/observations.yaml");

/// Lines of observations against a fixed manifest with every kind of target.
pub fn observations(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Read once: reading the manifest costs a thousand times what a line does.
    static TARGETS: LazyLock<Vec<Target>> =
        LazyLock::new(|| lower(&load(&[Source::new("fuzz.yaml", THREE_TARGETS)])).targets);
    assert_eq!(TARGETS.len(), 3, "the fixed manifest has lost a target");
    let Ok(mut session) = Session::new(TARGETS.clone()) else { return };
    for line in text.lines() {
        if let Ok(decided) = session.line(line, None) {
            assert!(!decided.decision.steps.is_empty(), "a decision without a reason");
        }
    }
}

/// A formula over two triggers: compiled, evaluated on a few values, its result always finite.
pub fn formula(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let variables: Vec<Arc<str>> = vec!["a".into(), "b".into()];
    let Ok(formula) = ExprLang.compile(source, &variables) else { return };
    for (a, b) in [(Some(0.0), Some(1e300)), (Some(-1.5), None), (None, None), (Some(7.0), Some(3.0))] {
        if let Ok(Some(value)) = formula.evaluate(&[("a", a), ("b", b)]) {
            assert!(value.is_finite());
        }
    }
}

/// A PromQL query and everything lint asks of it.
pub fn promql(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(query) = tidegate_metrics::promql::parse(text) else { return };
    let _ = (
        query.shape(),
        query.aggregation(),
        query.value_range(),
        query.at_zero(),
        query.only_seen_from_replicas(),
    );
    for name in query.metric_names() {
        let _ = tidegate_metrics::dialect::lookup(name);
    }
}

/// Quantities, durations and cron windows: the small languages inside manifests.
pub fn scalars(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (quantity::parse(text), duration::parse(text));
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or("UTC");
    if let Ok(window) = cron::CronWindow::parse(next(), next(), next()) {
        let _ = (window.active_at(0), window.next_edge(1_700_000_000));
    }
}

/// A journal: replayed to the end or to the first difference.
pub fn journal(data: &[u8]) {
    let compiler: Arc<dyn Compiler> = Arc::new(ExprLang);
    let _ = tidegate_journal::replay(data, &compiler);
}

/// A metrics page, in both formats, for every engine: read, kept, asked. No number that comes out is
/// NaN or infinite, and no count of anything passes its limit.
pub fn exposition(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for format in [Format::Text, Format::OpenMetrics] {
        let mut samples = Vec::new();
        let read = exposition::read(text, format, |_| Some(()), |(), sample| samples.push(sample));
        assert!(samples.len() <= exposition::SAMPLES_MAX);
        for sample in &samples {
            assert!(sample.value.is_finite() && text.contains(sample.series));
            assert!(sample.labels.iter().count() <= exposition::LABELS_MAX);
        }
        let _ = recognise(text, format);
        for engine in Engine::ALL {
            let Ok(sample) = Reader::new(engine).read(text, format) else { continue };
            let mut trail = Trail::default();
            trail.push(Time::ORIGIN, EngineSample::default());
            let rates = trail.push(Time::from_secs(1), sample.clone());
            let shares = [sample.kv_use, sample.kv_use_max];
            assert!(shares.iter().flatten().all(|share| (0.0..=1.0).contains(share)));
            let numbers = [sample.waiting, sample.running, sample.output_tokens_total, rates.ttft_p95_s];
            assert!(numbers.iter().flatten().all(|number| number.is_finite()));
        }
        if read.is_ok() {
            ask(&samples);
        }
    }
}

/// Asks over a page what guides ask.
fn ask(samples: &[exposition::Sample<'_>]) {
    static QUERIES: LazyLock<Vec<Compiled>> = LazyLock::new(|| {
        let texts = [
            "sum by (a) (x) / on (a) max by (a) (x)",
            "histogram_quantile(0.9, sum by (le) (rate(x_bucket[1m])))",
            "avg(x{a!~\"1.*\"}) * 100 or vector(0)",
        ];
        texts.iter().filter_map(|text| compile(text).ok()).collect()
    });
    assert_eq!(QUERIES.len(), 3, "a query of the fuzzer no longer compiles");
    let mut store = Store::new();
    let replica: Arc<str> = "a".into();
    store.add(&replica, None, &[("pod", "a")]);
    for second in 0..3 {
        store.scraped(&replica, Time::from_secs(second), samples);
    }
    for query in QUERIES.iter() {
        if let Ok(Answer::Vector(elements)) = query.ask(&store, None, Time::from_secs(2)) {
            assert!(elements.iter().all(|(_, value)| value.is_finite()));
        }
    }
}
