//! Bodies of the fuzzers of what brokers answer.

use tidegate_signals::kafka::api;
use tidegate_signals::rabbitmq::frame::{self, FRAME_BYTES_MAX, HEAD_BYTES};

/// A frame of AMQP: no head promises more than is allowed, and what is said was in the payload.
pub fn amqp(data: &[u8]) {
    let Some((head, payload)) = data.split_first_chunk::<HEAD_BYTES>() else { return };
    let Ok(head) = frame::head(head) else { return };
    assert!(head.bytes <= FRAME_BYTES_MAX);
    let payload = &payload[..payload.len().min(head.bytes)];
    if let Ok(frame::Said::Closed { text, .. } | frame::Said::Start { mechanisms: text }) =
        frame::said(head.kind, payload)
    {
        // A byte that is not UTF-8 becomes a mark of three.
        assert!(text.len() <= 3 * payload.len());
    }
}

/// Every answer of Kafka that is read, chosen by the first byte: never more entries than bytes.
pub fn kafka(data: &[u8]) {
    let Some((&which, answer)) = data.split_first() else { return };
    let entries = match which % 6 {
        0 => api::metadata(answer).map(|metadata| {
            let partitions = metadata.topics.iter().map(|topic| topic.partitions.len());
            metadata.brokers.len() + metadata.topics.len() + partitions.sum::<usize>()
        }),
        1 => api::coordinator(answer).map(|(_, broker)| usize::from(broker.is_some())),
        2 => api::committed(answer).map(|(_, offsets)| offsets.len()),
        3 => api::ends(answer).map(|offsets| offsets.values().map(|topic| topic.len()).sum()),
        4 => api::handshake(answer).map(|(_, mechanisms)| mechanisms.len()),
        _ => api::authenticate(answer).map(|(_, _, token)| token.len()),
    };
    assert!(entries.unwrap_or(0) <= answer.len());
}
