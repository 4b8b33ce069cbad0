# Makes .venv from the locks and installs the package into it; reused while locks and project file stay the same.
# Sourced by ci/demo, ci/test, ci/bench and ci/lock from the top of the checkout. uv installs, fetched by pip for the time it takes;
# where it cannot be had, pip does. FINISHLINE_INSTALLER=pip asks for pip.

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

# get_tools PYTHON DIRECTORY: uv and the build backend, into DIRECTORY; by the Python's own pip, or one made for the purpose.
get_tools() {
    local python=$1 tools=$2 lock=ci/requirements-build.lock pip_python
    local options=(--no-compile --progress-bar off --disable-pip-version-check --only-binary :all: --require-hashes --target "$tools" -r "$lock")
    echo "Fetching uv ..." >&2
    "$python" -m pip install "${options[@]}" 2>/dev/null | fetched || true
    if [ ! -x "$tools/bin/uv" ]; then # a Python without pip, or a pip that is told not to
        pip_python=$tools/pip/bin/python
        "$python" -m venv "$tools/pip"
        "$pip_python" -m pip install --upgrade "${options[@]}" | fetched || true
    fi
    uv=$tools/bin/uv
    settings_of_pip "${pip_python:-$python}"
    [ -x "$uv" ]
}

fetched() { # of what pip says, what it fetches
    grep --line-buffered -E '^ *(Collecting|Downloading|Installing)' >&2
}

# uv does not read pip's configuration: what pip was told of indexes and certificates is handed on, unless uv was told itself.
settings_of_pip() {
    local key value
    while IFS='=' read -r key value; do
        value=${value#\'} value=${value%\'}
        case $key in
        *.index-url) export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$value} ;;
        *.extra-index-url) export UV_INDEX=${UV_INDEX:-${value//'\n'/ }} UV_INDEX_STRATEGY=${UV_INDEX_STRATEGY:-unsafe-best-match} ;;
        *.find-links) export UV_FIND_LINKS=${UV_FIND_LINKS:-${value// /,}} ;;
        *.cert) export SSL_CERT_FILE=${SSL_CERT_FILE:-$value} ;;
        esac
    done < <("$1" -m pip config list 2>/dev/null)
    export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1} UV_PYTHON_DOWNLOADS=never
}

# stamp_of PYTHON LOCK: what an environment is made from: the lock, the project file, and where the checkout is.
stamp_of() {
    "$1" - "$2" <<'PYTHON'
import hashlib, pathlib, sys
digest = hashlib.sha256(str(pathlib.Path.cwd()).encode())
for name in (sys.argv[1], "pyproject.toml"):
    digest.update(pathlib.Path(name).read_bytes())
print(sys.argv[1], digest.hexdigest())
PYTHON
}

is_made() { # is_made ENVIRONMENT LOCK
    [ -x "$1/bin/python" ] && grep -qsxF "$(stamp_of "$1/bin/python" "$2" 2>/dev/null)" "$1/.made-from"
}

shown_briefly() { # bars on a terminal; elsewhere what is downloaded, not the list of what was installed
    if [ -t 2 ]; then
        "$@"
    else
        "$@" 2> >(grep --line-buffered -v '^ [+~-] ' >&2)
    fi
}

# install_lock ENVIRONMENT LOCK PYTHON: by uv, which the pip of PYTHON fetches, or by pip where there is no uv; every file has a hash of the lock.
install_lock() {
    local python=$1/bin/python lock=$2 tools=$1/.tools
    if [ "${FINISHLINE_INSTALLER:-uv}" = uv ] && get_tools "$3" "$tools" &&
        shown_briefly "$uv" pip install --python "$python" --require-hashes -r "$lock" &&
        PYTHONPATH=$tools "$uv" pip install --quiet --python "$python" --no-deps --no-build-isolation --editable .; then
        rm -rf "$tools"
        return 0
    fi
    echo "installing by pip, which takes longer ..." >&2
    "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null
    "$python" -m pip install --no-compile --disable-pip-version-check --require-hashes -r "$lock" >&2
    "$python" -m pip install --disable-pip-version-check --quiet --only-binary :all: --require-hashes --target "$tools" \
        --upgrade -r ci/requirements-build.lock
    PYTHONPATH=$tools "$python" -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
    rm -rf "$tools"
}

# make_environment [ENVIRONMENT LOCK [SMALLER]]: as it is when made from LOCK; one made from SMALLER, which LOCK contains, is added to.
make_environment() {
    local place=${1:-.venv} lock=${2:-ci/requirements.lock} smaller=${3:-} python from=$SECONDS
    if is_made "$place" "$lock"; then
        return 0
    fi
    python=$(find_python)
    echo "Installing into $place what $lock names, with $("$python" --version) ..." >&2
    if [ -z "$smaller" ] || ! is_made "$place" "$smaller"; then
        "$python" -m venv --clear --without-pip "$place"
    fi
    install_lock "$place" "$lock" "$python"
    echo "Importing once what the notebooks import, which compiles its bytecode ..." >&2
    "$place/bin/python" ci/first_import.py --reversed &
    "$place/bin/python" ci/first_import.py
    wait "$!"
    for lock in "$lock" $smaller; do
        stamp_of "$place/bin/python" "$lock"
    done >"$place/.made-from"
    echo "Installed in $((SECONDS - from)) s: $(du -sm "$place" | cut -f1) MB" >&2
}
