//! What a scrape costs: reading a page, and fetching and reading one over loopback.
//!
//! The page is the 50 KB that vLLM 0.32.0 wrote under load. `page` reads it into a sample, with and
//! without the series that `up` keeps beside it. `scrape` is everything an endpoint costs each second: its
//! timer, the request over a kept connection, reading, rates, the result through the channel. All figures are
//! CPU time of the one thread that does it; the stand-in server is a process of its own. The target is 500 engines a second.
//!
//! `cargo bench -p tidegate-benches --bench scrape`
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, Uri};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tidegate_metrics::dialect::Engine;
use tidegate_metrics::eval::{Compiled, compile};
use tidegate_metrics::exposition::Format;
use tidegate_metrics::sample::Reader;
use tidegate_signals::scrape::{Pace, Scraper};
use tidegate_signals::{Clock, Endpoint, Kept, Series};
use tokio::net::TcpListener;

const PAGE: &str = include_str!("../../crates/metrics/tests/data/vllm-0.32.0.txt");
const ENGINES: u32 = 500;
const SECONDS: u32 = 10;
const PAGES: u32 = 2_000;
const RUNS: usize = 7;
const BAR_PAGE_US: f64 = 60.0;
const BAR_SCRAPE_US: f64 = 400.0;
const BAR_CORES: f64 = 0.2;
const SERVER: &str = "--as-server";

fn queries() -> Vec<Compiled> {
    let texts = [
        "sum(vllm:num_requests_waiting)",
        "histogram_quantile(0.95, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket[1m])))",
    ];
    texts.iter().map(|text| compile(text).unwrap_or_else(|error| panic!("{text}: {error}"))).collect()
}

/// What `up` keeps: everything that tells a scaler something, and what two queries name.
fn series() -> Series {
    let queries = queries();
    let kept = Arc::new(Kept::new(false));
    kept.series(&"llm/chat".into(), &queries.iter().collect::<Vec<_>>())
}

/// CPU time of this thread so far, in seconds: on a shared machine the clock says more of the others.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split_whitespace().next().and_then(|field| field.parse::<f64>().ok());
    nanoseconds.unwrap_or(f64::NAN) / 1e9
}

/// CPU microseconds a page, the median of several runs.
fn page(read: impl Fn()) -> f64 {
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let begin = cpu_s();
            for _ in 0..PAGES {
                read();
            }
            (cpu_s() - begin) * 1e6 / f64::from(PAGES)
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs[RUNS / 2]
}

/// CPU microseconds a scrape and cores, of 500 endpoints asked each second.
async fn scrape(address: &str) -> (f64, f64) {
    let (scraper, mut results) = Scraper::new(Pace::default(), Clock::unix());
    let url: Uri = format!("http://{address}/metrics").parse().unwrap_or_else(|error| panic!("{error}"));
    let kept = Arc::new(series());
    for at in 0..ENGINES {
        let series = Some(Arc::clone(&kept));
        scraper
            .add(Endpoint { series, ..Endpoint::new(format!("chat-{at}"), url.clone(), Some(Engine::Vllm)) });
    }
    let take = async |count: u32, results: &mut tokio::sync::mpsc::Receiver<_>| {
        for _ in 0..count {
            let scrape: Option<tidegate_signals::Scrape> = results.recv().await;
            if let Some(Err(error)) = scrape.map(|scrape| scrape.result) {
                panic!("{error}");
            }
        }
    };
    // Two rounds to connect and to fill the store.
    take(2 * ENGINES, &mut results).await;
    let (begin, cpu) = (Instant::now(), cpu_s());
    take(SECONDS * ENGINES, &mut results).await;
    let (cpu, elapsed) = (cpu_s() - cpu, begin.elapsed().as_secs_f64());
    (cpu * 1e6 / f64::from(SECONDS * ENGINES), cpu / elapsed)
}

/// Shows the page to whoever asks, until its standard input ends.
async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("{error}"));
    let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
    println!("{address}");
    let _ = std::io::stdout().flush();
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let answer = service_fn(async |_| {
                let response = Response::builder().header(CONTENT_TYPE, "text/plain; version=1.0.0");
                response.body(Full::new(Bytes::from_static(PAGE.as_bytes())))
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("no runtime: {error}"))
}

fn main() {
    if std::env::args().any(|argument| argument == SERVER) {
        runtime().block_on(serve());
        return;
    }
    let kb = PAGE.len() as f64 / 1000.0;
    println!("reading one page of {kb:.1} KB; CPU time, median of {RUNS} runs of {PAGES}");
    let reader = Reader::new(Engine::Vllm);
    let plain = page(|| {
        black_box(reader.read(black_box(PAGE), Format::Text)).unwrap_or_else(|error| panic!("{error}"));
    });
    let kept = series();
    let beside = page(|| {
        let mut samples = Vec::new();
        let also = |name: &str| kept.wants(name);
        let sample = reader.read_with(black_box(PAGE), Format::Text, also, |sample| samples.push(sample));
        black_box((sample.unwrap_or_else(|error| panic!("{error}")), samples));
    });
    println!("{:<34} {:>10} {:>10}", "", "us a page", "MB/s");
    println!("{:<34} {plain:>10.1} {:>10.0}", "into a sample", kb / plain * 1e3);
    println!("{:<34} {beside:>10.1} {:>10.0}", "and the series that are kept", kb / beside * 1e3);

    let program = std::env::current_exe().unwrap_or_else(|error| panic!("{error}"));
    let mut server = Command::new(program)
        .arg(SERVER)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("the server: {error}"));
    let mut address = String::new();
    if let Some(output) = server.stdout.take() {
        let _ = BufReader::new(output).read_line(&mut address);
    }
    let (us, cores) = runtime().block_on(async {
        tokio::time::timeout(Duration::from_secs(120), scrape(address.trim()))
            .await
            .unwrap_or_else(|_| panic!("the scrapes did not end"))
    });
    let _ = server.kill();
    let _ = server.wait();
    println!("scraping {ENGINES} engines each second for {SECONDS} s, one thread");
    println!("{us:.0} us of CPU a scrape, {cores:.3} cores");
    let held = plain <= BAR_PAGE_US && us <= BAR_SCRAPE_US && cores <= BAR_CORES;
    println!("bars: {BAR_PAGE_US:.0} us a page, {BAR_SCRAPE_US:.0} us a scrape, {BAR_CORES} cores");
    println!("{}", if held { "held" } else { "MISSED" });
}
