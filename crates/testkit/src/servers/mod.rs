//! Real servers for tests: each on loopback, on a port of its own, with its data in a directory that goes
//! with it, and ended when it is dropped.
//!
//! They come from Debian's packages; a server that is not installed fails the test with the line that
//! installs it.

pub mod external_scaler;
pub mod mariadb;
pub mod postgresql;
mod process;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

pub use crate::brokers::Certificates;
pub use external_scaler::ExternalScaler;
pub use mariadb::MariaDb;
pub use postgresql::PostgreSql;

/// A port on loopback that nobody used just now.
///
/// # Panics
/// When the system has none.
#[must_use]
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the system has a free port");
    listener.local_addr().expect("it is bound")
}
