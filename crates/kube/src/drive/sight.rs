//! What a target needs to be seen before it is decided, and what it says where that cannot be.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::time::Span;

use super::Operator;
use crate::index::target::Key;
use crate::index::{self, Index};
use crate::object::{Id, Kind, Scope};
use crate::watch::{FORBIDDEN, SINGLE_MAX};

/// How long a target waits for what it refers to before it says so: a list takes a second, and one that has to be
/// tried again some more.
const PATIENCE: Span = Span::from_secs(10);

impl Operator {
    /// Whether everything a target refers to has been looked for; if that lasts, it says what has not.
    pub(super) fn complete(&mut self, key: &Key) {
        let now = self.clock.now();
        let needed = self.index.needs(key);
        let missing = needed.iter().find(|scope| !self.index.is_listed(scope));
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.complete = missing.is_none();
        let Some(scope) = missing else {
            entry.incomplete_since = None;
            return;
        };
        let since = *entry.incomplete_since.get_or_insert(now);
        let refused = self.refused.contains(scope);
        let never = scope.kind == Kind::Token && self.connection.read_only;
        if refused || never || now.since(since) >= PATIENCE {
            let why = match self.blind.get(scope) {
                _ if refused => format!(
                    "{SINGLE_MAX} objects are watched by their names already; let authentications share Secrets, or \
                     give the cluster to several operators"
                ),
                Some(why) => why.clone(),
                None => format!("it has not been listed for {PATIENCE}"),
            };
            let (namespace, name) = (scope.namespace.as_deref(), scope.name.as_deref());
            let name = format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
            let what = match scope.kind {
                Kind::Token => "a token of the ServiceAccount".to_owned(),
                _ => scope.kind.gvk().kind.to_string(),
            };
            entry.trouble.get_or_insert_with(|| format!("cannot read {what} {name}: {why}"));
        } else {
            let again = since + PATIENCE;
            entry.recheck = Some(entry.recheck.map_or(again, |at| at.min(again)));
        }
    }

    /// Watches single objects that some target refers to, and no others.
    pub(super) fn want(&mut self) {
        self.look_for_claimers();
        let mut singles: BTreeSet<Scope> = self.index.wanted().filter_map(index::single).collect();
        singles.extend(self.afar.leases.iter().cloned());
        if singles == self.singles {
            return;
        }
        let refused = self.watches.want(&singles);
        let watched: BTreeSet<Scope> = singles.difference(&refused).cloned().collect();
        self.index.forget_listed(&watched);
        // Who needs what is refused says so with the next tick.
        let news: BTreeSet<&Scope> = refused.symmetric_difference(&self.refused).collect();
        self.again.extend(news.into_iter().flat_map(|scope| self.index.users_of(scope)));
        (self.singles, self.refused) = (singles, refused);
    }
}

/// Why a workload is not there for us; `None` while nobody has looked.
pub(super) fn unseen(id: &Id, known: &Index, blind: &BTreeMap<Scope, String>) -> Option<String> {
    let name = format!("{} {}/{}", id.kind.gvk().keda(), id.namespace, id.name);
    let single = index::single(id);
    if let Some(why) = single.as_ref().and_then(|scope| blind.get(scope)) {
        let help = if why.contains(FORBIDDEN) { "; add it to operator.scales" } else { "" };
        return Some(format!("cannot see {name}: {why}{help}"));
    }
    let looked = single.is_none_or(|scope| known.is_listed(&scope));
    looked.then(|| format!("there is no {name}"))
}
