//! Driver: replicas are pods of a Kubernetes cluster.
#![forbid(unsafe_code)]
