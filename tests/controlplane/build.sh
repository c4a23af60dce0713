#!/usr/bin/env bash
# Builds the test cluster and its kubectl into a directory, unless they are there from the same sources.
#   tests/controlplane/build.sh target/tools/controlplane
# Exit 3: there is no Go that can build it.
set -euo pipefail
out=$(mkdir -p "${1:?where to}" && cd "$1" && pwd)
cd "$(dirname "$0")"

# What it was built from, beside what was built.
sources=$(cat go.mod go.sum build.sh $(find cmd -type f | LC_ALL=C sort))
if [ -x "$out/controlplane" ] && [ -x "$out/kubectl" ] && [ "$(cat "$out/built-from" 2>/dev/null)" = "$sources" ]; then
    exit 0
fi

# `cargo xtask setup` installs a Go here on machines without one.
command -v go >/dev/null 2>&1 || PATH="$out/../go/bin:$PATH"
needed=$(sed -n 's/^go //p' go.mod)
# Asked here, where go.mod applies: a Go from 1.21 on that is too old fetches the needed one as a module, unless
# GOTOOLCHAIN says otherwise; an older Go cannot read go.mod.
if ! said=$(go version 2>&1 && go list -m 2>&1); then
    echo "it needs Go $needed, or one from 1.21 on with GOTOOLCHAIN=auto; \`cargo xtask setup\` installs one where there is none: $said" >&2
    exit 3
fi

release=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=$(echo "$release" | cut -d. -f2)
stamp="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    stamp+=" -X $package.gitVersion=$release -X $package.gitMajor=1 -X $package.gitMinor=$minor"
    stamp+=" -X $package.gitTreeState=clean -X $package.buildDate=1970-01-01T00:00:00Z"
done
# Two compilers at a time hold 2 GB.
go build -p 2 -trimpath -buildvcs=false -ldflags "$stamp" -o "$out/building/" ./cmd/...
mv "$out/building/controlplane" "$out/building/kubectl" "$out/"
rmdir "$out/building"
printf '%s' "$sources" > "$out/built-from"
