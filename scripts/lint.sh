#!/usr/bin/env bash
# Checks format, lint and types, in seconds: bash scripts/lint.sh [--fix]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../devtools/environment.sh"
exec "$python" devtools/lint.py "$@"
