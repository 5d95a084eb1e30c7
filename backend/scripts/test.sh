#!/bin/sh
# Runs pytest against a throw-away PostgreSQL; installs Debian's where there is none. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
./scripts/setup.sh

has_postgres() { ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null; }

install_postgres() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "backend: the tests need a PostgreSQL server; on Debian: sudo apt-get install postgresql" >&2
    exit 1
  fi
  echo "backend: installing Debian's PostgreSQL for the tests"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends postgresql-common >/dev/null
  # The package would start a server of its own on port 5432; the tests want the programs only.
  mkdir -p /etc/postgresql-common/createcluster.d
  echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/postgres-failover.conf
  apt-get install -y -qq --no-install-recommends postgresql >/dev/null
  rm /etc/postgresql-common/createcluster.d/postgres-failover.conf
}

has_postgres || install_postgres
exec .venv/bin/pytest "$@"
