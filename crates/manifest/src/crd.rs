//! KEDA's custom resource definitions, generated from [`kinds::keda`](crate::kinds::keda).
//!
//! What the types cannot say, and what kube's generator says too much of, is set right here, so that
//! an API server treats an object the same under these definitions and under KEDA's own:
//! - `nullable` goes. An API server drops a null where a field is not nullable, and a default then
//!   applies; where it is nullable, the null is stored and given to every reader.
//! - The pod template inside a `ScaledJob` gets what the Rust types of Kubernetes do not carry: the
//!   keys by which lists merge, the form of quantities, and metadata cut down to what a template has.
//! - The pod template loses its descriptions. With them the definition is larger than an annotation
//!   may be, and `kubectl apply` keeps a copy of what it applied in one.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube_core::CustomResourceExt;
use serde_json::Value;

use crate::kinds::keda::{ClusterTriggerAuthentication, ScaledJob, ScaledObject, TriggerAuthentication};

/// What `kubectl apply` can still handle: it writes the whole object into an annotation, and an
/// object's annotations together may have 256 KiB.
pub const MAX_BYTES: usize = 256 * 1024;

/// What a Kubernetes quantity looks like, e.g. `500m` or `2Gi`.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// The lists of a pod template whose elements have an identity: property and key.
const LIST_KEYS: &[(&str, &[&str])] = &[
    ("claims", &["name"]),
    ("containers", &["name"]),
    ("env", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
    ("initContainers", &["name"]),
    ("ports", &["containerPort", "protocol"]),
    ("resourceClaims", &["name"]),
    ("schedulingGates", &["name"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("volumeDevices", &["devicePath"]),
    ("volumeMounts", &["mountPath"]),
    ("volumes", &["name"]),
];

/// Fields a pod template may leave out though the Rust types of Kubernetes call them required: the
/// object they are in, their name, and what they then are. For a list's key that is also what lets it
/// be one: an API server refuses a key that is neither required nor has a default.
const FIELD_DEFAULTS: &[(&str, &str, &str)] = &[
    ("configMap", "name", ""),
    ("configMapKeyRef", "name", ""),
    ("configMapRef", "name", ""),
    ("imagePullSecrets[]", "name", ""),
    ("nodePublishSecretRef", "name", ""),
    ("ports[]", "protocol", "TCP"),
    ("secret", "name", ""),
    ("secretKeyRef", "name", ""),
    ("secretRef", "name", ""),
];

/// The metadata a pod template may have; an API server ignores the rest.
const TEMPLATE_METADATA: &[&str] = &["annotations", "finalizers", "labels", "name", "namespace"];

/// The four definitions, sorted by name.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        finished(ClusterTriggerAuthentication::crd()),
        finished(ScaledJob::crd()),
        finished(ScaledObject::crd()),
        finished(TriggerAuthentication::crd()),
    ]
}

/// The four definitions as one YAML stream, each document opened by `---`. The same bytes every time.
#[must_use]
pub fn yaml() -> String {
    all().iter().map(document).collect()
}

/// One definition as a YAML document.
fn document(definition: &CustomResourceDefinition) -> String {
    let mut value =
        serde_json::to_value(definition).expect("a definition is strings, numbers, lists and maps");
    whole_numbers(&mut value);
    let yaml = serde_saphyr::to_string(&value).expect("a JSON value is a YAML value");
    format!("---\n{yaml}")
}

/// Writes limits as `1`, not `1.0`: the schema type keeps every number as a float.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64()
                && number.is_f64()
                && float.fract() == 0.0
                && float.abs() <= f64::from(i32::MAX)
            {
                *number = (float as i64).into();
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(whole_numbers),
        Value::Object(members) => members.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// One generated definition, set right.
fn finished(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let names = &mut definition.spec.names;
    names.list_kind = Some(format!("{}List", names.kind));
    names.categories = names.categories.take().filter(|categories| !categories.is_empty());
    let jobs = names.kind == "ScaledJob";
    for version in &mut definition.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) else {
            continue;
        };
        for_each("", root, &mut |name, schema| {
            schema.nullable = None;
            if name == "policies" {
                schema.x_kubernetes_list_type = Some("atomic".to_owned());
            }
            // Every int-or-string in these schemas is a quantity, but for the ports of probes.
            if schema.x_kubernetes_int_or_string == Some(true) && name != "port" {
                schema.pattern = Some(QUANTITY.to_owned());
            }
        });
        type_meta(root);
        if jobs {
            // KEDA's own definition lets a ScaledJob without a spec in.
            root.required = None;
            if let Some(job) = property(root, &["spec", "jobTargetRef"]) {
                job_template(job);
            }
        }
        if let Some(oauth2) = property(root, &["spec", "oauth2"]) {
            // Required and with a default at once, as in KEDA: the default is applied first.
            oauth2.required.get_or_insert_default().push("type".to_owned());
            oauth2.required.get_or_insert_default().sort();
        }
    }
    definition
}

/// Adds what every object has. An API server knows it anyway; `kubectl explain` then shows it.
fn type_meta(root: &mut JSONSchemaProps) {
    let field = |type_: &str, description: &str| JSONSchemaProps {
        type_: Some(type_.to_owned()),
        description: Some(description.to_owned()),
        ..JSONSchemaProps::default()
    };
    let properties = root.properties.get_or_insert_default();
    properties.insert("apiVersion".to_owned(), field("string", "The API group and version of this object."));
    properties.insert("kind".to_owned(), field("string", "The kind of this object."));
    properties.insert(
        "metadata".to_owned(),
        JSONSchemaProps { type_: Some("object".to_owned()), ..JSONSchemaProps::default() },
    );
}

/// Sets a Job's spec right, everything below it included.
fn job_template(job: &mut JSONSchemaProps) {
    if let Some(selector) = property(job, &["selector"]) {
        selector.x_kubernetes_map_type = Some("atomic".to_owned());
    }
    let description = job.description.take();
    for_each("jobTargetRef", job, &mut |name, schema| {
        schema.description = None;
        match name {
            "metadata" => {
                let properties = schema.properties.get_or_insert_default();
                properties.retain(|name, _| TEMPLATE_METADATA.contains(&name.as_str()));
            }
            // Without a status, a rule on a pod's condition means the status True.
            "onPodConditions[]" => optional(schema, "status"),
            _ => {}
        }
        if let Some((_, keys)) = LIST_KEYS.iter().find(|(list, _)| *list == name) {
            schema.x_kubernetes_list_type = Some("map".to_owned());
            schema.x_kubernetes_list_map_keys = Some(keys.iter().map(|key| (*key).to_owned()).collect());
        }
        for (_, name, default) in FIELD_DEFAULTS.iter().filter(|(of, ..)| *of == name) {
            if let Some(field) = property(schema, &[name]) {
                field.default = Some(JSON(Value::String((*default).to_owned())));
                optional(schema, name);
            }
        }
    });
    job.description = description;
}

/// Lets a field be left out.
fn optional(object: &mut JSONSchemaProps, field: &str) {
    if let Some(required) = &mut object.required {
        required.retain(|name| name != field);
        if required.is_empty() {
            object.required = None;
        }
    }
}

/// The schema below `root` along `path`, where there is one.
fn property<'a>(root: &'a mut JSONSchemaProps, path: &[&str]) -> Option<&'a mut JSONSchemaProps> {
    path.iter().try_fold(root, |schema, name| schema.properties.as_mut()?.get_mut(*name))
}

/// Calls `change` for a schema and every schema below it, with the name of the property it belongs
/// to. The elements of a list `ports` go by `ports[]`, the values of a map `limits` by `limits{}`.
fn for_each(name: &str, schema: &mut JSONSchemaProps, change: &mut impl FnMut(&str, &mut JSONSchemaProps)) {
    change(name, schema);
    for (name, below) in schema.properties.iter_mut().flatten() {
        for_each(name, below, change);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(element)) = &mut schema.items {
        for_each(&format!("{name}[]"), element, change);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &mut schema.additional_properties {
        for_each(&format!("{name}{{}}"), value, change);
    }
}
