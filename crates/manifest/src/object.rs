//! The kinds of objects that are read, and a typed object of any of them.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, ResourceQuota, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::finding::Finding;
use crate::kinds::keda::{ClusterTriggerAuthentication, ScaledJob, ScaledObject, TriggerAuthentication};
use crate::kinds::leader_worker_set::LeaderWorkerSet;
use crate::kinds::monitor::{PodMonitor, ServiceMonitor};
use crate::kinds::vertical_pod_autoscaler::VerticalPodAutoscaler;
use crate::load::{Document, read};
use crate::schema;

/// The fields a type knows, where it knows them all.
macro_rules! known {
    (true, $type:ty) => {
        Some(schema::fields_at::<$type>)
    };
    (false, $type:ty) => {
        None
    };
}

macro_rules! kinds {
    ($($variant:ident = $api_version:literal, $complete:tt;)+) => {
        /// The kinds that are read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $(#[doc = concat!("`", stringify!($variant), "` of `", $api_version, "`.")] $variant,)+ }

        /// A typed object.
        #[derive(Clone, Debug)]
        pub enum Object {
            $(#[doc = concat!("A ", stringify!($variant), ".")] $variant(Box<$variant>),)+
            /// An object of a kind nobody reads here, or one that could not be read.
            Other {
                /// Its `apiVersion`.
                api_version: String,
                /// Its `kind`.
                kind: String,
            },
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)+];

            /// Its `kind`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$variant => stringify!($variant),)+ }
            }

            /// The `apiVersion` it is read in.
            #[must_use]
            pub const fn api_version(self) -> &'static str {
                match self { $(Kind::$variant => $api_version,)+ }
            }

            /// Reads a document of this kind into its type. Fields that no type here knows are told
            /// only where the type is complete.
            pub(crate) fn read(self, document: &mut Document, findings: &mut Vec<Finding>) {
                match self {
                    $(Kind::$variant => {
                        if let Some(object) = read::<$variant>(document, known!($complete, $variant), findings) {
                            document.object = Object::$variant(Box::new(object));
                        }
                    })+
                }
            }
        }

        impl Object {
            /// The object's kind, if it is one that is read.
            #[must_use]
            pub const fn kind(&self) -> Option<Kind> {
                match self {
                    $(Object::$variant(_) => Some(Kind::$variant),)+
                    Object::Other { .. } => None,
                }
            }
        }
    };
}

kinds! {
    ScaledObject = "keda.sh/v1alpha1", true;
    ScaledJob = "keda.sh/v1alpha1", true;
    TriggerAuthentication = "keda.sh/v1alpha1", true;
    ClusterTriggerAuthentication = "keda.sh/v1alpha1", true;
    HorizontalPodAutoscaler = "autoscaling/v2", true;
    Deployment = "apps/v1", true;
    StatefulSet = "apps/v1", true;
    LeaderWorkerSet = "leaderworkerset.x-k8s.io/v1", false;
    Job = "batch/v1", true;
    Service = "v1", true;
    ServiceMonitor = "monitoring.coreos.com/v1", false;
    PodMonitor = "monitoring.coreos.com/v1", false;
    VerticalPodAutoscaler = "autoscaling.k8s.io/v1", false;
    PodDisruptionBudget = "policy/v1", true;
    ConfigMap = "v1", true;
    ResourceQuota = "v1", true;
}

impl Kind {
    /// The kind of a group and name, whatever the version.
    #[must_use]
    pub fn of(group: &str, name: &str) -> Option<Kind> {
        let group_of = |kind: &Kind| kind.api_version().rsplit_once('/').map_or("", |(group, _)| group);
        Kind::ALL.iter().copied().find(|kind| kind.name() == name && group_of(kind) == group)
    }
}

impl Object {
    /// The pod template of a workload, with the path to it.
    #[must_use]
    pub fn pod_template(&self) -> Option<(&'static [&'static str], &PodTemplateSpec)> {
        const TEMPLATE: &[&str] = &["spec", "template"];
        match self {
            Object::Deployment(object) => Some((TEMPLATE, &object.spec.as_ref()?.template)),
            Object::StatefulSet(object) => Some((TEMPLATE, &object.spec.as_ref()?.template)),
            Object::Job(object) => Some((TEMPLATE, &object.spec.as_ref()?.template)),
            Object::ScaledJob(object) => {
                Some((&["spec", "jobTargetRef", "template"], &object.spec.job_target_ref.template))
            }
            Object::LeaderWorkerSet(object) => {
                let template = &object.spec.leader_worker_template;
                match &template.leader_template {
                    Some(leader) => Some((&["spec", "leaderWorkerTemplate", "leaderTemplate"], leader)),
                    None => {
                        Some((&["spec", "leaderWorkerTemplate", "workerTemplate"], &template.worker_template))
                    }
                }
            }
            _ => None,
        }
    }
}
