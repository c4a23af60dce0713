//! A fake engine: a real server on loopback that does what its mode says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What it does with a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mode {
    /// Answers: JSON, or so many chunks of a stream, each when the gate lets it.
    Answer { chunks: usize },
    /// After so many chunks it says `abort`, as vLLM does when it is stopped.
    Abort { after: usize },
    /// After so many chunks the connection is cut.
    Cut { after: usize },
    /// After so many chunks the body ends properly, without a word: llama.cpp when it is stopped.
    EndEarly { after: usize },
    /// Closes the connection once it has the request.
    Hangup,
    /// Closes it in the middle of a JSON answer.
    HalfJson,
    /// A JSON answer that says the engine gave up.
    AbortedJson,
    /// Answers with a status and a JSON body.
    Status(u16),
    /// Bytes that are no HTTP.
    Garbage,
    /// A head with a thousand headers.
    HeaderFlood,
    /// Takes the request and keeps silent.
    Silent,
    /// A stream that stops after one chunk.
    Stall,
    /// A JSON answer of so many bytes, in pieces.
    Large(usize),
    /// Half of such an answer, then the connection ends; in chunks or with a length.
    HalfLarge { bytes: usize, chunked: bool },
    /// Answers and closes the connection at once, without saying that it would.
    AnswerAndClose,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Engine {
    pub(crate) addr: SocketAddr,
    pub(crate) gate: Arc<Semaphore>,
    mode: Arc<Mutex<Mode>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
    _tasks: JoinSet<()>,
}

impl Engine {
    pub(crate) async fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (mode, seen) = (Arc::new(Mutex::new(mode)), Arc::new(Mutex::new(Vec::new())));
        let (gate, connections) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(0)));
        let mut tasks = JoinSet::new();
        let own = (mode.clone(), seen.clone(), gate.clone(), connections.clone());
        tasks.spawn(async move {
            let (mode, seen, gate, connections) = own;
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                let (mode, seen, gate) = (mode.clone(), seen.clone(), gate.clone());
                open.spawn(async move {
                    let _ = serve(stream, &mode, &seen, &gate).await;
                });
            }
        });
        Engine { addr, gate, mode, seen, connections, _tasks: tasks }
    }

    /// One whose chunks all go out at once.
    pub(crate) async fn open(mode: Mode) -> Self {
        let engine = Self::start(mode).await;
        engine.gate.add_permits(Semaphore::MAX_PERMITS / 2);
        engine
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

pub(crate) fn chunk(i: usize) -> String {
    format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" w{i}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

pub(crate) fn ending() -> String {
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
     data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5}}\n\n\
     data: [DONE]\n\n"
        .to_owned()
}

pub(crate) const JSON: &str = "{\"choices\":[{\"index\":0,\"message\":{\"content\":\"hello\"},\"finish_reason\":\"stop\"}],\
     \"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}";

async fn serve(
    mut stream: TcpStream,
    mode: &Mutex<Mode>,
    seen: &Mutex<Vec<Seen>>,
    gate: &Semaphore,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        let streamed = String::from_utf8_lossy(&request.body).contains("\"stream\":true");
        seen.lock().unwrap().push(request);
        let mode = mode.lock().unwrap().clone();
        if !act(&mut stream, mode, streamed, gate).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Says whether the connection goes on.
async fn act(stream: &mut TcpStream, mode: Mode, streamed: bool, gate: &Semaphore) -> std::io::Result<bool> {
    match mode {
        Mode::Answer { .. } | Mode::AnswerAndClose if !streamed => json(stream, 200, JSON).await?,
        Mode::Answer { chunks } => {
            begin(stream).await?;
            words(stream, 0..chunks, gate).await?;
            piece(stream, &ending()).await?;
            stream.write_all(b"0\r\n\r\n").await?;
        }
        Mode::Abort { after } => {
            begin(stream).await?;
            words(stream, 0..after, gate).await?;
            piece(stream, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"abort\"}]}\n\n")
                .await?;
            piece(stream, "data: [DONE]\n\n").await?;
            stream.write_all(b"0\r\n\r\n").await?;
        }
        Mode::Cut { after } => {
            begin(stream).await?;
            words(stream, 0..after, gate).await?;
            return Ok(false);
        }
        Mode::EndEarly { after } => {
            begin(stream).await?;
            words(stream, 0..after, gate).await?;
            stream.write_all(b"0\r\n\r\n").await?;
        }
        Mode::Hangup => return Ok(false),
        Mode::HalfJson => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"choices\"";
            stream.write_all(head.as_bytes()).await?;
            return Ok(false);
        }
        Mode::AbortedJson => json(stream, 200, "{\"choices\":[{\"finish_reason\":\"abort\"}]}").await?,
        Mode::Status(status) => json(stream, status, "{\"error\":{\"message\":\"engine says no\"}}").await?,
        Mode::Garbage => {
            stream.write_all(b"\x00\xff\x17 what is this \r\n\r\n").await?;
            return Ok(false);
        }
        Mode::HeaderFlood => {
            let flood: String = (0..1000).map(|i| format!("x-h{i}: {i}\r\n")).collect();
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{flood}\r\n").as_bytes()).await?;
            return Ok(false);
        }
        Mode::Silent => std::future::pending().await,
        Mode::Stall => {
            // In one write: what the gateway waits for in vain is the second chunk, never the first.
            let text = chunk(0);
            let first = format!("{EVENTS}{:x}\r\n{text}\r\n", text.len());
            stream.write_all(first.as_bytes()).await?;
            std::future::pending().await
        }
        Mode::Large(bytes) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&vec![b' '; bytes]).await?;
        }
        Mode::HalfLarge { bytes, chunked } => {
            let framing = match chunked {
                true => "transfer-encoding: chunked".to_owned(),
                false => format!("content-length: {bytes}"),
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{framing}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            for _ in 0..bytes / 2 / 1024 {
                if chunked {
                    piece(stream, &" ".repeat(1024)).await?;
                } else {
                    stream.write_all(&[b' '; 1024]).await?;
                }
            }
            return Ok(false);
        }
        Mode::AnswerAndClose => unreachable!("only asked for JSON"),
    }
    Ok(!matches!(mode, Mode::AnswerAndClose))
}

async fn json(stream: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Whatever\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: keep-alive\r\nkeep-alive: timeout=5\r\n\r\n",
        body.len()
    );
    stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).await
}

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

async fn begin(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(EVENTS.as_bytes()).await
}

async fn words(
    stream: &mut TcpStream,
    which: std::ops::Range<usize>,
    gate: &Semaphore,
) -> std::io::Result<()> {
    for i in which {
        gate.acquire().await.unwrap().forget();
        piece(stream, &chunk(i)).await?;
    }
    Ok(())
}

async fn piece(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Seen>> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).to_ascii_lowercase();
    buffer.drain(..head_end);
    let mut body = Vec::new();
    if head.contains("transfer-encoding: chunked") {
        loop {
            let size = line(stream, buffer).await?;
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            body.extend(take(stream, buffer, size).await?);
            take(stream, buffer, 2).await?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(rest) = head.split("content-length: ").nth(1) {
        let size = rest.lines().next().unwrap().trim().parse().unwrap();
        body = take(stream, buffer, size).await?;
    }
    Ok(Some(Seen { head, body }))
}

async fn line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<String> {
    loop {
        if let Some(end) = buffer.windows(2).position(|w| w == b"\r\n") {
            let line = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 2);
            return Ok(line);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn take(stream: &mut TcpStream, buffer: &mut Vec<u8>, n: usize) -> std::io::Result<Vec<u8>> {
    while buffer.len() < n {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.drain(..n).collect())
}
