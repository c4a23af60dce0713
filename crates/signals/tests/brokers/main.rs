//! Every reader of a broker, against the real broker on loopback.

mod nats;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
mod tls;
mod trigger;
