//! An object's triggers with what stands around them: the authentication they refer to, the environment
//! of the container they are resolved in, the kind of object they belong to.
//!
//! The one place where these are found: lowering asks it what a trigger means, and whoever reads the
//! trigger's source asks it for the values that stand elsewhere.

mod values;

pub use values::{TOKEN, token_secret};

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::PodTemplateSpec;

use crate::kinds::keda::{AuthenticationKind, ScaleTrigger, TriggerAuthenticationSpec};
use crate::load::{Document, Manifests};
use crate::object::{Kind, Object};
use crate::trigger::{self, Declared, Fault, Owner, Trigger};
use crate::workload::{TargetRef, env_container, environment};

/// The parameters in each file that a ClusterTriggerAuthentication may name by `filePath`.
pub type Files = BTreeMap<String, BTreeMap<String, String>>;

/// The triggers of one ScaledObject or ScaledJob.
#[derive(Clone, Debug)]
pub struct Bound<'m> {
    manifests: &'m Manifests,
    /// The object that has the triggers.
    pub document: &'m Document,
    /// The triggers, as declared.
    pub triggers: &'m [ScaleTrigger],
    /// The pod template of what is scaled, where it is at hand.
    template: Option<&'m PodTemplateSpec>,
    /// The container whose environment counts; `None` for the first.
    container: Option<&'m str>,
    /// Its environment by name; see [`environment`].
    pub environment: Option<BTreeMap<String, Option<String>>>,
    /// What kind of object it is.
    pub owner: Owner,
}

impl<'m> Bound<'m> {
    /// The triggers of a document; `None` for an object that has none.
    #[must_use]
    pub fn of(manifests: &'m Manifests, document: &'m Document) -> Option<Self> {
        let (triggers, container, owner): (&[ScaleTrigger], Option<&str>, Owner) = match &document.object {
            Object::ScaledObject(object) => {
                let advanced = object.spec.advanced.as_ref();
                let modifiers = advanced.and_then(|advanced| advanced.scaling_modifiers.as_ref());
                let modifiers = modifiers.is_some_and(|modifiers| {
                    [&modifiers.formula, &modifiers.target].into_iter().flatten().any(|text| !text.is_empty())
                });
                let container = object.spec.scale_target_ref.env_source_container_name.as_deref();
                (&object.spec.triggers, container, Owner::ScaledObject { modifiers })
            }
            Object::ScaledJob(object) => {
                (&object.spec.triggers, object.spec.env_source_container_name.as_deref(), Owner::ScaledJob)
            }
            _ => return None,
        };
        // A ScaledJob has its template itself.
        let workload = TargetRef::of(document).map_or(Some(document), |target| target.find(manifests));
        let template = workload.and_then(|workload| workload.object.pod_template());
        let template = template.map(|(_, template)| template);
        let found = template.and_then(|template| env_container(template, container));
        let environment = found.and_then(environment);
        Some(Bound { manifests, document, triggers, template, container, environment, owner })
    }

    /// A trigger, understood. What its authentication has in a file is not known.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(&self, index: usize) -> Result<Trigger, Vec<Fault>> {
        self.parse_with(index, &Files::new())
    }

    /// The same with the files at hand that authentications name.
    ///
    /// # Errors
    /// As above.
    pub fn parse_with(&self, index: usize, files: &Files) -> Result<Trigger, Vec<Fault>> {
        let Some(declared) = self.triggers.get(index) else { return Err(Vec::new()) };
        let parameters = match self.auth_file(index).and_then(|file| files.get(file)) {
            Some(file) => Some(file.keys().cloned().collect()),
            None => self.parameters(declared),
        };
        trigger::parse(&Declared {
            index,
            type_: &declared.type_,
            name: declared.name.as_deref().filter(|name| !name.is_empty()),
            metadata: &declared.metadata,
            metric_type: declared.metric_type.as_deref().filter(|text| !text.is_empty()),
            use_cached_metrics: declared.use_cached_metrics == Some(true),
            auth_parameters: parameters.as_ref(),
            environment: self.environment.as_ref(),
            owner: self.owner,
        })
    }

    /// The authentication a trigger refers to, where it is at hand.
    fn authentication(&self, trigger: &ScaleTrigger) -> Option<&'m TriggerAuthenticationSpec> {
        let reference = trigger.authentication_ref.as_ref()?;
        let cluster = reference.kind == Some(AuthenticationKind::ClusterTriggerAuthentication);
        let found = if cluster {
            let mut all = self.manifests.of_kind(Kind::ClusterTriggerAuthentication);
            all.find(|document| document.name == reference.name)?
        } else {
            self.manifests.find(Kind::TriggerAuthentication, &self.document.namespace, &reference.name)?
        };
        match &found.object {
            Object::TriggerAuthentication(object) => Some(&object.spec),
            Object::ClusterTriggerAuthentication(object) => Some(&object.spec.0),
            _ => None,
        }
    }

    /// The parameters a trigger's authentication provides: none without a reference, unknown (`None`)
    /// when the object referred to is not at hand or gets them from a store or a file.
    fn parameters(&self, trigger: &ScaleTrigger) -> Option<BTreeSet<String>> {
        if trigger.authentication_ref.is_none() {
            return Some(BTreeSet::new());
        }
        provided(self.authentication(trigger)?)
    }
}

fn provided(spec: &TriggerAuthenticationSpec) -> Option<BTreeSet<String>> {
    let from_store = spec.file_path.is_some()
        || spec.hashi_corp_vault.is_some()
        || spec.azure_key_vault.is_some()
        || spec.gcp_secret_manager.is_some()
        || spec.aws_secret_manager.is_some()
        || spec.pod_identity.is_some();
    if from_store {
        return None;
    }
    let mut names = BTreeSet::new();
    names.extend(spec.secret_target_ref.iter().map(|source| source.parameter.clone()));
    names.extend(spec.config_map_target_ref.iter().map(|source| source.parameter.clone()));
    names.extend(spec.env.iter().map(|source| source.parameter.clone()));
    names.extend(spec.bound_service_account_token.iter().map(|source| source.parameter.clone()));
    if let Some(oauth2) = &spec.oauth2 {
        let given = [
            ("oauthTokenURI", true),
            ("clientID", true),
            ("clientSecret", oauth2.client_secret.is_some()),
            ("scopes", !oauth2.scopes.is_empty()),
            ("endpointParams", !oauth2.token_url_params.is_empty()),
        ];
        names.extend(given.iter().filter(|(_, given)| *given).map(|(name, _)| (*name).to_owned()));
    }
    Some(names)
}

#[cfg(test)]
mod tests;
