//! The files are looked at each second: what a good edit says is applied, a bad one is refused whole.
//!
//! Looking is reading: a few files of some kilobytes each second cost nothing, and it sees every way in
//! which an editor or a mounted ConfigMap changes a file, which notifications do not.

use std::path::PathBuf;
use std::time::Duration;

use tidegate_journal::manifest_hash;
use tokio::sync::mpsc::UnboundedSender;

use super::auth::AuthFiles;
use super::fleet::Message;
use super::world;
use crate::files;

const LOOK: Duration = Duration::from_secs(1);

/// Looks for ever, and tells of each change once.
pub(crate) async fn watch(
    paths: Vec<PathBuf>,
    auth_root: Option<PathBuf>,
    mut known: (String, AuthFiles),
    tell: UnboundedSender<Message>,
) {
    let mut interval = tokio::time::interval(LOOK);
    let mut unreadable = None;
    loop {
        interval.tick().await;
        let (paths, auth_root) = (paths.clone(), auth_root.clone());
        let read = tokio::task::spawn_blocking(move || {
            Ok((files::manifests(&paths)?, AuthFiles::read(auth_root.as_deref())?))
        });
        let read: Result<anyhow::Result<_>, _> = read.await;
        let message = match read {
            Ok(Ok((sources, auth))) => {
                unreadable = None;
                let hash = manifest_hash(sources.iter().map(|source| source.bytes.as_slice()));
                if known.0 == hash && known.1 == auth {
                    continue;
                }
                known = (hash, auth.clone());
                match world::understand(sources, auth) {
                    Ok(world) => Message::World(Box::new(world)),
                    Err(refused) => Message::Refused(refused.first()),
                }
            }
            // A file that an editor is just replacing is not there for a moment: it is told the second time.
            Ok(Err(error)) => {
                let text = format!("{error:#}");
                let before = unreadable.replace((text.clone(), false));
                match before {
                    Some((old, false)) if old == text => {
                        unreadable = Some((text.clone(), true));
                        Message::Refused(text)
                    }
                    Some((old, true)) if old == text => {
                        unreadable = Some((text, true));
                        continue;
                    }
                    _ => continue,
                }
            }
            Err(_) => continue,
        };
        if tell.send(message).is_err() {
            return;
        }
    }
}
