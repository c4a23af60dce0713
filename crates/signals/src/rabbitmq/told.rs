//! The management API's answers, as queues. Pure, so that any answer can be tried.

use serde::Deserialize;
use tidegate_manifest::trigger::Operation;

/// One queue, or several as one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Queue {
    /// Ready and delivered but not acknowledged.
    pub messages: f64,
    /// Ready.
    pub messages_ready: f64,
    /// Messages that come, each second.
    pub published_per_s: f64,
    /// Messages that are taken, each second.
    pub delivered_per_s: f64,
}

/// An answer that tells no queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// Not the JSON of the management API.
    #[error("{0}")]
    Form(String),
    /// More queues than fit a page.
    #[error("more queues match than fit a page")]
    Pages,
}

#[derive(Deserialize)]
struct Told {
    // A queue that was just made has no counts yet.
    #[serde(default)]
    messages: u64,
    #[serde(default)]
    messages_ready: u64,
    #[serde(default)]
    message_stats: Stats,
}

#[derive(Default, Deserialize)]
struct Stats {
    #[serde(default)]
    publish_details: Rate,
    #[serde(default)]
    deliver_get_details: Rate,
}

#[derive(Default, Deserialize)]
struct Rate {
    #[serde(default)]
    rate: f64,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    page_count: u64,
    items: Vec<Told>,
}

impl From<&Told> for Queue {
    fn from(told: &Told) -> Self {
        // Counts of messages stay far below 2^53.
        Queue {
            messages: told.messages as f64,
            messages_ready: told.messages_ready as f64,
            published_per_s: told.message_stats.publish_details.rate,
            delivered_per_s: told.message_stats.deliver_get_details.rate,
        }
    }
}

/// The queue of an answer or, with an operation, all on the page as one; `None` where the page is empty.
///
/// # Errors
/// As [`Unread`] lists.
pub fn queue(body: &[u8], operation: Option<Operation>) -> Result<Option<Queue>, Unread> {
    let form = |error: serde_json::Error| Unread::Form(error.to_string());
    let Some(operation) = operation else {
        return serde_json::from_slice::<Told>(body).map(|told| Some(Queue::from(&told))).map_err(form);
    };
    let page: Page = serde_json::from_slice(body).map_err(form)?;
    if page.page_count > 1 {
        return Err(Unread::Pages);
    }
    Ok(together(&page.items, operation))
}

/// Several queues as one. A mean of messages is a whole number, rounded down as KEDA does.
fn together(told: &[Told], operation: Operation) -> Option<Queue> {
    let queues: Vec<Queue> = told.iter().map(Queue::from).collect();
    let fold = |of: fn(&Queue) -> f64| -> f64 {
        let values = queues.iter().map(of);
        match operation {
            Operation::Sum => values.sum(),
            // At most the pages of 8 MiB: far below 2^53 queues.
            Operation::Average => values.sum::<f64>() / queues.len() as f64,
            Operation::Max => values.fold(0.0, f64::max),
        }
    };
    (!queues.is_empty()).then(|| Queue {
        messages: fold(|queue| queue.messages).floor(),
        messages_ready: fold(|queue| queue.messages_ready).floor(),
        published_per_s: fold(|queue| queue.published_per_s),
        delivered_per_s: fold(|queue| queue.delivered_per_s),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<Told> {
        serde_json::from_str(text).expect("queues")
    }

    #[test]
    fn several_queues_are_summed_averaged_or_the_largest_counts() {
        let queues = told(
            r#"[{"messages": 4, "messages_ready": 1, "message_stats": {"publish_details": {"rate": 1.5}}},
                {"messages": 3, "messages_ready": 3, "message_stats": {"deliver_get_details": {"rate": 3.0}}}]"#,
        );
        let queue = |messages, messages_ready, published_per_s, delivered_per_s| {
            Some(Queue { messages, messages_ready, published_per_s, delivered_per_s })
        };
        assert_eq!(together(&queues, Operation::Sum), queue(7.0, 4.0, 1.5, 3.0));
        assert_eq!(together(&queues, Operation::Average), queue(3.0, 2.0, 0.75, 1.5));
        assert_eq!(together(&queues, Operation::Max), queue(4.0, 3.0, 1.5, 3.0));
        assert_eq!(together(&[], Operation::Average), None);
    }
}
