//! Targets beyond those that pages have room for: what metrics, a search and a page of their own tell of them.

use std::sync::Arc;

use crate::model::{Fleet, SignalState, SignalView, TargetView};

/// A target without a card of its own: the numbers that alerts go by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Brief {
    /// `namespace/name`.
    pub name: Arc<str>,
    /// Least replicas by the manifest.
    pub min: u32,
    /// Most replicas by the manifest.
    pub max: u32,
    /// Replicas decided.
    pub wanted: u32,
    /// Replicas that are ready.
    pub ready: u32,
    /// Replicas that start.
    pub starting: u32,
    /// Requests held.
    pub waiting: u32,
    /// Requests at replicas.
    pub in_flight: u32,
    /// Tokens of both, estimated.
    pub tokens: u64,
    /// Why it cannot run.
    pub trouble: Option<String>,
    /// Its signals.
    pub signals: Vec<BriefSignal>,
}

/// One of its signals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BriefSignal {
    /// Its name in decisions.
    pub name: Arc<str>,
    /// The value used, where there is one.
    pub value: Option<f64>,
    /// What it is held against.
    pub target: Option<f64>,
    /// How reading it went.
    pub state: SignalState,
}

impl Brief {
    /// The same as a view.
    #[must_use]
    pub fn view(&self) -> TargetView {
        let signal = |signal: &BriefSignal| SignalView {
            name: signal.name.to_string(),
            value: signal.value,
            target: signal.target,
            state: signal.state,
            ..SignalView::default()
        };
        TargetView {
            name: self.name.to_string(),
            min: self.min,
            max: self.max,
            wanted: self.wanted,
            ready: self.ready,
            starting: self.starting,
            waiting: self.waiting,
            in_flight: self.in_flight,
            tokens: self.tokens,
            trouble: self.trouble.clone(),
            signals: self.signals.iter().map(signal).collect(),
            ..TargetView::default()
        }
    }
}

impl Fleet {
    /// A target by its whole name, with or without a card.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TargetView> {
        let shown = self.targets.iter().find(|target| target.name == name).cloned();
        shown.or_else(|| self.rest.iter().find(|brief| *brief.name == *name).map(Brief::view))
    }
}

/// Letters of a search: the longest name of Kubernetes, its namespace, and the stroke between.
const WORDS_MAX: usize = 253 + 63 + 1;

/// Targets that a search shows: a screen of them. The rest is counted.
pub(crate) const MATCHES_MAX: usize = 50;

/// What a search finds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Matches {
    /// The first of them by name, at most [`MATCHES_MAX`].
    pub(crate) shown: Vec<TargetView>,
    /// All of them.
    pub(crate) count: usize,
}

impl Fleet {
    /// Targets there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.targets.len() + self.hidden as usize
    }

    /// Targets that have this in their `namespace/name`, whatever the case.
    pub(crate) fn search(&self, words: &str) -> Matches {
        let words: String = words.trim().chars().take(WORDS_MAX).flat_map(char::to_lowercase).collect();
        let is = |name: &str| name.to_lowercase().contains(&words);
        let shown = self.targets.iter().map(|target| &*target.name);
        let mut found: Vec<&str> =
            shown.chain(self.rest.iter().map(|brief| &*brief.name)).filter(|name| is(name)).collect();
        found.sort_unstable();
        let count = found.len();
        found.truncate(MATCHES_MAX);
        Matches { shown: found.into_iter().filter_map(|name| self.find(name)).collect(), count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(shown: usize, all: usize) -> Fleet {
        let name = |number: usize| format!("team-{}/chat-{number:05}", number % 7);
        let targets = (0..shown).map(|number| TargetView { name: name(number), ..TargetView::default() });
        let rest = (shown..all).map(|number| Brief { name: name(number).into(), ..Brief::default() });
        Fleet {
            targets: targets.collect(),
            hidden: (all - shown) as u32,
            rest: rest.collect(),
            ..Fleet::default()
        }
    }

    #[test]
    fn a_search_finds_any_of_ten_thousand_by_a_part_of_its_name() {
        let fleet = fleet(500, 10_000);
        assert_eq!(fleet.count(), 10_000);
        for name in ["chat-00003", "CHAT-09999 ", "team-3/chat-09999"] {
            let found = fleet.search(name);
            assert_eq!(found.count, 1, "{name}");
            assert!(found.shown[0].name.contains(&name.trim().to_lowercase()), "{found:?}");
        }
        assert_eq!(fleet.search("nothing"), Matches::default());
    }

    #[test]
    fn a_search_shows_a_screen_and_counts_the_rest() {
        let found = fleet(500, 10_000).search("chat");
        assert_eq!((found.shown.len(), found.count), (MATCHES_MAX, 10_000));
        assert!(found.shown.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(fleet(1, 1).search(&"x".repeat(1_000_000)).count, 0);
    }
}
