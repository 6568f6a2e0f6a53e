"""The network namespace of a cluster with a node, which isolates its traffic from the machine's network.

One veth pair connects it to the machine. It has no default route, so a pod that connects to the internet immediately
gets "network is unreachable".
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.output import run
from tests.cluster.slots import State

_SYSCTLS = ("net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1")


def namespace_of(name: str) -> str:
    """Name of the network namespace of a cluster."""
    return f"gateway-{name}"


def entering(name: str) -> Sequence[str]:
    """Prefix of a command that runs it in the namespace.

    Not `ip netns exec`, which mounts another /sys, so that the kubelet finds no cgroups.
    """
    return ("nsenter", f"--net=/run/netns/{namespace_of(name)}", "--")


def make(state: State) -> None:
    """Create the namespace, the link to it, and the routes."""
    namespace, addresses = namespace_of(state.name), state.addresses
    link = _link(state)
    _ip("netns", "add", namespace)
    _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    _ip("addr", "add", f"{addresses.host}/24", "dev", link)
    _ip("link", "set", link, "up")
    _ip("-n", namespace, "link", "set", "lo", "up")
    _ip("-n", namespace, "addr", "add", f"{addresses.node}/24", "dev", "eth0")
    _ip("-n", namespace, "link", "set", "eth0", "up")
    # Addresses of services exist only in iptables rules, but the rules see a packet only if a route exists.
    _ip("-n", namespace, "route", "add", addresses.services, "dev", "eth0")
    for network in (addresses.pods, addresses.services):
        _ip("route", "add", network, "via", addresses.node, "dev", link)
    for setting in _SYSCTLS:
        name, value = setting.split("=")
        path = Path("/proc/sys") / name.replace(".", "/")
        if path.exists():
            run([*entering(state.name), "sh", "-c", f"echo {value} > {path}"])


def remove(name: str, state: State | None) -> None:
    """Remove the namespace and the link, if they exist."""
    subprocess.run(["ip", "netns", "del", namespace_of(name)], capture_output=True, check=False)
    if state is not None:
        # The kernel removes the link after the namespace with a delay, but the next start may need its name earlier.
        subprocess.run(["ip", "link", "del", _link(state)], capture_output=True, check=False)


def _link(state: State) -> str:
    return f"gateway{state.slot}"


def _ip(*arguments: str) -> None:
    run(["ip", *arguments])
