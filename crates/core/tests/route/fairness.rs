//! Sharing between tenants and priorities.

use std::collections::BTreeMap;

use tidegate_core::route::{Event, Limits, Outcome, Priority, RequestId};

use crate::harness::{Gateway, LIMITS};

const ONE_SLOT: Limits = Limits { slots: 1, tenant_count_max: 1000, ..LIMITS };

/// Serves `count` one after the other and says who they were.
fn serve<K: Copy>(gateway: &mut Gateway, who: &BTreeMap<RequestId, K>, count: usize) -> Vec<K> {
    let mut served = Vec::new();
    for _ in 0..count {
        let request = *gateway.in_flight.keys().next().expect("somebody is served");
        served.extend(who.get(&request).copied());
        gateway.finish(request, Outcome::Answered { prompt_tokens: None, output_tokens: None });
    }
    served
}

fn tenants(gateway: &mut Gateway, each: u32, tokens: &[(u64, u32)]) -> BTreeMap<RequestId, u64> {
    let mut who = BTreeMap::new();
    for &(tenant, tokens) in tokens {
        for _ in 0..each {
            let request = gateway.arrive(|arrival| {
                arrival.tenant = tenant;
                arrival.prompt_tokens = tokens;
                arrival.max_tokens = Some(0);
            });
            who.insert(request, tenant);
        }
    }
    who
}

#[test]
fn one_who_floods_does_not_keep_another_waiting() {
    let mut gateway = Gateway::with(ONE_SLOT, 1);
    let who = tenants(&mut gateway, 200, &[(1, 500), (2, 500)]);
    let served = serve(&mut gateway, &who, 100);
    let second = served.iter().filter(|tenant| **tenant == 2).count();
    assert!((49..=50).contains(&second), "{second} of 100 to the tenant that came 200 requests later");
}

#[test]
fn tenants_share_by_tokens_and_not_by_requests() {
    let mut gateway = Gateway::with(ONE_SLOT, 1);
    let who = tenants(&mut gateway, 300, &[(1, 8000), (2, 500)]);
    let served = serve(&mut gateway, &who, 1 + 10 * 17);
    let long = served.iter().filter(|tenant| **tenant == 1).count();
    assert!((10..=12).contains(&long), "{long} of 8,000 tokens, so sixteen times as many of 500");
}

#[test]
fn who_was_away_has_saved_nothing() {
    let mut gateway = Gateway::with(ONE_SLOT, 1);
    let mut who = tenants(&mut gateway, 300, &[(1, 500), (3, 500)]);
    serve(&mut gateway, &who, 200);
    who.extend(tenants(&mut gateway, 50, &[(2, 500)]));
    let served = serve(&mut gateway, &who, 30);
    let late = served.iter().filter(|tenant| **tenant == 2).count();
    assert!((9..=11).contains(&late), "{late} of 30: a third, not all");
}

#[test]
fn a_lower_priority_gets_every_sixteenth_place_while_a_higher_waits() {
    let mut gateway = Gateway::with(ONE_SLOT, 1);
    let mut who = BTreeMap::new();
    for priority in [Priority::High, Priority::Low] {
        for _ in 0..200 {
            who.insert(gateway.arrive(|arrival| arrival.priority = priority), priority);
        }
    }
    let served = serve(&mut gateway, &who, 161);
    let low = served.iter().filter(|priority| **priority == Priority::Low).count();
    assert_eq!(low, 10);
}

#[test]
fn the_starved_place_goes_to_the_oldest_of_all_lower_priorities() {
    let mut gateway = Gateway::with(ONE_SLOT, 1);
    let low = gateway.arrive(|arrival| arrival.priority = Priority::High);
    assert_eq!(gateway.at(low), Some(1));
    let oldest = gateway.arrive(|arrival| arrival.priority = Priority::Low);
    for _ in 0..40 {
        gateway.plain();
        gateway.arrive(|arrival| arrival.priority = Priority::High);
    }
    let who = BTreeMap::from([(oldest, ())]);
    serve(&mut gateway, &who, 16);
    assert_eq!(gateway.at(oldest), Some(1));
}

#[test]
fn two_thousand_tenants_at_once_are_all_served_though_not_all_are_told_apart() {
    let mut gateway =
        Gateway::at_zero(Limits { hold_count_max: 10_000, hold_bytes_max: 10_000_000, ..ONE_SLOT });
    let names: Vec<(u64, u32)> = (1..=2000).map(|tenant| (tenant, 100)).collect();
    let who = tenants(&mut gateway, 2, &names);
    // Some leave again, from their own lanes and from the shared one.
    let leaving: Vec<RequestId> = who.keys().copied().step_by(3).collect();
    for request in &leaving {
        gateway.tell(Event::Leave(*request));
    }
    gateway.ready(1);
    let served = serve(&mut gateway, &who, who.len() - leaving.len());
    assert_eq!(served.len(), who.len() - leaving.len());
    assert!(gateway.is_empty());
}
