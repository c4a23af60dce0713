use super::*;
use crate::load::{Source, load};
use crate::trigger::Origin;

const OBJECTS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec:
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec:
      containers:
      - name: server
        image: server
        env:
        - {name: PLAIN, value: \"here\"}
        - {name: SECRET, valueFrom: {secretKeyRef: {name: keys, key: password}}}
        envFrom:
        - {prefix: Q_, configMapRef: {name: queue}}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
data: {password: aHVudGVyMg==}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: other}
data: {password: bm90IG91cnM=}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: queue}
data: {HOST: \"redis:6379\"}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {name: keys}
spec:
  secretTargetRef: [{parameter: password, name: keys, key: password}]
  configMapTargetRef: [{parameter: host, name: queue, key: HOST}]
  env: [{parameter: username, name: PLAIN}]
---
apiVersion: keda.sh/v1alpha1
kind: ClusterTriggerAuthentication
metadata: {name: file}
spec: {filePath: redis.json}
---
apiVersion: v1
kind: Secret
metadata: {name: serviceaccount/reader}
stringData: {token: of-the-account}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {name: bearer}
spec:
  boundServiceAccountToken: [{parameter: token, serviceAccountName: reader}]
  oauth2:
    type: clientCredentials
    clientId: autoscaler
    clientSecret: {valueFrom: {secretKeyRef: {name: keys, key: password}}}
    tokenUrl: https://login.example/token
    scopes: [read, list]
    tokenUrlParams: {audience: \"a b\"}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat}
spec:
  scaleTargetRef: {name: chat}
  triggers:
  - {type: redis, metadata: {listName: jobs, address: \" r:1 \"}, authenticationRef: {name: keys}}
  - {type: redis, metadata: {listName: jobs, address: \"r:1\"}, authenticationRef: {name: file, kind: ClusterTriggerAuthentication}}
  - {type: metrics-api, metadata: {url: \"https://m\", valueLocation: n, targetValue: \"1\"}, authenticationRef: {name: bearer}}
";

fn with_bound<T>(of: impl FnOnce(&Bound<'_>) -> T) -> T {
    let manifests = load(&[Source::new("chat.yaml", OBJECTS)]);
    let document = manifests.documents.iter().find(|document| document.kind == "ScaledObject").unwrap();
    of(&Bound::of(&manifests, document).unwrap())
}

fn value(index: usize, origin: &Origin) -> Option<String> {
    with_bound(|bound| bound.value(index, origin, &Files::new()))
}

#[test]
fn values_are_found_where_the_manifest_points() {
    let auth = |name: &str| Origin::Authentication(name.to_owned());
    let variable = |name: &str| Origin::Environment(name.to_owned());
    for (origin, expected) in [
        (Origin::Metadata("address".to_owned()), Some("r:1")),
        (variable("PLAIN"), Some("here")),
        (variable("SECRET"), Some("hunter2")),
        (variable("Q_HOST"), Some("redis:6379")),
        (variable("HOST"), None),
        (auth("password"), Some("hunter2")),
        (auth("host"), Some("redis:6379")),
        (auth("username"), Some("here")),
        (auth("ca"), None),
    ] {
        assert_eq!(value(0, &origin).as_deref(), expected, "{origin:?}");
    }
}

#[test]
fn tokens_are_asked_for_as_an_authentication_says() {
    for (parameter, expected) in [
        ("token", Some("of-the-account")),
        ("oauthTokenURI", Some("https://login.example/token")),
        ("clientID", Some("autoscaler")),
        ("clientSecret", Some("hunter2")),
        ("scopes", Some("read,list")),
        ("endpointParams", Some("audience=a+b")),
        ("username", None),
    ] {
        let origin = Origin::Authentication(parameter.to_owned());
        assert_eq!(value(2, &origin).as_deref(), expected, "{parameter}");
    }
}

#[test]
fn a_file_gives_all_parameters_of_its_authentication() {
    let file = BTreeMap::from([("password".to_owned(), "hunter2".to_owned())]);
    let files = Files::from([("redis.json".to_owned(), file)]);
    with_bound(|bound| {
        let password = Origin::Authentication("password".to_owned());
        assert_eq!(bound.value(1, &password, &files).as_deref(), Some("hunter2"));
        let Ok(Trigger { source: trigger::Source::RedisList(list), .. }) = bound.parse_with(1, &files) else {
            panic!("{:?}", bound.parse_with(1, &files))
        };
        assert_eq!(list.connection.password, Some(trigger::Secret(password)));
        assert_eq!(list.connection.username, None, "the file has none");
    });
}
