//! Scraping, against real servers on loopback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::server::{Page, Server, free_address};
use http::header::HeaderValue;
use tidegate_metrics::dialect::Engine;
use tidegate_metrics::sample;
use tidegate_signals::http as client;
use tidegate_signals::scrape::{Error, Pace, Scraper};
use tidegate_signals::{Clock, Endpoint, Scrape, Scraped};
use tokio::sync::mpsc::Receiver;

const VLLM: &str = include_str!("../../../metrics/tests/data/vllm-0.32.0.txt");
const VLLM_AFTER: &str = include_str!("../../../metrics/tests/data/vllm-0.32.0-after.txt");
const LLAMA: &str = include_str!("../../../metrics/tests/data/llama.cpp-11434.txt");

/// A pace at which a test sees several rounds at once.
const QUICK: Pace = Pace {
    interval: Duration::from_millis(5),
    deadline: Duration::from_secs(30),
    pause_max: Duration::from_millis(20),
};

fn scraper() -> (Scraper, Receiver<Scrape>) {
    Scraper::new(QUICK, Clock::unix())
}

async fn next(results: &mut Receiver<Scrape>) -> Scrape {
    results.recv().await.expect("the scraper goes on")
}

async fn good(results: &mut Receiver<Scrape>) -> Box<Scraped> {
    let scrape = next(results).await;
    scrape.result.unwrap_or_else(|error| panic!("{}: {error}", scrape.endpoint))
}

async fn failure(page: Page) -> Error {
    failure_within(page, QUICK.deadline).await
}

async fn failure_within(page: Page, deadline: Duration) -> Error {
    let server = Server::start(page).await;
    let (scraper, mut results) = Scraper::new(Pace { deadline, ..QUICK }, Clock::unix());
    scraper.add(Endpoint::new("a", server.url("/metrics"), Some(Engine::Vllm)));
    next(&mut results).await.result.expect_err("the page is bad")
}

#[tokio::test]
async fn a_real_page_is_scraped_again_and_again_over_one_connection() {
    let server = Server::start(Page::text(VLLM)).await;
    let (scraper, mut results) = scraper();
    scraper.add(Endpoint::new("default/chat-0", server.url("/metrics"), None));
    for _ in 0..10 {
        let scraped = good(&mut results).await;
        assert_eq!((scraped.engine, scraped.sample.waiting), (Engine::Vllm, Some(144.0)));
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn rates_come_with_the_second_scrape() {
    let server = Server::start(Page::text(VLLM)).await;
    let (scraper, mut results) = scraper();
    scraper.add(Endpoint::new("a", server.url("/metrics"), None));
    assert_eq!(good(&mut results).await.rates.output_tokens_per_s, None);
    server.show(Page::text(VLLM_AFTER));
    let scraped = loop {
        let scraped = good(&mut results).await;
        if scraped.sample.waiting == Some(0.0) {
            break scraped;
        }
    };
    let grown = scraped.rates.output_tokens_per_s.expect("two scrapes") * scraped.rates.window_s;
    assert!((grown - (140_800.0 - 80_711.0)).abs() < 1e-6, "{grown}");
    assert!(scraped.rates.ttft_p95_s.is_some());
}

#[tokio::test]
async fn many_endpoints_are_asked_side_by_side() {
    let (vllm, llama) = (Server::start(Page::text(VLLM)).await, Server::start(Page::text(LLAMA)).await);
    let (scraper, mut results) = scraper();
    for at in 0..20 {
        let server = if at % 2 == 0 { &vllm } else { &llama };
        scraper.add(Endpoint::new(format!("r{at}"), server.url("/metrics"), None));
    }
    let mut seen: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    while seen.len() < 20 || seen.values().any(|count| *count < 3) {
        let scrape = next(&mut results).await;
        let engine = scrape.result.expect("both servers answer").engine;
        let even = scrape.endpoint[1..].parse::<u32>().expect("a number") % 2 == 0;
        assert_eq!(engine, if even { Engine::Vllm } else { Engine::LlamaCpp });
        *seen.entry(scrape.endpoint).or_default() += 1;
    }
    assert_eq!(scraper.len(), 20);
}

#[tokio::test]
async fn an_endpoint_that_was_removed_or_moved_is_asked_no_more() {
    let (first, second) = (Server::start(Page::text(VLLM)).await, Server::start(Page::text(LLAMA)).await);
    let (scraper, mut results) = scraper();
    scraper.add(Endpoint::new("a", first.url("/metrics"), None));
    assert_eq!(good(&mut results).await.engine, Engine::Vllm);
    scraper.add(Endpoint::new("a", second.url("/metrics"), None));
    while good(&mut results).await.engine != Engine::LlamaCpp {}
    scraper.remove("a");
    assert!(scraper.is_empty());
    drop(scraper);
    // The channel ends once no task is left.
    while results.recv().await.is_some() {}
}

#[tokio::test]
async fn what_the_image_promised_gives_way_to_what_the_page_shows() {
    let server = Server::start(Page::text(LLAMA)).await;
    let (scraper, mut results) = scraper();
    scraper.add(Endpoint::new("a", server.url("/metrics"), Some(Engine::Vllm)));
    assert_eq!(good(&mut results).await.engine, Engine::LlamaCpp);
}

#[tokio::test]
async fn a_key_is_sent_where_one_is_given() {
    let server = Server::start(Page::text(LLAMA).guarded("Bearer secret")).await;
    let (scraper, mut results) = scraper();
    scraper.add(Endpoint::new("a", server.url("/metrics"), None));
    let refused = next(&mut results).await.result.expect_err("no key");
    assert!(matches!(refused, Error::Http(client::Error::Status { status, .. }) if status == 401));
    let authorization = Some(HeaderValue::from_static("Bearer secret"));
    scraper.remove("a");
    scraper.add(Endpoint { authorization, ..Endpoint::new("b", server.url("/metrics"), None) });
    loop {
        let scrape = next(&mut results).await;
        if &*scrape.endpoint == "b" {
            assert!(scrape.result.is_ok());
            break;
        }
    }
}

#[tokio::test]
async fn a_replica_that_comes_back_is_seen_again() {
    let (scraper, mut results) = scraper();
    let address = free_address();
    let url = format!("http://{address}/metrics").parse().expect("a URL");
    scraper.add(Endpoint::new("a", url, None));
    let refused = next(&mut results).await.result.expect_err("nobody listens");
    assert!(matches!(refused, Error::Http(client::Error::Unreachable { .. })), "{refused}");
    let _server = Server::start_at(address, Page::text(VLLM)).await;
    while next(&mut results).await.result.is_err() {}
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let error = failure(Page::text("").status(302).header("location", "/elsewhere")).await;
    assert!(matches!(error, Error::Http(client::Error::Status { status, .. }) if status == 302));
}

#[tokio::test]
async fn a_body_without_end_is_given_up_at_the_limit() {
    let error = failure(Page::endless()).await;
    assert!(matches!(error, Error::Http(client::Error::TooLong { .. })), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_costs_the_deadline_and_no_more() {
    let error = failure_within(Page::silent(), Duration::from_millis(50)).await;
    assert!(matches!(error, Error::Http(client::Error::Late { after_ms: 50, .. })), "{error}");
}

#[tokio::test]
async fn a_server_that_speaks_no_http_is_an_error() {
    let error = failure(Page::raw(b"SSH-2.0-OpenSSH_9.2\r\n")).await;
    assert!(matches!(error, Error::Http(client::Error::Broken { .. })), "{error}");
}

#[tokio::test]
async fn a_page_that_ends_early_is_an_error_and_not_half_a_sample() {
    let error =
        failure(Page::raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nvllm:num_requests_waiting 1\n"))
            .await;
    assert!(matches!(error, Error::Http(client::Error::Broken { .. })), "{error}");
}

#[tokio::test]
async fn bytes_that_are_no_text_are_an_error() {
    let error = failure(Page::bytes(b"vllm:num_requests_waiting{a=\"\xff\"} 1\n")).await;
    assert!(matches!(error, Error::NotText { at: 29, .. }), "{error}");
}

#[tokio::test]
async fn a_page_of_nobody_we_know_says_what_to_do() {
    let error = failure(Page::text("go_goroutines 5\n")).await;
    let Error::Page { reason, url } = error else { panic!("{error}") };
    assert_eq!(reason, sample::Error::Nothing { engine: Engine::Vllm });
    assert!(url.ends_with("/metrics"));
}

#[tokio::test]
async fn results_nobody_takes_are_dropped_and_counted() {
    let server = Server::start(Page::text(LLAMA)).await;
    let quick = Pace { interval: Duration::from_micros(200), ..QUICK };
    let (scraper, mut results) = Scraper::new(quick, Clock::unix());
    for at in 0..8 {
        scraper.add(Endpoint::new(format!("r{at}"), server.url("/metrics"), None));
    }
    while scraper.dropped() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(next(&mut results).await.result.is_ok());
}
