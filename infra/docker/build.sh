#!/usr/bin/env bash
# Build the image: infra/docker/build.sh [--variant cpu|cuda] [--tag TAG]
#
# Collects every wheel in build/wheelhouse-* first, with this machine's pip and its settings, and
# builds from there alone: without a network, and without a credential in the image.
#   PYTHON  of the environment whose pip collects (default: .venv/bin/python)
#   BASE    base image (default: python:3.11-slim)
set -euo pipefail
cd "$(dirname "$0")/../.."

variant=cpu tag=
while [ $# -gt 0 ]; do
    case $1 in
    --variant) variant=$2; shift 2 ;;
    --tag) tag=$2; shift 2 ;;
    *) echo "error: $1 is no option of build.sh; see its first lines" >&2; exit 2 ;;
    esac
done
case $variant in cpu | cuda) ;; *) echo "error: --variant is cpu or cuda" >&2; exit 2 ;; esac
wheels=build/wheelhouse-$variant
docker info >/dev/null 2>&1 ||
    { echo "error: docker does not answer; start it, or set DOCKER_HOST" >&2; exit 2; }

python=${PYTHON:-.venv/bin/python}
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' llmclf_core/__init__.py)
suffix=$([ "$variant" = cpu ] || echo "-$variant")
tag=${tag:-llmclf:$version$suffix}
revision=$(git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown)

# Collected again only when what is wanted has changed; a wheel that lies there already is reused.
collect() {
    local place=$wheels wanted
    wanted=$("$python" infra/docker/requirements.py pyproject.toml server)
    [ "$(cat $place/.made-for 2>/dev/null)" != "$(made_for)" ] || return 0
    echo "collecting wheels in $place (a minute or two)"
    rm -rf $place.draft && mkdir -p $place $place.draft
    # shellcheck disable=SC2086  # one requirement a word
    "$python" -m pip -qq --disable-pip-version-check wheel \
        --find-links $place --wheel-dir $place.draft -c constraints.txt $wanted 'setuptools>=77'
    [ "$variant" = cuda ] || ls $place.draft/torch-*+cpu-*.whl >/dev/null || {
        echo "error: pip found no CPU build of torch; name PyTorch's index of them in PIP_EXTRA_INDEX_URL" >&2
        exit 2
    }
    made_for >$place.draft/.made-for
    rm -rf $place && mv $place.draft $place
}
made_for() { { cat constraints.txt; echo "$wanted" "$variant"; } | sha256sum; }
collect

echo "building $tag ($variant)"
docker build --quiet --network none --file infra/docker/Dockerfile --tag "$tag" \
    --build-arg BASE="${BASE:-python:3.11-slim}" --build-arg VARIANT="$variant" \
    --build-arg WHEELS="$wheels" \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" . >/dev/null
docker image inspect --format "$tag {{.Id}}, {{.Size}} bytes" "$tag"
