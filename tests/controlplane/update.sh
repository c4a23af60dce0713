#!/usr/bin/env bash
# Writes go.mod and go.sum for one release of Kubernetes: ./update.sh 1.36.3
#
# `k8s.io/kubernetes` asks for its staging modules at v0.0.0 and replaces them by directories of its own
# repository, which others cannot use. Each is replaced here by what was published for the same release.
set -euo pipefail
cd "$(dirname "$0")"
release=${1:?which release of Kubernetes, as 1.36.3}
staging="v0.${release#1.}"
kwok=v0.8.0

upstream=$(go mod download -json "k8s.io/kubernetes@v$release" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
{
    echo "module tidegate.dev/controlplane"
    echo
    sed -n '/^go /p' "$upstream"
    echo
    sed -n '/^godebug /p' "$upstream"
    echo
    echo "require ("
    echo "    k8s.io/kubernetes v$release"
    echo "    sigs.k8s.io/kwok $kwok"
    # The etcd this release was tested with, not a newer one.
    sed -n 's,^\s*\(go.etcd.io/etcd/server/v3 v[^ ]*\).*,    \1,p' "$upstream"
    echo ")"
    echo
    echo "replace ("
    sed -n "s,^\s*\(k8s.io/[^ ]*\) => ./staging/.*,    \1 => \1 $staging,p" "$upstream"
    echo ")"
} > go.mod
rm -f go.sum
go mod tidy
