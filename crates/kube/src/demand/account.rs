//! Who a gateway is: its ServiceAccount token, reviewed by the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::Client;
use kube::api::{Api, PostParams};
use ring::digest::{SHA256, digest};
use tokio::sync::Semaphore;

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

/// For so long a token that was refused is refused again unasked.
const REFUSED: Duration = Duration::from_secs(10);

/// Refusals remembered; a further one takes the place of the oldest.
const REFUSALS_MAX: usize = 256;

/// Reviews under way. Who shows tokens that nobody made waits behind others, and the API server is not asked more.
const REVIEWS_MAX: usize = 4;

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
    known: Mutex<BTreeMap<Mark, (Who, Instant)>>,
    /// Those that were refused, why, and when.
    refused: Mutex<BTreeMap<Mark, (Error, Instant)>>,
    reviews: Semaphore,
}

/// A token's digest.
type Mark = [u8; 32];

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
        Accounts {
            client,
            allowed: accounts.iter().map(user).collect(),
            known: Mutex::default(),
            refused: Mutex::default(),
            reviews: Semaphore::new(REVIEWS_MAX),
        }
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
        if let Some(why) = self.refused_lately(&mark) {
            return Err(why);
        }
        // The bound is for tokens that nobody knows. It is never closed.
        let _review = match &before {
            Some(_) => None,
            None => self.reviews.acquire().await.ok(),
        };
        // The same token may have been refused while this one waited.
        if let Some(why) = self.refused_lately(&mark) {
            return Err(why);
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
                    put(&mut self.refusals(), REFUSALS_MAX, REFUSED, mark, error.clone());
                }
                Err(error)
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Mark, (Who, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, BTreeMap<Mark, (Error, Instant)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused_lately(&self, mark: &Mark) -> Option<Error> {
        let refusals = self.refusals();
        let (why, _) = refusals.get(mark).filter(|(_, at)| at.elapsed() < REFUSED)?;
        Some(why.clone())
    }

    fn remember(&self, mark: Mark, who: Who) {
        put(&mut self.known(), TOKENS_MAX, GOOD, mark, who);
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

/// Puts one in among those that are not too old; where there is no room, in place of the oldest.
fn put<T>(all: &mut BTreeMap<Mark, (T, Instant)>, max: usize, good: Duration, mark: Mark, one: T) {
    all.retain(|_, (_, at)| at.elapsed() < good);
    if all.len() >= max {
        let oldest = all.iter().min_by_key(|(_, (_, at))| *at).map(|(mark, _)| *mark);
        oldest.and_then(|oldest| all.remove(&oldest));
    }
    all.insert(mark, (one, Instant::now()));
}

/// The pod a token was made for.
fn pod(user: &UserInfo) -> Option<Id> {
    let name = user.extra.as_ref()?.get("authentication.kubernetes.io/pod-name")?.first()?;
    let namespace = user.username.as_deref()?.strip_prefix("system:serviceaccount:")?.split(':').next()?;
    Some(Id::new(Kind::Pod, namespace, name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// An API server that knows one token, and counts what it is asked: in all, and the most at once.
    #[derive(Default)]
    struct Asked {
        all: AtomicUsize,
        now: AtomicUsize,
        most: AtomicUsize,
    }

    fn accounts(asked: &Arc<Asked>) -> Accounts {
        let asked = Arc::clone(asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            let asked = Arc::clone(&asked);
            async move {
                asked.all.fetch_add(1, Ordering::SeqCst);
                let now = asked.now.fetch_add(1, Ordering::SeqCst) + 1;
                asked.most.fetch_max(now, Ordering::SeqCst);
                let body = request.into_body().collect_bytes().await.unwrap_or_default();
                let review: TokenReview = serde_json::from_slice(&body).unwrap();
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
                asked.now.fetch_sub(1, Ordering::SeqCst);
                let good = review.spec.token.as_deref() == Some("good");
                let user = json!({"username": "system:serviceaccount:tidegate:gateway"});
                let status = json!({"authenticated": good, "user": user, "audiences": [AUDIENCE]});
                let answer = json!({"metadata": {}, "spec": review.spec, "status": status});
                Ok::<_, std::convert::Infallible>(Response::new(Body::from(answer.to_string().into_bytes())))
            }
        });
        Accounts::new(Client::new(service, "tidegate"), &[("tidegate".to_owned(), "gateway".to_owned())])
    }

    #[tokio::test]
    async fn a_token_that_nobody_made_is_asked_for_once_in_a_while() {
        let asked = Arc::<Asked>::default();
        let accounts = accounts(&asked);
        for _ in 0..50 {
            assert!(matches!(accounts.review("bad").await, Err(Error::Refused(_))));
        }
        assert_eq!(asked.all.load(Ordering::SeqCst), 1);
        assert!(accounts.review("good").await.is_ok());
    }

    #[tokio::test]
    async fn many_tokens_at_once_are_asked_for_a_few_at_a_time_and_a_good_one_among_them_is_taken() {
        let asked = Arc::<Asked>::default();
        let accounts = accounts(&asked);
        let tokens: Vec<String> = (0..2 * REFUSALS_MAX).map(|number| number.to_string()).collect();
        let bad = join_all(tokens.iter().map(|token| accounts.review(token)));
        let (bad, good) = tokio::join!(bad, accounts.review("good"));
        assert!(good.is_ok() && bad.iter().all(Result::is_err));
        assert_eq!(asked.most.load(Ordering::SeqCst), REVIEWS_MAX);
        assert!(accounts.refusals().len() <= REFUSALS_MAX);
    }
}
