"""The network namespace of a node: everything of a cluster happens in it, and nothing gets out of it.

One veth pair joins it to the machine. Inside there is no default route: a pod that tries to reach the internet
gets "network is unreachable" at once, whatever the machine itself may reach.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.output import run
from tests.cluster.slots import State

_SYSCTLS = ("net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1")


def namespace_of(name: str) -> str:
    """What the network namespace of a cluster is called."""
    return f"gateway-{name}"


def entering(name: str) -> Sequence[str]:
    """The words before a command that runs it in the namespace.

    Not `ip netns exec`: that mounts /sys anew, and the kubelet then finds no cgroups.
    """
    return ("nsenter", f"--net=/run/netns/{namespace_of(name)}", "--")


def make(state: State) -> None:
    """Make the namespace and the link to it."""
    namespace, addresses = namespace_of(state.name), state.addresses
    link = _link(state)
    _ip("netns", "add", namespace)
    _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    _ip("addr", "add", f"{addresses.host}/24", "dev", link)
    _ip("link", "set", link, "up")
    _ip("-n", namespace, "link", "set", "lo", "up")
    _ip("-n", namespace, "addr", "add", f"{addresses.node}/24", "dev", "eth0")
    _ip("-n", namespace, "link", "set", "eth0", "up")
    # The services' addresses exist only in iptables rules, yet a route to them must exist for these to see a packet.
    _ip("-n", namespace, "route", "add", addresses.services, "dev", "eth0")
    for network in (addresses.pods, addresses.services):
        _ip("route", "add", network, "via", addresses.node, "dev", link)
    for setting in _SYSCTLS:
        name, value = setting.split("=")
        path = Path("/proc/sys") / name.replace(".", "/")
        if path.exists():
            run([*entering(state.name), "sh", "-c", f"echo {value} > {path}"])


def remove(name: str, state: State | None) -> None:
    """Remove the namespace and the link, as far as they are there."""
    subprocess.run(["ip", "netns", "del", namespace_of(name)], capture_output=True, check=False)
    if state is not None:
        # It goes with the namespace, but a little later; the next start may want the name before that.
        subprocess.run(["ip", "link", "del", _link(state)], capture_output=True, check=False)


def _link(state: State) -> str:
    return f"gateway{state.slot}"


def _ip(*arguments: str) -> None:
    run(["ip", *arguments])
