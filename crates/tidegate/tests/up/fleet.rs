//! Manifests for the tests: one stand-in model a target.

use std::fmt::Write;

/// A Deployment and a ScaledObject of a stand-in model.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) gpus: u32,
    pub(crate) cooldown_s: u32,
    /// Requests in all that one replica is for.
    pub(crate) per_replica: u32,
    /// Further arguments of the engine.
    pub(crate) engine: String,
    /// Further annotations of the ScaledObject, a line each.
    pub(crate) annotations: &'static str,
}

impl Model {
    /// Idles at zero, one GPU, starts at once, answers fast.
    pub(crate) fn new(name: &'static str) -> Self {
        Model {
            name,
            min: 0,
            max: 4,
            gpus: 0,
            cooldown_s: 300,
            per_replica: 16,
            engine: "--profile instant --start-s 0.2".to_owned(),
            annotations: "",
        }
    }

    pub(crate) fn yaml(&self) -> String {
        let Model { name, min, max, gpus, cooldown_s, per_replica, engine, annotations } = self;
        format!(
            r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
      annotations:
        tidegate.dev/local-command: tidegate engine --port $PORT --model {name} {engine}
    spec:
      terminationGracePeriodSeconds: 600
      containers:
        - name: server
          image: vllm/vllm-openai:v0.32.0
          ports: [{{containerPort: 8000}}]
          readinessProbe: {{httpGet: {{path: /health, port: 8000}}, periodSeconds: 1}}
          resources: {{limits: {{nvidia.com/gpu: "{gpus}"}}}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {name}
  annotations:
    tidegate.dev/model: {name}
{annotations}
spec:
  scaleTargetRef: {{name: {name}}}
  minReplicaCount: {min}
  maxReplicaCount: {max}
  cooldownPeriod: {cooldown_s}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp: {{stabilizationWindowSeconds: 0, policies: [{{type: Pods, value: 10, periodSeconds: 1}}]}}
        scaleDown: {{stabilizationWindowSeconds: 0, policies: [{{type: Pods, value: 10, periodSeconds: 1}}]}}
  triggers:
    - type: external-push
      metadata:
        scalerAddress: tidegate-gateway.tidegate:9090
        metric: demand
        targetValue: "{per_replica}"
---
"#
        )
    }
}

/// Several of them in one file.
pub(crate) fn manifests(models: &[Model]) -> String {
    models.iter().fold(String::new(), |mut text, model| {
        let _ = write!(text, "{}", model.yaml());
        text
    })
}
