//! The operator's own metrics: KEDA's names, so that boards made for it go on working, and ours.

mod family;
mod hpa;
mod keda;
mod ours;

use std::sync::{Arc, Mutex, PoisonError};

use tidegate_kube::admission::Counters;
use tidegate_kube::client::Requests;
use tidegate_kube::drive::View;

/// The text, made once a second and handed out as often as it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    requests: Arc<Requests>,
    reviews: Arc<Counters>,
    text: Arc<Mutex<String>>,
    /// Ticks so far, and those of them that came later than [`LATE_S`].
    ticks: u64,
    late: u64,
}

/// A tick that is so late is a tick that was missed: there is one each second.
const LATE_S: f64 = 1.0;

impl Counts {
    pub(super) fn new(requests: Arc<Requests>, reviews: Arc<Counters>) -> Self {
        Counts { requests, reviews, text: Arc::default(), ticks: 0, late: 0 }
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(&self.text.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Makes the text anew.
    pub(super) fn look(&mut self, view: &View<'_>) {
        self.ticks += 1;
        self.late += u64::from(view.lag_s > LATE_S);
        let before = self.text.lock().unwrap_or_else(PoisonError::into_inner).len();
        let mut text = String::with_capacity(before + before / 8);
        keda::write(view, &self.reviews, &mut text);
        hpa::write(view, &mut text);
        ours::write(view, self, &mut text);
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}
