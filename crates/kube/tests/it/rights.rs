//! What roles grant, and what the API server saw their accounts ask for.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidegate_testkit::cluster::Cluster;

/// Group, resource with its subresource, verb.
pub(crate) type Right = (String, String, String);

pub(crate) fn right(group: &str, resource: &str, verb: &str) -> Right {
    (group.to_owned(), resource.to_owned(), verb.to_owned())
}

/// What the roles of a release's component grant, each verb of each resource by itself.
pub(crate) async fn granted(cluster: &Cluster, release: &str, component: &str) -> BTreeSet<Right> {
    let mut all = BTreeSet::new();
    let label = format!("app.kubernetes.io/name=tidegate,app.kubernetes.io/instance={release}");
    for kind in ["clusterroles", "roles"] {
        let roles = cluster.get(&["-n", "tidegate", kind, "-l", &label]).await.unwrap();
        let of =
            |role: &&Value| role["metadata"]["name"].as_str().is_some_and(|name| name.contains(component));
        let rules = roles["items"].as_array().unwrap().iter().filter(of);
        for rule in rules.flat_map(|role| role["rules"].as_array().unwrap()) {
            let texts = |field: &str| rule[field].as_array().unwrap().iter().map(|one| one.as_str().unwrap());
            for group in texts("apiGroups") {
                for resource in texts("resources") {
                    all.extend(texts("verbs").map(|verb| right(group, resource, verb)));
                }
            }
        }
    }
    assert!(!all.is_empty(), "no roles of {component}");
    all
}

/// The audit log, from so many bytes on.
pub(crate) fn audited(cluster: &Cluster, from: usize) -> Option<String> {
    let log = std::fs::read(cluster.audit_log()?).unwrap();
    Some(String::from_utf8_lossy(&log[from..]).into_owned())
}

/// What an account of the namespace `tidegate` asked for, and what of it was refused. What came before `from` is of
/// other tests: of a server that has just started, and refuses whoever it does not know yet.
pub(crate) fn asked(cluster: &Cluster, account: &str, from: usize) -> Option<(BTreeSet<Right>, Vec<Value>)> {
    let (mut seen, mut refused) = (BTreeSet::new(), Vec::new());
    let account = format!("system:serviceaccount:tidegate:{account}");
    for line in audited(cluster, from)?.lines() {
        // The last line may be half written.
        let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
        if entry["user"]["username"] != json!(account) {
            continue;
        }
        if entry["responseStatus"]["code"] == 403 {
            refused.push(json!([entry["verb"], entry["requestURI"], entry["responseStatus"]["message"]]));
        }
        let text = |at: &str| entry.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let group = text("/objectRef/apiGroup");
        let resource = match (text("/objectRef/resource"), text("/objectRef/subresource")) {
            // Discovery is not about a resource; whoever is logged in may ask for it.
            ("", _) => continue,
            // A metric is a resource of whatever name.
            _ if group.ends_with(".metrics.k8s.io") => "*".to_owned(),
            (resource, "") => resource.to_owned(),
            (resource, sub) => format!("{resource}/{sub}"),
        };
        seen.insert(right(group, &resource, text("/verb")));
    }
    Some((seen, refused))
}

/// Everything that is granted was asked for, but for what is listed with a reason; and nothing is listed in vain.
pub(crate) fn compare(
    granted: &BTreeSet<Right>,
    seen: &BTreeSet<Right>,
    unseen: &[(&str, &str, &str, &str)],
) {
    let known: BTreeSet<Right> =
        unseen.iter().map(|(group, resource, verb, _)| right(group, resource, verb)).collect();
    let vain: BTreeSet<&Right> = granted.difference(seen).filter(|right| !known.contains(right)).collect();
    assert!(vain.is_empty(), "granted and never asked for: {vain:?}");
    let stale: BTreeSet<&Right> = known.difference(granted).collect();
    assert!(stale.is_empty(), "said to be granted, and not: {stale:?}");
}
