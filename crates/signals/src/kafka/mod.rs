//! `kafka` and `apache-kafka`: how far a consumer group lags behind the ends of its partitions.
//!
//! One reading is three questions: which partitions there are and who leads them, what the group has
//! committed (its coordinator knows), and where each partition ends (its leader knows). [`wire`] and
//! [`api`] are the protocol, [`connection`] and [`cluster`] who is asked, [`lag`] what KEDA makes of it.

pub mod api;
mod cluster;
mod connection;
mod lag;
mod new;
mod sasl;
pub mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidegate_core::scale::Reading;
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::api::{Broker, Metadata, NO_OFFSET, Offsets};
use self::cluster::{BROKERS_MAX, Cluster, Kept};
use self::connection::Manner;
pub use self::lag::Lag;
use self::lag::{Memory, Partition, Partitions, Rules};
use crate::find;
use crate::oauth;
use crate::remote::{Question, Remote};
use crate::tls;

/// Time for one reading, all its questions together.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// Why the lag is not known. No password stands in any of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value stands where nobody can look.
    #[error(transparent)]
    Find(#[from] find::Error),
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// No token from OAuth's endpoint.
    #[error(transparent)]
    OAuth(#[from] oauth::Error),
    /// What the trigger asks for is not read.
    #[error("{what}; {instead}")]
    Unsupported {
        /// What.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A value that cannot be used.
    #[error("{what} {why}")]
    Value {
        /// The parameter.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is nobody to ask.
    #[error("bootstrapServers names no server of the form host:port")]
    NoServers,
    /// More leaders than are connected to at once.
    #[error("the partitions have {brokers} leaders, and {} are asked at the most", BROKERS_MAX / 2)]
    TooManyBrokers {
        /// How many.
        brokers: usize,
    },
    /// A broker cannot be asked, or refuses.
    #[error("kafka at {broker}: {reason}")]
    Broker {
        /// Host and port.
        broker: String,
        /// What happened.
        reason: connection::Error,
    },
    /// The cluster says no.
    #[error("kafka refuses {what}: {why}")]
    Refused {
        /// Whom or what.
        what: String,
        /// Kafka's error code.
        error: i16,
        /// Its name.
        why: String,
    },
    /// A topic without a partition that is to be read.
    #[error("expected at least one active partition within the topic {topic:?}")]
    NoPartition {
        /// The topic.
        topic: String,
    },
    /// A partition nobody leads now. Asking again can help.
    #[error("partition {partition} of topic {topic:?} has no leader now")]
    NoLeader {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A partition whose end its leader has not told.
    #[error("no end of partition {partition} of topic {topic:?} was told")]
    NoEnd {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// No answer in time. Asking again can help.
    #[error("kafka at {servers} has not answered within {} ms", DEADLINE.as_millis())]
    Late {
        /// As the manifest has them.
        servers: String,
    },
}

impl Error {
    /// Whether asking anew with fresh connections, in the same reading, may help.
    fn passes(&self) -> bool {
        match self {
            Error::Broker { reason: connection::Error::Connection(_), .. } | Error::NoLeader { .. } => true,
            Error::Refused { error, .. } => api::passes(*error),
            _ => false,
        }
    }
}

/// A group's lag, to be read again and again.
#[derive(Debug)]
pub struct KafkaLag {
    question: Question,
    bootstrap: Vec<Broker>,
    manner: Manner,
    group: String,
    /// Empty for all topics of the group.
    topics: Vec<String>,
    /// Both ends belong to a range; empty for all partitions.
    partitions: Vec<(i32, i32)>,
    rules: Rules,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: Kept,
    memory: Memory,
}

impl KafkaLag {
    /// The lag now; `None` for a group that has committed nothing anywhere, where no topic is named.
    ///
    /// # Errors
    /// When the cluster does not tell it within [`DEADLINE`].
    pub async fn read(&self) -> Result<Option<Lag>, Error> {
        let late = || Error::Late { servers: self.question.server().to_owned() };
        tokio::time::timeout(DEADLINE, self.ask()).await.unwrap_or_else(|_| Err(late()))
    }

    async fn ask(&self) -> Result<Option<Lag>, Error> {
        let mut state = self.state.lock().await;
        // Taken out, so that a reading given up half way leaves no connection with an answer still to come.
        let kept = std::mem::take(&mut state.kept);
        let (answered, was_empty) = (kept.answered(), kept.is_empty());
        let partitions = match self.partitions(kept).await {
            // Kept connections may have been closed, and leaders may have moved since.
            Err(error) if error.passes() && !was_empty => self.partitions(Kept::cleared(answered)).await,
            partitions => partitions,
        };
        let (kept, partitions) = partitions?;
        state.kept = kept;
        let Some(partitions) = partitions else { return Ok(None) };
        Ok(Some(self.rules.lag(&partitions, &mut state.memory, self.started.elapsed())))
    }

    /// Every partition with both its offsets, and the connections for the next reading.
    async fn partitions(&self, kept: Kept) -> Result<(Kept, Option<Partitions>), Error> {
        let mut cluster = Cluster { bootstrap: &self.bootstrap, manner: &self.manner, kept };
        let (metadata, committed) = if self.topics.is_empty() {
            let committed = cluster.committed(&self.group, None).await?;
            let topics: Vec<_> = committed.keys().cloned().collect();
            if topics.is_empty() {
                return Ok((cluster.kept, None));
            }
            (cluster.metadata(&topics).await?, committed)
        } else {
            let metadata = cluster.metadata(&self.topics).await?;
            let asked: Vec<_> = self.wanted(&metadata)?.into_iter().collect();
            let committed = cluster.committed(&self.group, Some(&asked)).await?;
            (metadata, committed)
        };
        let wanted = self.wanted(&metadata)?;
        let ends = cluster.ends(by_leader(&metadata, &wanted)?).await?;
        Ok((cluster.kept, Some(joined(&wanted, &committed, &ends)?)))
    }

    /// The partitions that count, by topic.
    fn wanted(&self, metadata: &Metadata) -> Result<BTreeMap<String, Vec<i32>>, Error> {
        let counts = |partition: i32| {
            self.partitions.is_empty()
                || self.partitions.iter().any(|(first, last)| (*first..=*last).contains(&partition))
        };
        let mut wanted = BTreeMap::new();
        for topic in &metadata.topics {
            if topic.error != 0 {
                let (what, error) = (format!("the topic {:?}", topic.name), topic.error);
                return Err(Error::Refused { what, error, why: api::name(error) });
            }
            let numbers = topic.partitions.iter().map(|(partition, _)| *partition);
            let partitions: Vec<_> = numbers.filter(|partition| counts(*partition)).collect();
            if partitions.is_empty() {
                return Err(Error::NoPartition { topic: topic.name.clone() });
            }
            wanted.insert(topic.name.clone(), partitions);
        }
        match self.topics.iter().find(|topic| !wanted.contains_key(*topic)) {
            Some(topic) => Err(Error::NoPartition { topic: topic.clone() }),
            None => Ok(wanted),
        }
    }
}

/// Which leader to ask for which partitions' ends.
fn by_leader(
    metadata: &Metadata,
    wanted: &BTreeMap<String, Vec<i32>>,
) -> Result<BTreeMap<Broker, BTreeMap<String, Vec<i32>>>, Error> {
    let mut by_leader: BTreeMap<Broker, BTreeMap<String, Vec<i32>>> = BTreeMap::new();
    for topic in &metadata.topics {
        let leaders: BTreeMap<_, _> = topic.partitions.iter().copied().collect();
        for partition in wanted.get(&topic.name).into_iter().flatten() {
            let leader = leaders.get(partition).and_then(|leader| metadata.brokers.get(leader));
            let Some(leader) = leader else {
                return Err(Error::NoLeader { topic: topic.name.clone(), partition: *partition });
            };
            let topics = by_leader.entry(leader.clone()).or_default();
            topics.entry(topic.name.clone()).or_default().push(*partition);
        }
    }
    Ok(by_leader)
}

/// Both offsets of each partition. One the group has no word on has none committed.
fn joined(
    wanted: &BTreeMap<String, Vec<i32>>,
    committed: &Offsets,
    ends: &Offsets,
) -> Result<Partitions, Error> {
    let refused = |topic: &str, partition: i32, error: i16| Error::Refused {
        what: format!("partition {partition} of topic {topic:?}"),
        error,
        why: api::name(error),
    };
    let mut partitions = Partitions::new();
    for (topic, numbers) in wanted {
        for number in numbers {
            let of = |offsets: &Offsets| offsets.get(topic).and_then(|topic| topic.get(number)).copied();
            let committed = match of(committed) {
                Some((0, offset)) => offset,
                Some((error, _)) => return Err(refused(topic, *number, error)),
                None => NO_OFFSET,
            };
            let end = match of(ends) {
                Some((0, end)) => end,
                Some((error, _)) => return Err(refused(topic, *number, error)),
                None => return Err(Error::NoEnd { topic: topic.clone(), partition: *number }),
            };
            partitions.insert((topic.clone(), *number), Partition { committed, end });
        }
    }
    Ok(partitions)
}

impl Remote for KafkaLag {
    fn question(&self) -> &Question {
        &self.question
    }

    fn ask(&self) -> BoxFuture<'_, Result<Reading, String>> {
        Box::pin(async {
            match self.read().await {
                Ok(Some(Lag { value, active })) => Ok(Reading::Value { value, active: Some(active) }),
                Ok(None) => Ok(Reading::Absent),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}
