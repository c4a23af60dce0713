//! A server on loopback that shows one page, well or badly.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
pub(crate) use tidegate_testkit::ports::free_address;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What a server shows.
#[derive(Clone)]
pub(crate) struct Page {
    kind: Kind,
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    key: Option<&'static str>,
}

#[derive(Clone)]
enum Kind {
    Body(Bytes),
    Raw(Bytes),
    Endless,
    Silent,
}

impl Page {
    fn of(kind: Kind) -> Self {
        Page { kind, status: 200, headers: Vec::new(), key: None }
    }

    pub(crate) fn text(text: &str) -> Self {
        Page::of(Kind::Body(Bytes::copy_from_slice(text.as_bytes())))
    }

    pub(crate) fn bytes(bytes: &'static [u8]) -> Self {
        Page::of(Kind::Body(Bytes::from_static(bytes)))
    }

    /// These bytes on the wire, and the connection's end.
    pub(crate) fn raw(bytes: &'static [u8]) -> Self {
        Page::of(Kind::Raw(Bytes::from_static(bytes)))
    }

    /// A body that goes on as long as somebody reads.
    pub(crate) fn endless() -> Self {
        Page::of(Kind::Endless)
    }

    /// Connections are taken and nothing is ever said.
    pub(crate) fn silent() -> Self {
        Page::of(Kind::Silent)
    }

    pub(crate) fn status(self, status: u16) -> Self {
        Page { status, ..self }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Shown only to who sends this `Authorization`.
    pub(crate) fn guarded(self, key: &'static str) -> Self {
        Page { key: Some(key), ..self }
    }
}

struct Shown {
    page: Mutex<Page>,
    connections: AtomicUsize,
}

/// The server; it ends with this value.
pub(crate) struct Server {
    address: SocketAddr,
    shown: Arc<Shown>,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(page: Page) -> Self {
        Server::start_at(([127, 0, 0, 1], 0).into(), page).await
    }

    pub(crate) async fn start_at(address: SocketAddr, page: Page) -> Self {
        let listener = TcpListener::bind(address).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let shown = Arc::new(Shown { page: Mutex::new(page), connections: AtomicUsize::new(0) });
        let task = tokio::spawn(listen(listener, Arc::clone(&shown))).abort_handle();
        Server { address, shown, task }
    }

    pub(crate) fn url(&self, path: &str) -> Uri {
        format!("http://{}{path}", self.address).parse().expect("a URL")
    }

    /// Shows another page from now on.
    pub(crate) fn show(&self, page: Page) {
        *self.shown.page.lock().expect("no test panics while it holds this") = page;
    }

    /// Connections taken so far.
    pub(crate) fn connections(&self) -> usize {
        self.shown.connections.load(Ordering::SeqCst)
    }
}

impl Shown {
    fn page(&self) -> Page {
        self.page.lock().expect("no test panics while it holds this").clone()
    }
}

async fn listen(listener: TcpListener, shown: Arc<Shown>) {
    let mut kept = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shown.connections.fetch_add(1, Ordering::SeqCst);
        kept.spawn(serve(stream, Arc::clone(&shown)));
    }
}

async fn serve(mut stream: TcpStream, shown: Arc<Shown>) {
    if let Kind::Raw(bytes) = shown.page().kind {
        let _ = stream.write_all(&bytes).await;
        return;
    }
    let service = service_fn(|request| answer(request, shown.page()));
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    page: Page,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let known = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let allowed = page.key.is_none() || page.key == known;
    let body = match page.kind {
        _ if !allowed => Full::default().boxed(),
        Kind::Body(bytes) => Full::new(bytes).boxed(),
        Kind::Endless => {
            let chunk = Bytes::from(vec![b'#'; 1 << 16]);
            BodyExt::boxed(StreamBody::new(stream::repeat_with(move || Ok(Frame::data(chunk.clone())))))
        }
        Kind::Raw(_) | Kind::Silent => std::future::pending().await,
    };
    let mut response = Response::builder().status(if allowed { page.status } else { 401 });
    response = response.header(CONTENT_TYPE, "text/plain; version=1.0.0; charset=utf-8");
    for (name, value) in page.headers {
        response = response.header(name, value);
    }
    Ok(response.body(body).expect("the headers are fine"))
}
