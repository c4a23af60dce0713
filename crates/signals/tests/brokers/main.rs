//! Every reader of a broker, against the real broker on loopback.

#[cfg(feature = "kafka")]
mod kafka;
mod nats;
mod oauth;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
mod tls;
mod trigger;
