//! Our definitions against KEDA's: the same fields with the same constraints, no more and no fewer.
//!
//! `conformance/keda/crd_fields.json` holds KEDA's definitions, one row a field; its `conventions` say
//! how a schema becomes rows, and ours is taken apart by the same ones. Below the pod template and
//! three neighbours in a Job's spec the table does not go, and neither does the comparison.

#![expect(clippy::unwrap_used, reason = "helpers of tests, too, may fail the test they help")]

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};
use tidegate_manifest::crd;

const KEDA: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/keda/crd_fields.json"));

/// What is deliberately not as in KEDA: kind, path, and why. Nothing, so far; an entry that is no longer
/// true fails the test as well.
const DIFFERENCES: &[(&str, &str, &str)] = &[];

/// Schema keys that carry no constraint of their own or that a row has under another name.
const NOT_IN_ROWS: &[&str] = &["description", "properties", "required", "x-kubernetes-validations"];

type Rows = BTreeMap<String, Map<String, Value>>;

fn definitions() -> Vec<Value> {
    crd::all().iter().map(|definition| serde_json::to_value(definition).unwrap()).collect()
}

fn schema(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// The type as the rows write it. A schema without one is a bug that shows as `null`.
fn type_of(schema: &Value) -> Value {
    if schema["x-kubernetes-int-or-string"] == json!(true) {
        assert!(schema.get("type").is_none(), "a type beside int-or-string: {schema}");
        return json!("int-or-string");
    }
    schema["type"].clone()
}

/// One row for a field, of everything its schema says. A key the table has no name for is kept under
/// its own, so that it fails the comparison.
fn row(schema: &Value, required: bool) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("type".to_owned(), type_of(schema));
    row.insert("required".to_owned(), json!(required));
    for (key, value) in schema.as_object().unwrap() {
        let (key, value) = match key.as_str() {
            "type" | "x-kubernetes-int-or-string" => continue,
            key if NOT_IN_ROWS.contains(&key) => continue,
            "items" | "additionalProperties" => (key.as_str(), type_of(value)),
            "x-kubernetes-list-type" => ("listType", value.clone()),
            "x-kubernetes-list-map-keys" => ("listMapKeys", value.clone()),
            "x-kubernetes-map-type" => ("mapType", value.clone()),
            "x-kubernetes-preserve-unknown-fields" => ("preserveUnknown", value.clone()),
            // Numbers compare as numbers: 1.0 is 1.
            "minimum" | "maximum" => (key.as_str(), json!(value.as_f64().unwrap())),
            key => (key, value.clone()),
        };
        row.insert(key.to_owned(), value);
    }
    row
}

fn flatten(path: &str, schema: &Value, stop: &BTreeSet<String>, rows: &mut Rows) {
    if stop.contains(path) {
        return;
    }
    let required: BTreeSet<&str> =
        schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        rows.insert(path.clone(), row(field, required.contains(name.as_str())));
        flatten(&path, field, stop, rows);
    }
    if let Some(element) = schema.get("items") {
        flatten(&format!("{path}[]"), element, stop, rows);
    }
    if let Some(value) = schema.get("additionalProperties") {
        flatten(&format!("{path}{{}}"), value, stop, rows);
    }
}

fn validations(path: &str, schema: &Value, found: &mut Vec<Value>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let mut rule = rule.clone();
        rule["path"] = json!(if path.is_empty() { "." } else { path });
        found.push(rule);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        validations(&path, field, found);
    }
    for (below, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(field) = schema.get(below) {
            validations(&format!("{path}{mark}"), field, found);
        }
    }
}

/// The table's rows of one kind, and the paths below which it does not go.
fn kedas_rows(resource: &Value) -> (Rows, BTreeSet<String>) {
    let mut rows = Rows::new();
    let mut stop = BTreeSet::new();
    for field in resource["fields"].as_array().unwrap() {
        let mut row = field.as_object().unwrap().clone();
        let path = row.remove("path").unwrap().as_str().unwrap().to_owned();
        if row.remove("descended") == Some(json!(false)) {
            stop.insert(path.clone());
        }
        for key in ["minimum", "maximum"] {
            if let Some(value) = row.get_mut(key) {
                *value = json!(value.as_f64().unwrap());
            }
        }
        rows.insert(path, row);
    }
    (rows, stop)
}

#[test]
fn every_field_is_as_in_keda() {
    let keda: Value = serde_json::from_str(KEDA).unwrap();
    let ours = definitions();
    let mut compared = 0;
    let mut wrong = Vec::new();
    for resource in keda["crds"].as_array().unwrap() {
        let kind = resource["kind"].as_str().unwrap();
        let definition = ours.iter().find(|ours| ours["spec"]["names"]["kind"] == kind).unwrap();
        let (theirs, stop) = kedas_rows(resource);
        let mut rows = Rows::new();
        flatten("", schema(definition), &stop, &mut rows);
        let paths: BTreeSet<&String> = theirs.keys().chain(rows.keys()).collect();
        for path in paths {
            compared += 1;
            let (theirs, ours) = (theirs.get(path), rows.get(path));
            let meant = DIFFERENCES.iter().any(|(of, at, _)| *of == kind && at == path);
            if (theirs == ours) == meant {
                wrong.push(format!("{kind} {path}\n  keda: {theirs:?}\n  ours: {ours:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} fields differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(compared, 423, "the table has 423 fields");
}

#[test]
fn every_name_column_and_rule_is_as_in_keda() {
    let keda: Value = serde_json::from_str(KEDA).unwrap();
    let ours = definitions();
    assert_eq!(ours.len(), keda["crds"].as_array().unwrap().len());
    for resource in keda["crds"].as_array().unwrap() {
        let kind = &resource["kind"];
        let definition = ours.iter().find(|ours| ours["spec"]["names"]["kind"] == *kind).unwrap();
        let spec = &definition["spec"];
        let version = &spec["versions"][0];
        let names = &spec["names"];
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut rules = Vec::new();
        validations("", schema(definition), &mut rules);
        let mut theirs = resource.clone();
        for unrelated in ["source", "fields"] {
            theirs.as_object_mut().unwrap().remove(unrelated);
        }
        let same = json!({
            "group": spec["group"],
            "version": version["name"],
            "served": version["served"],
            "storage": version["storage"],
            "kind": names["kind"],
            "listKind": names["listKind"],
            "plural": names["plural"],
            "singular": names["singular"],
            "shortNames": names["shortNames"],
            "categories": list(&names["categories"]),
            "scope": spec["scope"],
            "subresources": version["subresources"].as_object().unwrap().keys().collect::<Vec<_>>(),
            "printerColumns": version["additionalPrinterColumns"],
            "validations": rules,
        });
        assert_eq!(same, theirs, "{kind}");
        assert_eq!(
            definition["metadata"]["name"],
            format!("{}.{}", resource["plural"].as_str().unwrap(), resource["group"].as_str().unwrap())
        );
        assert_eq!(spec["versions"].as_array().unwrap().len(), 1, "{kind}");
    }
}

/// The rules of <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>
/// that a generator can break, for every node of a schema.
fn structural(path: &str, schema: &Value, broken: &mut Vec<String>) {
    let mut check = |holds: bool, rule: &str| {
        if !holds {
            broken.push(format!("{path}: {rule}"));
        }
    };
    let int_or_string = schema["x-kubernetes-int-or-string"] == json!(true);
    check(schema["type"].is_string() != int_or_string, "exactly one of a type and int-or-string");
    for key in
        ["$ref", "$schema", "definitions", "dependencies", "nullable", "allOf", "anyOf", "oneOf", "not"]
    {
        check(schema.get(key).is_none(), key);
    }
    check(schema["uniqueItems"] != json!(true), "uniqueItems");
    check(
        schema.get("properties").is_none() || schema.get("additionalProperties").is_none(),
        "properties and additionalProperties exclude each other",
    );
    check(schema["type"] != "array" || schema["items"].is_object(), "a list needs its elements' schema");
    for name in schema["required"].as_array().into_iter().flatten() {
        check(schema["properties"].get(name.as_str().unwrap()).is_some(), "required names a property");
    }
    let element = &schema["items"];
    for key in schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten() {
        let required = element["required"].as_array().is_some_and(|required| required.contains(key));
        let default = element["properties"][key.as_str().unwrap()].get("default").is_some();
        check(required || default, "a list key is required or has a default");
    }
    if let Some(values) = schema["enum"].as_array() {
        check(values.iter().all(Value::is_string), "the values of an enum are strings");
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        structural(&format!("{path}.{name}"), field, broken);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(field) = schema.get(below) {
            structural(&format!("{path}.{below}"), field, broken);
        }
    }
}

#[test]
fn schemas_are_structural() {
    for definition in definitions() {
        let mut broken = Vec::new();
        structural("", schema(&definition), &mut broken);
        assert!(broken.is_empty(), "{}:\n{}", definition["metadata"]["name"], broken.join("\n"));
    }
}

#[test]
fn a_pod_template_is_typed_to_the_bottom() {
    let definitions = definitions();
    let jobs =
        definitions.iter().find(|definition| definition["spec"]["names"]["kind"] == "ScaledJob").unwrap();
    let template =
        &schema(jobs)["properties"]["spec"]["properties"]["jobTargetRef"]["properties"]["template"];
    let pod = &template["properties"]["spec"]["properties"];
    let container = &pod["containers"]["items"]["properties"];

    let metadata: Vec<&String> =
        template["properties"]["metadata"]["properties"].as_object().unwrap().keys().collect();
    assert_eq!(metadata, ["annotations", "finalizers", "labels", "name", "namespace"]);
    assert_eq!(pod["containers"]["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(container["ports"]["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
    assert_eq!(container["ports"]["items"]["properties"]["protocol"]["default"], "TCP");
    let reference = &container["env"]["items"]["properties"]["valueFrom"]["properties"]["secretKeyRef"];
    assert_eq!(reference["required"], json!(["key"]));
    assert_eq!(reference["properties"]["name"]["default"], "");
    let limit = &container["resources"]["properties"]["limits"]["additionalProperties"];
    assert_eq!(limit["x-kubernetes-int-or-string"], true);
    assert!(limit["pattern"].is_string());
    let port = &container["livenessProbe"]["properties"]["httpGet"]["properties"]["port"];
    assert_eq!(*port, json!({"x-kubernetes-int-or-string": true}));
}

#[test]
fn every_field_of_ours_is_described() {
    fn visit(path: &str, schema: &Value, bare: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            // The metadata of the object itself is described by the API server.
            if field.get("description").is_none() && path != ".metadata" {
                bare.push(path.clone());
            }
            if name != "jobTargetRef" {
                visit(&path, field, bare);
            }
        }
        for below in ["items", "additionalProperties"] {
            if let Some(field) = schema.get(below) {
                visit(path, field, bare);
            }
        }
    }
    for definition in definitions() {
        let mut bare = Vec::new();
        visit("", schema(&definition), &mut bare);
        assert!(bare.is_empty(), "{}: {bare:?}", definition["metadata"]["name"]);
    }
}

#[test]
fn each_definition_fits_into_an_annotation() {
    for definition in crd::all() {
        let bytes = serde_json::to_string(&definition).unwrap().len();
        assert!(bytes < crd::MAX_BYTES, "{:?}: {bytes}", definition.metadata.name);
    }
    for document in crd::yaml().split("---\n") {
        assert!(document.len() < crd::MAX_BYTES, "{}", document.len());
    }
}

#[test]
fn yaml_reads_back_as_what_was_written() {
    let yaml = crd::yaml();
    assert_eq!(yaml, crd::yaml());
    assert!(yaml.starts_with("---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"));
    let read: Vec<CustomResourceDefinition> = serde_saphyr::from_multiple(&yaml).unwrap();
    assert_eq!(read, crd::all());
}
