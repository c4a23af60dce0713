//! A streamed answer: one event a token, all that are due in one write.

use std::task::{Context, Poll};

use bytes::Bytes;
use tidegate_sim::Finish;

use super::request::Plan;
use super::shape::Shape;
use crate::options::Dialect;
use crate::progress::Ticket;
use crate::text;

/// The rest of an answer.
#[derive(Debug)]
pub(crate) struct Stream {
    ticket: Ticket,
    writer: Writer,
}

/// Turns counts of tokens into events.
#[derive(Debug)]
pub(crate) struct Writer {
    shape: Shape,
    dialect: Dialect,
    seed: u64,
    prompt_tokens: u32,
    /// Bytes of text that may still be shown.
    visible_bytes: usize,
    stop: Option<String>,
    include_usage: bool,
    /// How many the model will write unless it is stopped.
    length: u32,
    written: u32,
    opened: bool,
    done: bool,
}

impl Stream {
    pub(crate) fn new(ticket: Ticket, writer: Writer) -> Stream {
        Stream { ticket, writer }
    }

    /// The next bytes; `None` at the end.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.writer.done {
            return Poll::Ready(None);
        }
        self.ticket.poll(context).map(|(tokens, finish)| Some(self.writer.events(tokens, finish).into()))
    }
}

impl Writer {
    pub(crate) fn new(shape: Shape, dialect: Dialect, plan: &Plan) -> Writer {
        Writer {
            shape,
            dialect,
            seed: plan.seed,
            prompt_tokens: plan.prompt_tokens,
            visible_bytes: plan.visible_bytes,
            stop: plan.stop.clone(),
            include_usage: plan.include_usage,
            length: plan.request.output_tokens,
            written: 0,
            opened: false,
            done: false,
        }
    }

    /// The events for all tokens up to `tokens`, and for the end if it is reached.
    pub(crate) fn events(&mut self, tokens: u32, finish: Option<Finish>) -> Vec<u8> {
        let each = self.shape.before.len() + self.shape.after.len() + 12;
        let mut out = Vec::with_capacity(each * (tokens - self.written) as usize + 1_024);
        if !self.opened {
            self.opened = true;
            out.extend(self.shape.opening().unwrap_or_default().bytes());
        }
        // The last token's event also says why it is the last; until that is known it is kept back.
        let whole = matches!(finish, Some(Finish::Stop | Finish::Length));
        let plain = if tokens >= self.length { tokens.saturating_sub(1) } else { tokens };
        while self.written < plain {
            let text = self.next_word();
            out.extend_from_slice(self.shape.before.as_bytes());
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(self.shape.after.as_bytes());
        }
        let Some(finish) = finish else { return out };
        self.done = true;
        let last = if self.written < tokens { self.next_word() } else { "" };
        if !whole && self.dialect == Dialect::LlamaCpp {
            // It just stops: no reason, no [DONE].
            return out;
        }
        let stop = self.stop.take().filter(|_| whole);
        let finish = if stop.is_some() { Finish::Stop } else { finish };
        out.extend(self.shape.ending(last, finish, stop.as_deref()).bytes());
        if self.include_usage {
            out.extend(self.shape.usage(self.prompt_tokens, tokens).bytes());
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        out
    }

    fn next_word(&mut self) -> &'static str {
        let word = text::word(self.seed, self.written);
        self.written += 1;
        let shown = word.len().min(self.visible_bytes);
        if self.visible_bytes != usize::MAX {
            self.visible_bytes -= shown;
        }
        &word[..shown]
    }
}
