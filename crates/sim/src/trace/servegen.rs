//! ServeGen's client tables: not requests, but how each real client sends them.
//!
//! Three files. `clients`: for each client and window of 600 s its rate and the law of the gaps between its
//! requests, Gamma or Weibull. Two more with the distribution of prompt and answer lengths. Arrivals are
//! drawn from the seed, each client by itself.
//!
//! A gap is drawn with mean 1 from the law in force, and lasts until the integral of the client's rate has
//! reached it. So a rate that is scaled down, or changes from window to window, or is 0 for a while, keeps
//! the law's burstiness and its mean: a client of one request in half an hour does not vanish between two
//! windows of ten minutes.
//!
//! The table begins somewhere in a gap, and more likely in a long one: so a client's first gap is a uniform
//! part of one drawn with a probability in proportion to its length. Without that, a bursty client that sends
//! five requests in all would send seven.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Read;

use serde::Deserialize;
use tidegate_core::time::Time;

use super::{Error, TraceRequest};
use crate::random::Random;

/// The length of a window in seconds.
const WINDOW_S: f64 = 600.0;
/// Rows of a client table: two weeks of a thousand clients are two million, 100 MB.
const ROWS_MAX: usize = 2_000_000;
/// Rows of a distribution: one a length up to a million tokens.
const LENGTHS_MAX: usize = 1 << 20;
/// Shapes outside are a fault of the fit; the published ones lie between 0.05 and 60.
const SHAPES: (f64, f64) = (0.01, 1e4);
/// Requests a second of one client at the most.
const RATE_MAX: f64 = 1e6;

#[derive(Deserialize)]
struct Row {
    client: u32,
    t_s: f64,
    rate_rps: f64,
    pattern: String,
    shape: f64,
}

#[derive(Deserialize)]
struct Length {
    tokens: u32,
    prob: f64,
}

/// A client's behaviour from an instant on, for one window.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Behaviour {
    from_s: f64,
    rate: f64,
    weibull: bool,
    shape: f64,
}

/// Lengths by their cumulative probability.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lengths(Vec<(f64, u32)>);

impl Lengths {
    /// Reads `tokens,prob` lines.
    ///
    /// # Errors
    /// A line that is none, or no probability at all.
    pub fn read(source: impl Read) -> Result<Lengths, Error> {
        let mut lengths = Vec::new();
        let mut sum = 0.0;
        for (row, line) in csv::Reader::from_reader(source).deserialize().zip(2..) {
            let row: Length = row.map_err(|error| refuse(line, error.to_string()))?;
            if !(0.0..=1.0).contains(&row.prob) {
                return Err(refuse(line, format!("{} is not a probability", row.prob)));
            }
            if lengths.len() == LENGTHS_MAX {
                return Err(refuse(line, format!("more than {LENGTHS_MAX} lengths")));
            }
            sum += row.prob;
            lengths.push((sum, row.tokens));
        }
        if sum <= 0.0 {
            return Err(refuse(1, "no length has a probability".to_owned()));
        }
        Ok(Lengths(lengths))
    }

    fn draw(&self, random: &mut Random) -> u32 {
        let most = self.0.last().map_or(0.0, |(sum, _)| *sum);
        let at = random.unit() * most;
        let place = self.0.partition_point(|(sum, _)| *sum < at);
        self.0.get(place).or(self.0.last()).map_or(1, |(_, tokens)| *tokens)
    }
}

/// One client.
#[derive(Clone, Debug)]
struct Client {
    behaviours: Vec<Behaviour>,
    place: usize,
    at_s: f64,
    /// No gap was drawn yet.
    first: bool,
    random: Random,
}

/// Requests drawn from client tables.
#[derive(Debug)]
pub struct ServeGen {
    clients: Vec<Client>,
    next: BinaryHeap<Reverse<(Time, usize)>>,
    prompts: Lengths,
    outputs: Lengths,
    lengths: Random,
    from_s: f64,
    until_s: f64,
    factor: f64,
}

/// Which part of the table, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// From this second of the table on; the first request counts from there.
    pub from_s: f64,
    /// For so long.
    pub for_s: f64,
    /// Every client's rate times this.
    pub factor: f64,
}

fn refuse(line: u64, what: String) -> Error {
    Error::Line { line, what }
}

impl ServeGen {
    /// Reads the client table; arrivals come from the seed.
    ///
    /// # Errors
    /// A line that is none, with its number.
    pub fn read(
        clients: impl Read,
        prompts: Lengths,
        outputs: Lengths,
        part: Part,
        seed: u64,
    ) -> Result<ServeGen, Error> {
        let mut table: Vec<(u32, Behaviour)> = Vec::new();
        for (row, line) in csv::Reader::from_reader(clients).deserialize().zip(2..) {
            let row: Row = row.map_err(|error| refuse(line, error.to_string()))?;
            if table.len() == ROWS_MAX {
                return Err(refuse(line, format!("more than {ROWS_MAX} rows; cut the table")));
            }
            table.push((row.client, behaviour(&row).map_err(|what| refuse(line, what))?));
        }
        table.sort_by(|a, b| {
            (a.0, a.1.from_s).partial_cmp(&(b.0, b.1.from_s)).unwrap_or(std::cmp::Ordering::Equal)
        });
        let mut made = ServeGen {
            clients: Vec::new(),
            next: BinaryHeap::new(),
            prompts,
            outputs,
            lengths: Random::of(seed, 0x6c65_6e67, 0),
            from_s: part.from_s,
            until_s: part.from_s + part.for_s,
            factor: part.factor,
        };
        for rows in table.chunk_by(|a, b| a.0 == b.0) {
            let behaviours: Vec<Behaviour> = rows.iter().map(|(_, behaviour)| *behaviour).collect();
            let random = Random::of(seed, 0x636c_6965, u64::from(rows[0].0));
            made.clients.push(Client { behaviours, place: 0, at_s: part.from_s, first: true, random });
        }
        for client in 0..made.clients.len() {
            made.advance(client);
        }
        Ok(made)
    }

    /// Draws a client's next request.
    fn advance(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let until_s = self.until_s;
        let Some(at_s) = client.next(self.factor).filter(|at_s| *at_s < until_s) else { return };
        let Some(at) = Time::try_from_secs_f64(at_s - self.from_s) else { return };
        self.next.push(Reverse((at, number)));
    }
}

fn behaviour(row: &Row) -> Result<Behaviour, String> {
    let weibull = match row.pattern.as_str() {
        "Gamma" => false,
        "Weibull" => true,
        other => return Err(format!("`{other}` is no law that is known; Gamma and Weibull are")),
    };
    if !(0.0..=RATE_MAX).contains(&row.rate_rps) {
        return Err(format!("a rate of {} is out of range", row.rate_rps));
    }
    if !(SHAPES.0..=SHAPES.1).contains(&row.shape) {
        return Err(format!("a shape of {} is out of range", row.shape));
    }
    if !row.t_s.is_finite() || row.t_s < 0.0 {
        return Err(format!("{} is not a time", row.t_s));
    }
    Ok(Behaviour { from_s: row.t_s, rate: row.rate_rps, weibull, shape: row.shape })
}

impl Behaviour {
    /// A gap with mean 1; the first one as the introduction says. In proportion to its length, a Gamma gap is
    /// Gamma with a shape one higher, and a Weibull gap the `1/k`-th power of a Gamma one of shape `1 + 1/k`.
    fn gap(&self, random: &mut Random, first: bool) -> f64 {
        let shape = self.shape;
        let scale = if self.weibull { 1.0 / libm::tgamma(1.0 + 1.0 / shape) } else { 1.0 / shape };
        match (first, self.weibull) {
            (false, true) => random.weibull(shape, scale),
            (false, false) => random.gamma(shape, scale),
            (true, true) => {
                let long = libm::pow(random.gamma(1.0 + 1.0 / shape, 1.0), 1.0 / shape) * scale;
                long * random.unit()
            }
            (true, false) => random.gamma(shape + 1.0, scale) * random.unit(),
        }
    }
}

impl Client {
    /// When the next request comes, in seconds of the table; `None` past its end.
    fn next(&mut self, factor: f64) -> Option<f64> {
        let mut left = None;
        loop {
            let now = self.behaviours.get(self.place)?;
            let ends_s = now.from_s + WINDOW_S;
            self.at_s = self.at_s.max(now.from_s);
            if self.at_s >= ends_s || now.rate * factor <= 0.0 {
                self.place += 1;
                continue;
            }
            let gap = *left.get_or_insert_with(|| now.gap(&mut self.random, std::mem::take(&mut self.first)));
            let lasts_s = gap / (now.rate * factor);
            if self.at_s + lasts_s < ends_s {
                self.at_s += lasts_s;
                return Some(self.at_s);
            }
            left = Some(gap - (ends_s - self.at_s) * now.rate * factor);
            self.at_s = ends_s;
            self.place += 1;
        }
    }
}

impl Iterator for ServeGen {
    type Item = Result<TraceRequest, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((at, client)) = self.next.pop()?;
        self.advance(client);
        Some(Ok(TraceRequest {
            at: at.since(Time::ORIGIN),
            prompt_tokens: self.prompts.draw(&mut self.lengths).max(1),
            output_tokens: self.outputs.draw(&mut self.lengths).max(1),
            hash_ids: Vec::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::time::Span;

    use super::*;

    const CLIENTS: &str = "client,t_s,rate_rps,iat_cv,pattern,shape,scale\n\
        0,0,2.0,1.0,Gamma,1.0,0.5\n0,600,0.5,1.0,Gamma,0.5,4\n1,600,1.0,2.0,Weibull,0.5,0.5\n";
    const PROMPTS: &str = "tokens,prob\n10,0.5\n1000,0.5\n";
    const OUTPUTS: &str = "tokens,prob\n7,1.0\n";

    fn drawn(factor: f64, seed: u64) -> Vec<TraceRequest> {
        let lengths = |text: &str| Lengths::read(text.as_bytes()).unwrap();
        let part = Part { from_s: 0.0, for_s: 1_200.0, factor };
        let made = ServeGen::read(CLIENTS.as_bytes(), lengths(PROMPTS), lengths(OUTPUTS), part, seed);
        made.unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn each_window_has_its_clients_rates() {
        let requests = drawn(20.0, 1);
        let first = requests.iter().filter(|request| request.at < Span::from_secs(600)).count();
        let second = requests.len() - first;
        // 2 a second for 600 s, and 1.5 a second for 600 s, each times 20.
        assert!((22_800..25_200).contains(&first), "{first}");
        assert!((16_700..19_300).contains(&second), "{second}");
        assert!(requests.is_sorted_by_key(|request| request.at));
        let long = requests.iter().filter(|request| request.prompt_tokens == 1_000).count();
        assert!((0.48..0.52).contains(&(long as f64 / requests.len() as f64)));
    }

    #[test]
    fn a_client_that_is_thinned_below_one_request_a_window_keeps_its_mean() {
        // 2,100 expected requests at a five hundredth: 4.2 a seed.
        let all: usize = (0..400).map(|seed| drawn(0.002, seed).len()).sum();
        assert!((1_500..1_860).contains(&all), "{all}");
    }

    #[test]
    fn bad_tables_are_refused_with_their_line() {
        let lengths = || Lengths::read(OUTPUTS.as_bytes()).unwrap();
        let part = Part { from_s: 0.0, for_s: 1e6, factor: 1.0 };
        for (line, bad) in
            [(2, "0,0,-1,1,Gamma,1,1"), (2, "0,0,1,1,Cauchy,1,1"), (2, "0,0,1,1,Gamma,0,1"), (2, "0,x,1")]
        {
            let text = format!("client,t_s,rate_rps,iat_cv,pattern,shape,scale\n{bad}\n");
            let error = ServeGen::read(text.as_bytes(), lengths(), lengths(), part, 1).unwrap_err();
            assert!(error.to_string().starts_with(&format!("line {line}:")), "{error}");
        }
        assert!(Lengths::read("tokens,prob\n5,2\n".as_bytes()).is_err());
        assert!(Lengths::read("tokens,prob\n".as_bytes()).is_err());
    }
}
