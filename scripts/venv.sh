# Shared by scripts/run and scripts/test: a virtual environment with btcnode in it.

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "btcnode needs Python 3.11 or newer; set PYTHON to its executable" >&2
    return 1
}

# make_venv DIRECTORY REQUIREMENT: makes it on first use, and again when pyproject.toml has changed.
make_venv() {
    local directory=$1 requirement=$2 python stamp
    stamp=$(cksum <"$here/pyproject.toml")
    if [ "$(cat "$directory/.stamp" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    python=$(find_python)
    echo "setting up $directory ..." >&2
    "$python" -m venv --clear "$directory"
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --editable "$requirement"
    echo "compiling the kernels ..." >&2
    "$directory/bin/python" -m compileall -q -j 0 "$directory/lib" "$here/btcnode" >/dev/null & # on all cores, unlike pip
    "$directory/bin/python" -m btcnode.compiled >&2 || true
    wait "$!" || true # some packages have files for other versions of Python
    echo "$stamp" >"$directory/.stamp"
}
