#!/bin/sh
# Makes backend/.venv from requirements-dev.lock, hashes checked. Does nothing when it is there already.
set -eu
cd "$(dirname "$0")/.."

fail() {
  echo "backend: $1" >&2
  exit 1
}

# The newest interpreter that can run the backend; an explicit one by PYTHON=… .
find_python() {
  for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3 /usr/bin/python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
}

# Debian keeps venv's ensurepip in a package of its own.
can_make_venv() { [ -n "$python" ] && "$python" -c 'import ensurepip, venv' 2>/dev/null; }

stamp=$(sha256sum <requirements-dev.lock)
if [ -x .venv/bin/python ] && [ "$(cat .venv/stamp 2>/dev/null)" = "$stamp $(.venv/bin/python -V 2>/dev/null)" ]; then
  exit 0
fi

python=$(find_python)
if ! can_make_venv; then
  wanted="python3 python3-venv"
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    fail "Python 3.11 or newer with venv is needed; on Debian: sudo apt-get install $wanted"
  fi
  echo "backend: installing $wanted"
  apt-get update -qq
  # shellcheck disable=SC2086 # two words on purpose
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >/dev/null
  python=$(find_python)
  can_make_venv || fail "Python 3.11 or newer with venv is needed, found: ${python:-none}"
fi

echo "backend: making .venv with $python"
rm -rf .venv
"$python" -m venv .venv
# --no-deps: the lock is complete, and pip must not look for anything that is not in it.
.venv/bin/pip install -q --disable-pip-version-check --no-input --no-deps --require-hashes -r requirements-dev.lock
.venv/bin/pip check --disable-pip-version-check >/dev/null
echo "$stamp $(.venv/bin/python -V)" >.venv/stamp
