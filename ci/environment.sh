# Makes .venv from ci/requirements.lock and installs the package into it; reused while lock and project file stay the same.
# Sourced by ci/demo and ci/test from the top of the checkout.

find_python() {
    local name
    for name in python3.13 python3.12 python3.11 python3 python; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$name"
            return 0
        fi
    done
    echo "no Python 3.11 or later with venv found (looked for python3.13, python3.12, python3.11, python3);" \
        "install one, on Debian: apt-get install python3 python3-venv" >&2
    return 1
}

# What the environment was made from: the lock, the project file, and where the checkout is.
environment_stamp() {
    "$1" - <<'PYTHON'
import hashlib, pathlib
digest = hashlib.sha256(str(pathlib.Path.cwd()).encode())
for name in ("ci/requirements.lock", "pyproject.toml"):
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest())
PYTHON
}

make_environment() {
    local python stamp
    if [ -x .venv/bin/python ] && [ -f .venv/.made-from ] &&
        stamp=$(environment_stamp .venv/bin/python 2>/dev/null) && [ "$stamp" = "$(cat .venv/.made-from)" ]; then
        return 0
    fi
    python=$(find_python)
    stamp=$(environment_stamp "$python")
    echo "Making .venv with $("$python" --version) from ci/requirements.lock ..." >&2
    "$python" -m venv --clear .venv
    .venv/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r ci/requirements.lock
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
    echo "$stamp" >.venv/.made-from
}
