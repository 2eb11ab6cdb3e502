"""Who may reach whom, by the network policies of a rendering."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.infra.manifests import Object, matches, of_kind


class Pod(NamedTuple):
    """One end of a connection.

    Attributes:
        labels: of the pod.
        namespace: its name; None: outside the cluster.
        namespace_labels: labels of the namespace.
        ports: names of its ports, by number.
    """

    labels: dict[str, str]
    namespace: str | None = "kubeflow"
    namespace_labels: dict[str, str] = {}  # noqa: RUF012
    ports: dict[str, int] = {}  # noqa: RUF012


def allowed(found: list[Object], source: Pod, target: Pod, port: int) -> bool:
    """Whether a TCP connection is let out of its source and into its target."""
    policies = of_kind(found, "NetworkPolicy")
    out = _lets(policies, source, target, "Egress", target, port)
    return out and _lets(policies, target, source, "Ingress", target, port)


def _lets(
    policies: list[Object], subject: Pod, other: Pod, direction: str, target: Pod, port: int
) -> bool:
    chosen = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == subject.namespace
        and direction in policy["spec"]["policyTypes"]
        and matches(policy["spec"]["podSelector"], subject.labels)
    ]
    peers = "from" if direction == "Ingress" else "to"
    return not chosen or any(
        _port(rule, target, port) and any(_peer(peer, policy, other) for peer in rule[peers])
        for policy in chosen
        for rule in policy["spec"].get(direction.lower(), [])
    )


def _port(rule: Object, target: Pod, port: int) -> bool:
    numbers = {target.ports.get(p["port"], p["port"]) for p in rule["ports"] if _tcp(p)}
    return port in numbers


def _tcp(port: Object) -> bool:
    return port.get("protocol", "TCP") == "TCP"


def _peer(peer: dict[str, Any], policy: Object, other: Pod) -> bool:
    if "ipBlock" in peer:
        return other.namespace is None and peer["ipBlock"]["cidr"] == "0.0.0.0/0"
    if other.namespace is None:
        return False
    if "namespaceSelector" in peer:
        inside = matches(peer["namespaceSelector"], other.namespace_labels)
    else:
        inside = other.namespace == policy["metadata"]["namespace"]
    return inside and matches(peer.get("podSelector", {}), other.labels)
