"""The ``restricted`` profile of Kubernetes' Pod Security Standards, as a table of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Spec = dict[str, Any]

VOLUMES = {
    *("name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"),
    *("persistentVolumeClaim", "projected", "secret"),
}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    *("net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"),
    *("net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range"),
    *("net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time"),
    *("net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl"),
    *("net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
}
SELINUX = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}

POD_RULES: dict[str, Callable[[Spec], bool]] = {
    "hostNetwork": lambda pod: not pod.get("hostNetwork"),
    "hostPID": lambda pod: not pod.get("hostPID"),
    "hostIPC": lambda pod: not pod.get("hostIPC"),
    "volumes": lambda pod: all(set(v) <= VOLUMES for v in pod.get("volumes", [])),
    "sysctls": lambda pod: all(
        s["name"] in SYSCTLS for s in pod.get("securityContext", {}).get("sysctls", [])
    ),
}
"""What holds for the pod as a whole."""

CONTAINER_RULES: dict[str, Callable[[Spec, Spec, Spec], bool]] = {
    "privileged": lambda own, both, c: not own.get("privileged"),
    "allowPrivilegeEscalation": lambda own, both, c: own.get("allowPrivilegeEscalation") is False,
    "drop ALL": lambda own, both, c: "ALL" in own.get("capabilities", {}).get("drop", []),
    "added capabilities": lambda own, both, c: (
        set(own.get("capabilities", {}).get("add", [])) <= {"NET_BIND_SERVICE"}
    ),
    "procMount": lambda own, both, c: own.get("procMount", "Default") == "Default",
    "hostPort": lambda own, both, c: not any(p.get("hostPort") for p in c.get("ports", [])),
    "runAsNonRoot": lambda own, both, c: both.get("runAsNonRoot") is True,
    "runAsUser": lambda own, both, c: both.get("runAsUser") != 0,
    "seccompProfile": lambda own, both, c: _profile(both, "seccompProfile", None) is True,
    "appArmorProfile": lambda own, both, c: _profile(both, "appArmorProfile", True) is True,
    "hostProcess": lambda own, both, c: not both.get("windowsOptions", {}).get("hostProcess"),
    "seLinuxOptions": lambda own, both, c: (
        both.get("seLinuxOptions", {}).get("type", "") in SELINUX
        and not {"user", "role"} & set(both.get("seLinuxOptions", {}))
    ),
    "probe and lifecycle host": lambda own, both, c: not any(_hosts(c)),
}
"""What holds for each container: of its own security context, of that with the pod's values where
it has none, and of the container."""


def violations(pod: Spec) -> list[str]:
    """The rules that a pod's spec breaks, as ``rule`` or ``container: rule``."""
    broken = [rule for rule, holds in POD_RULES.items() if not holds(pod)]
    shared = pod.get("securityContext", {})
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod.get(kind, []):
            own = container.get("securityContext", {})
            broken += [
                f"{container['name']}: {rule}"
                for rule, holds in CONTAINER_RULES.items()
                if not holds(own, shared | own, container)
            ]
    return broken


def _profile(context: Spec, field: str, absent: bool | None) -> bool | None:
    profile = context.get(field)
    return absent if profile is None else profile.get("type") in ("RuntimeDefault", "Localhost")


def _hosts(container: Spec) -> Iterator[str]:
    handlers = [
        container.get(kind, {}) for kind in ("startupProbe", "readinessProbe", "livenessProbe")
    ]
    handlers += container.get("lifecycle", {}).values()
    for handler in handlers:
        for action in ("httpGet", "tcpSocket"):
            if host := handler.get(action, {}).get("host"):
                yield host
