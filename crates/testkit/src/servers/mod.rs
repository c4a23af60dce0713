//! Real servers for tests: each on loopback, on a port of its own, with its data in a directory that goes
//! with it, and ended when it is dropped.
//!
//! They come from Debian's packages; a server that is not installed fails the test with the line that
//! installs it.

pub mod external_scaler;
pub mod mariadb;
pub mod postgresql;
mod process;

pub use crate::brokers::Certificates;
pub use crate::ports::free_address;
pub use external_scaler::ExternalScaler;
pub use mariadb::MariaDb;
pub use postgresql::PostgreSql;
