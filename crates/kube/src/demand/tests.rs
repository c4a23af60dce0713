use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use prost::Message as _;
use tidegate_core::scale::Reading;
use tidegate_core::time::{Span, Time};
use tidegate_manifest::trigger::GatewayMetric;

use super::book::Turned;
use super::report::{Load, Told};
use super::*;
use crate::index::target::Key;
use crate::object::{Id, Kind};
use crate::routes::Route;

fn key() -> Key {
    Route::key_of("prod", "llama")
}

fn at(seconds: i64) -> Time {
    Time::from_secs(seconds)
}

fn told(waiting: u32, in_flight: u32) -> Told {
    Told { waiting, in_flight, waiting_tokens: 10, in_flight_tokens: 5, pods: BTreeMap::new(), flow: None }
}

fn report(gateway: &str, whole: bool, told: Option<Told>) -> Report {
    Report {
        gateway: gateway.into(),
        pod: Some(Id::new(Kind::Pod, "tidegate", gateway)),
        whole,
        leaves: false,
        targets: told.into_iter().map(|told| (key(), told)).collect(),
    }
}

fn demand(book: &Book, now: i64) -> Option<Reading> {
    book.demand(&key(), at(now)).reading(GatewayMetric::Demand)
}

fn value(value: f64) -> Option<Reading> {
    Some(Reading::Value { value, active: None })
}

#[test]
fn what_several_gateways_say_is_summed() {
    let mut book = Book::default();
    assert_eq!(book.demand(&key(), at(0)), Known::Nobody);
    book.take(report("a", true, Some(told(1, 2))), at(0));
    book.take(report("b", true, Some(told(0, 4))), at(0));
    assert_eq!(demand(&book, 1), value(7.0));
    assert_eq!(book.demand(&key(), at(1)).reading(GatewayMetric::Tokens), value(30.0));
}

#[test]
fn an_edge_is_one_of_the_sum_and_not_of_one_gateway() {
    let mut book = Book::default();
    let edge = |turned: Turned| turned.edges.contains(&key());
    assert!(!edge(book.take(report("a", true, Some(told(0, 0))), at(0))));
    assert!(edge(book.take(report("a", false, Some(told(1, 0))), at(0))));
    assert!(!edge(book.take(report("b", true, Some(told(1, 0))), at(0))));
    assert!(!edge(book.take(report("a", false, Some(told(0, 0))), at(0))));
    assert!(edge(book.take(report("b", true, None), at(0))), "it no longer routes the target");
}

#[test]
fn a_silent_gateway_is_counted_then_stale_and_never_zero() {
    let mut book = Book::default();
    book.take(report("a", true, Some(told(3, 0))), at(0));
    book.take(report("b", true, Some(told(0, 0))), at(0));
    assert_eq!(demand(&book, 5), value(3.0));
    book.take(report("b", true, Some(told(0, 0))), at(6));
    assert_eq!(demand(&book, 6), Some(Reading::Stale { value: 3.0, age: Span::from_secs(6) }));
    assert_eq!(book.demand(&key(), at(6)).wanted(), value(3.0), "what was asked for still is");
    assert!(book.sweep(at(800), |_| false).is_empty(), "its pod is there");
    assert_eq!(book.sweep(at(800), |pod| &*pod.name == "a"), vec![Arc::<str>::from("a")]);
    assert_eq!(book.sweep(at(907), |_| false), vec![Arc::<str>::from("b")]);
    assert_eq!(book.demand(&key(), at(907)), Known::Nobody);
}

#[test]
fn an_idle_gateway_that_falls_silent_may_have_got_requests_since() {
    let mut book = Book::default();
    book.take(report("a", true, Some(told(0, 0))), at(0));
    let wanted = book.demand(&key(), at(9)).wanted();
    assert_eq!(wanted, Some(Reading::Stale { value: 0.0, age: Span::from_secs(9) }));
}

#[test]
fn a_gateway_that_leaves_is_not_waited_for() {
    let mut book = Book::default();
    book.take(report("a", true, Some(told(0, 0))), at(0));
    let leaving = Report { leaves: true, ..report("a", true, None) };
    book.take(leaving, at(1));
    assert_eq!(book.demand(&key(), at(1)), Known::Nobody);
    assert_eq!(book.gateways(at(100)), (0, 0));
}

#[test]
fn a_pod_is_drained_when_no_gateway_has_anything_there_nor_sends_anything() {
    let mut book = Book::default();
    let with = |in_flight, draining| Told {
        pods: BTreeMap::from([(Arc::from("p"), Load { in_flight, tokens: 1, draining })]),
        ..told(0, in_flight)
    };
    book.take(report("a", true, Some(with(2, true))), at(0));
    book.take(report("b", true, Some(with(0, false))), at(0));
    let live = book.live(&key(), at(0));
    let expected = Live { in_flight: 2, tokens: 2, gateways: 2, draining: 1 };
    assert_eq!((live.fresh, live.pods["p"]), (true, expected));
    book.take(report("a", true, Some(with(0, true))), at(1));
    assert!(!book.live(&key(), at(1)).pods["p"].is_drained());
    book.take(report("b", true, Some(with(0, true))), at(1));
    assert!(book.live(&key(), at(1)).pods["p"].is_drained());
    assert!(!book.live(&key(), at(7)).fresh);
}

#[test]
fn a_part_keeps_what_the_whole_said_of_pods() {
    let mut book = Book::default();
    let pods = BTreeMap::from([(Arc::from("p"), Load { in_flight: 1, ..Load::default() })]);
    book.take(report("a", true, Some(Told { pods, ..told(0, 1) })), at(0));
    book.take(report("a", false, Some(told(0, 0))), at(0));
    assert_eq!(book.live(&key(), at(0)).pods["p"].in_flight, 1);
}

#[test]
fn there_is_room_for_so_many_gateways_and_no_more() {
    let mut book = Book::default();
    for number in 0..book::GATEWAYS_MAX + 3 {
        book.take(report(&number.to_string(), true, Some(told(1, 0))), at(0));
    }
    assert_eq!(demand(&book, 0), value(book::GATEWAYS_MAX as f64));
}

#[test]
fn a_gateway_restarted_in_its_pod_replaces_the_one_before_and_two_at_work_do_not() {
    let mut book = Book::default();
    let of_pod = |name: &str, waiting| Report {
        pod: Some(Id::new(Kind::Pod, "tidegate", "gateway-0")),
        ..report(name, true, Some(told(waiting, 0)))
    };
    book.take(of_pod("gateway-0_1", 7), at(0));
    // It may be another container of the pod: both speak.
    book.take(of_pod("gateway-0_2", 0), at(1));
    assert_eq!(demand(&book, 1), value(7.0));
    let turned = book.take(of_pod("gateway-0_2", 0), at(3));
    assert_eq!(demand(&book, 3), value(0.0), "the requests it had have ended with it");
    assert!(turned.edges.contains(&key()));
    assert_eq!(book.gateways(at(100)), (1, 1));
}

/// What an operator knows that has heard of these gateways.
fn roll(gateways: &[&str]) -> Roll {
    let mut book = Book::default();
    for name in gateways {
        book.take(report(name, true, Some(told(1, 0))), at(0));
    }
    book.roll()
}

fn is_stale(book: &Book, now: i64) -> bool {
    matches!(book.demand(&key(), at(now)), Known::Stale(..))
}

#[test]
fn whom_the_operator_before_knew_is_silent_until_it_speaks() {
    let mut book = Book::default();
    book.expect(roll(&["a", "b"]), at(1000));
    assert!(is_stale(&book, 1000), "nobody has spoken, so nothing is known");
    book.take(report("a", true, Some(told(0, 0))), at(1001));
    assert!(is_stale(&book, 1001) && book.flows(&key(), at(1001)).is_none());
    book.take(report("b", true, Some(told(2, 0))), at(1002));
    assert_eq!(demand(&book, 1002), value(2.0));
}

#[test]
fn a_gateway_that_is_expected_and_whose_pod_is_gone_is_not_waited_for_but_its_successor_is() {
    let mut book = Book::default();
    book.expect(roll(&["a", "b"]), at(1000));
    assert_eq!(book.sweep(at(1000), |_| true).len(), 2, "both were replaced while no operator was there");
    assert!(book.routes(&key(), at(1300)) && is_stale(&book, 1300), "nobody has said that nobody asks");
    book.take(report("c", true, Some(told(0, 0))), at(1301));
    assert_eq!(demand(&book, 1301), value(0.0), "after so long one is all there are");
    let mut book = Book::default();
    book.expect(roll(&["a", "b"]), at(1000));
    book.sweep(at(1000), |_| true);
    book.take(report("c", true, Some(told(0, 0))), at(1001));
    assert!(is_stale(&book, 1001), "the second one may be about to connect");
    book.take(report("d", true, Some(told(0, 0))), at(1002));
    assert_eq!(demand(&book, 1002), value(0.0));
}

#[test]
fn what_is_expected_in_vain_is_forgotten_and_who_knows_it_is_told() {
    let mut book = Book::default();
    book.expect(roll(&["a"]), at(1000));
    let version = book.version();
    assert_eq!(book.sweep(at(1901), |_| false).len(), 1);
    assert_eq!((book.demand(&key(), at(1901)), book.roll()), (Known::Nobody, Roll::default()));
    assert!(book.version() > version);
}

#[test]
fn what_a_gateway_says_each_second_changes_nothing_that_is_remembered() {
    let mut book = Book::default();
    book.take(report("a", true, Some(told(0, 0))), at(0));
    let version = book.version();
    book.take(report("a", true, Some(told(5, 1))), at(1));
    book.take(report("a", false, Some(told(0, 0))), at(2));
    assert_eq!(book.version(), version);
    book.take(report("a", true, None), at(3));
    assert!(book.version() > version);
}

proptest! {
    #[test]
    fn no_bytes_break_a_report(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(report) = proto::Report::decode(&*bytes)
            && let Ok(report) = Report::read(report, None)
        {
            let mut book = Book::default();
            let keys: Vec<Key> = report.targets.keys().cloned().collect();
            book.take(report, at(0));
            for key in keys {
                let reading = book.demand(&key, at(1)).reading(GatewayMetric::Tokens);
                prop_assert!(reading.is_none_or(|reading| reading.is_finite()));
            }
        }
    }

    /// However reports of three gateways are mixed, the sum is that of what each said last.
    #[test]
    fn the_sum_is_of_what_each_said_last(said in prop::collection::vec((0_u8..3, 0_u32..5, any::<bool>()), 1..40)) {
        let (mut book, mut last) = (Book::default(), BTreeMap::new());
        for (gateway, waiting, whole) in said {
            let edge_before = last.values().any(|count| *count > 0);
            last.insert(gateway, waiting);
            let turned = book.take(report(&gateway.to_string(), whole, Some(told(waiting, 0))), at(0));
            let edge_after = last.values().any(|count| *count > 0);
            prop_assert_eq!(turned.edges.contains(&key()), edge_before != edge_after);
        }
        prop_assert_eq!(demand(&book, 0), value(f64::from(last.values().sum::<u32>())));
    }
}

#[test]
fn a_clock_that_jumps_silences_no_gateway_and_forgets_none_that_is_expected() {
    let mut book = Book::default();
    book.take(report("a", true, Some(told(1, 2))), at(1000));
    assert_eq!(book.gateways(at(1061)), (1, 1), "so it is without the jump");
    book.shift(Span::from_secs(60));
    assert_eq!(book.gateways(at(1061)), (1, 0));
    assert_eq!(demand(&book, 1061), value(3.0));
    assert_eq!(book.gateways(at(1066)), (1, 1), "five seconds are five seconds");
    let mut book = Book::default();
    book.expect(roll(&["a"]), at(1000));
    book.shift(FORGOTTEN_AFTER);
    let later = at(1000) + FORGOTTEN_AFTER + Span::from_secs(1);
    assert!(book.sweep(later, |_| false).is_empty(), "it has been expected for a second");
    assert_eq!(book.gateways(later), (1, 1));
}
