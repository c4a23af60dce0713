//! The embedded evaluator beside a real Prometheus, query by query.
//!
//! A Prometheus scrapes two stand-in engines and a page of our own each second and sends every sample on
//! by remote-write, stale marks included; so both hold the very same samples. Then both are asked the
//! same questions over HTTP at the same instant. Beside them our own scraper reads the same page, and
//! must store the same series.

mod compare;
mod page;
mod prometheus;

use std::sync::Arc;
use std::time::{Duration, Instant};

use compare::{Asked, ask, differ};
use page::Page;
use prometheus::Prometheus;
use tidegate_dashboard::{Board, Config, serve};
use tidegate_engine::{Dialect, Engine, Options};
use tidegate_metrics::store::{Series, Shared, Store};
use tidegate_signals::scrape::Pace;
use tidegate_signals::{Clock, Endpoint, Kept, Scraper};

/// One query a line, `#` begins a comment.
const QUERIES: &str = include_str!("queries.txt");

/// What users' manifests ask, from the project's own examples of them.
const MANIFESTS: &str = include_str!("manifests.txt");

/// Scrapes of the page before anything is asked: its counter has begun anew and a series has ended.
const SCRAPES: usize = 24;

/// Generous: scrapes come each second.
const DEADLINE: Duration = Duration::from_secs(120);

fn queries() -> Vec<&'static str> {
    let lines = MANIFESTS.lines().chain(QUERIES.lines());
    lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

async fn engine(dialect: Dialect) -> tidegate_engine::Running {
    let mut running = Engine::start(Options { dialect, ..Options::new("tiny") }).await.expect("it starts");
    running.ready().await.expect("it is ready");
    running
}

/// Waits until the store has as many samples of the page's counter as are wanted.
async fn scraped(store: &Shared, prometheus: &mut Prometheus) {
    let begin = Instant::now();
    loop {
        let samples =
            store.read().named("page_requests_total").map(Series::samples).max().unwrap_or_default();
        if samples >= SCRAPES {
            return;
        }
        assert!(begin.elapsed() < DEADLINE, "{samples} samples of {SCRAPES} came\n{}", prometheus.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// An instant a little ago that lies at no sample's place in the second, so that no window's end falls on
/// a sample: Prometheus 2 takes in the sample at a window's left end, Prometheus 3 and we do not.
fn instant_ms(store: &Store) -> (i64, bool) {
    let newest = store.all().filter_map(|series| Some(series.newest()?.0)).max().expect("there are samples");
    let mut places: Vec<i64> = store
        .all()
        .flat_map(|series| series.between(i64::MIN, i64::MAX).map(|(at_ms, _)| at_ms.rem_euclid(1000)))
        .chain([0])
        .collect();
    places.sort_unstable();
    places.dedup();
    let on_the_second = store
        .all()
        .any(|series| series.between(i64::MIN, i64::MAX).any(|(at_ms, _)| at_ms.rem_euclid(1000) == 0));
    let next = places.iter().skip(1).copied().chain([1000]);
    let gap = places.iter().zip(next).max_by_key(|(here, next)| next - **here);
    let place = gap.map_or(500, |(here, next)| (here + next) / 2);
    ((newest / 1000 - 2) * 1000 + place, on_the_second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_evaluator_answers_what_prometheus_answers() {
    let page = Page::start();
    let (vllm, llama) = (engine(Dialect::Vllm).await, engine(Dialect::LlamaCpp).await);
    let store = Arc::new(Shared::default());
    let config = Config {
        addr: ([127, 0, 0, 1], 0).into(),
        token: None,
        tls: None,
        push: None,
        series: Some(Arc::clone(&store)),
    };
    let admin = serve(config, Arc::new(Board::new())).await.expect("the listener starts");
    let targets = [("vllm-0", vllm.addr()), ("llama-0", llama.addr()), ("page-0", page.addr())];
    let mut prometheus = Prometheus::start(&targets, admin.addr);
    // Our own scraper beside it.
    let kept = Arc::new(Kept::new(true));
    let (scraper, mut results) = Scraper::new(Pace::default(), Clock::unix());
    let url = format!("http://{}/metrics", page.addr()).parse().expect("a URL");
    let series = Some(Arc::new(kept.series(&"page".into(), &[])));
    let labels = vec![("pod".to_owned(), "page-0".to_owned())];
    scraper.add(Endpoint { series, labels, ..Endpoint::new("page-0", url, None) });
    tokio::spawn(async move { while results.recv().await.is_some() {} });

    for engine in [&vllm, &llama] {
        for _ in 0..5 {
            compare::complete(engine.addr()).await;
        }
    }
    scraped(&store, &mut prometheus).await;
    let address = prometheus.address();

    let (at_ms, on_the_second) = instant_ms(&store.read());
    let queries = queries();
    let mut asked = 0;
    let mut unlike = Vec::new();
    for query in &queries {
        if on_the_second && query.contains(':') && query.contains("s]") && query.matches('[').count() > 1 {
            // A sample at a whole second stands at the end of a window inside a subquery.
            continue;
        }
        asked += 1;
        let theirs = ask(address, query, at_ms).await;
        let ours = ask(admin.addr, query, at_ms).await;
        if let Some(difference) = differ(&theirs, &ours) {
            unlike.push(format!("{query}\n  {difference}"));
        }
    }
    assert!(asked >= 200, "only {asked} queries were asked");
    assert!(unlike.is_empty(), "{} of {asked} differ:\n{}", unlike.len(), unlike.join("\n"));

    let answered = queries.iter().filter(|query| query.contains("page_")).count();
    assert!(answered > 100, "too few queries read what changes");
    same_series(address, &kept).await;
    prometheus.stop();
    admin.stop().await;
}

/// Our own scraper stores the series that Prometheus stores, but for the labels of the set-up.
async fn same_series(address: std::net::SocketAddr, kept: &Kept) {
    let names = |labels: &[(String, String)]| {
        let own = |(name, _): &&(String, String)| {
            !["job", "instance", "namespace", "deployment"].contains(&name.as_str())
        };
        labels.iter().filter(own).cloned().collect::<Vec<_>>()
    };
    let Asked::Vector(theirs) =
        ask(address, "{pod=\"page-0\", __name__=~\"page_.*\"}", compare::now_ms()).await
    else {
        panic!("no vector")
    };
    let mut theirs: Vec<_> = theirs.iter().map(|(labels, _)| names(labels)).collect();
    let store = kept.store().read();
    let live = store
        .all()
        .filter(|series| series.at(compare::now_ms()).is_some() && series.name().starts_with("page_"));
    let owned = |series: &Series| -> Vec<(String, String)> {
        series.labels().iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let mut ours: Vec<_> = live.map(|series| names(&owned(series))).collect();
    theirs.sort();
    ours.sort();
    assert_eq!(ours, theirs);
}
