//! The series store as a Prometheus: what Grafana and KEDA ask, and what an agent writes.

mod support;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use support::{get, on, send, shown};
use tidegate_dashboard::{Board, Config, Running, serve};
use tidegate_metrics::remote;
use tidegate_metrics::store::{Shared, Store};

const TYPE: &str = "application/x-protobuf";

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A listener over a store with two queues, a sample a second for ten seconds up to `now_ms`.
async fn kept(now_ms: i64) -> Running {
    let mut store = Store::new();
    for (queue, weight) in [("a", 1.0), ("b", 3.0)] {
        for second in 0..10 {
            let labels = [("__name__", "jobs_waiting"), ("queue", queue)];
            store.push(&labels, now_ms - 9_000 + second * 1000, second as f64 * weight);
        }
    }
    let addr = ([127, 0, 0, 1], 0).into();
    let config =
        Config { addr, token: None, tls: None, push: None, series: Some(Arc::new(Shared::new(store))) };
    serve(config, Arc::new(Board::new())).await.expect("a free port")
}

fn json_of(answer: &Response<String>) -> Value {
    serde_json::from_str(answer.body()).unwrap_or_else(|error| panic!("{error}: {}", answer.body()))
}

async fn write(running: &Running, body: Vec<u8>, type_: &str) -> Response<String> {
    let request =
        Request::post(format!("http://{}/api/v1/write", running.addr)).header("content-type", type_);
    send(request.body(Full::new(Bytes::from(body))).expect("a request")).await
}

#[tokio::test]
async fn an_instant_query_is_answered_as_keda_asks_it() {
    // A whole second, written as KEDA writes times.
    let at_ms = now_ms() / 1000 * 1000;
    let running = kept(at_ms).await;
    let time = jiff::Timestamp::from_millisecond(at_ms).expect("a time").to_string();
    let answer = get(running.addr, &format!("/api/v1/query?query=sum(jobs_waiting)&time={time}"), &[]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let expected = json!({ "resultType": "vector", "result": [
        { "metric": {}, "value": [at_ms as f64 / 1000.0, "36"] },
    ] });
    assert_eq!(json_of(&answer), json!({ "status": "success", "data": expected }));
    running.stop().await;
}

#[tokio::test]
async fn a_range_query_may_come_as_a_form() {
    let at_ms = now_ms() / 1000 * 1000;
    let running = kept(at_ms).await;
    let (start, end) = (at_ms / 1000 - 2, at_ms / 1000);
    let form = format!("query=jobs_waiting%7Bqueue%3D%22b%22%7D+*+2&start={start}&end={end}&step=1s");
    let request = Request::post(format!("http://{}/api/v1/query_range", running.addr))
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = send(request.body(Full::new(Bytes::from(form))).expect("a request")).await;
    let point = |second: i64, value: &str| json!([second as f64, value]);
    assert_eq!(
        json_of(&answer)["data"]["result"],
        json!([{ "metric": { "queue": "b" },
                 "values": [point(start, "42"), point(start + 1, "48"), point(end, "54")] }])
    );
    running.stop().await;
}

#[tokio::test]
async fn series_labels_and_their_values_are_listed() {
    let running = kept(now_ms()).await;
    let data = async |path: &str| json_of(&get(running.addr, path, &[]).await)["data"].clone();
    assert_eq!(
        data("/api/v1/series?match[]=jobs_waiting%7Bqueue=%22a%22%7D").await,
        json!([{ "__name__": "jobs_waiting", "queue": "a" }])
    );
    assert_eq!(data("/api/v1/labels").await, json!(["__name__", "queue"]));
    assert_eq!(data("/api/v1/label/queue/values").await, json!(["a", "b"]));
    assert_eq!(data("/api/v1/label/__name__/values").await, json!(["jobs_waiting"]));
    // An hour ago nothing was there.
    let ago = now_ms() / 1000 - 3600;
    assert_eq!(data(&format!("/api/v1/series?match[]=jobs_waiting&end={ago}")).await, json!([]));
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_answered_says_so_as_prometheus_does() {
    let running = kept(now_ms()).await;
    for (path, status, said) in [
        ("query", 400, "query: it is missing"),
        ("query?query=sum(", 400, "never closed"),
        ("query?query=info(x)", 400, "`info()` at character 1"),
        ("query?query=x&time=tomorrow", 400, "no time"),
        ("query?query=jobs_waiting/on()jobs_waiting", 422, "several series match"),
        ("query_range?query=x&start=0&end=1e9&step=1", 400, "steps are more than"),
        ("query_range?query=x&start=0&end=10&step=0", 400, "longer than nothing"),
        ("query_range?query=x&start=10&end=0&step=1", 400, "before the start"),
        ("series", 400, "match[]"),
        ("series?match[]=1", 400, "selector"),
    ] {
        let answer = get(running.addr, &format!("/api/v1/{path}"), &[]).await;
        let body = json_of(&answer);
        assert_eq!((answer.status().as_u16(), &body["status"]), (status, &json!("error")), "{path}");
        assert!(body["error"].as_str().is_some_and(|text| text.contains(said)), "{path}: {body}");
    }
    running.stop().await;
}

#[tokio::test]
async fn what_is_written_can_be_read() {
    let running = kept(now_ms()).await;
    let now_ms = now_ms();
    let series = [(vec![("__name__", "depth"), ("shard", "1")], vec![(now_ms - 1000, 4.0), (now_ms, 5.5)])];
    let body = remote::body(&series).expect("it fits");
    assert_eq!(write(&running, body.clone(), TYPE).await.status(), StatusCode::NO_CONTENT);
    let answer = get(running.addr, "/api/v1/query?query=max_over_time(depth[5m])", &[]).await;
    assert_eq!(json_of(&answer)["data"]["result"][0]["value"][1], json!("5.5"));
    // The same again is nothing new.
    let again = write(&running, body, TYPE).await;
    assert_eq!(again.status(), StatusCode::BAD_REQUEST);
    assert!(again.body().contains("2 of 2 samples were dropped"), "{}", again.body());
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_changes_nothing() {
    let running = kept(now_ms()).await;
    let labels = vec![("__name__", "depth")];
    let sound = remote::body(&[(labels.clone(), vec![(now_ms(), 1.0)])]).expect("it fits");
    // A web page can send this type without being asked first.
    let form = write(&running, sound, "text/plain").await;
    assert_eq!(form.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(write(&running, b"garbage".to_vec(), TYPE).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        write(&running, vec![0; remote::BODY_BYTES_MAX + 1], TYPE).await.status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
    // A block that claims four gigabytes.
    let bomb = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    assert_eq!(write(&running, bomb, TYPE).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    // A year ahead, an hour ago, no number.
    for (at_ms, value) in
        [(now_ms() + 31_536_000_000, 1.0), (now_ms() - 3_600_000, 1.0), (now_ms(), f64::INFINITY)]
    {
        let body = remote::body(&[(labels.clone(), vec![(at_ms, value)])]).expect("it fits");
        assert_eq!(write(&running, body, TYPE).await.status(), StatusCode::BAD_REQUEST);
    }
    let answer = get(running.addr, "/api/v1/query?query=depth", &[]).await;
    assert_eq!(json_of(&answer)["data"]["result"], json!([]));
    running.stop().await;
}

#[tokio::test]
async fn the_token_and_the_host_guard_the_store_too() {
    let running = kept(now_ms()).await;
    let answer = get(running.addr, "/api/v1/labels", &[("host", "rebound.example")]).await;
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
    running.stop().await;
    // Without a store there is no such path.
    let (_board, bare) = shown().await;
    assert_eq!(get(bare.addr, "/api/v1/labels", &[]).await.status(), StatusCode::NOT_FOUND);
    bare.stop().await;
    let token = "0123456789abcdef";
    let open = on(Arc::new(Board::new()), "0.0.0.0:0", Some(token)).await.expect("a free port");
    let addr = format!("127.0.0.1:{}", open.addr.port()).parse().expect("an address");
    assert_eq!(get(addr, "/api/v1/query?query=up", &[]).await.status(), StatusCode::UNAUTHORIZED);
    open.stop().await;
}
