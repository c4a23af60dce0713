//! Ports that are named before anybody listens on them.
//!
//! A port that the system gave and took back is given to whoever asks next: another test, or a connection that needs
//! one to go out from. So these are from below the range that the system gives from by itself: who does not name such
//! a port never gets it, and it is still free when the server listens, and when the server comes back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Above those of services that a machine may have.
const FIRST: u16 = 10_000;

/// Where the range of the system begins where it does not say so.
const SYSTEM: u16 = 32_768;

/// Two test programs at once begin this far apart for each number between their process ids, so that they seldom try
/// the same ports at the same time. A prime: the beginnings of 20,000 processes are 20,000 different ones.
const APART: u32 = 7_919;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port of loopback that nobody listens on.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    free_port_of(&[Ipv4Addr::LOCALHOST.into()])
}

/// An address of loopback that nobody listens on.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// A port that is free on all of these addresses.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port_of(addresses: &[IpAddr]) -> u16 {
    let (first, count) = range();
    let begin = std::process::id().wrapping_mul(APART);
    for _ in 0..count {
        let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let Ok(port) = u16::try_from(first + offset) else { continue };
        if addresses.iter().all(|address| TcpListener::bind((*address, port)).is_ok()) {
            return port;
        }
    }
    panic!("no port is free on {addresses:?}")
}

/// The first port to try, and how many there are.
fn range() -> (u32, u32) {
    let told = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let begins = told.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(SYSTEM);
    // A machine may give nearly all of them by itself: then the upper ones are as good as any.
    let (first, end) = if begins > FIRST + 1_000 { (FIRST, begins) } else { (SYSTEM, u16::MAX) };
    (u32::from(first), u32::from(end - first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_and_none_that_the_system_gives_by_itself() {
        let ports: std::collections::BTreeSet<u16> = (0..50).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 50);
        let of_the_system = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|one| one.local_addr());
        let (first, count) = range();
        assert!(!(first..first + count).contains(&u32::from(of_the_system.expect("a port").port())));

        let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 2).into()];
        let taken = free_port_of(&addresses);
        let _held = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), taken)).expect("it is free");
        // As if all others had been tried since.
        NEXT.fetch_add(count - 1, Ordering::Relaxed);
        assert_ne!(free_port_of(&addresses), taken, "it is taken at one of the two");
    }
}
