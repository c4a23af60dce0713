//! Tokens of ServiceAccounts that a TriggerAuthentication asks for (`boundServiceAccountToken`).
//!
//! Nobody can watch a token, since the API server makes one when it is asked and keeps none. To the index it looks as
//! if one were watched: there is one, and before it ends there is another.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use tidegate_manifest::bound::TOKEN;
use tokio::sync::mpsc;

use super::{Backoff, News, said};
use crate::object::{Change, Kind, Object, Scope};

/// What is asked for, as KEDA does. The server may give less.
const LIFE_S: i64 = 3600;

/// The shortest time between two requests: a server that says a token is over at once is not asked in a circle.
const RENEWAL_MIN: Duration = Duration::from_secs(60);

/// Keeps a token at hand until nobody listens.
pub(super) async fn keep(client: Client, scope: Scope, out: mpsc::Sender<News>) {
    let (Some(namespace), Some(name)) = (&scope.namespace, &scope.name) else { return };
    let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
    let (mut backoff, mut blind) = (Backoff::default(), false);
    loop {
        let wait = match ask(&accounts, name).await {
            Ok((token, life)) => {
                let json = json!({
                    "metadata": {"namespace": &**namespace, "name": &**name},
                    "data": {TOKEN: ByteString(token.into_bytes())},
                });
                let object = Object::new(Kind::Token, json).map(|object| Change::Applied(Box::new(object)));
                let changes =
                    [Some(Change::Listing(scope.clone())), object, Some(Change::Listed(scope.clone()))];
                let sees = std::mem::take(&mut blind).then(|| News::Sees(scope.clone()));
                for news in sees.into_iter().chain(changes.into_iter().flatten().map(News::Change)) {
                    if out.send(news).await.is_err() {
                        return;
                    }
                }
                backoff = Backoff::default();
                // As a kubelet does: with a fifth of its life left.
                (life * 4 / 5).max(RENEWAL_MIN)
            }
            Err(why) => {
                blind = true;
                if out.send(News::Blind(scope.clone(), why)).await.is_err() {
                    return;
                }
                backoff.next().unwrap_or(RENEWAL_MIN)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = out.closed() => return,
        }
    }
}

/// Why one that only advises has no token.
const READS_ONLY: &str = "an operator that only advises makes no tokens of ServiceAccounts, since asking for one is a \
                          write; what needs one is decided only by an operator that writes";

/// Says that no token is asked for, where nothing is written.
pub(super) async fn refuse(scope: Scope, out: mpsc::Sender<News>) {
    // The loop has ended when nobody takes it.
    let _ = out.send(News::Blind(scope, READS_ONLY.to_owned())).await;
}

/// A token, and how long it lives.
async fn ask(accounts: &Api<ServiceAccount>, name: &str) -> Result<(String, Duration), String> {
    let spec = TokenRequestSpec { expiration_seconds: Some(LIFE_S), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let answer = accounts.create_token_request(name, &PostParams::default(), &request).await;
    let answer = answer.map_err(|error| {
        format!(
            "no token of the ServiceAccount {name}: {}; is it among operator.serviceAccounts?",
            said(&error)
        )
    })?;
    let life = answer.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let token = answer.status.map(|status| status.token).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| format!("the API server gave an empty token of {name}"))?;
    Ok((token, Duration::from_secs(life.unwrap_or(LIFE_S as u64))))
}
