//! A cluster as a client sees it: brokers, a group's coordinator, partitions' leaders; connections kept
//! between readings.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::Error;
use super::api::{self, Api, Broker, Metadata, Offsets};
use super::connection::{self, Connection, Manner};
use super::wire::Writer;

/// Brokers connected to at once. Each is a socket and some 10 KB; clusters of more than a hundred brokers
/// are rare, and one topic seldom has leaders on all. Past it the reading is an error.
pub(super) const BROKERS_MAX: usize = 256;

/// What is kept between readings. An ask takes it out and puts it back when all answers have come.
#[derive(Debug, Default)]
pub(super) struct Kept {
    connections: BTreeMap<Broker, Connection>,
    coordinator: Option<Broker>,
    /// The bootstrap server that answered last, to be asked first.
    answered: usize,
}

impl Kept {
    /// Whether a failure may only be that a kept connection was closed meanwhile.
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.coordinator.is_none()
    }

    /// Forgets everything but whom to ask first.
    pub(super) fn cleared(answered: usize) -> Self {
        Kept { answered, ..Kept::default() }
    }

    pub(super) const fn answered(&self) -> usize {
        self.answered
    }
}

/// One reading's view.
#[derive(Debug)]
pub(super) struct Cluster<'c> {
    pub(super) bootstrap: &'c [Broker],
    pub(super) manner: &'c Manner,
    pub(super) kept: Kept,
}

impl Cluster<'_> {
    /// Topics as the cluster has them.
    pub(super) async fn metadata(&mut self, topics: &[String]) -> Result<Metadata, Error> {
        let answer = self.ask_any(api::METADATA, &api::ask_metadata(topics)).await?;
        let metadata = api::metadata(&answer.1).map_err(|reason| malformed(&answer.0, reason))?;
        Ok(metadata)
    }

    /// What the group has committed.
    pub(super) async fn committed(
        &mut self,
        group: &str,
        topics: Option<&[(String, Vec<i32>)]>,
    ) -> Result<Offsets, Error> {
        let coordinator = match self.kept.coordinator.clone() {
            Some(coordinator) => coordinator,
            None => self.coordinator(group).await?,
        };
        let body = api::ask_committed(group, topics);
        let answer = self.ask(&coordinator, api::OFFSET_FETCH, &body).await?;
        let (error, offsets) = api::committed(&answer).map_err(|reason| malformed(&coordinator, reason))?;
        match error {
            0 => Ok(offsets),
            error => {
                Err(Error::Refused { what: format!("the group {group:?}"), error, why: api::name(error) })
            }
        }
    }

    async fn coordinator(&mut self, group: &str) -> Result<Broker, Error> {
        let answer = self.ask_any(api::FIND_COORDINATOR, &api::ask_coordinator(group)).await?;
        match api::coordinator(&answer.1).map_err(|reason| malformed(&answer.0, reason))? {
            (_, Some(coordinator)) => {
                self.kept.coordinator = Some(coordinator.clone());
                Ok(coordinator)
            }
            (error, None) => {
                let what = format!("the coordinator of group {group:?}");
                Err(Error::Refused { what, error, why: api::name(error) })
            }
        }
    }

    /// The end of each partition, asked of the leaders at once.
    pub(super) async fn ends(
        &mut self,
        by_leader: BTreeMap<Broker, BTreeMap<String, Vec<i32>>>,
    ) -> Result<Offsets, Error> {
        self.has_room(by_leader.len())?;
        let manner = self.manner;
        let asked = by_leader.into_iter().map(|(broker, topics)| {
            let connection = self.kept.connections.remove(&broker);
            async move {
                let mut connection = match connection {
                    Some(connection) => connection,
                    None => {
                        Connection::new(&broker, manner).await.map_err(|reason| failed(&broker, reason))?
                    }
                };
                let answer = connection.ask(api::LIST_OFFSETS, &api::ask_ends(&topics)).await;
                let answer = answer.map_err(|reason| failed(&broker, reason))?;
                let ends = api::ends(&answer).map_err(|reason| malformed(&broker, reason))?;
                Ok((broker, connection, ends))
            }
        });
        let answers: Vec<Result<_, Error>> = join_all(asked).await;
        let mut all = Offsets::new();
        for answer in answers {
            let (broker, connection, ends) = answer?;
            self.kept.connections.insert(broker, connection);
            for (topic, partitions) in ends {
                all.entry(topic).or_default().extend(partitions);
            }
        }
        Ok(all)
    }

    /// Asks the first bootstrap server that answers. They go by the addresses of the manifest, so a broker
    /// may be connected twice: once by that name and once by the one it tells.
    async fn ask_any(&mut self, api: Api, body: &Writer) -> Result<(Broker, Vec<u8>), Error> {
        let mut failed = None;
        for step in 0..self.bootstrap.len() {
            let number = (self.kept.answered + step) % self.bootstrap.len();
            let broker = &self.bootstrap[number];
            match self.ask(broker, api, body).await {
                Ok(answer) => {
                    self.kept.answered = number;
                    return Ok((broker.clone(), answer));
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or(Error::NoServers))
    }

    async fn ask(&mut self, broker: &Broker, api: Api, body: &Writer) -> Result<Vec<u8>, Error> {
        let mut connection = match self.kept.connections.remove(broker) {
            Some(connection) => connection,
            None => {
                self.has_room(1)?;
                Connection::new(broker, self.manner).await.map_err(|reason| failed(broker, reason))?
            }
        };
        let answer = connection.ask(api, body).await.map_err(|reason| failed(broker, reason))?;
        self.kept.connections.insert(broker.clone(), connection);
        Ok(answer)
    }

    /// Brokers leave a cluster for good, so what is no longer asked has to make room.
    fn has_room(&mut self, more: usize) -> Result<(), Error> {
        if more > BROKERS_MAX / 2 {
            return Err(Error::TooManyBrokers { brokers: more });
        }
        if self.kept.connections.len() + more > BROKERS_MAX {
            self.kept.connections.clear();
        }
        Ok(())
    }
}

fn failed(broker: &Broker, reason: connection::Error) -> Error {
    Error::Broker { broker: broker.to_string(), reason }
}

fn malformed(broker: &Broker, reason: super::wire::Malformed) -> Error {
    failed(broker, reason.into())
}
