//! What outlives an operator: windows, recent changes and times of each target, in ConfigMaps.
//!
//! A page is one ConfigMap. One page holds a small cluster; a large one has up to `PAGES_MAX`, and a
//! target's page is chosen by its name. A page is written when a target on it has decided or proposed
//! something new, and at most every `PAUSE`; where nothing changes, nothing is written.
//!
//! What is read back is of the object's uid: an object made anew under an old name remembers nothing.

mod gateways;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use http::Request;
use kube::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_core::scale::State;
use tidegate_core::scale::decision::{Decision, Rule};
use tidegate_core::time::{Span, Time};

use crate::client::ANSWER;
use crate::demand::Roll;
use crate::object::{Id, Kind};
use crate::watch::said;
use crate::write::{How, Patch};

/// Between two writes of what is remembered.
const PAUSE: Span = Span::from_secs(30);

/// Targets on a page: a target's state is some 3 KB as text, so a page is 400 KB of the 1 MiB that a
/// ConfigMap may have.
const TARGETS_A_PAGE: usize = 128;

/// For how many targets one counts whose state is larger: bytes in memory to be had for one. As text it is twice as
/// long (2.3 KB for 1.3 KB with policy `slo`), so a page has 128 times 3 KB, 400 KB, however they are mixed.
const BYTES_A_TARGET: usize = 1536;

/// What is learned of a target's work changes each second, and need not be newer than this after a crash.
const LEARNED_EVERY: Span = Span::from_secs(300);

/// Pages at the most: 8,192 targets at [`TARGETS_A_PAGE`]; with 10,000 a page has 160, some 500 KB.
const PAGES_MAX: usize = 64;

/// Bytes of a page. A target that would not fit is left out, begins without memory after a restart, and is remarked
/// upon.
const PAGE_BYTES_MAX: usize = 900_000;

/// The label by which the pages are found.
const LABEL: &str = "tidegate.dev/remembers";

/// The one entry of a page.
const ENTRY: &str = "state.json";

/// What is remembered of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The object it is of.
    pub uid: String,
    /// When it was written, in microseconds since 1970.
    pub at: Time,
    /// What the machine remembers.
    pub state: State,
}

/// What is remembered, by target.
pub type Remembered = BTreeMap<String, Memory>;

/// All that was read back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recalled {
    /// Of targets.
    pub targets: Remembered,
    /// Of gateways.
    pub gateways: Roll,
}

/// A target with what is to be kept of it.
#[derive(Debug)]
pub struct Kept<'a> {
    /// The target.
    pub name: Arc<str>,
    /// Its object.
    pub uid: &'a str,
    /// What was decided last, in short: see [`mark`].
    pub mark: u64,
    /// What the machine remembers.
    pub state: &'a State,
}

/// A page to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Its number, from 0.
    pub number: usize,
    /// Its text.
    pub text: String,
}

/// What was read, and what was written last.
#[derive(Debug, Default)]
pub struct Book {
    remembered: Remembered,
    /// What each page said last, in short, and when; nothing in short where that did not get through.
    written: BTreeMap<usize, (Option<u64>, Time)>,
    last: Option<Time>,
    pages: usize,
    /// Targets that had no room on a page, by page.
    left_out: BTreeMap<usize, usize>,
    gateways: gateways::Written,
}

impl Book {
    /// A book that goes on from what was read.
    #[must_use]
    pub fn new(recalled: Recalled) -> Self {
        let gateways = gateways::Written::new(&recalled.gateways);
        Book { remembered: recalled.targets, gateways, ..Book::default() }
    }

    /// What is remembered of an object; once.
    pub fn take(&mut self, name: &str, uid: &str) -> Option<Memory> {
        self.remembered.remove(name).filter(|memory| memory.uid == uid)
    }

    /// Forgets a target.
    pub fn forget(&mut self, name: &str) {
        self.remembered.remove(name);
    }

    /// Whether it is time to look for pages to write.
    #[must_use]
    pub fn due(&self, now: Time, last: bool) -> bool {
        last || self.last.is_none_or(|last| now.since(last) >= PAUSE)
    }

    /// The pages on which something is new; the last time also those that are older than what who comes after takes
    /// for seen without a gap. In between, a page may be an hour old whose targets stood still.
    pub fn pages<'a>(&mut self, targets: impl Iterator<Item = Kept<'a>>, now: Time, last: bool) -> Vec<Page> {
        let targets: Vec<Kept<'a>> = targets.collect();
        self.last = Some(now);
        // More pages as there are more targets, and never fewer: what is on a page stays there.
        let weight: usize =
            targets.iter().map(|target| target.state.kept_bytes().div_ceil(BYTES_A_TARGET)).sum();
        let wanted = weight.div_ceil(TARGETS_A_PAGE).next_power_of_two().min(PAGES_MAX);
        if wanted > self.pages {
            self.pages = wanted;
            self.written.clear();
            self.left_out.clear();
        }
        let mut by_page: BTreeMap<usize, Vec<Kept<'a>>> =
            (0..self.pages).map(|page| (page, Vec::new())).collect();
        for target in targets {
            let page = hash(&*target.name) as usize % self.pages;
            by_page.entry(page).or_default().push(target);
        }
        let mut pages = Vec::new();
        for (number, targets) in by_page {
            let marks: Vec<(&str, &str, u64)> =
                targets.iter().map(|target| (&*target.name, target.uid, target.mark)).collect();
            let mark = hash(&marks);
            // A page that was never written and has nothing to say is not made.
            let stands = match self.written.get(&number) {
                Some((known, at)) => *known == Some(mark) && !(last && now.since(*at) >= PAUSE),
                None => targets.is_empty(),
            };
            if stands {
                continue;
            }
            self.written.insert(number, (Some(mark), now));
            let (text, left_out) = text(&targets, now);
            self.left_out.insert(number, left_out);
            pages.push(Page { number, text });
        }
        pages
    }

    /// What is to be written of gateways, if it is time and something has changed since `version`.
    pub fn gateways(
        &mut self,
        (namespace, shard): (&str, &str),
        (version, roll): (u64, impl FnOnce() -> Roll),
        now: Time,
        last: bool,
    ) -> Option<Patch> {
        let json = self.gateways.due(version, now, last, roll)?;
        Some(gateways::patch(namespace, shard, json))
    }

    /// What became of a write of a ConfigMap: what did not get through is written again with the next look.
    pub fn landed(&mut self, name: &str, written: bool) {
        let Some((_, which)) = name.rsplit_once('-') else { return };
        if which == gateways::SUFFIX {
            self.gateways.landed(written);
        } else if let Some((mark, _)) = which.parse().ok().and_then(|page: usize| self.written.get_mut(&page))
            && !written
        {
            *mark = None;
        }
    }

    /// Targets for which there was no room.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out.values().sum()
    }
}

fn text(targets: &[Kept<'_>], now: Time) -> (String, usize) {
    let (mut whole, mut left_out) = (String::from("{"), 0);
    for target in targets {
        let memory = json!({"uid": target.uid, "at": now, "state": target.state.kept()});
        let line = format!("{}:{memory}", Value::from(&*target.name));
        if whole.len() + line.len() + 2 > PAGE_BYTES_MAX {
            left_out += 1;
            continue;
        }
        if whole.len() > 1 {
            whole.push(',');
        }
        whole.push_str(&line);
    }
    whole.push('}');
    (whole, left_out)
}

fn hash(of: &(impl std::hash::Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// What of a decision has to be remembered, in short: the count, whether it is active, and what was proposed
/// before windows and rates. Times and values that move each second are no part of it.
#[must_use]
pub fn mark(decision: &Decision) -> u64 {
    let proposed = decision.steps.iter().filter(|step| matches!(step.rule, Rule::Signal | Rule::Highest));
    let proposed: Vec<u32> = proposed.map(|step| step.to).collect();
    let active = decision.conditions.active.map(|(_, reason)| reason);
    hash(&(decision.replicas, active, proposed))
}

/// The same for a target whose work is learned besides: another every five minutes.
#[must_use]
pub fn mark_learned(mark: u64, now: Time) -> u64 {
    hash(&(mark, now.as_micros().div_euclid(LEARNED_EVERY.as_micros())))
}

/// The write of a page.
#[must_use]
pub fn patch(namespace: &str, shard: &str, page: &Page) -> Patch {
    let name = format!("tidegate-{shard}-{:02}", page.number);
    let json = json!({
        "metadata": {"labels": {LABEL: shard}},
        "data": {ENTRY: page.text},
    });
    Patch { id: Id::new(Kind::ConfigMap, namespace, &name), subresource: None, how: How::APPLY, json }
}

/// Reads all pages.
///
/// # Errors
/// When they cannot be read; a page that makes no sense is left out.
pub async fn read(client: &Client, namespace: &str, shard: &str) -> Result<Recalled, String> {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps?labelSelector={LABEL}%3D{shard}&limit=100");
    let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    // A new leader waits for this: on a connection that died without a word it is asked again on another.
    let answer = tokio::time::timeout(ANSWER, client.request::<Value>(request)).await;
    let answer = answer.map_err(|_| format!("no answer within {} s", ANSWER.as_secs()))?;
    let list = answer.map_err(|error| said(&error))?;
    let pages = || list.get("items").and_then(Value::as_array).into_iter().flatten();
    let texts = pages().filter_map(|page| page.pointer("/data")?.get(ENTRY)?.as_str());
    let gateways = pages().find_map(gateways::of).unwrap_or_default();
    Ok(Recalled { targets: merge(texts), gateways })
}

/// What several pages say; of a target that is on two, the later one.
fn merge<'a>(texts: impl Iterator<Item = &'a str>) -> Remembered {
    let mut all = Remembered::new();
    for text in texts {
        let Ok(page) = serde_json::from_str::<BTreeMap<String, Value>>(text) else { continue };
        for (name, memory) in page {
            // One of another version is left out, and its neighbours are not.
            let Ok(memory) = serde_json::from_value::<Memory>(memory) else { continue };
            if all.get(&name).is_none_or(|known| known.at < memory.at) {
                all.insert(name, memory);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use tidegate_core::scale::Event;

    use super::*;

    fn kept<'a>(name: &str, mark: u64, state: &'a State) -> Kept<'a> {
        Kept { name: name.into(), uid: "1", mark, state }
    }

    fn again(pages: &[Page]) -> Book {
        let targets = merge(pages.iter().map(|page| page.text.as_str()));
        Book::new(Recalled { targets, ..Recalled::default() })
    }

    fn at(seconds: i64) -> Time {
        Time::from_secs(seconds)
    }

    #[test]
    fn what_is_written_is_read_back_for_the_same_object_only() {
        let state = State::zero_is_ours();
        let mut book = Book::default();
        let pages =
            book.pages([kept("prod/a", 1, &state), kept("prod/b", 1, &state)].into_iter(), at(0), false);
        assert_eq!(pages.len(), 1);
        let mut again = again(&pages);
        let memory = again.take("prod/a", "1").expect("it was written");
        assert_eq!((memory.at, memory.state), (at(0), state));
        assert_eq!(again.take("prod/a", "1"), None);
        assert_eq!(again.take("prod/b", "2"), None, "an object made anew under the same name");
    }

    #[test]
    fn nothing_is_written_while_nothing_changes() {
        let state = State::default();
        let mut book = Book::default();
        assert_eq!(book.pages([kept("a", 1, &state)].into_iter(), at(0), false).len(), 1);
        assert!(!book.due(at(29), false));
        assert!(book.due(at(30), false) && book.due(at(1), true));
        assert_eq!(book.pages([kept("a", 1, &state)].into_iter(), at(30), false), []);
        assert_eq!(book.pages([kept("a", 2, &state)].into_iter(), at(60), false).len(), 1);
        assert_eq!(book.pages([].into_iter(), at(90), false).len(), 1, "the last target is gone");
        assert_eq!(book.pages([].into_iter(), at(120), false), []);
    }

    #[test]
    fn at_the_end_a_page_whose_targets_stood_still_is_written_once_more() {
        let state = State::default();
        let mut book = Book::default();
        let mut pages = |seconds: i64, last: bool| {
            book.pages([kept("a", 1, &state)].into_iter(), at(seconds), last).len()
        };
        assert_eq!([pages(0, false), pages(3600, false)], [1, 0]);
        assert_eq!([pages(3600, true), pages(3610, true)], [1, 0]);
    }

    #[test]
    fn ten_thousand_targets_fit_their_pages_and_a_change_writes_one() {
        let state = State::default();
        let names: Vec<String> = (0..10_000).map(|number| format!("ns/target-{number}")).collect();
        let mut book = Book::default();
        let pages = book.pages(names.iter().map(|name| kept(name, 1, &state)), at(0), false);
        assert_eq!((pages.len(), book.left_out()), (PAGES_MAX, 0));
        assert!(pages.iter().all(|page| page.text.len() <= PAGE_BYTES_MAX));
        assert_eq!(merge(pages.iter().map(|page| page.text.as_str())).len(), 10_000);
        let one = |name: &String| kept(name, if name == "ns/target-7" { 2 } else { 1 }, &state);
        assert_eq!(book.pages(names.iter().map(one), at(30), false).len(), 1);
    }

    #[test]
    fn who_has_no_room_is_counted_for_as_long_as_that_is_so() {
        let state = State::default();
        let long = "x".repeat(PAGE_BYTES_MAX);
        let mut book = Book::default();
        let both = || [kept(&long, 1, &state), kept("a", 1, &state)].into_iter();
        book.pages(both(), at(0), false);
        assert_eq!(book.left_out(), 1);
        assert_eq!(
            (book.pages(both(), at(30), false), book.left_out()),
            (vec![], 1),
            "nothing is written, and it still is"
        );
        book.pages([kept("a", 1, &state)].into_iter(), at(60), false);
        assert_eq!(book.left_out(), 0);
    }

    #[test]
    fn of_a_target_on_two_pages_the_later_counts_and_damage_is_left_out() {
        let page = |at: i64, uid: &str| {
            json!({"a": {"uid": uid, "at": at, "state": {}}, "b": {"nonsense": true}}).to_string()
        };
        let (old, new) = (page(1, "old"), page(2, "new"));
        for order in [[&old, &new], [&new, &old]] {
            let merged = merge(order.into_iter().map(String::as_str).chain(["no json"]));
            assert_eq!((merged.len(), merged["a"].uid.as_str()), (1, "new"));
        }
    }

    #[test]
    fn what_has_no_room_is_counted_for_as_long_as_it_has_none() {
        let state = learned(200);
        let one = json!({"uid": "1", "at": at(0), "state": &state}).to_string().len();
        // All of them at once are more than all pages hold.
        let names: Vec<String> =
            (0..PAGES_MAX * (PAGE_BYTES_MAX / one + 60)).map(|number| number.to_string()).collect();
        let mut book = Book::default();
        let written = book.pages(names.iter().map(|name| kept(name, 1, &state)), at(0), false);
        let (missing, have) = (book.left_out(), merge(written.iter().map(|page| page.text.as_str())).len());
        assert!(missing > 0);
        assert_eq!(have + missing, names.len());
        book.pages(names.iter().map(|name| kept(name, 1, &state)), at(30), false);
        assert_eq!(book.left_out(), missing, "nothing was written, so nothing has become better");
        book.pages(names[..10].iter().map(|name| kept(name, 1, &state)), at(60), false);
        assert_eq!(book.left_out(), 0);
    }

    /// What a target of policy `slo` remembers after so many seconds of work.
    fn learned(seconds: i64) -> State {
        use tidegate_core::slo::{Engines, Load};
        let text = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\n\
            metadata: {name: a, namespace: prod, annotations: {tidegate.dev/policy: slo}}\nspec:\n  \
            scaleTargetRef: {name: a}\n  triggers:\n  - type: external-push\n    \
            metadata: {scalerAddress: 'none:1'}\n";
        let manifests = tidegate_manifest::load(&[tidegate_manifest::Source::new("a.yaml", text)]);
        let target = tidegate_manifest::lower(&manifests).targets.into_iter().next().unwrap();
        let name = Arc::clone(&target.spec.target);
        let mut control = tidegate_decide::Control::new(Arc::new(tidegate_manifest::formula::ExprLang));
        control.add(target.spec, State::default()).unwrap();
        for second in 1..=seconds {
            let share = second as f64 / seconds as f64;
            let engines = Engines {
                reporting: 3,
                running: 40 + (second % 17) as u32,
                prefill_tokens: 7_000 + (second * 37 % 1_000) as u64,
                decode_tokens: 1_234 + (second * 13 % 100) as u64,
                itl_us: 21_000 + (second % 999) as u32,
                kv_tokens: 1_000_000,
            };
            let load = Load {
                over: Span::from_secs(1),
                arrived: 20 + (20.0 * (share * 30.0).sin()) as u32,
                prompt_tokens: 7_000,
                ended: 19,
                output_tokens: 1_200,
                first_tokens: 19,
                late: 1,
                waiting: 2,
                engines,
            };
            for event in
                [Event::Load(load), Event::Started(Span::from_micros(61_234_567 + second)), Event::Tick]
            {
                control.step(at(second), &name, &event, None, &mut Vec::new()).unwrap();
            }
        }
        control.state(&name).unwrap().clone()
    }

    #[test]
    fn what_is_learned_of_work_is_written_whole_and_has_room() {
        let state = learned(4_000);
        let text = json!({"uid": "1", "at": at(0), "state": &state}).to_string();
        assert!(text.contains("\"costs\""), "it has learned: {text}");
        assert!(
            text.len() < 2 * state.bytes() + 512,
            "{} bytes of text for {} in memory",
            text.len(),
            state.bytes()
        );
        let names: Vec<String> = (0..500).map(|number| format!("ns/target-{number}")).collect();
        let mut book = Book::default();
        let pages = book.pages(names.iter().map(|name| kept(name, 1, &state)), at(0), false);
        assert_eq!(book.left_out(), 0, "{} pages of {} bytes each", pages.len(), text.len());
        let mut again = again(&pages);
        assert_eq!(again.take("ns/target-499", "1").unwrap().state, state);
    }

    #[test]
    fn what_is_learned_is_written_every_five_minutes_though_nothing_else_changes() {
        assert_eq!(mark_learned(1, at(600)), mark_learned(1, at(899)));
        assert_ne!(mark_learned(1, at(899)), mark_learned(1, at(900)));
    }
}
