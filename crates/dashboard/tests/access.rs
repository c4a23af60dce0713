//! Who may look, over the wire.

mod support;

use std::sync::Arc;

use http::{Method, StatusCode};
use http_body_util::Full;
use support::{get, on, send, shown};
use tidegate_dashboard::{Board, Error};

const TOKEN: &str = "5f0c6d1e9b7a4823";

#[tokio::test]
async fn a_page_elsewhere_cannot_read_the_dashboard_through_a_rebound_name() {
    let (_board, running) = shown().await;
    for path in ["/", "/api/fleet", "/metrics", "/events", "/healthz", "/assets/board.js"] {
        let answer = get(running.addr, path, &[("host", "rebound.example:8081")]).await;
        assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST, "{path}");
        assert!(!answer.body().contains("llama"), "{path}");
    }
    let answer = get(running.addr, "/api/fleet", &[("host", "localhost:8081")]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    running.stop().await;
}

#[tokio::test]
async fn an_address_others_can_reach_is_not_opened_without_a_token() {
    let refused = on(Arc::new(Board::new()), "0.0.0.0:0", None).await;
    assert!(matches!(refused, Err(Error::Token { .. })), "{refused:?}");
}

#[tokio::test]
async fn elsewhere_than_loopback_every_read_needs_the_token() {
    let running = on(Arc::new(support::fleet::board()), "0.0.0.0:0", Some(TOKEN)).await.unwrap();
    let addr = format!("127.0.0.1:{}", running.addr.port()).parse().unwrap();
    for path in ["/api/fleet", "/metrics", "/events", "/api/why/default/llama-3.1-8b"] {
        assert_eq!(get(addr, path, &[]).await.status(), StatusCode::UNAUTHORIZED, "{path}");
        let wrong = [("authorization", "Bearer 5f0c6d1e9b7a4824")];
        assert_eq!(get(addr, path, &wrong).await.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    let page = get(addr, "/", &[]).await;
    assert_eq!(page.status(), StatusCode::SEE_OTHER);
    assert_eq!(page.headers()["location"], "/login");
    assert_eq!(get(addr, "/healthz", &[]).await.status(), StatusCode::OK);

    let bearer = format!("Bearer {TOKEN}");
    let fleet = get(addr, "/api/fleet", &[("authorization", &bearer)]).await;
    assert!(fleet.body().contains("llama-3.1-8b"));

    let entered = get(addr, &format!("/login?token={TOKEN}"), &[]).await;
    assert_eq!(entered.status(), StatusCode::SEE_OTHER);
    let cookie = entered.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(get(addr, "/", &[("cookie", pair)]).await.status(), StatusCode::OK);

    let form = get(addr, "/login", &[]).await;
    assert!(form.body().contains("type=\"password\"") && !form.body().contains(TOKEN));
    let wrong = get(addr, "/login?token=wrong", &[]).await;
    assert_eq!(wrong.status(), StatusCode::FORBIDDEN);
    running.stop().await;
}

#[tokio::test]
async fn nothing_can_be_written_and_every_answer_forbids_frames_and_foreign_scripts() {
    let (_board, running) = shown().await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        for path in ["/", "/api/fleet", "/api/targets/default/llama-3.1-8b"] {
            let request = http::Request::builder().method(method.clone());
            let request =
                request.uri(format!("http://{}{path}", running.addr)).body(Full::default()).unwrap();
            assert_eq!(send(request).await.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
    }
    for path in ["/", "/nothing", "/api/fleet", "/assets/board.css", "/healthz"] {
        let answer = get(running.addr, path, &[]).await;
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.headers()["x-frame-options"], "DENY", "{path}");
    }
    running.stop().await;
}

#[tokio::test]
async fn pages_have_no_inline_script_or_style_that_the_policy_would_refuse() {
    let (_board, running) = shown().await;
    for path in ["/", "/targets/default/llama-3.1-8b", "/targets/research/mixtral-8x22b"] {
        let page = get(running.addr, path, &[]).await.into_body();
        assert!(!page.contains(" style=") && !page.contains("<style"), "{path}");
        assert!(!page.contains("onclick") && !page.contains("javascript:"), "{path}");
        for script in page.split("<script").skip(1) {
            assert!(script.starts_with(" src=\"/assets/"), "{path}: {script:.60}");
        }
        assert!(!page.contains("http://") || page.contains("curl http://127.0.0.1:8080"), "{path}");
    }
    running.stop().await;
}

#[tokio::test]
async fn probes_are_told_what_the_program_says_of_itself_and_need_no_token() {
    let board = Arc::new(support::fleet::board());
    let running = on(Arc::clone(&board), "0.0.0.0:0", Some(TOKEN)).await.unwrap();
    let addr = format!("127.0.0.1:{}", running.addr.port()).parse().unwrap();
    assert_eq!(get(addr, "/readyz", &[]).await.status(), StatusCode::OK, "nothing is said: it answers");
    let health = Arc::new(tidegate_dashboard::Health::new("it begins"));
    board.set_health(Arc::clone(&health));
    let unready = get(addr, "/readyz", &[]).await;
    assert_eq!((unready.status(), unready.body().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "it begins\n"));
    assert_eq!(get(addr, "/healthz", &[]).await.status(), StatusCode::OK);
    health.set_ready(Ok(()));
    assert_eq!(get(addr, "/readyz", &[]).await.status(), StatusCode::OK);
    running.stop().await;
}
