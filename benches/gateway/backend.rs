//! The back end every proxy is put before: it answers as fast as two threads can write. It listens on
//! several addresses, which the proxies take for so many replicas.
//!
//! A chat request gets 460 bytes of JSON. When its first message says `chunks=N gap_ms=G` it gets SSE
//! instead: N chunks of one write each, G milliseconds apart. The order is in the message because each
//! router forwards that as it came, while fields they do not know may be dropped.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::error::Error;
use crate::http::Wire;
use crate::message;

/// One read brings a small request whole; a 400 KB body takes about 7.
const BUFFER_BYTES: usize = 64 * 1024;
/// How much of a body is searched for the order: routers may put other fields before the messages.
const ORDER_BYTES: usize = 2048;
/// As many as the proxies have workers.
const THREADS: usize = 2;

/// Every answer, ready to be written.
struct Answers {
    json: Vec<u8>,
    models: Vec<u8>,
    info: Vec<u8>,
    empty: Vec<u8>,
    metrics: Vec<u8>,
    stream_head: Vec<u8>,
    chunk: Vec<u8>,
    stream_end: Vec<u8>,
}

fn whole(content_type: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn chunk(event: &str) -> String {
    format!("{:x}\r\n{event}\r\n", event.len())
}

impl Answers {
    fn new() -> Self {
        let json = "application/json";
        let models =
            r#"{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"bench"}]}"#;
        let info = r#"{"model_path":"m","served_model_name":"m","tokenizer_path":"m","is_generation":true}"#;
        let metrics =
            "vllm:num_requests_running{model_name=\"m\"} 0\nvllm:num_requests_waiting{model_name=\"m\"} 0\n";
        let stream_head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                           cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
        Self {
            json: whole(json, &message::json_answer()),
            models: whole(json, models),
            info: whole(json, info),
            empty: whole("text/plain", ""),
            metrics: whole("text/plain; version=0.0.4", metrics),
            stream_head: stream_head.into(),
            chunk: chunk(&message::event()).into_bytes(),
            stream_end: (chunk("data: [DONE]\n\n") + "0\r\n\r\n").into_bytes(),
        }
    }

    fn plain(&self, path: &[u8]) -> &[u8] {
        match path {
            b"/v1/models" => &self.models,
            b"/metrics" => &self.metrics,
            b"/get_server_info" | b"/server_info" | b"/get_model_info" | b"/model_info" => &self.info,
            _ => &self.empty,
        }
    }
}

/// Serves until standard input ends, which it does when the bench does.
pub(crate) fn run(listen: &[SocketAddr]) -> Result<(), Error> {
    let answers: &'static Answers = Box::leak(Box::new(Answers::new()));
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        let (send, receive) = mpsc::channel::<std::net::TcpStream>();
        let (wake, mut woken) = tokio::sync::mpsc::unbounded_channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::io("start a runtime"))?;
        thread::spawn(move || {
            runtime.block_on(async move {
                while woken.recv().await.is_some() {
                    if let Ok(stream) = receive.try_recv()
                        && let Ok(stream) = TcpStream::from_std(stream)
                        && let Ok(wire) = Wire::new(stream, BUFFER_BYTES)
                    {
                        tokio::spawn(serve(wire, answers));
                    }
                }
            });
        });
        threads.push((send, wake));
    }
    for address in listen {
        let listener = TcpListener::bind(address).map_err(Error::io("listen for the back end"))?;
        let threads = threads.clone();
        thread::spawn(move || {
            for (count, stream) in listener.incoming().flatten().enumerate() {
                let (send, wake) = &threads[count % THREADS];
                if stream.set_nonblocking(true).is_ok() && send.send(stream).is_ok() {
                    // The receiver lives as long as its thread, which has no end of its own.
                    let _ = wake.send(());
                }
            }
        });
    }
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).map_err(Error::io("wait for the end of standard input"))?;
    Ok(())
}

/// One connection. What goes wrong on it concerns its client only, who will say so.
async fn serve(mut wire: Wire, answers: &'static Answers) {
    let mut order = Vec::with_capacity(ORDER_BYTES);
    while let Ok(Some(head)) = wire.head().await {
        let path = wire.second(&head);
        let chat = path == message::PATH.as_bytes();
        let plain = answers.plain(path);
        order.clear();
        let keep = |piece: &[u8]| {
            let take = piece.len().min(ORDER_BYTES - order.len());
            order.extend_from_slice(&piece[..take]);
        };
        if wire.body(&head, keep, || ()).await.is_err() {
            return;
        }
        let done = match message::find_order(&order) {
            Some((chunks, gap)) if chat => stream(&mut wire, answers, chunks, gap).await,
            _ => wire.stream.write_all(if chat { &answers.json } else { plain }).await,
        };
        if done.is_err() {
            return;
        }
    }
}

async fn stream(wire: &mut Wire, answers: &Answers, chunks: u64, gap: Duration) -> std::io::Result<()> {
    wire.stream.write_all(&answers.stream_head).await?;
    for number in 0..chunks {
        if number > 0 && !gap.is_zero() {
            tokio::time::sleep(gap).await;
        }
        wire.stream.write_all(&answers.chunk).await?;
    }
    wire.stream.write_all(&answers.stream_end).await
}
