//! Which build of a server runs.

use k8s_openapi::api::core::v1::Container;
use tidegate_metrics::dialect::Engine;

use super::facts::{self, Facts};
use crate::finding::{Finding, Severity};
use crate::path;

/// An image as it is written, in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    repository: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// `registry:5000/org/name:tag@sha256:…`.
    pub(super) fn of(image: &'a str) -> Self {
        let (rest, digest) = match image.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (image, None),
        };
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        match rest[last..].find(':') {
            Some(colon) => {
                let colon = last + colon;
                Reference { repository: &rest[..colon], tag: Some(&rest[colon + 1..]), digest }
            }
            None => Reference { repository: rest, tag: None, digest },
        }
    }

    /// The repository, registry included.
    pub(super) fn repository(&self) -> &'a str {
        self.repository
    }

    /// The last part of the repository: `vllm-openai`.
    pub(super) fn name(&self) -> &'a str {
        self.repository.rsplit('/').next().unwrap_or(self.repository)
    }

    /// Major and minor of a tag such as `v0.32.0` or `0.8.5.post1`.
    pub(super) fn version(&self) -> Option<(u32, u32)> {
        let tag = self.tag?;
        let mut numbers = tag.strip_prefix('v').unwrap_or(tag).split(['.', '-']);
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// Why the next pull may bring another program, if it may.
    fn moves(&self) -> Option<String> {
        let moving =
            |tag: &str| matches!(tag, "latest" | "nightly" | "main" | "master") || tag.starts_with("latest-");
        match (self.digest, self.tag) {
            (Some(_), _) => None,
            (None, None) => Some("has no tag, which means latest".to_owned()),
            (None, Some(tag)) if moving(tag) => Some(format!("has the tag {tag}")),
            (None, Some(_)) => None,
        }
    }
}

/// TG310: a model server, or a ScaledJob's worker, that is whatever was pushed last.
pub(super) fn latest_tag(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for pods in facts.pods() {
        let job = pods.document.kind == "ScaledJob";
        for (index, container) in pods.containers().filter(|(_, container)| job || is_model_server(container))
        {
            let image = container.image.as_deref().unwrap_or_default();
            // A template's placeholder is filled in elsewhere.
            if image.is_empty() || image.contains(['$', '{']) {
                continue;
            }
            let Some(moves) = Reference::of(image).moves() else { continue };
            findings.push(pods.document.finding(
                "TG310",
                Severity::Warning,
                &pods.path(path!["spec", "containers", index, "image"]),
                format!("{image} {moves}: replicas started on different days run different programs"),
                "name a release, or a digest, and change it in the manifest",
            ));
        }
    }
}

fn is_model_server(container: &Container) -> bool {
    let engine = facts::engine(container).filter(|engine| *engine != Engine::Dcgm);
    engine.is_some() || facts::gpus(container) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_taken_apart_where_its_parts_end() {
        for (image, name, version, moves) in [
            ("vllm/vllm-openai:v0.32.0", "vllm-openai", Some((0, 32)), false),
            ("vllm/vllm-openai:v0.8.5.post1", "vllm-openai", Some((0, 8)), false),
            ("vllm/vllm-openai", "vllm-openai", None, true),
            ("vllm/vllm-openai:latest", "vllm-openai", None, true),
            ("localhost:5000/vllm", "vllm", None, true),
            ("localhost:5000/vllm:1.2-cu124", "vllm", Some((1, 2)), false),
            ("ghcr.io/x/y:latest@sha256:00", "y", None, false),
            ("ghcr.io/ggml-org/llama.cpp:server-cuda-b6000", "llama.cpp", None, false),
            ("rocm/vllm:latest-release", "vllm", None, true),
        ] {
            let reference = Reference::of(image);
            assert_eq!(reference.name(), name, "{image}");
            assert_eq!(reference.version(), version, "{image}");
            assert_eq!(reference.moves().is_some(), moves, "{image}");
        }
    }
}
