//! Asking for many targets at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidegate_core::scale::Reading;
use tidegate_core::time::{Span, Time};
use tidegate_signals::asker::{Follower, News, SILENT};
use tidegate_signals::{Asker, Clock, Question, Remote};
use tokio::sync::{Semaphore, watch};

const SECOND: Span = Span::from_secs(1);

/// A source that answers as often as it is let.
#[derive(Debug)]
struct Source {
    question: Question,
    asked: Arc<AtomicUsize>,
    may_answer: Arc<Semaphore>,
    news: watch::Sender<u64>,
    panics: bool,
}

struct Rig {
    asker: Asker,
    asked: Arc<AtomicUsize>,
    may_answer: Arc<Semaphore>,
    news: watch::Sender<u64>,
    time: watch::Sender<Time>,
}

impl Rig {
    fn new(answers: usize) -> Self {
        let time = watch::Sender::new(Time::ORIGIN);
        let clock = {
            let time = time.subscribe();
            Clock::new(move || *time.borrow())
        };
        Rig {
            asker: Asker::new(clock),
            asked: Arc::default(),
            may_answer: Arc::new(Semaphore::new(answers)),
            news: watch::Sender::new(0),
            time,
        }
    }

    fn source(&self, key: &str, panics: bool) -> Box<Source> {
        Box::new(Source {
            question: Question::new("test", "server").with("key", key),
            asked: Arc::clone(&self.asked),
            may_answer: Arc::clone(&self.may_answer),
            news: self.news.clone(),
            panics,
        })
    }

    fn follow(&self, key: &str, pace: Span) -> Follower {
        self.asker.follow(self.source(key, false), pace).expect("there is room")
    }

    async fn read(&self, follower: &Follower, now_ms: i64) -> Option<Reading> {
        let now = Time::from_micros(now_ms * 1000);
        self.time.send_replace(now);
        follower.reading(now).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Remote for Source {
    fn question(&self) -> &Question {
        &self.question
    }

    fn ask(&self) -> BoxFuture<'_, Result<Reading, String>> {
        Box::pin(async {
            let count = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(!self.panics, "as told");
            self.may_answer.acquire().await.expect("it is open").forget();
            Ok(Reading::Value { value: count as f64, active: None })
        })
    }

    fn news(&self) -> Option<watch::Receiver<u64>> {
        Some(self.news.subscribe())
    }
}

fn value(value: f64) -> Option<Reading> {
    Some(Reading::Value { value, active: None })
}

#[tokio::test]
async fn who_asks_the_same_in_a_tick_gets_the_same_answer_of_one_ask() {
    let rig = Rig::new(100);
    let followers: Vec<Follower> = (0..20).map(|_| rig.follow("jobs", SECOND)).collect();
    assert_eq!(rig.asker.questions(), 1);
    for tick in 0..3 {
        for follower in &followers {
            assert_eq!(rig.read(follower, tick * 1000).await, value((tick + 1) as f64));
        }
    }
    assert_eq!(rig.asked(), 3);
    let other = rig.follow("others", SECOND);
    assert_eq!(rig.read(&other, 3000).await, value(4.0));
    drop((followers, other));
    assert_eq!(rig.asker.questions(), 0, "what nobody follows is forgotten");
}

#[tokio::test]
async fn a_slower_pace_is_kept_and_a_faster_follower_shares_its_answers() {
    let rig = Rig::new(100);
    let slow = rig.follow("jobs", Span::from_secs(30));
    assert_eq!(rig.read(&slow, 0).await, value(1.0));
    for second in 1..30 {
        assert_eq!(rig.read(&slow, second * 1000).await, None, "nothing new at {second} s");
    }
    assert_eq!(rig.read(&slow, 30_000).await, value(2.0));
    let fast = rig.follow("jobs", SECOND);
    assert_eq!(rig.read(&fast, 31_000).await, value(3.0));
    assert_eq!(rig.read(&slow, 31_000).await, value(3.0));
    assert_eq!(rig.asked(), 3);
}

#[tokio::test]
async fn a_source_that_hangs_is_asked_once_and_turns_stale_until_it_answers() {
    let rig = Rig::new(1);
    let (hanging, other) = (rig.follow("jobs", SECOND), rig.follow("others", SECOND));
    assert_eq!(rig.read(&hanging, 0).await, value(1.0));
    // Nobody may answer now.
    assert_eq!(rig.read(&hanging, 1000).await, None, "not silent for long enough");
    for second in 2..6 {
        let Some(Reading::Stale { value, age }) = rig.read(&hanging, second * 1000).await else {
            panic!("it is silent at {second} s")
        };
        assert_eq!((value, age), (1.0, Span::from_secs(second)));
    }
    assert_eq!(rig.asked(), 2, "never twice at the same time");
    let Some(Reading::Error(text)) = ({
        rig.read(&other, 6000).await;
        rig.read(&other, 8000).await
    }) else {
        panic!("it never had a value")
    };
    assert!(text.contains("has not answered"), "{text}");
    rig.may_answer.add_permits(100);
    for late in [&hanging, &other] {
        while !matches!(rig.read(late, 9000).await, Some(Reading::Value { .. })) {
            tokio::task::yield_now().await;
        }
    }
    assert!(SILENT <= SECOND);
}

#[tokio::test]
async fn a_reader_that_panics_is_an_error_and_asked_again() {
    let rig = Rig::new(100);
    let follower = rig.asker.follow(rig.source("jobs", true), SECOND).expect("there is room");
    for tick in 0..3 {
        let read = rig.read(&follower, tick * 1000).await;
        assert!(matches!(&read, Some(Reading::Error(text)) if text.contains("broke off")), "{read:?}");
    }
    assert_eq!(rig.asked(), 3);
}

#[tokio::test]
async fn news_are_asked_for_before_the_next_tick_and_not_too_often() {
    let rig = Rig::new(100);
    let follower = rig.follow("jobs", Span::from_secs(30));
    let mut news = News::of([&follower].into_iter()).expect("the source tells news");
    assert_eq!(rig.read(&follower, 0).await, value(1.0));
    rig.news.send_modify(|version| *version += 1);
    assert!(tokio::time::timeout(Duration::from_secs(30), news.next()).await.expect("it is told"));
    assert_eq!(rig.read(&follower, 50).await, None, "50 ms after the last ask");
    assert_eq!(rig.read(&follower, 150).await, value(2.0));
    assert_eq!(rig.read(&follower, 300).await, None, "there was no more news");
}
