//! What the command line asks for.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::error::Error;

/// What this process shall be.
pub(crate) enum Role {
    /// The bench.
    Bench(Settings),
    /// The back end, at those addresses.
    Backend(Vec<SocketAddr>),
    /// That command, tied to the bench's life.
    Peer(Vec<String>),
}

/// How the bench runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Times each phase is run on each target; the tables show medians.
    pub(crate) rounds: usize,
    /// Length of one phase.
    pub(crate) seconds: f64,
    /// The larger number of open streams; the smaller is 1,000.
    pub(crate) streams: usize,
    /// A built proxy example, instead of building it.
    pub(crate) ours: Option<PathBuf>,
    /// Only these targets, when given.
    pub(crate) only: Vec<String>,
    /// Where every figure goes as JSON.
    pub(crate) json: Option<PathBuf>,
}

/// The settings of a run whose figures are quoted: 7 phases × 7 targets × 5 rounds × 3.3 s = 14 minutes.
const FULL: (usize, f64) = (5, 3.0);
/// A smoke run: 7 phases × 7 targets × 1.0 s = 50 s.
const QUICK: (usize, f64) = (1, 0.7);

impl Role {
    /// Reads the arguments, without the program's name.
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut settings = Settings {
            rounds: FULL.0,
            seconds: FULL.1,
            streams: 10_000,
            ours: None,
            only: Vec::new(),
            json: None,
        };
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().ok_or_else(|| Error::Argument(format!("{argument} needs a value")));
            match argument.as_str() {
                "--backend" => {
                    let addresses = arguments.map(|address| parse(&argument, &address));
                    return Ok(Self::Backend(addresses.collect::<Result<_, _>>()?));
                }
                "--peer" => return Ok(Self::Peer(arguments.collect())),
                "--quick" => (settings.rounds, settings.seconds) = QUICK,
                "--rounds" => settings.rounds = parse(&argument, &value()?)?,
                "--seconds" => settings.seconds = parse(&argument, &value()?)?,
                "--streams" => settings.streams = parse(&argument, &value()?)?,
                "--ours" => settings.ours = Some(value()?.into()),
                "--only" => settings.only = value()?.split(',').map(str::to_owned).collect(),
                "--json" => settings.json = Some(value()?.into()),
                // `cargo bench` adds it for harnesses that know it.
                "--bench" => {}
                other => return Err(Error::Argument(format!("the argument {other} is not known"))),
            }
        }
        if settings.rounds == 0 || !(0.1..=600.0).contains(&settings.seconds) {
            return Err(Error::Argument("--rounds needs 1 or more, --seconds 0.1 to 600".into()));
        }
        Ok(Self::Bench(settings))
    }
}

fn parse<T: std::str::FromStr>(argument: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|_| Error::Argument(format!("{argument} {value}: this value is not understood")))
}
