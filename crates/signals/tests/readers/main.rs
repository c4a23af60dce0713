//! Every reader, against real servers on loopback.

mod asker;
mod redis;
mod scrape;
mod server;
mod sources;
mod topologies;
