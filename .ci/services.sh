#!/usr/bin/env bash
# What the services tests need of a fresh Debian 12: PostgreSQL's programs. S3, the MLflow server
# and Docker Compose come with `pip install .[dev]`.
set -euo pipefail
if compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null; then
    exit 0
fi
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"; }
as_root apt-get update -q
# Each test session makes a cluster of its own; the package's would only wait for connections.
install postgresql-common
as_root sed -ri 's/^#?(create_main_cluster) .*$/\1 = false/' /etc/postgresql-common/createcluster.conf
install postgresql
