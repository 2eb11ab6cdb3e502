#!/usr/bin/env bash
# Build the image: infra/docker/build.sh [--variant cpu|cuda] [--tag TAG]
#
# Collects every wheel in build/wheelhouse-* first, with this machine's pip and its settings, and
# builds from there alone: without a network, and without a credential in the image.
#   PYTHON  of the environment whose pip collects (default: .venv/bin/python), Linux only: the
#           wheels are for its version of Python, and for this machine's kind of processor
#   BASE    base image, with the same Python (default: python:<its version>-slim)
set -euo pipefail
cd "$(dirname "$0")/../.."
fail() { echo "error: $*" >&2; exit 2; }

variant=cpu tag=
while [ $# -gt 0 ]; do
    case $1 in
    --variant) variant=$2; shift 2 ;;
    --tag) tag=$2; shift 2 ;;
    *) fail "$1 is no option of build.sh; see its first lines" ;;
    esac
done
case $variant in cpu | cuda) ;; *) fail "--variant is cpu or cuda" ;; esac
[ "$(uname -s)" = Linux ] || fail "the image is built on Linux: pip collects wheels for the system it runs on"
wheels=build/wheelhouse-$variant
docker info >/dev/null 2>&1 || fail "docker does not answer; start it, or set DOCKER_HOST"

python=${PYTHON:-.venv/bin/python}
py=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' llmclf_core/__init__.py)
suffix=$([ "$variant" = cpu ] || echo "-$variant")
tag=${tag:-llmclf:$version$suffix}
revision=$(git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown)

# What is wrong with a build of torch, told by its version or its wheel: 2.13.0+cpu is for CPUs,
# 2.13.0+cu130 and PyPI's plain 2.13.0 are for CUDA.
check_torch() {
    case $variant:$1 in
    cpu:*+cpu*) ;;
    cpu:*) fail "pip finds no CPU build of torch; name PyTorch's index of them in PIP_EXTRA_INDEX_URL" ;;
    cuda:*+cpu*) fail "pip finds a CPU build of torch ($1); leave PyTorch's index of those out of pip's settings (PIP_EXTRA_INDEX_URL)" ;;
    esac
}
# Which torch pip would take. Asked before the rest is fetched: a wrong one brings gigabytes along.
offered_torch() {
    local pin
    pin=$(sed -n 's/^torch==//p' constraints.txt)
    "$python" -m pip --disable-pip-version-check index versions --find-links $wheels torch 2>/dev/null |
        sed -n 's/^Available versions: //p' | tr -d ' ' | tr , '\n' | grep -E "^${pin//./\\.}(\+|$)" | head -n 1
}

# Collected again only when what is wanted has changed; a wheel that lies there already is reused.
collect() {
    local place=$wheels wanted found
    wanted=$("$python" infra/docker/requirements.py pyproject.toml server)
    [ "$(cat $place/.made-for 2>/dev/null)" != "$(made_for)" ] || return 0
    mkdir -p $place
    [ "$variant" = cpu ] || rm -f $place/torch-*+cpu*.whl  # taken by mistake: it would be again
    found=$(offered_torch || true)
    [ -z "$found" ] || check_torch "$found"
    echo "collecting wheels in $place (a minute or two)"
    rm -rf $place.draft && mkdir -p $place.draft
    # shellcheck disable=SC2086  # one requirement a word
    "$python" -m pip -qq --disable-pip-version-check wheel \
        --find-links $place --wheel-dir $place.draft -c constraints.txt $wanted 'setuptools>=77'
    check_torch "$(cd $place.draft && ls torch-*.whl)"
    made_for >$place.draft/.made-for
    rm -rf $place && mv $place.draft $place
}
made_for() { { cat constraints.txt; echo "$wanted" "$variant" "$py"; } | sha256sum; }
collect

echo "building $tag ($variant)"
docker build --quiet --network none --file infra/docker/Dockerfile --tag "$tag" \
    --build-arg BASE="${BASE:-python:$py-slim}" --build-arg VARIANT="$variant" \
    --build-arg WHEELS="$wheels" \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" . >/dev/null
docker image inspect --format "$tag {{.Id}}, {{.Size}} bytes" "$tag"
