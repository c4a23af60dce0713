//! Whether a watch is there: the watcher tells of objects, and tells nothing of a watch that is back and quiet.

use std::sync::Arc;

use http::Request;
use kube::Client;
use kube::client::Body;
use tokio::sync::Notify;
use tower::BoxError;

/// The same client, which tells each time that a watch was answered.
pub(super) fn telling(client: Client, back: Arc<Notify>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default();
        let watches = query.split('&').any(|pair| pair.starts_with("watch="));
        let (client, back) = (client.clone(), Arc::clone(&back));
        async move {
            let answer = client.send(request).await?;
            if watches && answer.status().is_success() {
                back.notify_one();
            }
            Ok::<_, BoxError>(answer)
        }
    });
    Client::new(service, namespace)
}
