//! The pages as people see them, in headless Chromium: on a phone and on a desk, light and dark.

mod support;

use support::browser::Browser;
use support::{fleet, shown};

const WIDTHS: [u32; 2] = [390, 1280];
const SCHEMES: [&str; 2] = ["light", "dark"];

/// Nothing may stick out to the right.
async fn assert_fits(browser: &mut Browser, page: &str, width: u32) {
    let scroll = browser.value("document.documentElement.scrollWidth").await;
    assert_eq!(scroll, width, "{page} at {width} px is {scroll} px wide");
}

#[tokio::test]
async fn the_fleet_is_seen_at_a_glance_on_a_phone_and_on_a_desk() {
    let (_board, running) = shown().await;
    let mut browser = Browser::start().await;
    for width in WIDTHS {
        for scheme in SCHEMES {
            browser.open(&format!("http://{}/", running.addr), width, scheme).await;
            browser.until("document.querySelector('#live').dataset.state === 'on'").await;
            assert_fits(&mut browser, "the fleet", width).await;
            assert_eq!(browser.value("document.querySelectorAll('.card').length").await, 3);
            assert_eq!(browser.value("document.querySelectorAll('.device').length").await, 8);
            let pills =
                "[...document.querySelectorAll('.card .pill')].map((pill) => pill.textContent).join()";
            assert_eq!(browser.value(pills).await, "ready,zero,trouble");
            assert_ne!(browser.value("document.querySelectorAll('.decision').length").await, 0);
            let dark = browser.value("getComputedStyle(document.body).backgroundColor").await;
            assert_eq!(dark == "rgb(10, 19, 24)", scheme == "dark", "{dark}");
            browser.picture(&format!("fleet-{width}-{scheme}")).await;
        }
    }
    assert_eq!(browser.errors, Vec::<String>::new());
    browser.close().await;
    running.stop().await;
}

#[tokio::test]
async fn a_target_shows_its_charts_decisions_starts_and_logs() {
    let (_board, running) = shown().await;
    let mut browser = Browser::start().await;
    for width in WIDTHS {
        for scheme in SCHEMES {
            browser.open(&format!("http://{}/targets/{}", running.addr, fleet::CHAT), width, scheme).await;
            browser.until("document.querySelector('.charts').dataset.drawn === '5'").await;
            assert_eq!(browser.value("document.querySelectorAll('.chart.fed canvas').length").await, 5);
            assert_fits(&mut browser, "a target", width).await;
            let inked = "[...document.querySelectorAll('canvas')].every((canvas) => canvas.getContext('2d')\
                .getImageData(0, 0, canvas.width, canvas.height).data.some((byte) => byte > 0))";
            assert_eq!(browser.value(inked).await, true, "every chart has ink");
            assert_ne!(browser.value("document.querySelectorAll('#decisions .decision').length").await, 0);
            assert_ne!(browser.value("document.querySelectorAll('.starts rect').length").await, 0);
            browser.value("document.querySelector('#decisions details').open = true").await;
            browser.value("document.querySelector('#replicas details').open = true").await;
            browser.picture(&format!("target-{width}-{scheme}")).await;
        }
    }
    // What a replica logged stays text.
    assert_ne!(browser.value("document.title").await, "owned");
    let log = browser.value("document.querySelector('#replicas pre').textContent").await;
    assert!(log.as_str().is_some_and(|log| log.contains(fleet::HOSTILE)), "{log}");
    assert_eq!(browser.errors, Vec::<String>::new());
    browser.close().await;
    running.stop().await;
}

#[tokio::test]
async fn numbers_and_charts_move_without_a_reload_and_what_was_opened_stays_open() {
    let (board, running) = shown().await;
    let mut browser = Browser::start().await;
    browser.open(&format!("http://{}/targets/{}", running.addr, fleet::CHAT), 1280, "light").await;
    browser.until("document.querySelector('.charts').dataset.drawn === '5'").await;
    browser.until("document.querySelector('#live').dataset.state === 'on'").await;
    browser.value("document.querySelector('#replicas details').open = true").await;
    browser.value("window.before = document.querySelector('#numbers').textContent; true").await;
    for ahead in 1..=40 {
        fleet::later(&board, ahead);
    }
    browser.until("document.querySelector('#numbers').textContent !== window.before").await;
    fleet::later(&board, 41);
    browser.until("document.querySelector('#replicas details').open").await;
    assert_eq!(browser.errors, Vec::<String>::new());

    // When the server is gone the page says so.
    running.stop().await;
    browser.until("document.querySelector('#live').dataset.state === 'lost'").await;
    browser.close().await;
}

#[tokio::test]
async fn a_fleet_that_has_done_nothing_yet_says_how_to_begin() {
    let board = std::sync::Arc::new(tidegate_dashboard::Board::new());
    let running = support::on(board, "127.0.0.1:0", None).await.expect("a free port");
    let mut browser = Browser::start().await;
    browser.open(&format!("http://{}/", running.addr), 390, "light").await;
    assert_fits(&mut browser, "an empty fleet", 390).await;
    let text = browser.value("document.querySelector('main').textContent").await;
    assert!(
        text.as_str().is_some_and(|text| text.contains("tidegate up -f FILE") && !text.contains("-0")),
        "{text}"
    );
    browser.picture("empty-390-light").await;
    assert_eq!(browser.errors, Vec::<String>::new());
    browser.close().await;
    running.stop().await;
}
