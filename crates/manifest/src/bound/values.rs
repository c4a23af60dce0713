//! Values that a manifest only points to, found among the objects given with it.
//!
//! A password in a Secret, an address in the container's environment: on Kubernetes the API server has
//! them, on one machine they have to be among the files. What is not there stays unknown, and the signal
//! says so. Values are handed on and never kept or printed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Container;

use super::{Bound, Files};
use crate::kinds::keda::{AuthTargetRef, OAuth2, ScaleTrigger, SecretKeyRef};
use crate::path;
use crate::trigger::Origin;
use crate::workload::env_container;

/// The key of the Secret by which a token of a ServiceAccount is handed in.
pub const TOKEN: &str = "token";

/// The Secret by which a token of a ServiceAccount is handed in, by who can ask the API server for one. No Secret on
/// a cluster has such a name.
#[must_use]
pub fn token_secret(service_account: &str) -> String {
    format!("serviceaccount/{service_account}")
}

impl Bound<'_> {
    /// The value a trigger's parameter has at `origin`. `files` gives the parameters that stand in a
    /// file an authentication names by `filePath`: they take the place of all others, as in KEDA.
    #[must_use]
    pub fn value(&self, index: usize, origin: &Origin, files: &Files) -> Option<String> {
        let trigger = self.triggers.get(index)?;
        match origin {
            Origin::Metadata(key) => trigger.metadata.get(key).map(|text| text.trim().to_owned()),
            Origin::Environment(name) => self.variable(name, self.container),
            Origin::Authentication(parameter) => match self.auth_file(index) {
                Some(file) => files.get(file)?.get(parameter).cloned(),
                None => self.parameter(trigger, parameter),
            },
        }
    }

    /// The file that has a trigger's parameters, where its authentication names one.
    #[must_use]
    pub fn auth_file(&self, index: usize) -> Option<&str> {
        let spec = self.authentication(self.triggers.get(index)?)?;
        spec.file_path.as_deref().filter(|file| !file.is_empty())
    }

    fn container(&self, name: Option<&str>) -> Option<&Container> {
        env_container(self.template?, name)
    }

    /// A variable of the container, plain or from a Secret or ConfigMap; then from `envFrom`.
    fn variable(&self, name: &str, container: Option<&str>) -> Option<String> {
        let container = self.container(container)?;
        let own = container.env.iter().flatten().find(|variable| variable.name == name);
        if let Some(variable) = own {
            if let Some(value) = &variable.value {
                return Some(value.clone());
            }
            let from = variable.value_from.as_ref()?;
            let secret = from.secret_key_ref.as_ref().map(|from| ("Secret", &from.name, &from.key));
            let config = from.config_map_key_ref.as_ref().map(|from| ("ConfigMap", &from.name, &from.key));
            let (kind, object, key) = secret.or(config)?;
            return self.entry(kind, object, key);
        }
        // The last source that has it wins, as for the container itself.
        container.env_from.iter().flatten().rev().find_map(|source| {
            let key = name.strip_prefix(source.prefix.as_deref().unwrap_or_default())?;
            let secret = source.secret_ref.as_ref().map(|from| ("Secret", &from.name));
            let config = source.config_map_ref.as_ref().map(|from| ("ConfigMap", &from.name));
            let (kind, object) = secret.or(config)?;
            self.entry(kind, object, key)
        })
    }

    /// A parameter that the trigger's authentication gives.
    fn parameter(&self, trigger: &ScaleTrigger, parameter: &str) -> Option<String> {
        let spec = self.authentication(trigger)?;
        let from = |kind: &str, sources: &[AuthTargetRef]| {
            let source = sources.iter().find(|source| source.parameter == parameter)?;
            self.entry(kind, &source.name, &source.key)
        };
        let variable = || {
            let source = spec.env.iter().find(|source| source.parameter == parameter)?;
            self.variable(&source.name, source.container_name.as_deref().or(self.container))
        };
        let token = || {
            let mut sources = spec.bound_service_account_token.iter();
            let source = sources.find(|source| source.parameter == parameter)?;
            self.entry("Secret", &token_secret(&source.service_account_name), TOKEN)
        };
        from("Secret", &spec.secret_target_ref)
            .or_else(|| from("ConfigMap", &spec.config_map_target_ref))
            .or_else(variable)
            .or_else(token)
            .or_else(|| self.oauth2(spec.oauth2.as_ref()?, parameter))
    }

    /// A parameter of the token request that an `oauth2` source describes, under the names KEDA gives them.
    fn oauth2(&self, source: &OAuth2, parameter: &str) -> Option<String> {
        match parameter {
            "oauthTokenURI" => Some(source.token_url.clone()),
            "clientID" => Some(source.client_id.clone()),
            "clientSecret" => {
                let SecretKeyRef { name, key } = &source.client_secret.as_ref()?.value_from.secret_key_ref;
                self.entry("Secret", name, key)
            }
            "scopes" => (!source.scopes.is_empty()).then(|| source.scopes.join(",")),
            "endpointParams" => {
                let mut query = form_urlencoded::Serializer::new(String::new());
                query.extend_pairs(&source.token_url_params);
                Some(query.finish()).filter(|query| !query.is_empty())
            }
            _ => None,
        }
    }

    /// One entry of a Secret or ConfigMap of the object's namespace. Read from the tree, since a Secret
    /// need not be a kind that anything else reads.
    fn entry(&self, kind: &str, name: &str, key: &str) -> Option<String> {
        let mut all = self.manifests.documents.iter();
        let object = all.find(|document| {
            document.kind == kind
                && document.name == name
                && document.namespace == self.document.namespace
                && document.group().is_empty()
        })?;
        let at = |field: &str| object.root.at(path![field, key])?.scalar_text();
        if kind == "ConfigMap" {
            return at("data");
        }
        at("stringData").or_else(|| {
            let coded: String = at("data")?.split_whitespace().collect();
            String::from_utf8(STANDARD.decode(coded).ok()?).ok()
        })
    }
}
