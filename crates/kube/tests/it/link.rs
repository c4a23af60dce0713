//! The way between an operator and its API server: it can be held, so that what is sent neither arrives nor
//! fails, as where a network is parted.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Link {
    pub(crate) addr: SocketAddr,
    held: watch::Sender<bool>,
}

impl Link {
    pub(crate) async fn to(server: SocketAddr) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (held, watching) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let watching = watching.clone();
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(server).await else { return };
                    let (near_in, near_out) = near.into_split();
                    let (far_in, far_out) = far.into_split();
                    let forth = tokio::spawn(carry(near_in, far_out, watching.clone()));
                    carry(far_in, near_out, watching).await;
                    let _ = forth.await;
                });
            }
        });
        Link { addr, held }
    }

    /// Holds everything, in both directions; with `false` all that was held goes on its way.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }
}

/// Bytes in order. What was read before the link was held, or while it is, goes when it is let go; also the
/// bytes of who has given up meanwhile.
async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut held: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).await.unwrap_or(0);
        if held.wait_for(|held| !held).await.is_err() || count == 0 {
            break;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
