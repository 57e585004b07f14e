#!/usr/bin/env bash
# Runs the tests, those in a real ComfyUI included:
#
#   bash scripts/test.sh                 all of them, in two processes
#   bash scripts/test.sh --fast          those that need no ComfyUI and take less than seconds, for the edit loop
#   bash scripts/test.sh -k sampling     in one process; all arguments go to pytest (after --fast, too)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../devtools/environment.sh"

parallel=(--numprocesses 2 --dist loadgroup) # groups: see devtools/testing.py
if [ "${1:-}" = "--fast" ]; then
    shift
    # What the last lines list takes too long for this: mark it with pytest.mark.long.
    set -- "${parallel[@]}" -m "not slow and not host and not long" --durations 5 --durations-min 3 "$@"
    export FLOWINONE_BROWSER=none OMP_NUM_THREADS=1
elif [ $# -eq 0 ]; then
    set -- "${parallel[@]}"
    # The other process takes the second core; threads that wait for each other would slow both down.
    export OMP_NUM_THREADS=1
fi
# A test that reaches for a model hub is a mistake, and should fail at once instead of waiting for a network.
export HF_HUB_OFFLINE=1
exec "$python" devtools/environment.py -m pytest "$@"
