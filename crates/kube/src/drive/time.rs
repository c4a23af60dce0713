//! The loop's clock, set right while it runs.

use std::sync::Arc;

use tidegate_core::time::{Span, Time};
use tidegate_signals::Clock;
use tokio::sync::mpsc;

use super::{Mind, Operator, Weight};
use crate::clock::Steered;

/// Between two looks at the API server's clock: one small request a minute.
const MEASURED_EVERY: Span = Span::from_secs(60);

/// The loop's clock, and when it was compared last.
#[derive(Debug)]
pub(super) struct Setting {
    steered: Steered,
    measured: Time,
    out: mpsc::Sender<Span>,
}

impl Setting {
    /// Of a clock that is right now, the clock that is set, and what is found of it, for the loop. The lease is counted
    /// by the first, which is never set: it counts seconds between its own looks.
    pub(super) fn begin(right: &Clock) -> (Self, Clock, mpsc::Receiver<Span>) {
        let (out, found) = mpsc::channel(1);
        let steered = Steered::new(right.clone());
        let set = steered.clock();
        (Setting { steered, measured: right.now(), out }, set, found)
    }
}

impl Operator {
    /// Compares the clock with the API server's, when it is time to. One that does not answer says nothing.
    pub(super) fn measure(&mut self) {
        let now = self.clock.now();
        if now.since(self.setting.measured) < MEASURED_EVERY {
            return;
        }
        self.setting.measured = now;
        let (connection, clock, out) =
            (self.connection.clone(), self.clock.clone(), self.setting.out.clone());
        self.tasks.spawn(async move {
            if let Ok(ahead) = crate::clock::ahead(&connection, &clock).await {
                // The loop has ended when nobody takes it.
                let _ = out.send(ahead.unwrap_or(Span::ZERO)).await;
            }
        });
    }

    /// The API server's clock is so far ahead.
    pub(super) fn set_clock(&mut self, ahead: Span) {
        let Some(moved) = self.setting.steered.steer(ahead) else { return };
        let seconds = moved.as_secs_f64();
        let text = if moved > Span::ZERO {
            format!(
                "this machine has lost {seconds:.0} s against the API server's clock: it was suspended, or one of the \
                 two was set; windows begin anew"
            )
        } else {
            format!(
                "this machine is {:.0} s ahead of the API server's clock: it goes slower until it is right",
                -seconds
            )
        };
        self.remark(Weight::Warning, &text);
        if moved > Span::ZERO {
            // What was heard a second ago is no older for it: gateways, leases, counts at pods, drains.
            self.gateways.book.shift(moved);
            self.kedas.shift(moved);
            self.shards.shift(moved);
            self.live.shift(moved);
            self.entries.values_mut().for_each(|entry| entry.shift(moved));
        }
        if self.mind != Mind::Decides || moved <= Span::ZERO {
            return;
        }
        // What was recommended before is suddenly so much older.
        let names: Vec<Arc<str>> = self.control.targets().map(Arc::clone).collect();
        for name in names {
            let (Some(spec), Some(state)) = (self.control.spec(&name), self.control.state(&name)) else {
                continue;
            };
            let (spec, mut state) = (spec.clone(), state.clone());
            state.unwatched(&spec, moved);
            // It compiled before.
            let _ = self.control.add(spec, state);
        }
    }
}
