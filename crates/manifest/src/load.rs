//! Files to objects: every document read, typed, and placed.
//!
//! Reading never stops at the first mistake: what can be read is read, what cannot is a [`Finding`]
//! with its place. Who runs a manifest refuses it when any finding is an error; `lint` shows them all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::finding::{Finding, Severity};
use crate::node::{Mark, Node, Segment, Value, Written};
use crate::object::{Kind, Object};
use crate::{path, schema, yaml};

/// Objects one load takes at the most: ten thousand targets and what belongs to them.
const OBJECTS_MAX: usize = 100_000;

/// A file's name, as findings will show it, and its bytes.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name.
    pub name: Arc<str>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Source {
    /// A source from a name and its bytes.
    pub fn new(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Source { name: name.into(), bytes: bytes.into() }
    }
}

/// One object and where it stood.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file.
    pub file: Arc<str>,
    /// Its tree, with places.
    pub root: Node,
    /// `kind`, as written.
    pub kind: String,
    /// `metadata.namespace`, or `default`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The typed object.
    pub object: Object,
}

impl Document {
    /// `Kind namespace/name`, as findings name it.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    /// A finding at the value of `path`, or at its nearest ancestor.
    #[must_use]
    pub fn finding(
        &self,
        code: &'static str,
        severity: Severity,
        path: &[Segment],
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Finding {
        let keys = path.iter().filter_map(|segment| match segment {
            Segment::Key(key) => Some(key.as_str()),
            Segment::Index(_) => None,
        });
        let field = keys.collect::<Vec<_>>().join(".");
        Finding { field, ..self.finding_at(code, severity, self.root.mark_of(path), message, help) }
    }

    /// A finding at a place.
    #[must_use]
    pub fn finding_at(
        &self,
        code: &'static str,
        severity: Severity,
        mark: Mark,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Finding {
        Finding {
            code,
            severity,
            file: Arc::clone(&self.file),
            line: mark.line,
            column: mark.column,
            object: self.title(),
            field: String::new(),
            message: message.into(),
            help: help.into(),
        }
    }

    /// The value of an annotation on the object.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<String> {
        self.root.at(path!["metadata", "annotations", name])?.scalar_text()
    }
}

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// The objects, in the order of files and documents.
    pub documents: Vec<Document>,
    /// What was wrong in reading them.
    pub findings: Vec<Finding>,
    /// Whether there were too many.
    cut: bool,
}

impl Manifests {
    /// Whether anything is wrong enough that nothing of this may run.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// The object of a kind by namespace and name.
    #[must_use]
    pub fn find(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Document> {
        self.documents.iter().find(|document| {
            document.object.kind() == Some(kind) && document.namespace == namespace && document.name == name
        })
    }

    /// All objects of a kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Document> {
        self.documents.iter().filter(move |document| document.object.kind() == Some(kind))
    }
}

/// The finding of a field that nobody knows.
const UNKNOWN_FIELD: &str = "TG005";

/// Reads every object of every source.
#[must_use]
pub fn load(sources: &[Source]) -> Manifests {
    let mut manifests = Manifests::default();
    for source in sources {
        match yaml::parse(&source.bytes) {
            Ok(roots) => {
                for root in roots {
                    take(&mut manifests, source, root);
                }
            }
            Err(error) => manifests.findings.push(unplaced(
                source,
                "TG001",
                error.mark,
                format!("not readable as YAML: {}", error.message),
                "mend the file; nothing of it was read",
            )),
        }
    }
    report_twins(&mut manifests);
    manifests
}

/// Reads objects as an API server has them: a field that nobody here knows is one that the cluster's definitions do
/// know (the server drops others), as those of a newer KEDA may. It is kept and not read, which is a warning.
#[must_use]
pub fn live(sources: &[Source]) -> Manifests {
    let mut manifests = load(sources);
    for finding in manifests.findings.iter_mut().filter(|finding| finding.code == UNKNOWN_FIELD) {
        finding.severity = Severity::Warning;
        "nothing here reads it: the definition in the cluster is of a newer version"
            .clone_into(&mut finding.help);
    }
    manifests
}

fn unplaced(source: &Source, code: &'static str, mark: Mark, message: String, help: &str) -> Finding {
    Finding {
        code,
        severity: Severity::Error,
        file: Arc::clone(&source.name),
        line: mark.line,
        column: mark.column,
        object: String::new(),
        field: String::new(),
        message,
        help: help.into(),
    }
}

/// One document: an object, or a `List` of them.
fn take(manifests: &mut Manifests, source: &Source, root: Node) {
    let text = |path: &[Segment]| root.at(path).and_then(Node::as_str).map(str::to_owned);
    let (Some(api_version), Some(kind)) = (text(path!["apiVersion"]), text(path!["kind"])) else {
        manifests.findings.push(unplaced(
            source,
            "TG002",
            root.mark,
            "this document has no apiVersion and kind, so it is no Kubernetes object".into(),
            "give it both, or keep other YAML out of the directory",
        ));
        return;
    };
    if kind.ends_with("List") && root.get("items").is_some() {
        for item in root.get("items").map(Node::items).unwrap_or_default() {
            take(manifests, source, item.clone());
        }
        return;
    }
    if manifests.documents.len() >= OBJECTS_MAX {
        if !manifests.cut {
            manifests.cut = true;
            let message = format!("more than {OBJECTS_MAX} objects; the rest was not read");
            manifests.findings.push(unplaced(source, "TG002", root.mark, message, "split the files"));
        }
        return;
    }
    let name = root.at(path!["metadata", "name"]).and_then(Node::scalar_text).unwrap_or_default();
    let namespace = root
        .at(path!["metadata", "namespace"])
        .and_then(Node::scalar_text)
        .unwrap_or_else(|| "default".to_owned());
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let mut document = Document {
        file: Arc::clone(&source.name),
        root,
        namespace,
        name,
        object: Object::Other { api_version: api_version.clone(), kind: kind.clone() },
        kind,
    };
    let mut findings = Vec::new();
    if document.name.is_empty() && document.root.at(path!["metadata", "generateName"]).is_none() {
        findings.push(document.finding(
            "TG003",
            Severity::Error,
            path!["metadata"],
            "metadata.name is missing",
            "name the object",
        ));
    }
    if let Some(kind) = Kind::of(group, &document.kind) {
        if kind.api_version() == api_version {
            kind.read(&mut document, &mut findings);
        } else {
            // An older HPA is served still, and simply not understood here; KEDA has one version.
            let severity = if group == "keda.sh" { Severity::Error } else { Severity::Warning };
            findings.push(document.finding(
                "TG003",
                severity,
                path!["apiVersion"],
                format!("{} is read as {}, not as {api_version}", document.kind, kind.api_version()),
                format!("write apiVersion: {}", kind.api_version()),
            ));
        }
    }
    manifests.findings.append(&mut findings);
    manifests.documents.push(document);
}

/// Two objects of one kind and name: which of them would be applied is an accident of order.
fn report_twins(manifests: &mut Manifests) {
    let mut seen: BTreeMap<(&str, &str, &str, &str), &Document> = BTreeMap::new();
    let mut findings = Vec::new();
    for document in manifests.documents.iter().filter(|document| !document.name.is_empty()) {
        let (kind, namespace) = (document.kind.as_str(), document.namespace.as_str());
        let key = (document.group(), kind, namespace, document.name.as_str());
        if let Some(first) = seen.get(&key) {
            findings.push(document.finding(
                "TG006",
                Severity::Error,
                path!["metadata", "name"],
                format!(
                    "{} is defined twice, first in {}:{}",
                    document.title(),
                    first.file,
                    first.root.mark.line
                ),
                "remove one, or give it another name or namespace",
            ));
        } else {
            seen.insert(key, document);
        }
    }
    manifests.findings.append(&mut findings);
}

/// The fields a type has at a path.
type KnownFields = fn(&[Segment]) -> Vec<String>;

/// Reads a document's tree into a type: wrong values are `TG003`, numbers where text belongs `TG004`,
/// unknown fields `TG005` with the nearest of those `known` there (unless the type knows only a part).
pub(crate) fn read<T: DeserializeOwned>(
    document: &Document,
    known: Option<KnownFields>,
    findings: &mut Vec<Finding>,
) -> Option<T> {
    let mut json = document.root.to_json();
    schema::quote_scalars(&document.root, &mut json, |path, text| {
        findings.push(document.finding_at(
            "TG004",
            Severity::Error,
            document.root.value_mark(path),
            format!("{} must be text, and {text} without quotes is not", Written(path)),
            format!("write \"{text}\" with quotes; the API server refuses the object as it is"),
        ));
    });
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(json, &mut track);
    let result =
        serde_ignored::deserialize(tracked, |ignored| unknown.push(schema::segments_of_ignored(&ignored)));
    if let Some(known) = known {
        // Every object has these two; types made for a client leave them to it.
        let told =
            |path: &Vec<Segment>| path.as_slice() == path!["apiVersion"] || path.as_slice() == path!["kind"];
        for path in unknown.into_iter().filter(|path| !told(path)) {
            findings.push(unknown_field(document, &path, &known(&path[..path.len().saturating_sub(1)])));
        }
    }
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let path = schema::segments_of_error(&track.path());
            let at = if path.is_empty() { String::new() } else { format!("{}: ", Written(&path)) };
            findings.push(document.finding_at(
                "TG003",
                Severity::Error,
                document.root.value_mark(&path),
                format!("{at}{}", schema::plain_words(&error.to_string())),
                "give the field a value of the kind that is expected",
            ));
            None
        }
    }
}

fn unknown_field(document: &Document, path: &[Segment], known: &[String]) -> Finding {
    let key = match path.last() {
        Some(Segment::Key(key)) => key.as_str(),
        _ => "",
    };
    let help = match crate::nearest::nearest(key, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None if known.is_empty() => "remove it".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    };
    document.finding(
        UNKNOWN_FIELD,
        Severity::Error,
        path,
        format!("{} is not a field of {}", Written(path), document.kind),
        help,
    )
}

/// Whether a node is a scalar that YAML did not read as text.
pub(crate) fn unquoted(node: &Node) -> bool {
    matches!(node.value, Value::Bool(_) | Value::Int(_) | Value::Float(_))
}
