//! Every reader, against real servers on loopback.

mod redis;
mod scrape;
mod server;
mod sources;
