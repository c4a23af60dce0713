//! The seven requests that a group's lag takes, each in the oldest version that every broker from 1.0 to
//! 4.x answers.

use std::collections::BTreeMap;

use super::wire::{Malformed, Reader, Writer};

/// Which request, in which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Api {
    pub(super) key: i16,
    pub(super) version: i16,
}

const fn api(key: i16, version: i16) -> Api {
    Api { key, version }
}

pub(super) const LIST_OFFSETS: Api = api(2, 1);
/// The first that can be told not to create the topics it is asked for.
pub(super) const METADATA: Api = api(3, 4);
/// The first that can be asked for every topic of a group.
pub(super) const OFFSET_FETCH: Api = api(9, 2);
pub(super) const FIND_COORDINATOR: Api = api(10, 0);
/// The first whose tokens are requests themselves.
pub(super) const SASL_HANDSHAKE: Api = api(17, 1);
pub(super) const SASL_AUTHENTICATE: Api = api(36, 0);

/// A group that has committed nothing in a partition.
pub(super) const NO_OFFSET: i64 = -1;

/// A broker's address, as the cluster tells its clients.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broker {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl std::fmt::Display for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn broker(reader: &mut Reader<'_>) -> Result<Broker, Malformed> {
    let host = reader.text()?.to_owned();
    let port = u16::try_from(reader.i32()?).map_err(|_| Malformed)?;
    Ok(Broker { host, port })
}

/// Topics with their partitions' leaders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Brokers by number.
    pub brokers: BTreeMap<i32, Broker>,
    /// What was asked for.
    pub topics: Vec<Topic>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Kafka's error code; 0 for none.
    pub error: i16,
    /// Its name.
    pub name: String,
    /// Partition and its leader's number, below 0 for none.
    pub partitions: Vec<(i32, i32)>,
}

pub(super) fn ask_metadata(topics: &[String]) -> Writer {
    let mut writer = Writer::default();
    writer.length(topics.len());
    topics.iter().for_each(|topic| writer.text(topic));
    // No topic is created by asking for it.
    writer.i8(0);
    writer
}

/// Reads what [`METADATA`] answers.
///
/// # Errors
/// When it is cut off.
pub fn metadata(answer: &[u8]) -> Result<Metadata, Malformed> {
    let mut reader = Reader(answer);
    reader.i32()?;
    let brokers = reader.list(|reader| {
        let number = reader.i32()?;
        let broker = broker(reader)?;
        reader.nullable_text()?;
        Ok((number, broker))
    })?;
    reader.nullable_text()?;
    reader.i32()?;
    let topics = reader.list(|reader| {
        let error = reader.i16()?;
        let name = reader.text()?.to_owned();
        reader.i8()?;
        let partitions = reader.list(|reader| {
            // A partition without a leader has an error too; the leader's number says it.
            reader.i16()?;
            let (partition, leader) = (reader.i32()?, reader.i32()?);
            reader.list(Reader::i32)?;
            reader.list(Reader::i32)?;
            Ok((partition, leader))
        })?;
        Ok(Topic { error, name, partitions })
    })?;
    Ok(Metadata { brokers: brokers.into_iter().collect(), topics })
}

pub(super) fn ask_coordinator(group: &str) -> Writer {
    let mut writer = Writer::default();
    writer.text(group);
    writer
}

/// Reads what [`FIND_COORDINATOR`] answers: an error code, and the broker where that is 0.
///
/// # Errors
/// When it is cut off.
pub fn coordinator(answer: &[u8]) -> Result<(i16, Option<Broker>), Malformed> {
    let mut reader = Reader(answer);
    let error = reader.i16()?;
    if error != 0 {
        return Ok((error, None));
    }
    reader.i32()?;
    Ok((0, Some(broker(&mut reader)?)))
}

/// Offsets by topic and partition, each with an error code, 0 for none.
pub type Offsets = BTreeMap<String, BTreeMap<i32, (i16, i64)>>;

/// All that `group` has committed.
pub(super) fn ask_committed(group: &str, topics: Option<&[(String, Vec<i32>)]>) -> Writer {
    let mut writer = Writer::default();
    writer.text(group);
    match topics {
        None => writer.i32(-1),
        Some(topics) => {
            writer.length(topics.len());
            for (topic, partitions) in topics {
                writer.text(topic);
                writer.length(partitions.len());
                partitions.iter().for_each(|partition| writer.i32(*partition));
            }
        }
    }
    writer
}

/// Reads what [`OFFSET_FETCH`] answers, with the error code of the whole.
///
/// # Errors
/// When it is cut off.
pub fn committed(answer: &[u8]) -> Result<(i16, Offsets), Malformed> {
    let mut reader = Reader(answer);
    let topics = reader.list(|reader| {
        let name = reader.text()?.to_owned();
        let partitions = reader.list(|reader| {
            let (partition, offset) = (reader.i32()?, reader.i64()?);
            reader.nullable_text()?;
            Ok((partition, (reader.i16()?, offset)))
        })?;
        Ok((name, partitions.into_iter().collect()))
    })?;
    Ok((reader.i16()?, topics.into_iter().collect()))
}

/// The end of each partition.
pub(super) fn ask_ends(topics: &BTreeMap<String, Vec<i32>>) -> Writer {
    const LATEST: i64 = -1;
    const NO_REPLICA: i32 = -1;
    let mut writer = Writer::default();
    writer.i32(NO_REPLICA);
    writer.length(topics.len());
    for (topic, partitions) in topics {
        writer.text(topic);
        writer.length(partitions.len());
        for partition in partitions {
            writer.i32(*partition);
            writer.i64(LATEST);
        }
    }
    writer
}

/// Reads what [`LIST_OFFSETS`] answers.
///
/// # Errors
/// When it is cut off.
pub fn ends(answer: &[u8]) -> Result<Offsets, Malformed> {
    let topics = Reader(answer).list(|reader| {
        let name = reader.text()?.to_owned();
        let partitions = reader.list(|reader| {
            let (partition, error) = (reader.i32()?, reader.i16()?);
            reader.i64()?;
            Ok((partition, (error, reader.i64()?)))
        })?;
        Ok((name, partitions.into_iter().collect()))
    })?;
    Ok(topics.into_iter().collect())
}

pub(super) fn ask_handshake(mechanism: &str) -> Writer {
    let mut writer = Writer::default();
    writer.text(mechanism);
    writer
}

/// Reads what [`SASL_HANDSHAKE`] answers: an error code and the mechanisms the broker has.
///
/// # Errors
/// When it is cut off.
pub fn handshake(answer: &[u8]) -> Result<(i16, Vec<String>), Malformed> {
    let mut reader = Reader(answer);
    Ok((reader.i16()?, reader.list(|reader| Ok(reader.text()?.to_owned()))?))
}

pub(super) fn ask_authenticate(token: &[u8]) -> Writer {
    let mut writer = Writer::default();
    writer.bytes(token);
    writer
}

/// Reads what [`SASL_AUTHENTICATE`] answers: an error code, what it says, and the server's token.
///
/// # Errors
/// When it is cut off.
pub fn authenticate(answer: &[u8]) -> Result<(i16, String, Vec<u8>), Malformed> {
    let mut reader = Reader(answer);
    let error = reader.i16()?;
    let said = reader.nullable_text()?.unwrap_or_default().to_owned();
    Ok((error, said, reader.bytes()?.to_vec()))
}

/// Kafka's own name of an error code.
pub(super) fn name(error: i16) -> String {
    let name = match error {
        3 => "UNKNOWN_TOPIC_OR_PARTITION: there is no such topic or partition",
        5 => "LEADER_NOT_AVAILABLE",
        6 => "NOT_LEADER_OR_FOLLOWER",
        7 => "REQUEST_TIMED_OUT",
        14 => "COORDINATOR_LOAD_IN_PROGRESS",
        15 => "COORDINATOR_NOT_AVAILABLE",
        16 => "NOT_COORDINATOR",
        24 => "INVALID_GROUP_ID",
        29 => "TOPIC_AUTHORIZATION_FAILED: the user may not describe the topic",
        30 => "GROUP_AUTHORIZATION_FAILED: the user may not describe the group",
        31 => "CLUSTER_AUTHORIZATION_FAILED",
        33 => "UNSUPPORTED_SASL_MECHANISM",
        35 => "UNSUPPORTED_VERSION: brokers from 1.0 on are spoken to",
        58 => "SASL_AUTHENTICATION_FAILED",
        other => return format!("error {other}"),
    };
    name.to_owned()
}

/// Whether it passes by itself: a leader or a coordinator that moves.
pub(super) const fn passes(error: i16) -> bool {
    matches!(error, 5 | 6 | 7 | 14 | 15 | 16)
}
