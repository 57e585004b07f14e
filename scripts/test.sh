#!/usr/bin/env bash
# Runs every test, those in a real ComfyUI included. Arguments go to pytest: bash scripts/test.sh -k sampling
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../devtools/environment.sh"
# A test that reaches for a model hub is a mistake, and should fail at once instead of waiting for a network.
export HF_HUB_OFFLINE=1
exec "$python" devtools/environment.py -m pytest "$@"
