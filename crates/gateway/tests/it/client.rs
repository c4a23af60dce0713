//! A client that tells a body that ended from one that was cut.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: String,
    /// The body ended as HTTP says it should.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    pub(crate) fn error_code(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        json["error"]["code"].as_str().unwrap_or("no code").to_owned()
    }
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Client { stream: TcpStream::connect(addr).await.unwrap(), buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(crate) async fn post(&mut self, path: &str, headers: &str, body: &str) {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        self.send(request).await;
    }

    pub(crate) async fn chat(&mut self, stream: bool) {
        self.post("/v1/chat/completions", "", &body("m", stream)).await;
    }

    pub(crate) async fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 4);
                let status = text.split(' ').nth(1).unwrap().parse().unwrap();
                return Some(Head { status, text });
            }
            if self.more().await == 0 {
                return None;
            }
        }
    }

    /// The next chunk of a chunked body: `Ok(None)` at its proper end, `Err` where it was cut.
    pub(crate) async fn chunk(&mut self) -> Result<Option<String>, ()> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let size =
                    usize::from_str_radix(std::str::from_utf8(&self.buffer[..end]).unwrap(), 16).unwrap();
                if self.buffer.len() >= end + 2 + size + 2 {
                    let chunk = String::from_utf8_lossy(&self.buffer[end + 2..end + 2 + size]).into_owned();
                    self.buffer.drain(..end + 2 + size + 2);
                    return Ok((size > 0).then_some(chunk));
                }
            }
            if self.more().await == 0 {
                return Err(());
            }
        }
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        let head = self.head().await.expect("an answer");
        self.answer_of(head).await
    }

    /// The rest of an answer whose head was read.
    pub(crate) async fn answer_of(&mut self, head: Head) -> Answer {
        let (mut body, mut whole) = (String::new(), true);
        if let Some(length) = head.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length {
                if self.more().await == 0 {
                    whole = false;
                    break;
                }
            }
            let end = length.min(self.buffer.len());
            body = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            self.buffer.drain(..end);
        } else {
            loop {
                match self.chunk().await {
                    Ok(Some(chunk)) => body.push_str(&chunk),
                    Ok(None) => break,
                    Err(()) => {
                        whole = false;
                        break;
                    }
                }
            }
        }
        Answer { head, body, whole }
    }

    /// Reads until the other side closes, and says whether it did so without a byte more.
    pub(crate) async fn closed(&mut self) -> bool {
        self.buffer.is_empty() && matches!(self.stream.read_buf(&mut self.buffer).await, Ok(0) | Err(_))
    }

    async fn more(&mut self) -> usize {
        self.stream.read_buf(&mut self.buffer).await.unwrap_or(0)
    }
}

pub(crate) fn body(model: &str, stream: bool) -> String {
    format!(
        "{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}],\"stream\":{stream}}}"
    )
}

/// One request on a connection of its own.
pub(crate) async fn chat(addr: SocketAddr, stream: bool) -> Answer {
    let mut client = Client::connect(addr).await;
    client.chat(stream).await;
    client.answer().await
}

impl Client {
    /// What is left of a chunked body, to its proper end.
    pub(crate) async fn answer_rest(&mut self) -> String {
        let mut text = String::new();
        while let Some(chunk) = self.chunk().await.expect("a proper end") {
            text.push_str(&chunk);
        }
        text
    }
}

impl Client {
    /// What was read and not looked at yet.
    pub(crate) fn take_buffered(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.buffer)).unwrap()
    }
}
