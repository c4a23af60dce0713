//! Signing in to a broker: PLAIN, SCRAM (RFC 5802) and OAUTHBEARER (RFC 7628).

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SecureRandom as _;
use ring::{digest, hmac, pbkdf2};

/// Rounds of SCRAM a server may ask for: Kafka's are 4,096 to 16,384. 100,000 take 50 ms.
const ROUNDS_MAX: u32 = 100_000;

/// Why nobody could sign in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The broker has another mechanism.
    #[error("the broker does not sign in by {wanted}; it has {offered}")]
    Mechanism {
        /// Ours.
        wanted: &'static str,
        /// Its own.
        offered: String,
    },
    /// User, password or token are wrong.
    #[error("signing in as given is refused: {said}")]
    Refused {
        /// In the broker's words.
        said: String,
    },
    /// The broker's half of SCRAM is wrong: it may not know the password.
    #[error("the broker's answer to SCRAM is wrong: {what}")]
    Server {
        /// In which respect.
        what: &'static str,
    },
    /// The system gives no random bytes.
    #[error("this machine gives no random bytes")]
    Random,
}

/// Which hash SCRAM uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    pub(super) const fn mechanism(self) -> &'static str {
        match self {
            Hash::Sha256 => "SCRAM-SHA-256",
            Hash::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn hmac(self, key: &[u8], text: &[u8]) -> hmac::Tag {
        let algorithm = match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), text)
    }

    fn digest(self, bytes: &[u8]) -> digest::Digest {
        match self {
            Hash::Sha256 => digest::digest(&digest::SHA256, bytes),
            Hash::Sha512 => digest::digest(&digest::SHA512, bytes),
        }
    }

    fn salted(self, password: &str, salt: &[u8], rounds: NonZeroU32) -> Vec<u8> {
        let (algorithm, bytes) = match self {
            Hash::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            Hash::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
        };
        let mut salted = vec![0; bytes];
        pbkdf2::derive(algorithm, rounds, salt, password.as_bytes(), &mut salted);
        salted
    }
}

pub(super) fn plain(user: &str, password: &str) -> Vec<u8> {
    format!("\0{user}\0{password}").into_bytes()
}

/// `extensions` as the trigger has them: `key=value,key=value`.
pub(super) fn bearer(token: &str, extensions: &str) -> Vec<u8> {
    let mut message = format!("n,,\x01auth=Bearer {token}");
    for extension in extensions.split(',').map(str::trim).filter(|extension| !extension.is_empty()) {
        message.push('\x01');
        message.push_str(extension);
    }
    message.push_str("\x01\x01");
    message.into_bytes()
}

/// The client's side of one exchange of SCRAM.
pub(super) struct Scram<'c> {
    hash: Hash,
    password: &'c str,
    nonce: String,
    first_bare: String,
    /// What the server has to prove.
    expected: Vec<u8>,
}

impl fmt::Debug for Scram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl<'c> Scram<'c> {
    pub(super) fn new(hash: Hash, user: &str, password: &'c str) -> Result<Self, Error> {
        let mut random = [0; 24];
        ring::rand::SystemRandom::new().fill(&mut random).map_err(|_| Error::Random)?;
        Ok(Scram::with_nonce(hash, user, password, STANDARD.encode(random)))
    }

    fn with_nonce(hash: Hash, user: &str, password: &'c str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        Scram { hash, password, nonce, first_bare, expected: Vec::new() }
    }

    pub(super) fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first_bare).into_bytes()
    }

    /// The answer to the server's first message.
    pub(super) fn last(&mut self, server_first: &[u8]) -> Result<Vec<u8>, Error> {
        let wrong = |what: &'static str| Error::Server { what };
        let text = std::str::from_utf8(server_first).map_err(|_| wrong("no text"))?;
        let part = |name: &str| text.split(',').find_map(|part| part.strip_prefix(name));
        let nonce =
            part("r=").filter(|nonce| nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len());
        let nonce = nonce.ok_or(wrong("its nonce does not begin with ours"))?;
        let salt = part("s=").and_then(|salt| STANDARD.decode(salt).ok()).ok_or(wrong("no salt"))?;
        let rounds = part("i=").and_then(|rounds| rounds.parse().ok()).filter(|rounds| *rounds <= ROUNDS_MAX);
        let rounds = rounds.and_then(NonZeroU32::new).ok_or(wrong("its rounds are not 1 to 100000"))?;
        let salted = self.hash.salted(self.password, &salt, rounds);
        // biws: "n,,", no binding to a channel.
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{text},{without_proof}", self.first_bare);
        let client_key = self.hash.hmac(&salted, b"Client Key");
        let stored_key = self.hash.digest(client_key.as_ref());
        let signature = self.hash.hmac(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, mask)| key ^ mask).collect();
        let server_key = self.hash.hmac(&salted, b"Server Key");
        self.expected = self.hash.hmac(server_key.as_ref(), signed.as_bytes()).as_ref().to_vec();
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes())
    }

    /// Checks that the server knows the password too.
    pub(super) fn verify(&self, server_last: &[u8]) -> Result<(), Error> {
        let proof = std::str::from_utf8(server_last).ok().and_then(|text| text.strip_prefix("v="));
        match proof.and_then(|proof| STANDARD.decode(proof.trim_end()).ok()) {
            Some(proof) if !self.expected.is_empty() && proof == self.expected => Ok(()),
            _ => Err(Error::Server { what: "it does not know the password" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn the_exchange_of_the_rfc_is_repeated() {
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        let mut scram = Scram::with_nonce(Hash::Sha256, "user", "pencil", nonce);
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server =
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let last = scram.last(server).expect("the server is fine");
        assert_eq!(
            String::from_utf8(last).expect("text"),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(scram.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        assert!(scram.verify(b"v=AAAA").is_err());
    }

    #[test]
    fn a_server_that_makes_up_a_nonce_or_asks_for_endless_rounds_is_refused() {
        let scram = || Scram::with_nonce(Hash::Sha512, "u", "p", "abc".to_owned());
        for first in
            ["r=xyz,s=AAAA,i=4096", "r=abc,s=AAAA,i=4096", "r=abcd,s=AAAA,i=4000000000", "r=abcd,i=1"]
        {
            assert!(scram().last(first.as_bytes()).is_err(), "{first}");
        }
        assert!(scram().verify(b"v=").is_err(), "nothing has been proven yet");
    }

    #[test]
    fn a_token_goes_with_its_extensions() {
        assert_eq!(bearer("t", ""), b"n,,\x01auth=Bearer t\x01\x01");
        assert_eq!(bearer("t", "a=1, b=2"), b"n,,\x01auth=Bearer t\x01a=1\x01b=2\x01\x01");
    }
}
