//! What rules ask again and again, worked out once.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
use tidegate_metrics::dialect::Engine;

use super::prometheus::{self, Asked};
use crate::load::{Document, Manifests};
use crate::lower::Lowered;
use crate::node::Segment;
use crate::workload::TargetRef;

/// The objects and what follows from them.
#[derive(Debug)]
pub struct Facts<'a> {
    /// All objects.
    pub manifests: &'a Manifests,
    /// The targets that could be lowered.
    pub lowered: &'a Lowered,
    /// All prometheus triggers with their queries, in the order of documents.
    pub(super) asked: Vec<Asked<'a>>,
    objects: BTreeMap<TargetRef, &'a Document>,
    scalers: BTreeMap<TargetRef, Vec<&'a Document>>,
}

/// A pod template, where it stands, and whose it is.
#[derive(Clone, Debug)]
pub struct Pods<'a> {
    /// The workload.
    pub document: &'a Document,
    /// Path to the template in the document.
    pub at: Vec<Segment>,
    /// The template.
    pub template: &'a PodTemplateSpec,
}

impl<'a> Facts<'a> {
    /// Facts about a load.
    #[must_use]
    pub fn new(manifests: &'a Manifests, lowered: &'a Lowered) -> Self {
        let (mut objects, mut scalers) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
        for document in &manifests.documents {
            objects.entry(reference(document)).or_insert(document);
            if document.kind != "VerticalPodAutoscaler"
                && let Some(target) = TargetRef::of(document)
            {
                scalers.entry(target).or_default().push(document);
            }
        }
        let mut facts = Facts { manifests, lowered, asked: Vec::new(), objects, scalers };
        facts.asked = prometheus::asked(&facts);
        facts
    }

    /// Every pod template.
    pub fn pods(&self) -> impl Iterator<Item = Pods<'a>> {
        self.manifests.documents.iter().filter_map(Pods::of)
    }

    /// The pods that an object scales, when they are in the files.
    #[must_use]
    pub fn pods_of(&self, scaler: &Document) -> Option<Pods<'a>> {
        Pods::of(self.find(&TargetRef::of(scaler)?)?)
    }

    /// The object that a reference names, when it is in the files.
    pub(super) fn find(&self, target: &TargetRef) -> Option<&'a Document> {
        self.objects.get(target).copied()
    }

    /// The prometheus triggers of an object.
    pub(super) fn asked_of(&self, document: &Document) -> &[Asked<'a>] {
        // Documents stand in one vector, so that their addresses have its order.
        let place = std::ptr::from_ref(document);
        let from = self.asked.partition_point(|asked| std::ptr::from_ref(asked.document) < place);
        let to = self.asked.partition_point(|asked| std::ptr::from_ref(asked.document) <= place);
        &self.asked[from..to]
    }

    /// What scales a workload: ScaledObjects and HorizontalPodAutoscalers (not VPAs).
    pub fn scalers_of(&self, workload: &'a Document) -> impl Iterator<Item = &'a Document> {
        self.scalers.get(&reference(workload)).into_iter().flatten().copied()
    }
}

/// The reference by which an object would be named.
fn reference(document: &Document) -> TargetRef {
    TargetRef {
        group: document.group().to_owned(),
        kind: document.kind.clone(),
        namespace: document.namespace.clone(),
        name: document.name.clone(),
    }
}

impl<'a> Pods<'a> {
    /// The pod template of a workload.
    #[must_use]
    pub fn of(document: &'a Document) -> Option<Self> {
        let (at, template) = document.object.pod_template()?;
        Some(Pods { document, at: at.iter().map(|key| Segment::from(*key)).collect(), template })
    }

    /// A path below the template.
    #[must_use]
    pub fn path(&self, rest: &[Segment]) -> Vec<Segment> {
        self.at.iter().chain(rest).cloned().collect()
    }

    /// Its containers with their index.
    pub fn containers(&self) -> impl Iterator<Item = (usize, &'a Container)> {
        self.template.spec.iter().flat_map(|spec| &spec.containers).enumerate()
    }

    /// GPUs one pod asks for, by limit or request.
    #[must_use]
    pub fn gpus(&self) -> u32 {
        self.containers().map(|(_, container)| gpus(container)).sum()
    }

    /// The container that serves the model: the one that asks for a GPU or whose image is an engine's.
    #[must_use]
    pub fn server(&self) -> Option<(usize, &'a Container)> {
        self.containers()
            .find(|(_, container)| engine(container).is_some())
            .or_else(|| self.containers().find(|(_, container)| gpus(container) > 0))
    }
}

/// The engine a container runs, by its image.
#[must_use]
pub(super) fn engine(container: &Container) -> Option<Engine> {
    Engine::of_image(container.image.as_deref()?)
}

/// GPUs a container asks for: the greater of limit and request of any `*/gpu` resource.
#[must_use]
pub(super) fn gpus(container: &Container) -> u32 {
    let Some(resources) = &container.resources else { return 0 };
    let of = |amounts: Option<
        &std::collections::BTreeMap<_, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
    >| {
        amounts
            .into_iter()
            .flatten()
            .filter(|(name, _): &(&String, _)| is_gpu(name))
            .filter_map(|(_, amount)| crate::quantity::parse(&amount.0).ok())
            .map(|milli| u32::try_from(milli.0 / 1000).unwrap_or(0))
            .sum::<u32>()
    };
    of(resources.limits.as_ref()).max(of(resources.requests.as_ref()))
}

/// Whether a resource name is a whole GPU or a slice of one: `nvidia.com/gpu`, `amd.com/gpu`, `nvidia.com/mig-1g.5gb`.
#[must_use]
pub(super) fn is_gpu(resource: &str) -> bool {
    resource.ends_with("/gpu")
        || resource.starts_with("nvidia.com/mig-")
        || resource.starts_with("gpu.intel.com/")
}
