# Sourced by demo.sh and test.sh: finds a Python and goes to the repository's root. environment.py does the rest.

# Sets `python` to the first Python from 3.10 to 3.13, or explains what is missing and ends the script.
# $PYTHON names one to use instead of the search; the Python of an existing ComfyUI is the last resort.
find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python python3.13 python3.12 python3.11 python3.10 \
            "${COMFYUI_PYTHON:-}" "${COMFYUI_PATH:+$COMFYUI_PATH/../python_embeded/python.exe}"
    fi
    for candidate in "$@"; do
        # Stand-ins that only advertise an installer exist, so it has to run and answer.
        if [ -n "$candidate" ] &&
            "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
            python=$candidate
            return
        fi
    done
    if [ -n "${PYTHON:-}" ]; then
        echo "PYTHON=$PYTHON is not a Python from 3.10 to 3.13; name one that is, or unset PYTHON." >&2
    else
        echo "No Python from 3.10 to 3.13 was found; install one, or name it: PYTHON=/path/to/python3" >&2
    fi
    exit 1
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
find_python
