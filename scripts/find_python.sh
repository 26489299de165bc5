#!/usr/bin/env bash
# Prints a Python that can make our environments: find_python.sh VERSION…  (e.g. 3.11 3.12), first match wins.
# Looks on the PATH, then among pyenv's versions. $PYTHON, when set, is the only candidate.
set -euo pipefail

works() { # python version: is it runnable, of that version, and able to make a venv?
    "$1" - "$2" >/dev/null 2>&1 <<'PY'
import ensurepip
import sys
import venv

wanted = tuple(int(part) for part in sys.argv[1].split("."))
sys.exit(0 if sys.version_info[:2] >= wanted else 1)
PY
}

if [ -n "${PYTHON:-}" ]; then
    if works "$PYTHON" "$1"; then
        echo "$PYTHON"
        exit 0
    fi
    echo "PYTHON=$PYTHON is not a Python >= $1 with its venv module." >&2
    exit 1
fi

for version in "$@"; do
    for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/"python$version" python3; do
        if path=$(command -v "$candidate" 2>/dev/null) && works "$path" "$version"; then
            # The interpreter itself, so that a pyenv shim does not depend on the folder or the environment.
            "$path" -c 'import sys; print(sys.executable)'
            exit 0
        fi
    done
done

cat >&2 <<EOF
No Python $(IFS='|'; echo "$*") with its venv module was found.
Install one (Debian, Ubuntu: apt-get install python$1 python$1-venv; macOS: brew install python@$1;
pyenv: pyenv install $1), or name it: make venv PYTHON=/path/to/python, make interop PYTHON312=/path/to/python
EOF
exit 1
