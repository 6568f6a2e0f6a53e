"""The NetworkPolicies of both charts and of drills, enforced by the node's policy engine on real pods.

The first tests use the policies and the table of the unit tests, with a stand-in for each kind of pod. The last one
uses the installed operator and gateway.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from tests.cluster import Cluster
from tests.cluster.fixtures import create_namespace
from tests.cluster.output import wait_until
from tests.node.conftest import OPERATOR_TAG, InstalledGateway
from tests.unit.charts.connections import (
    CALLERS,
    CONNECTIONS,
    EGRESS_TO_STRANGER,
    OPERATOR_NAMESPACE,
    OUTSIDE,
    PODS,
    RESTRICTED_EGRESS,
    SCRAPER_NAMESPACE,
    policies,
)
from tests.unit.charts.network import Endpoint
from tests.unit.charts.render import NAMESPACE

pytestmark = pytest.mark.node

Connection = tuple[str, int]
"""Host and port."""
_MOVED = {name: f"policies-{name}" for name in (NAMESPACE, OPERATOR_NAMESPACE, SCRAPER_NAMESPACE)}
"""Namespaces of the stand-ins, by the namespaces in the table. The session's own releases are in those."""
PORTS = (8000, 8001, 8080, 8081, 8443)
LISTEN = f"""\
import select, socket
listening = [socket.create_server(("", port)) for port in {PORTS}]
while True:
    for one in select.select(listening, [], [])[0]:
        one.accept()[0].close()
"""
CONNECT = """\
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def accepts(target):
    try:
        socket.create_connection(tuple(target), timeout=2).close()
    except OSError:
        return False
    return True
targets = json.loads(sys.argv[1])
with ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps(list(pool.map(accepts, targets))))
"""
RESOLVE = """\
import socket
try:
    socket.getaddrinfo("kubernetes.default.svc.cluster.local", 443)
except OSError:
    print("no")
else:
    print("yes")
"""


def run_python(cluster: Cluster, namespace: str, pod: str, script: str, *arguments: str, container: str = "") -> str:
    """Run a Python script in a pod and return its output."""
    chosen = ["-c", container] if container else []
    return cluster.kubectl("-n", namespace, "exec", pod, *chosen, "--", "python3", "-c", script, *arguments)


def connect(
    cluster: Cluster, namespace: str, pod: str, targets: Iterable[Connection], container: str = ""
) -> dict[Connection, bool]:
    """Which of the targets accept a connection from the pod."""
    tried = list(targets)
    answers = run_python(cluster, namespace, pod, CONNECT, json.dumps(tried), container=container)
    return dict(zip(tried, json.loads(answers), strict=True))


def stand_in(name: str, endpoint: Endpoint) -> dict[str, Any]:
    """A pod with the labels and named ports of an endpoint, which accepts connections on all ports of the table.

    Its readiness probe uses a port that no policy allows.
    """
    names = {number: port for port, number in endpoint.ports.items()}
    ports = [{"containerPort": port, **({"name": names[port]} if port in names else {})} for port in PORTS]
    container = {
        "name": "main",
        "image": OPERATOR_TAG,
        "command": ["python3", "-c", LISTEN],
        "ports": ports,
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": _MOVED[endpoint.namespace], "labels": dict(endpoint.labels)},
        "spec": {
            "containers": [container],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
        },
    }


def moved(policy: dict[str, Any]) -> dict[str, Any]:
    """The policy for the namespaces of the stand-ins, without an owner, which does not exist here."""
    text = json.dumps(policy)
    for before, after in _MOVED.items():
        for key in ("namespace", "kubernetes.io/metadata.name"):
            text = text.replace(f'"{key}": "{before}"', f'"{key}": "{after}"')
    result: dict[str, Any] = json.loads(text)
    result["metadata"].pop("ownerReferences", None)
    return result


@contextmanager
def listening_outside(address: str, port: int) -> Iterator[None]:
    """Accept connections at an address of this machine, which is no pod of the cluster."""
    with socket.create_server((address, port)) as server:

        def accept() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@dataclass(frozen=True)
class StandIns:
    """The running stand-ins, with their addresses by name."""

    cluster: Cluster
    addresses: dict[str, str]

    def apply(self, operator: dict[str, Any] | None = None, gateway: dict[str, Any] | None = None) -> None:
        """Create or update all policies, with these values of `networkPolicy` and the API server's real address."""
        real = {"apiServerAddresses": [f"{self.cluster.node_address}/32"]}
        items = [moved(one) for one in policies({**real, **(operator or {})}, {**real, **(gateway or {})})]
        self._apply(items)

    def _apply(self, items: list[dict[str, Any]]) -> None:
        self.cluster.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))

    def allowed(self, rows: Iterable[tuple[str, str, int]]) -> dict[tuple[str, str, int], bool]:
        """Try each connection from the source's pod. All sources try at the same time."""
        by_source: dict[str, list[tuple[str, int]]] = {}
        for source, target, port in rows:
            by_source.setdefault(source, []).append((target, port))

        def ask(source: str) -> dict[tuple[str, str, int], bool]:
            targets = {(self.addresses[target], port): target for target, port in by_source[source]}
            answers = connect(self.cluster, _MOVED[PODS[source].namespace], source, targets)
            return {(source, targets[(host, port)], port): answer for (host, port), answer in answers.items()}

        with ThreadPoolExecutor(4) as pool:
            return {row: answer for answers in pool.map(ask, by_source) for row, answer in answers.items()}

    def must_become(self, expected: dict[tuple[str, str, int], bool]) -> None:
        """Wait until the engine decides as expected, and fail with the differences if it does not."""
        differences: dict[tuple[str, str, int], bool] = {}

        def equal() -> bool:
            answers = self.allowed(expected)
            differences.clear()
            differences.update({row: answer for row, answer in answers.items() if answer != expected[row]})
            return not differences

        try:
            wait_until(equal, "the policy engine decides as expected", timeout=60, pause=0.5)
        finally:
            assert not differences, f"decided otherwise by the engine: {differences}"


@pytest.fixture(scope="module")
def stand_ins(installed_gateway: InstalledGateway) -> Iterator[StandIns]:
    """One pod for each kind of pod of the table, ready, before there is a policy."""
    cluster = installed_gateway.cluster
    state = cluster.state.addresses
    with ExitStack() as cleanup:
        for namespace in _MOVED.values():
            cleanup.callback(cluster.kubectl, "delete", "namespace", namespace, "--wait=false", check=False)
            create_namespace(cluster, namespace)
        pods = [stand_in(name, endpoint) for name, endpoint in PODS.items()]
        result = StandIns(cluster, {OUTSIDE: state.host, "api-server": state.node, "service": state.kubernetes_service})
        result._apply(pods)
        for name, endpoint in PODS.items():
            namespace = _MOVED[endpoint.namespace]
            cluster.kubectl("-n", namespace, "wait", f"pod/{name}", "--for=condition=Ready", "--timeout=90s")
            found = cluster.rest.get("pod", namespace, name)
            assert found is not None
            result.addresses[name] = found["status"]["podIP"]
        for port in (80, 443):
            cleanup.enter_context(listening_outside(state.host, port))
        yield result


def test_engine_allows_exactly_the_connections_of_the_table(stand_ins: StandIns) -> None:
    expected = {(source, target, port): allowed for source, target, port, allowed in CONNECTIONS}
    api_server = (("api-server", 6443), ("service", 443))
    expected |= {(caller, target, port): True for caller in CALLERS for target, port in api_server}
    expected |= {(caller, OUTSIDE, 443): False for caller in CALLERS}  # `apiServerAddresses` are set
    expected |= {("drill", target, port): False for target, port in api_server}

    without_policies = stand_ins.allowed(expected)
    assert all(without_policies.values()), without_policies

    stand_ins.apply()
    stand_ins.must_become(expected)
    for name in (*CALLERS, "gateway", "drill"):
        answer = run_python(stand_ins.cluster, _MOVED[PODS[name].namespace], name, RESOLVE)
        assert answer.strip() == ("no" if name == "drill" else "yes"), name


def test_restricted_egress_of_a_gateway_allows_only_its_rules(stand_ins: StandIns) -> None:
    stand_ins.apply(gateway={"egress": {"restricted": True, "rules": [EGRESS_TO_STRANGER]}})
    expected = {("gateway", target, port): allowed for target, port, allowed in RESTRICTED_EGRESS}
    stand_ins.must_become({**expected, ("gateway", "api-server", 6443): False, ("operator", "gateway", 8443): True})


def test_probes_of_the_kubelet_pass_the_policies(stand_ins: StandIns) -> None:
    """The stand-ins' probes use a port that no policy allows. They ran for each second of the tests before."""
    for name, endpoint in PODS.items():
        pod = stand_ins.cluster.rest.get("pod", _MOVED[endpoint.namespace], name)
        assert pod is not None
        (status,) = pod["status"]["containerStatuses"]
        assert status["ready"], name


def test_installed_releases_are_closed_to_other_pods(stand_ins: StandIns, installed_gateway: InstalledGateway) -> None:
    cluster = installed_gateway.cluster
    gateway = installed_gateway.pod()
    labels = f"app.kubernetes.io/name=gateway-backup-operator,app.kubernetes.io/instance={installed_gateway.operator}"
    operators = cluster.rest.items("pods", installed_gateway.operator_namespace, labels=labels)
    operator = next(one for one in operators if "deletionTimestamp" not in one["metadata"])
    address, operator_address = gateway["status"]["podIP"], operator["status"]["podIP"]
    api_server, outside = stand_ins.addresses["api-server"], stand_ins.addresses[OUTSIDE]
    expected = {(address, 8443): True, (address, 8000): False, (api_server, 6443): True, (outside, 443): False}
    name = operator["metadata"]["name"]
    assert connect(cluster, installed_gateway.operator_namespace, name, expected) == expected
    closed = [(address, 8443), (address, 8001), (operator_address, 8081), (operator_address, 8080)]
    answers = connect(cluster, _MOVED[NAMESPACE], "stranger", [(address, 8000), *closed])
    assert answers == {(address, 8000): True, **dict.fromkeys(closed, False)}
