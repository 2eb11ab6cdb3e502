"""The manifests hang together: valid fields, nothing dangling, the names that pipelines rely on."""

from __future__ import annotations

import functools
import re
from fnmatch import fnmatch
from unittest import mock

import kubernetes_validate.utils
import pytest
import yaml
from kubernetes_validate import ValidationError, validate

from llmclf_core import __version__
from tests.infra.manifests import (
    OVERLAYS,
    SOURCE,
    containers,
    labels,
    matches,
    named,
    objects,
    of_kind,
    pod,
    references,
    stores_of,
    workloads,
)
from tests.infra.pod_security import violations

KUBERNETES = ("1.27", "1.32", "1.37")
IMAGE = re.compile(r"^(?P<name>[\w./-]+(:\d+/[\w./-]+)?)(:(?P<tag>[\w.-]+)|@sha256:[0-9a-f]{64})$")
ALL = pytest.mark.parametrize("overlay", OVERLAYS)
SERVERS = pytest.mark.parametrize("overlay", ["small", "gpu", "external"])


@pytest.fixture(autouse=True, scope="module")
def schemas_are_read_once():
    """The library reads a megabyte anew for each object."""
    read = kubernetes_validate.utils.schema_contents
    with mock.patch("kubernetes_validate.utils.schema_contents", functools.cache(read)):
        yield


@ALL
@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_is_valid(overlay, version):
    for one in objects(overlay):
        validate(one, version, strict=True)


def test_a_wrong_field_is_refused():
    deployment = named(objects("small"), "Deployment", "llmclf-mlflow")
    pod(deployment)["containers"][0]["readynessProbe"] = {}
    with pytest.raises(ValidationError, match="readynessProbe"):
        validate(deployment, "1.32", strict=True)


def test_a_wrong_type_is_refused():
    service = named(objects("small"), "Service", "llmclf-mlflow")
    service["spec"]["ports"][0]["port"] = "http"
    with pytest.raises(ValidationError, match="integer"):
        validate(service, "1.32", strict=True)


@ALL
def test_no_object_occurs_twice(overlay):
    keys = [(one["kind"], one["metadata"]["name"]) for one in objects(overlay)]
    assert len(keys) == len(set(keys))


@ALL
def test_every_object_has_the_namespace_and_the_label(overlay):
    for one in objects(overlay):
        assert one["metadata"]["namespace"] == (
            "my-profile" if overlay == "profile" else "kubeflow"
        )
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "llmclf"


@ALL
def test_every_reference_resolves(overlay):
    found = objects(overlay)
    for workload in workloads(found):
        for kind, name, key in references(pod(workload)):
            target = named(found, kind, name)
            assert key is None or key in target["data"], (name, key)


def test_a_dangling_reference_is_seen():
    spec = pod(named(objects("small"), "Deployment", "llmclf-mlflow"))
    assert ("Secret", "llmclf-stores", "database-password") in list(references(spec))
    assert ("ConfigMap", "llmclf-tracking", "uri") not in list(references(spec))


@ALL
def test_mounts_and_volumes_agree(overlay):
    for workload in workloads(objects(overlay)):
        spec = pod(workload)
        claims = workload["spec"].get("volumeClaimTemplates", [])
        volumes = {v["name"] for v in spec.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in claims}
        mounted = {m["name"] for c in containers(spec) for m in c.get("volumeMounts", [])}
        assert mounted == volumes


@SERVERS
def test_services_lead_to_ports_of_pods(overlay):
    found = objects(overlay)
    services = of_kind(found, "Service")
    assert {s["metadata"]["name"] for s in services} >= {"llmclf-mlflow"}
    for service in services:
        (workload,) = (
            w for w in workloads(found) if service["spec"]["selector"].items() <= labels(w).items()
        )
        ports = {p["name"]: p for c in pod(workload)["containers"] for p in c["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]]["containerPort"] == port["port"]
        if workload["kind"] == "StatefulSet":
            assert workload["spec"]["serviceName"] == service["metadata"]["name"]


@SERVERS
def test_policies_and_budgets_choose_pods(overlay):
    found = objects(overlay)
    pods = [labels(w) for w in workloads(found)]
    for one in of_kind(found, "NetworkPolicy", "PodDisruptionBudget"):
        selector = one["spec"].get("podSelector") or one["spec"]["selector"]
        assert any(matches(selector, labelled) for labelled in pods), one["metadata"]["name"]
    for workload in of_kind(found, "Deployment", "StatefulSet"):
        assert matches(workload["spec"]["selector"], labels(workload))


@ALL
def test_images_are_pinned(overlay):
    found = [c["image"] for w in workloads(objects(overlay)) for c in containers(pod(w))]
    for image in found:
        pinned = IMAGE.match(image)
        assert pinned, image
        assert pinned["tag"] != "latest"
    assert f"llmclf:{__version__}" in found


@pytest.mark.parametrize("image", ["postgres", "host:5000/postgres", "postgres@sha256:12"])
def test_an_image_that_is_not_pinned_is_seen(image):
    assert not IMAGE.match(image)


@ALL
def test_what_compiled_pipelines_refer_to(overlay):
    found = objects(overlay)
    uri = named(found, "ConfigMap", "llmclf-tracking")["data"]["uri"]
    assert set(named(found, "Secret", "llmclf-tracking")["data"]) == {"username", "password"}
    named(found, "PersistentVolumeClaim", "llmclf-cache")
    if overlay == "profile":
        assert uri == "http://llmclf-mlflow.kubeflow.svc:5000"
    else:
        assert uri == "http://llmclf-mlflow:5000"
        ports = named(found, "Service", "llmclf-mlflow")["spec"]["ports"]
        assert [p["port"] for p in ports] == [5000]


@SERVERS
def test_mlflow_answers_to_the_names_that_steps_use(overlay):
    server = pod(named(objects(overlay), "Deployment", "llmclf-mlflow"))["containers"][0]
    environment = {e["name"]: e.get("value") for e in server["env"]}
    hosts = environment["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    for one in (overlay, "profile"):
        uri = named(objects(one), "ConfigMap", "llmclf-tracking")["data"]["uri"]
        assert any(fnmatch(uri.removeprefix("http://"), host) for host in hosts)
    assert not any(fnmatch("elsewhere.example.com:5000", host) for host in hosts)


@SERVERS
def test_addresses_and_ports_agree(overlay):
    found = objects(overlay)
    stores = stores_of(found)
    endpoint = stores["MLFLOW_S3_ENDPOINT_URL"]
    if overlay == "external":
        assert not of_kind(found, "StatefulSet")
        assert endpoint.startswith("https://")
        assert stores["PGSSLMODE"] == "require"
        return
    database = named(found, "Service", stores["PGHOST"])["spec"]["ports"][0]
    assert database["port"] == int(stores["PGPORT"])
    host, _, port = endpoint.removeprefix("http://").partition(":")
    assert named(found, "Service", host)["spec"]["ports"][0]["port"] == int(port)


def test_small_is_smaller():
    small, gpu = objects("small"), objects("gpu")
    for found, replicas, workers in ((small, 1, 1), (gpu, 2, 2)):
        deployment = named(found, "Deployment", "llmclf-mlflow")
        assert deployment["spec"]["replicas"] == replicas
        assert f"--workers={workers}" in pod(deployment)["containers"][0]["args"]
    assert _cache(small) == ["ReadWriteOnce"]
    assert _cache(gpu) == ["ReadWriteMany"]


def test_the_pod_that_fills_the_cache():
    one = yaml.safe_load((SOURCE / "cache-pod.yaml").read_text("utf-8"))
    validate(one, "1.32", strict=True)
    assert violations(one["spec"]) == []
    assert ("PersistentVolumeClaim", "llmclf-cache", None) in list(references(one["spec"]))
    assert one["spec"]["containers"][0]["image"] == f"llmclf:{__version__}"


def test_gpu_quota_counts_nothing_but_gpus():
    (quota,) = of_kind(objects("gpu"), "ResourceQuota")
    assert set(quota["spec"]["hard"]) == {"requests.nvidia.com/gpu"}


def _cache(found):
    return named(found, "PersistentVolumeClaim", "llmclf-cache")["spec"]["accessModes"]
