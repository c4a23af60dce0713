//! Schedules played at a real server.

mod server;

use std::sync::atomic::Ordering;
use std::time::Duration;

use server::Server;
use tidegate_load::schedule::{Arrivals, Tokens, Weighted};
use tidegate_load::{Mix, Options, Plan, Progress, Report, Schedule, Snapshot, models, run};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// `count` requests as fast as they can be sent, five tokens each.
fn schedule(model: &str, count: u64, stream_share: f64) -> Schedule {
    let plan = Plan::parse("0s:2000rps 100s:2000rps").expect("it is a plan");
    let mix = Mix { stream_share, output_tokens: Tokens::fixed(5), ..Mix::of(model) };
    Schedule::from_plan(plan, Arrivals::Uniform, 1, mix).limited(count)
}

async fn play(model: &str, count: u64, stream_share: f64) -> Report {
    let server = Server::start().await;
    let options = Options::to(&server.url()).expect("it is an address");
    run(options, schedule(model, count, stream_share), &mut ()).await.expect("the run begins")
}

/// What one failed stream is called, and the words that come with it.
async fn failure(model: &str) -> (String, String) {
    let report = play(model, 1, 1.0).await;
    assert_eq!((report.ok, report.failed), (0, 1), "{model}");
    report.examples.into_iter().next().expect("a failure has an example")
}

#[tokio::test]
async fn whole_streams_are_counted_to_the_token() {
    let report = play("m", 40, 1.0).await;
    assert_eq!((report.requests, report.ok, report.failed, report.streams), (40, 40, 0, 40));
    assert_eq!((report.tokens.prompt, report.tokens.output, report.tokens.with_usage), (280, 200, 40));
    assert_eq!((report.tokens.counted_differs, report.tokens.asked_differs), (0, 0));
    // A gap between each two of five tokens.
    assert_eq!((report.ttft_s.count, report.itl_s.count, report.e2e_s.count), (40, 160, 40));
}

#[tokio::test]
async fn answers_that_are_no_streams_have_an_end_but_no_first_token() {
    let report = play("m", 20, 0.0).await;
    assert_eq!((report.ok, report.streams, report.ttft_s.count, report.e2e_s.count), (20, 0, 0, 20));
    assert_eq!(report.tokens.output, 100);
}

#[tokio::test]
async fn without_usage_tokens_are_counted_by_chunks() {
    let report = play("no-usage", 3, 1.0).await;
    assert_eq!((report.ok, report.tokens.output, report.tokens.without_usage), (3, 15, 3));
}

#[tokio::test]
async fn a_lost_token_shows_though_the_stream_looks_whole() {
    let report = play("loses-a-token", 3, 1.0).await;
    assert_eq!((report.ok, report.tokens.asked_differs), (3, 3));
}

#[tokio::test]
async fn a_stream_that_is_not_whole_failed_whatever_its_status() {
    let broken = |words: &str| ("stream broken".to_owned(), words.to_owned());
    assert_eq!(failure("abort").await, broken("finish_reason \"abort\""));
    assert_eq!(failure("no-finish").await, broken("no finish_reason"));
    assert_eq!(failure("no-done").await, broken("no [DONE]"));
    assert_eq!(play("abort", 1, 0.0).await.errors["stream broken"], 1);
}

#[tokio::test]
async fn a_cut_connection_and_an_error_event_are_told_apart() {
    assert_eq!(failure("cut").await.0, "connection cut");
    assert_eq!(failure("error-event").await, ("error event".to_owned(), "the replica was lost".to_owned()));
}

#[tokio::test]
async fn what_is_no_answer_is_a_bad_one() {
    assert_eq!(failure("garbage").await.0, "bad answer");
    let (kind, words) = failure("html").await;
    assert_eq!(
        (kind.as_str(), words.as_str()),
        ("bad answer", "asked for a stream, answered with text/html")
    );
}

#[tokio::test]
async fn a_refusal_is_told_with_its_status_and_its_message() {
    assert_eq!(failure("busy").await, ("status 503".to_owned(), "all replicas are busy".to_owned()));
}

#[tokio::test]
async fn a_server_that_is_not_there_fails_every_request() {
    let options = Options::to("http://127.0.0.1:1").unwrap();
    let report = run(options, schedule("m", 3, 1.0), &mut ()).await.unwrap();
    assert_eq!(report.errors["not connected"], 3);
}

#[tokio::test]
async fn a_cold_start_is_told_with_the_wait_that_was_expected() {
    let report = play("cold", 2, 1.0).await;
    assert_eq!((report.cold_starts.requests, report.cold_starts.ttft_s.count), (2, 2));
    let expected = report.cold_starts.expected_wait_s.max.unwrap();
    assert!((expected - 2.5).abs() < 0.01, "{expected}");
}

#[tokio::test]
async fn the_key_opens_and_is_in_no_report() {
    let server = Server::start().await;
    let mut options = Options::to(&server.url()).unwrap();
    options.api_key("sk-1").unwrap();
    let report = run(options, schedule("locked", 2, 1.0), &mut ()).await.unwrap();
    assert_eq!(report.ok, 2);
    assert!(!format!("{report:?}{}", report.text()).contains("sk-1"));
}

#[tokio::test]
async fn a_request_past_its_time_failed() {
    let server = Server::start().await;
    let mut options = Options::to(&server.url()).unwrap();
    options.timeout = Duration::from_millis(20);
    let report = run(options, schedule("gated", 2, 1.0), &mut ()).await.unwrap();
    assert_eq!(report.errors["timed out"], 2);
}

/// Opens the server's gate when `enough` says so.
struct Opens<F> {
    gate: watch::Sender<bool>,
    enough: F,
}

impl<F: FnMut(&Snapshot) -> bool + Send> Progress for Opens<F> {
    fn update(&mut self, now: &Snapshot) {
        if (self.enough)(now) {
            self.gate.send_replace(true);
        }
    }
}

#[tokio::test]
async fn requests_leave_on_time_though_none_is_answered() {
    let server = Server::start().await;
    let options = Options::to(&server.url()).unwrap();
    // The server answers nothing before all fifty are there: a closed loop would wait forever.
    let mut progress = Opens { gate: server.gate.clone(), enough: |now: &Snapshot| now.in_flight == 50 };
    let report = run(options, schedule("gated", 50, 0.5), &mut progress).await.unwrap();
    assert_eq!((report.ok, report.in_flight_max), (50, 50));
    assert_eq!(server.asked.load(Ordering::SeqCst), 50);
}

#[tokio::test]
async fn a_request_past_the_limit_in_flight_is_not_sent_and_counts_as_failed() {
    let server = Server::start().await;
    let mut options = Options::to(&server.url()).unwrap();
    options.in_flight_max = 2;
    let mut progress = Opens { gate: server.gate.clone(), enough: |now: &Snapshot| now.failed == 3 };
    let report = run(options, schedule("gated", 5, 1.0), &mut progress).await.unwrap();
    assert_eq!((report.ok, report.errors["not sent"]), (2, 3));
    assert_eq!(server.asked.load(Ordering::SeqCst), 2);
}

/// Ends the run once something is in flight.
struct Stops(CancellationToken);

impl Progress for Stops {
    fn update(&mut self, now: &Snapshot) {
        if now.in_flight > 0 {
            self.0.cancel();
        }
    }
}

#[tokio::test]
async fn a_run_that_is_stopped_reports_what_there_is() {
    let server = Server::start().await;
    let options = Options::to(&server.url()).unwrap();
    let mut progress = Stops(options.stop.clone());
    let report = run(options, schedule("gated", 1_000_000, 1.0), &mut progress).await.unwrap();
    assert!(report.interrupted && report.unfinished > 0);
    assert_eq!((report.requests, report.failed), (0, 0));
}

#[tokio::test]
async fn models_and_priorities_are_told_apart() {
    let server = Server::start().await;
    let plan = Plan::parse("0s:2000rps 1s:2000rps").unwrap();
    let mut mix = Mix::of("m");
    mix.models.extend(&Weighted::parse("busy=3").unwrap());
    mix.priorities = Weighted::parse("high,low").unwrap();
    let schedule = Schedule::from_plan(plan, Arrivals::Uniform, 1, mix).limited(80);
    let report = run(Options::to(&server.url()).unwrap(), schedule, &mut ()).await.unwrap();
    assert_eq!(report.models["m"].failed, 0);
    assert_eq!(report.models["busy"].failed, report.failed);
    assert_eq!(report.priorities["high"].requests + report.priorities["low"].requests, 80);
    assert!(report.text().contains("all replicas are busy"));
}

#[tokio::test]
async fn the_report_is_json_with_the_promised_fields_and_a_page_that_stands_alone() {
    let report = play("m", 5, 1.0).await;
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["requests"], &json["ok"], &json["failed"]), (&5.into(), &5.into(), &0.into()));
    for times in ["ttft_s", "itl_s", "e2e_s"] {
        for figure in ["p50", "p90", "p95", "p99", "max"] {
            assert!(json[times][figure].is_number(), "{times}.{figure}");
        }
    }
    let page = tidegate_load::page::html(&report);
    assert_eq!(page.matches("<svg").count(), 6);
    assert!(!page.contains("no data") && !page.contains("<script"));
}

#[tokio::test]
async fn the_models_of_a_server_are_found_by_asking_it() {
    let server = Server::start().await;
    assert_eq!(models(&Options::to(&server.url()).unwrap()).await.unwrap(), ["a", "b"]);
    let error = models(&Options::to("http://127.0.0.1:1").unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("name one with --model"), "{error}");
}
