#!/usr/bin/env bash
# A stand-in for python:3.11-slim, made from Debian packages, for a machine that reaches no image
# registry. Needs root and mmdebstrap; Debian 12 has Python 3.11. It holds this machine's CA bundle,
# so that pip works behind a proxy: keep it on this machine, and push nothing that is built on it.
#
#     infra/docker/local-base.sh [TAG]
set -euo pipefail
tag=${1:-python:3.11-slim}
bundle=/etc/ssl/certs/ca-certificates.crt
hooks=(--customize-hook='rm -rf "$1"/usr/lib/python3*/EXTERNALLY-MANAGED "$1"/var/lib/apt/lists/*')
[ -f $bundle ] && hooks+=(--customize-hook="copy-in $bundle /etc/ssl/certs")
echo "making $tag with mmdebstrap (about half a minute)"
mmdebstrap --quiet --variant=minbase \
    --include=python3,python3-venv,python3-pip,python-is-python3,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    "${hooks[@]}" bookworm - |
    docker import --change 'CMD ["python3"]' --message 'stand-in made by mmdebstrap' - "$tag"
