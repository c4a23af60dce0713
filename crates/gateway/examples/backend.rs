//! The smallest replica there can be, for benches: a thread a connection, no parsing beyond the body's length.
//! `backend --listen 127.0.0.1:9000 [--chunks 64] [--gap-us 0]`. A request whose body has `"stream":true` gets so
//! many SSE chunks, written one by one; any other a JSON answer of 460 bytes.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let (mut listen, mut chunks, mut gap) = (None, 64, Duration::ZERO);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--listen" => listen = Some(value.parse::<SocketAddr>()?),
            "--chunks" => chunks = value.parse()?,
            "--gap-us" => gap = Duration::from_micros(value.parse()?),
            _ => return Err(format!("unknown argument {arg}").into()),
        }
    }
    let listener = TcpListener::bind(listen.ok_or("--listen is missing")?)?;
    for stream in listener.incoming() {
        let stream = stream?;
        // 128 KiB of stack: ten thousand connections are ten thousand threads.
        std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
            // A connection that ends is how every connection ends here.
            let _ = serve(stream, chunks, gap);
        })?;
    }
    Ok(())
}

fn serve(mut stream: TcpStream, chunks: usize, gap: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let json = answer();
    let mut buffer = Vec::with_capacity(4096);
    let mut piece = [0; 16 << 10];
    loop {
        let end = loop {
            if let Some(end) = whole(&buffer) {
                break end;
            }
            let n = stream.read(&mut piece)?;
            if n == 0 {
                return Ok(());
            }
            buffer.extend_from_slice(&piece[..n]);
        };
        let streamed = find(&buffer[..end], b"\"stream\":true").is_some();
        buffer.drain(..end);
        if streamed {
            stream_chunks(&mut stream, chunks, gap)?;
        } else {
            stream.write_all(&json)?;
        }
    }
}

fn answer() -> Vec<u8> {
    let text = "x".repeat(204);
    let body = format!(
        "{{\"id\":\"chatcmpl-0000000000000000\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"m\",\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\
         \"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":10,\"completion_tokens\":20,\"total_tokens\":30}}}}"
    );
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn stream_chunks(stream: &mut TcpStream, chunks: usize, gap: Duration) -> std::io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )?;
    let start = Instant::now();
    for i in 0..chunks {
        let (delta, reason) =
            if i + 1 == chunks { ("{}", "\"stop\"") } else { ("{\"content\":\" word\"}", "null") };
        let event = format!(
            "data: {{\"id\":\"chatcmpl-0000000000000000\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
             \"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\
             \"finish_reason\":{reason}}}]}}\n\n"
        );
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
        if !gap.is_zero() {
            let due = start + gap * u32::try_from(i + 1).unwrap_or(u32::MAX);
            std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
        }
    }
    stream.write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
}

/// Where the first request in the buffer ends, if it is whole.
fn whole(buffer: &[u8]) -> Option<usize> {
    let head = find(buffer, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let length =
        text.split("content-length:").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
    let end = head + length.unwrap_or(0);
    (buffer.len() >= end).then_some(end)
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|w| w == needle)
}
