//! What the machine asks of, and tells, whoever sends requests to its replicas.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tidegate_core::route::Outlook;

/// The gateway, as the machine sees it. No call may block: they are made between two events.
pub trait Traffic: Send + Sync + 'static {
    /// A replica takes requests at this address.
    fn ready(&self, target: &str, replica: &str, address: SocketAddr);

    /// Its readiness probe fails: nothing new for it; what it has goes on. `ready` may come again.
    fn unready(&self, target: &str, replica: &str);

    /// It is to leave: nothing new for it. The future resolves when nothing of it is in flight.
    fn drain(&self, target: &str, replica: &str) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

    /// Its process ended; what is in flight there is lost.
    fn gone(&self, target: &str, replica: &str);

    /// The same replicas, the one with the least left to do first. What is missing goes last.
    fn order(&self, target: &str, replicas: &[Arc<str>]) -> Vec<Arc<str>>;

    /// When the target's next replica should be ready; told whenever it changes.
    fn outlook(&self, target: &str, outlook: Outlook);
}

/// Nobody: replicas run, and no requests come.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTraffic;

impl Traffic for NoTraffic {
    fn ready(&self, _: &str, _: &str, _: SocketAddr) {}
    fn unready(&self, _: &str, _: &str) {}
    fn drain(&self, _: &str, _: &str) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        Box::pin(std::future::ready(()))
    }
    fn gone(&self, _: &str, _: &str) {}
    fn order(&self, _: &str, replicas: &[Arc<str>]) -> Vec<Arc<str>> {
        replicas.to_vec()
    }
    fn outlook(&self, _: &str, _: Outlook) {}
}
