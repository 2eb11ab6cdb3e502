"""Pods are restricted, and only who must reaches them."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.infra.manifests import (
    OVERLAYS,
    containers,
    labels,
    named,
    objects,
    of_kind,
    pod,
    rendering,
    stores_of,
    workloads,
)
from tests.infra.network import Pod, allowed
from tests.infra.pod_security import violations

ALL = pytest.mark.parametrize("overlay", OVERLAYS)
IN_CLUSTER = pytest.mark.parametrize("overlay", ["small", "gpu"])


@ALL
def test_pods_meet_the_restricted_profile(overlay):
    found = workloads(objects(overlay))
    assert found
    for workload in found:
        assert violations(pod(workload)) == [], workload["metadata"]["name"]


BREACHES = {
    "hostNetwork": lambda p, c: p.update(hostNetwork=True),
    "hostPID": lambda p, c: p.update(hostPID=True),
    "hostIPC": lambda p, c: p.update(hostIPC=True),
    "volumes": lambda p, c: p["volumes"].append({"name": "h", "hostPath": {"path": "/"}}),
    "sysctls": lambda p, c: p["securityContext"].update(sysctls=[{"name": "kernel.msgmax"}]),
    "mlflow: privileged": lambda p, c: c["securityContext"].update(privileged=True),
    "mlflow: allowPrivilegeEscalation": lambda p, c: c["securityContext"].pop(
        "allowPrivilegeEscalation"
    ),
    "mlflow: drop ALL": lambda p, c: c["securityContext"].update(capabilities={"drop": ["CHOWN"]}),
    "mlflow: added capabilities": lambda p, c: c["securityContext"]["capabilities"].update(
        add=["SYS_ADMIN"]
    ),
    "mlflow: procMount": lambda p, c: c["securityContext"].update(procMount="Unmasked"),
    "mlflow: hostPort": lambda p, c: c["ports"][0].update(hostPort=5000),
    "mlflow: runAsNonRoot": lambda p, c: c["securityContext"].update(runAsNonRoot=False),
    "mlflow: runAsUser": lambda p, c: c["securityContext"].update(runAsUser=0),
    "mlflow: seccompProfile": lambda p, c: c["securityContext"].update(
        seccompProfile={"type": "Unconfined"}
    ),
    "mlflow: appArmorProfile": lambda p, c: c["securityContext"].update(
        appArmorProfile={"type": "Unconfined"}
    ),
    "mlflow: hostProcess": lambda p, c: c["securityContext"].update(
        windowsOptions={"hostProcess": True}
    ),
    "mlflow: seLinuxOptions": lambda p, c: c["securityContext"].update(
        seLinuxOptions={"type": "spc_t"}
    ),
    "mlflow: probe and lifecycle host": lambda p, c: c["livenessProbe"]["httpGet"].update(
        host="10.0.0.1"
    ),
}


@pytest.mark.parametrize("rule", BREACHES)
def test_the_profile_finds_a_breach(rule):
    spec = pod(named(objects("small"), "Deployment", "llmclf-mlflow"))
    BREACHES[rule](spec, spec["containers"][0])
    assert violations(spec) == [rule]


def test_the_profile_looks_at_init_containers_and_at_the_pod():
    spec = pod(named(objects("small"), "Deployment", "llmclf-mlflow"))
    del spec["securityContext"]
    assert set(violations(spec)) == {
        f"{name}: {rule}"
        for name in ("prepare", "mlflow")
        for rule in ("runAsNonRoot", "seccompProfile")
    }


@ALL
def test_beyond_the_profile(overlay):
    for workload in workloads(objects(overlay)):
        spec = pod(workload)
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsUser"] >= 999
        for container in containers(spec):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            for bound in ("requests", "limits"):
                assert set(container["resources"][bound]) >= {"cpu", "memory"}
        if workload["kind"] != "Job":
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert all(probe in container for container in spec["containers"])


def _pod(found, workload):
    (one,) = (w for w in workloads(found) if w["metadata"]["name"] == workload)
    ports = {p["name"]: p["containerPort"] for c in pod(one)["containers"] for p in c["ports"]}
    return Pod(labels(one), ports=ports)


STEP = Pod({"pipeline/runid": "4f", "pipelines.kubeflow.org/v2_component": "true"})
OTHER = Pod({"app": "notebook"})
PROFILE_STEP = Pod(STEP.labels, "ann", {"llmclf/pipelines": "true"})
STRANGE_STEP = Pod(STEP.labels, "eve")
PROFILE_OTHER = Pod(OTHER.labels, "ann", {"llmclf/pipelines": "true"})
INGRESS = Pod({"app": "ingress"}, "ingress", {"llmclf/mlflow-ingress": "true"})
CLIENT = Pod({"llmclf/mlflow-client": "true"})
OUTSIDE = Pod({}, None)


@IN_CLUSTER
def test_who_reaches_mlflow(overlay):
    found = objects(overlay)
    mlflow = _pod(found, "llmclf-mlflow")
    for let in (STEP, PROFILE_STEP, INGRESS, CLIENT):
        assert allowed(found, let, mlflow, 5000), let
        assert not allowed(found, let, mlflow, 8265)
    for refused in (OTHER, STRANGE_STEP, PROFILE_OTHER, OUTSIDE):
        assert not allowed(found, refused, mlflow, 5000), refused


@IN_CLUSTER
@pytest.mark.parametrize(("store", "port"), [("llmclf-postgres", 5432), ("llmclf-objects", 8333)])
def test_only_mlflow_reaches_the_stores(overlay, store, port):
    found = objects(overlay)
    target = _pod(found, store)
    assert allowed(found, _pod(found, "llmclf-mlflow"), target, port)
    for unauthenticated in (9333, 8888, 8080, 18333):  # master, filer, volume, gRPC of SeaweedFS
        assert not allowed(found, _pod(found, "llmclf-mlflow"), target, unauthenticated)
    for refused in (STEP, OTHER, INGRESS, CLIENT, PROFILE_STEP, OUTSIDE):
        assert not allowed(found, refused, target, port), refused
    for other in ("llmclf-postgres", "llmclf-objects"):
        assert not allowed(found, _pod(found, other), target, port) or other == store


@IN_CLUSTER
def test_nothing_of_ours_reaches_out(overlay):
    found = objects(overlay)
    dns = Pod({"k8s-app": "kube-dns"}, "kube-system")
    for name in ("llmclf-mlflow", "llmclf-postgres", "llmclf-objects"):
        ours = _pod(found, name)
        assert not allowed(found, ours, OUTSIDE, 443)
        assert not allowed(found, ours, OTHER, 8080)
        assert allowed(found, ours, dns, 53) is (name == "llmclf-mlflow")
    assert not allowed(found, Pod(labels(named(found, "Job", "llmclf-cache"))), OUTSIDE, 443)


def test_external_stores_are_reached_and_nothing_else():
    found = objects("external")
    mlflow = _pod(found, "llmclf-mlflow")
    assert allowed(found, STEP, mlflow, 5000)
    assert not allowed(found, OTHER, mlflow, 5000)
    assert allowed(found, mlflow, OUTSIDE, 5432)
    assert allowed(found, mlflow, OUTSIDE, 443)
    assert not allowed(found, mlflow, OUTSIDE, 80)
    assert not allowed(found, mlflow, OTHER, 5432)
    (policy,) = (p for p in of_kind(found, "NetworkPolicy") if "egress" in p["spec"])
    rule = policy["spec"]["egress"][1]
    (block,) = rule["to"]
    assert block["ipBlock"]["except"] == ["169.254.0.0/16"]
    stores = stores_of(found)
    bucket = urlsplit(stores["MLFLOW_S3_ENDPOINT_URL"])
    ports = {int(stores["PGPORT"]), bucket.port or {"https": 443, "http": 80}[bucket.scheme]}
    assert {one["port"] for one in rule["ports"]} == ports


def test_renderings_are_complete():
    assert "kind: StatefulSet" in rendering("small")
    kinds = sorted(one["kind"] for one in objects("external"))
    assert kinds.count("NetworkPolicy") == 2
    assert "Deployment" in kinds
