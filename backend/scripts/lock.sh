#!/bin/sh
# Writes requirements.lock (the image) and requirements-dev.lock (development and tests) anew from pyproject.toml, for
# every platform at once and with hashes. Run it after a change of pyproject.toml, or with --upgrade for newer versions.
# uv itself comes from PyPI into a folder of its own and is thrown away again.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/uv"
"$work/uv/bin/pip" install -q 'uv>=0.13,<0.14'
compile() {
  "$work/uv/bin/uv" pip compile -q --universal --python-version 3.11 --generate-hashes --no-header "$@"
}
compile "$@" pyproject.toml -o requirements.lock
compile "$@" pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
echo "requirements.lock: $(grep -c == requirements.lock) packages, requirements-dev.lock: $(grep -c == requirements-dev.lock)"
