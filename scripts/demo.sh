#!/usr/bin/env bash
# From nothing to a first picture, made by a real ComfyUI with this pack: bash scripts/demo.sh --help
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../devtools/environment.sh"
exec "$python" scripts/demo.py "$@"
