//! By what right pods are asked for their metrics: a key, and whom their certificates are trusted by.

use std::fmt;

use k8s_openapi::ByteString;
use tidegate_manifest::serving::{Entry, Page, Trust};
use tidegate_signals::https::Client;
use tidegate_signals::tls::Tls;

use crate::index::Index;
use crate::object::{Id, Kind};

/// What is sent to the pods of one target, and what is asked of them.
#[derive(Default)]
pub(super) struct Access {
    pub(super) key: Option<String>,
    tls: Option<(Tls, Option<String>)>,
    pub(super) client: Option<Client>,
    /// Why they cannot be asked.
    pub(super) trouble: Option<String>,
}

impl fmt::Debug for Access {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

impl PartialEq for Access {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.tls, &self.trouble) == (&other.key, &other.tls, &other.trouble)
    }
}

impl Access {
    /// What a page asks for, as it stands in the Secrets of a namespace.
    pub(super) fn of(page: &Page, namespace: &str, index: &Index) -> Self {
        let mut access = Access { key: page.key.clone(), ..Access::default() };
        if let Err(why) = access.gather(page, namespace, index) {
            access.trouble = Some(why);
        }
        access
    }

    fn gather(&mut self, page: &Page, namespace: &str, index: &Index) -> Result<(), String> {
        let read = |entry: &Entry| {
            let id = Id::new(Kind::Secret, namespace, &entry.secret);
            let object =
                index.object(&id).ok_or_else(|| format!("there is no Secret {namespace}/{}", id.name))?;
            let data = object.json.pointer("/data").and_then(|data| data.get(&entry.entry));
            let bytes: Option<ByteString> = data.and_then(|text| serde_json::from_value(text.clone()).ok());
            let text = bytes.and_then(|bytes| String::from_utf8(bytes.0).ok());
            text.ok_or_else(|| format!("Secret {namespace}/{} has no text under {}", id.name, entry.entry))
        };
        if let Some(entry) = &page.key_from {
            self.key = Some(read(entry)?.trim().to_owned());
        }
        if page.https {
            let tls = match &page.trust {
                Trust::Machine => Tls::default(),
                Trust::Entry(entry) => Tls { ca_pem: Some(read(entry)?), ..Tls::default() },
                Trust::Nothing => Tls { insecure: true, ..Tls::default() },
            };
            let client = Client::named(Some(&tls), page.host.as_deref());
            self.client = Some(client.map_err(|error| error.to_string())?);
            self.tls = Some((tls, page.host.clone()));
        }
        Ok(())
    }
}
