//! What an API server may do to its clients: forget, wait, say nothing, refuse.

use hyper::{Method, StatusCode};

use super::{Server, lock};

impl Server {
    /// Forgets every version but the present one: watches end with 410, and so do those that begin earlier.
    pub(crate) fn expire(&self) {
        let mut state = lock(&self.state);
        // One that is up to date must notice as well.
        state.version += 1;
        state.forgotten = state.version;
        state.history.clear();
        drop(state);
        let _ = self.changes.send(());
    }

    /// From now on writes are taken and not carried out; with `false` all of them are, in the order they came.
    pub(crate) fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    /// From now on no read of this plural is answered; with an empty one all of them are.
    pub(crate) fn hush(&self, plural: &'static str) {
        self.hushed.send_replace(plural);
    }

    /// From now on the watches that are open say nothing and do not end; those that begin later are told all.
    pub(crate) fn silence(&self) {
        let mut state = lock(&self.state);
        state.silenced = state.watches.len();
    }

    /// How long each watch asked to last, in seconds.
    pub(crate) fn watches(&self) -> Vec<u32> {
        lock(&self.state).watches.clone()
    }

    /// From now on such requests are answered with this status; with none they are served again.
    pub(crate) fn refuse(&self, method: Method, path: &str, code: Option<u16>) {
        let mut state = lock(&self.state);
        state.refused.retain(|(of, part, _)| *of != method || part != path);
        let code = code.map(|code| StatusCode::from_u16(code).expect("a status"));
        state.refused.extend(code.map(|code| (method, path.to_owned(), code)));
    }
}
