#!/usr/bin/env bash
# What the tests need of a fresh Debian 12: a browser for the reports, PostgreSQL's programs for the
# tracking server, a container engine, the means to make its base image, and those of PyTorch's
# compiler. S3, the MLflow server and Docker Compose come with `pip install .[dev]`, for which
# `.ci/system.sh setup` gets the means.
set -euo pipefail

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"; }

packages=()
unless() { command -v "$1" >/dev/null || packages+=("${@:2}"); }
if [ "${1:-}" = setup ]; then
    unless make make
    unless git git
    "${PYTHON:-python3}" -c "import venv, ensurepip" 2>/dev/null || packages+=(python3-venv)
else
    unless chromium chromium fonts-dejavu-core
    unless chromedriver chromium-driver
    unless dockerd docker.io containerd iptables
    unless mmdebstrap mmdebstrap
    unless g++ g++
    "${PYTHON:-python3}" -c "import sysconfig; open(sysconfig.get_path('include') + '/Python.h')" \
        2>/dev/null || packages+=(python3-dev)
    compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || packages+=(postgresql)
fi
[ ${#packages[@]} -gt 0 ] || exit 0

as_root apt-get update -q
if [[ " ${packages[*]} " == *" postgresql "* ]]; then
    # Each test session makes a cluster of its own; the package's would only wait for connections.
    install postgresql-common
    as_root sed -ri 's/^#?(create_main_cluster) .*$/\1 = false/' /etc/postgresql-common/createcluster.conf
fi
install "${packages[@]}"
