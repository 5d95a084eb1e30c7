#!/bin/sh
# Writes requirements.lock anew from requirements.in, for every platform at once and with hashes; --upgrade for newer versions.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/uv"
"$work/uv/bin/pip" install -q 'uv>=0.13,<0.14'
"$work/uv/bin/uv" pip compile -q --universal --python-version 3.13 --generate-hashes --no-header "$@" requirements.in -o requirements.lock
