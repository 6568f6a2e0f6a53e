"""Slots: numbers that separate the addresses and ports of concurrent clusters on one machine.

A slot belongs to one cluster while it exists. All addresses derive from it, inside 198.18.0.0/15, the range reserved
for network tests, which is never routed:

    198.18.<slot>.0/24            the host's end (.1) and the node (.10)
    /20 number 2 + 2*slot         pods
    /20 number 3 + 2*slot         services
"""

import ipaddress
import json
import socket
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster.locks import Lock, locked
from tests.cluster.paths import ClusterError, ClusterPaths, state_root

SLOTS = range(15)
_TWENTIES = list(ipaddress.IPv4Network("198.18.0.0/15").subnets(new_prefix=20))
# Below the kernel's ephemeral ports, so that no other process gets a port while the API server restarts.
_FIRST_PORT = 20400
_PORTS_PER_SLOT = 16


@dataclass(frozen=True)
class Addresses:
    """The addresses and ports of one slot."""

    slot: int

    @property
    def host(self) -> str:
        """Address of the host's end of the link."""
        return f"198.18.{self.slot}.1"

    @property
    def node(self) -> str:
        """Address of the node, the API server and DNS."""
        return f"198.18.{self.slot}.10"

    @property
    def pods(self) -> str:
        """Network of the pods, in CIDR notation."""
        return str(_TWENTIES[2 + 2 * self.slot])

    @property
    def pod_gateway(self) -> str:
        """Address of the node in the network of the pods."""
        return str(_TWENTIES[2 + 2 * self.slot][1])

    @property
    def services(self) -> str:
        """Network of the services, in CIDR notation."""
        return str(_TWENTIES[3 + 2 * self.slot])

    @property
    def kubernetes_service(self) -> str:
        """Address of the service `kubernetes`: the first of the services' network."""
        return str(_TWENTIES[3 + 2 * self.slot][1])

    def port(self, index: int) -> int:
        """A loopback port of this slot, for a cluster without a network namespace."""
        return _FIRST_PORT + self.slot * _PORTS_PER_SLOT + index


@dataclass(frozen=True)
class State:
    """The recorded state of a cluster, for other processes."""

    name: str
    slot: int
    node: bool
    tokens: dict[str, str]

    @property
    def addresses(self) -> Addresses:
        """The addresses of the cluster's slot."""
        return Addresses(self.slot)

    @property
    def server_address(self) -> str:
        """Address on which the API server listens."""
        return self.addresses.node if self.node else "127.0.0.1"

    @property
    def server_port(self) -> int:
        """Port of the API server: 6443 in a network namespace, otherwise a port of the slot."""
        return 6443 if self.node else self.addresses.port(2)

    @property
    def server(self) -> str:
        """URL of the API server for clients."""
        return f"https://{self.server_address}:{self.server_port}"

    def save(self, paths: ClusterPaths) -> None:
        """Write the state to a file with mode 0600, because it contains tokens."""
        paths.state.touch(mode=0o600)
        paths.state.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, paths: ClusterPaths) -> "State | None":
        """The recorded state of a cluster; None if the file is missing or invalid."""
        try:
            return cls(**json.loads(paths.state.read_text()))
        except (OSError, ValueError, TypeError):
            return None


def allocate(name: str, node: bool, tokens: dict[str, str]) -> State:
    """Allocate a free slot for a cluster and record it."""
    paths = ClusterPaths.of(name)
    with locked(state_root() / "slots.lock"):
        taken = {state.slot for state in all_states() if state.name != name}
        foreign = _addresses_in_use()
        for slot in SLOTS:
            addresses = Addresses(slot)
            if slot in taken or (node and any(a.startswith(f"198.18.{slot}.") for a in foreign)):
                continue
            if not node and not all(_port_is_free(addresses.port(i)) for i in range(_PORTS_PER_SLOT)):
                continue
            paths.root.mkdir(parents=True, exist_ok=True)
            state = State(name, slot, node, tokens)
            state.save(paths)
            return state
    raise ClusterError(f"all {len(SLOTS)} slots are taken; `python -m tests.cluster status` lists the clusters")


def all_states() -> list[State]:
    """The recorded states of all clusters of this user, running or not."""
    found = (State.load(ClusterPaths(path.parent)) for path in sorted(state_root().glob("*/state.json")))
    return [state for state in found if state is not None]


def name_lock_path(name: str) -> Path:
    """Path of the lock that the process owning a cluster holds."""
    return state_root() / "locks" / f"{name}.lock"


def claim_name(preferred: str) -> tuple[str, Lock]:
    """Claim a name that no running process owns: NAME, or NAME-2, NAME-3, ...; returns it with its lock."""
    for number in SLOTS:
        name = preferred if number == 0 else f"{preferred}-{number + 1}"
        lock = Lock(name_lock_path(name))
        if lock.try_acquire():
            return name, lock
        lock.release()
    raise ClusterError(f"too many test runs: all names from {preferred} to {preferred}-{len(SLOTS)} are in use")


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _addresses_in_use() -> list[str]:
    """IPv4 addresses of the machine, to exclude slots whose addresses are in use."""
    try:
        listed = subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [info["local"] for link in json.loads(listed) for info in link.get("addr_info", [])]
