//! Who a gateway is: its ServiceAccount token, reviewed by the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::Client;
use kube::api::{Api, PostParams};
use ring::digest::{SHA256, digest};

use crate::object::{Id, Kind};
use crate::watch::said;

/// The audience a token must be for: one that was made for the API server is not taken, so a gateway never
/// shows such a one to us.
pub const AUDIENCE: &str = "tidegate-operator";

/// For so long a reviewed token is not reviewed again.
const FRESH: Duration = Duration::from_secs(300);

/// For so long it is taken where the API server cannot be asked: an hour, as long as most tokens live.
const GOOD: Duration = Duration::from_secs(3600);

/// Tokens remembered: 64 gateways, each with its present and its last one.
const TOKENS_MAX: usize = 128;

/// Until a review is answered.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a token: one with its pod and node in it has 1,500.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// None came, or one that is too long.
    #[error("no token of a ServiceAccount; send it as authorization: Bearer TOKEN")]
    None,
    /// The API server does not know it.
    #[error("the API server does not take the token for audience {AUDIENCE}: {0}")]
    Refused(String),
    /// It is somebody's who may not.
    #[error("{0} may not tell demand; name its ServiceAccount to the operator with --demand-account")]
    Account(String),
    /// The API server cannot be asked.
    #[error("the API server cannot be asked for the token: {0}")]
    Away(String),
}

/// Who showed a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The user: `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// The pod it was made for, where it was made for one.
    pub pod: Option<Id>,
}

/// Reviews tokens, and remembers what came of it for a while.
pub struct Accounts {
    client: Client,
    /// Users that may tell demand.
    allowed: BTreeSet<String>,
    /// By a token's digest: who it is of, and when it was reviewed.
    known: Mutex<BTreeMap<[u8; 32], (Who, Instant)>>,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Accounts {
    /// Takes tokens of these ServiceAccounts: namespace and name.
    #[must_use]
    pub fn new(client: Client, accounts: &[(String, String)]) -> Self {
        let user = |(namespace, name): &(String, String)| format!("system:serviceaccount:{namespace}:{name}");
        Accounts { client, allowed: accounts.iter().map(user).collect(), known: Mutex::default() }
    }

    /// Who shows this token.
    ///
    /// # Errors
    /// When nobody does who may tell demand, or the API server cannot be asked.
    pub async fn review(&self, token: &str) -> Result<Who, Error> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(Error::None);
        }
        let mut mark = [0; 32];
        mark.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let before = self.known().get(&mark).cloned();
        if let Some((who, at)) = &before
            && at.elapsed() < FRESH
        {
            return Ok(who.clone());
        }
        match (self.ask(token).await, before) {
            (Ok(who), _) => {
                self.remember(mark, who.clone());
                Ok(who)
            }
            (Err(Error::Away(_)), Some((who, at))) if at.elapsed() < GOOD => Ok(who),
            (Err(error), _) => {
                if !matches!(error, Error::Away(_)) {
                    self.known().remove(&mark);
                }
                Err(error)
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], (Who, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, mark: [u8; 32], who: Who) {
        let mut known = self.known();
        known.retain(|_, (_, at)| at.elapsed() < GOOD);
        if known.len() >= TOKENS_MAX {
            let oldest = known.iter().min_by_key(|(_, (_, at))| *at).map(|(mark, _)| *mark);
            oldest.and_then(|oldest| known.remove(&oldest));
        }
        known.insert(mark, (who, Instant::now()));
    }

    async fn ask(&self, token: &str) -> Result<Who, Error> {
        let audience = AUDIENCE.to_owned();
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![audience]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        let answer = match tokio::time::timeout(TIMEOUT, api.create(&params, &review)).await {
            Err(_) => return Err(Error::Away(format!("no answer within {} s", TIMEOUT.as_secs()))),
            Ok(Err(error)) => return Err(Error::Away(said(&error))),
            Ok(Ok(answer)) => answer.status.unwrap_or_default(),
        };
        let ours = answer.audiences.iter().flatten().any(|audience| audience == AUDIENCE);
        if answer.authenticated != Some(true) || !ours {
            return Err(Error::Refused(answer.error.unwrap_or_else(|| "it is not for us".to_owned())));
        }
        let user = answer.user.unwrap_or_default();
        let who = Who { pod: pod(&user), user: user.username.unwrap_or_default() };
        if self.allowed.contains(&who.user) { Ok(who) } else { Err(Error::Account(who.user)) }
    }
}

/// The pod a token was made for.
fn pod(user: &UserInfo) -> Option<Id> {
    let name = user.extra.as_ref()?.get("authentication.kubernetes.io/pod-name")?.first()?;
    let namespace = user.username.as_deref()?.strip_prefix("system:serviceaccount:")?.split(':').next()?;
    Some(Id::new(Kind::Pod, namespace, name))
}
