#!/bin/sh
# Format, lint and type check. With --fix: format and repair what can be repaired.
set -eu
cd "$(dirname "$0")/.."
./scripts/setup.sh
if [ "${1:-}" = --fix ]; then
  .venv/bin/ruff check --no-cache --fix .
  .venv/bin/ruff format --no-cache .
fi
.venv/bin/ruff format --no-cache --check .
.venv/bin/ruff check --no-cache .
.venv/bin/mypy
