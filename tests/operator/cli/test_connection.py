"""The plugin connects exactly as kubectl does: the same cluster, user, namespace and answer for each kubeconfig."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.support.processes import process_tree
from tests.cluster import Cluster
from tests.operator.support.forked_plugin import run_plugin
from tests.operator.support.kubectl_gateway import MODULE
from tests.operator.support.workloads import Kube, wait_for

pytestmark = pytest.mark.cluster

TOKEN_FOLDER = "/run/secrets/kubernetes.io/serviceaccount"


@dataclass
class ConnectProxy:
    """An HTTP proxy that connects every CONNECT request to one server, and counts the requests."""

    server: tuple[str, int]
    requests: int = 0
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        """Accept connections until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        head = client.recv(65536)
        if not head.startswith(b"CONNECT "):
            client.close()
            return
        self.requests += 1
        with client, socket.create_connection(self.server) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            upstream = threading.Thread(target=_copy, args=(client, server), daemon=True)
            upstream.start()
            _copy(server, client)
            upstream.join(10)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@dataclass
class Case:
    """A way to connect. ``files`` are kubeconfigs in the order of KUBECONFIG; ``in_pod``: with a service account."""

    name: str
    files: list[dict[str, Any]]
    flags: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    in_pod: bool = False
    fails: bool = False


@dataclass
class Kubeconfigs:
    """Builds kubeconfigs for the accounts `alice` and `bob`, who may list nothing: an answer then names its user."""

    cluster: Cluster
    tokens: dict[str, str]
    folder: Path
    proxy: ConnectProxy

    def make(self, account: str, namespace: str | None = None, **options: Any) -> dict[str, Any]:
        """A kubeconfig with one cluster, user and context, all called like the account."""
        config = yaml.safe_load(self.cluster.kubeconfig.read_text())
        cluster = {**config["clusters"][0]["cluster"], **options.pop("cluster", {})}
        user = options.pop("user", {"token": self.tokens.get(account, "")})
        context = {"cluster": account, "user": account, **({"namespace": namespace} if namespace else {})}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": account, "cluster": cluster}],
            "users": [{"name": account, "user": user}],
            "contexts": [{"name": account, "context": context}],
            "current-context": options.pop("current", account),
        }

    def exec_user(self, script: str) -> dict[str, Any]:
        """A user whose token comes from a credential plugin."""
        program = self.folder / f"exec-{abs(hash(script))}"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        api = "client.authentication.k8s.io/v1"
        return {"exec": {"apiVersion": api, "command": str(program), "interactiveMode": "Never"}}

    def cases(self) -> Iterator[Case]:
        """The connections that are compared."""
        admin = yaml.safe_load(self.cluster.kubeconfig.read_text())["users"][0]["user"]
        credential = json.dumps(
            {
                "apiVersion": "client.authentication.k8s.io/v1",
                "kind": "ExecCredential",
                "status": {"token": self.tokens["bob"]},
            }
        )
        token_file = self.folder / "token"
        token_file.write_text(self.tokens["bob"] + "\n")
        certificate = {
            "client-certificate": str(self.cluster.paths.pki / "kubelet-client.crt"),
            "client-key": str(self.cluster.paths.pki / "kubelet-client.key"),
        }
        port = self.proxy.server[1]
        named = {"server": f"https://api.example:{port}", "tls-server-name": "kubernetes"}
        alice, bob = self.make("alice", "first"), self.make("bob", "second")
        yield Case("one file", [alice])
        yield Case("the first of two current contexts wins", [alice, bob])
        yield Case("the first of two current contexts wins, in the other order", [bob, alice])
        yield Case("the second file has the current context", [self.make("alice", "first", current=""), bob])
        yield Case("a context by flag", [alice, bob], ("--context=bob",))
        yield Case("a user by flag", [alice, bob], ("--user=bob",))
        yield Case("no namespace in the context", [self.make("alice")])
        yield Case("a kubeconfig by flag", [alice], (f"--kubeconfig={self._write('flag', bob)}",))
        yield Case("impersonation in the kubeconfig", [self.make("x", "first", user={**admin, "as": "carol"})])
        yield Case("impersonation by flag", [self.make("x", "first", user=admin)], ("--as=carol", "--as-group=g"))
        yield Case("a credential plugin", [self.make("x", "first", user=self.exec_user(f"echo '{credential}'"))])
        yield Case("a failing plugin", [self.make("x", user=self.exec_user("echo no >&2; exit 3"))], fails=True)
        yield Case("a token file that ends in a newline", [self.make("x", user={"tokenFile": str(token_file)})])
        yield Case("a client certificate", [self.make("x", "third", user=certificate)])
        yield Case("a proxy", [self.make("bob", cluster={**named, "proxy-url": self.proxy.url})])
        proxied = {"HTTPS_PROXY": self.proxy.url}
        yield Case("a proxy in the environment", [self.make("bob", cluster=named)], environment=proxied)
        excluded = {**proxied, "NO_PROXY": "api.example"}
        yield Case("a host without proxy", [self.make("bob", cluster=named)], environment=excluded, fails=True)
        yield Case("a wrong context", [alice], ("--context=nobody",), fails=True)
        yield Case("no current context", [self.make("alice", current="")], fails=True)
        yield Case("a wrong certificate authority", [self.make("alice", cluster={**named, "server": self.cluster.server,
                   "tls-server-name": "other.example"})], fails=True)  # fmt: skip
        yield Case("in a pod", [], in_pod=True)
        yield Case("in a pod with a kubeconfig", [bob], in_pod=True)
        yield Case("in a pod with a kubeconfig without namespace", [self.make("bob")], in_pod=True)

    def _write(self, name: str, config: Mapping[str, Any]) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(dict(config)))
        return path

    def environment(self, case: Case, number: int) -> dict[str, str]:
        """The environment of both programs."""
        paths = [str(self._write(f"{number}-{index}", config)) for index, config in enumerate(case.files)]
        environment = {**self.cluster.environment, **case.environment, "HOME": str(self.folder)}
        del environment["KUBECONFIG"]
        if paths:
            environment["KUBECONFIG"] = os.pathsep.join(paths)
        if case.in_pod:
            host, port = self.proxy.server
            environment |= {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port)}
        return environment


def _service_account(cluster: Cluster, token: str, folder: Path) -> Path:
    """A folder with the files that the kubelet mounts for a service account."""
    account = folder / "account"
    account.mkdir()
    (account / "token").write_text(token)
    (account / "namespace").write_text("of-the-pod")
    shutil.copy(cluster.paths.pki / "ca.crt", account / "ca.crt")
    return account


def _in_pod(account: Path, command: list[str]) -> list[str]:
    """The command with a service account mounted at the usual place, in a mount namespace of its own."""
    script = f'mount -t tmpfs none /run && mkdir -p {TOKEN_FOLDER} && cp "$0"/* {TOKEN_FOLDER} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(account), *command]


def _outcome(done: subprocess.CompletedProcess[str]) -> str:
    """The answer without the words of the program: who may not list where, or where there is none."""
    denied = re.search(r'forbidden: (User ".*" cannot list .* in the namespace ".*")', done.stderr)
    empty = re.search(
        r"No (?:resources found in (\S+) namespace|GatewayBackup found in namespace (\S+))\.", done.stderr
    )
    if denied:
        return denied[1]
    return f"none in {empty[1] or empty[2]}" if empty else "error"


def test_plugin_connects_as_kubectl_does(kube: Kube, tmp_path: Path) -> None:
    cluster = kube.cluster
    for name in ("alice", "bob"):
        kube.kubectl("create", "serviceaccount", name)
    host, port = cluster.server.removeprefix("https://").rsplit(":", 1)
    proxy = ConnectProxy((host, int(port)))
    threading.Thread(target=proxy.serve, daemon=True).start()
    tokens = {name: cluster.token_for(name, kube.namespace) for name in ("alice", "bob")}
    kubeconfigs = Kubeconfigs(cluster, tokens, tmp_path, proxy)
    account = _service_account(cluster, tokens["alice"], tmp_path)
    can_mount = os.geteuid() == 0

    def compare(number: int, case: Case) -> list[str]:
        environment = kubeconfigs.environment(case, number)
        commands = (["kubectl", "get", "gwb", *case.flags], [*MODULE, "backup", "list", *case.flags])
        outcomes = []
        for command in commands:
            if command[0] == "kubectl" or case.in_pod:
                words = _in_pod(account, command) if case.in_pod else command
                done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
            else:
                done = run_plugin([*command[len(MODULE) :]], environment, tmp_path / f"plugin-{number}")
            outcomes.append(_outcome(done))
            assert "Traceback" not in done.stderr, (case.name, done.stderr)
            assert (done.returncode == 0) == outcomes[-1].startswith("none"), (case.name, done.stderr)
        problems = [] if outcomes[0] == outcomes[1] else [f"{case.name}: {outcomes}"]
        if case.fails != (outcomes[1] == "error"):
            problems.append(f"{case.name}: {outcomes[1]}: {done.stderr}")
        return problems

    cases = [case for case in kubeconfigs.cases() if can_mount or not case.in_pod]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(compare, range(len(cases)), cases))
    proxy.listener.close()
    assert [problem for problems in results for problem in problems] == []
    assert proxy.requests >= 4  # two cases, two programs


def test_pod_without_kubectl_uses_its_service_account(kube: Kube, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a service account")
    kube.kubectl("create", "serviceaccount", "alice")
    token = kube.cluster.token_for("alice", kube.namespace)
    account = _service_account(kube.cluster, token, tmp_path)
    host, port = kube.cluster.server.removeprefix("https://").rsplit(":", 1)
    environment = {**os.environ, "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    environment.pop("KUBECONFIG", None)
    plugin = ["env", f"PATH={tmp_path}", *MODULE, "backup", "list"]
    for words, expected in (
        (_in_pod(account, plugin), f'"system:serviceaccount:{kube.namespace}:alice"'),
        (_in_pod(account, plugin), 'in the namespace "of-the-pod"'),
        (_in_pod(account, [*plugin, "--context=other"]), "kubectl is not installed"),
        (plugin, "kubectl is not installed"),
    ):
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
        assert expected in done.stderr, done.stderr


def test_killed_command_leaves_no_proxy_behind(kube: Kube) -> None:
    words = [*MODULE, "backup", "create", "never", "--gateway=nobody", "--wait", "-n", kube.namespace]
    with subprocess.Popen(words, env=kube.cluster.environment, stderr=subprocess.PIPE, text=True) as plugin:
        assert plugin.stderr is not None
        assert "Pending" in plugin.stderr.readline()
        (proxy,) = process_tree(plugin.pid)[1:]
        plugin.kill()
        plugin.wait(10)
        wait_for("the end of the proxy", lambda: not Path(f"/proc/{proxy}").exists())
