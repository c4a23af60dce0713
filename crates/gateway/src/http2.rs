//! HTTP/2 to a client, spoken by hyper: what it asks goes the same way as over HTTP/1.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Map};
use http::{HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::inbound::Inbound;
use crate::io::ClientIo;
use crate::outgoing::Out;
use crate::reply::Reply;
use crate::request::asked::Asked;
use crate::serve::Stop;
use crate::service;
use crate::worker::Worker;

/// Streams of one connection at once.
const STREAMS_MAX: u32 = 256;

/// Serves a connection to its end.
pub(crate) async fn serve(worker: &Rc<Worker>, stream: TlsStream<TcpStream>, stop: &Stop) {
    let times = worker.times();
    let io = ClientIo::new(stream, worker.wheel.clone(), times.client_stall);
    let mut connection = pin!(
        http2::Builder::new(Local)
            .timer(hyper_util::rt::TokioTimer::new())
            .keep_alive_interval(times.idle)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(worker.sizes().head_bytes_max).unwrap_or(u32::MAX))
            .serve_connection(io, Answer(worker.clone()))
    );
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.asked() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Spawns on this thread.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// hyper's view of [`service::answer`].
struct Answer(Rc<Worker>);

type Infallibly = fn(Reply) -> Result<Response<Out>, Infallible>;

impl Service<Request<Incoming>> for Answer {
    type Response = Response<Out>;
    type Error = Infallible;
    type Future = Map<LocalBoxFuture<'static, Reply>, Infallibly>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let answer = service::answer(self.0.clone(), Asked::from_parts(&parts), Inbound::Http2(body));
        let answer: LocalBoxFuture<'static, _> = Box::pin(answer);
        answer.map((|reply| Ok(response(reply))) as Infallibly)
    }
}

fn response(reply: Reply) -> Response<Out> {
    let mut response = Response::new(reply.body);
    *response.status_mut() = reply.status;
    for (name, value) in reply.fields.iter() {
        // Both came through a parser that takes no others.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
