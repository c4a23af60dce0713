//! Message brokers on loopback, started by a test and ended with its value.
//!
//! Each has its data in a directory that goes with it and ports of its own. A server that is not
//! installed fails the test with the line that installs it; `cargo xtask setup` installs all of them.

pub mod certificates;
pub mod kafka;
pub mod nats;
pub mod process;
pub mod rabbitmq;

pub use certificates::Certificates;
pub use kafka::Kafka;
pub use nats::Nats;
pub use process::Process;
pub use rabbitmq::RabbitMq;
