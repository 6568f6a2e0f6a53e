"""Runs etcd, the API server, the controller-manager and the scheduler. Any user can run a control plane without a node.

With a node, these programs run in the node's network namespace, so that the API server can reach pods and the kubelet.
Without a node they listen on loopback.
"""

import base64
import json
import secrets
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import audit
from tests.cluster.certificates import Authority, write_signing_key
from tests.cluster.output import wait_until
from tests.cluster.paths import ClusterPaths
from tests.cluster.processes import Processes
from tests.cluster.slots import State

# User and groups of each component that calls the API server with a token.
_IDENTITIES = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "coredns": ("system:coredns", ""),
    "provisioner": ("system:provisioner", ""),
    "networkpolicies": ("system:networkpolicies", ""),
}


def node_name(cluster_name: str) -> str:
    """Name of the cluster's only node."""
    return f"{cluster_name}-node"


def new_tokens() -> dict[str, str]:
    """A random token for each component."""
    return {name: secrets.token_hex(16) for name in (*_IDENTITIES, "kubelet")}


class ControlPlane:
    """The control plane of one cluster."""

    def __init__(self, state: State, programs: dict[str, Path], entering_node: Sequence[str] = ()) -> None:
        self._state = state
        self._paths = ClusterPaths.of(state.name)
        self._programs = programs
        # Prefix of a command that runs it in the node's network namespace; empty without a node.
        self._entering_node = entering_node
        self._processes = Processes(self._paths)

    @property
    def program_names(self) -> list[str]:
        """Names of the programs that must be running."""
        names = ["etcd", "kube-apiserver", "kube-controller-manager"]
        return [*names, "kube-scheduler"] if self._state.node else names

    def write_credentials(self) -> None:
        """Create keys, certificates, tokens and a kubeconfig for each component."""
        state, pki = self._state, self._paths.pki
        shutil.rmtree(pki, ignore_errors=True)
        pki.mkdir(mode=0o700)
        authority = Authority()
        authority.save(pki / "ca.crt")
        names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        names += ["kubernetes.default.svc.cluster.local", "127.0.0.1", state.addresses.kubernetes_service]
        authority.issue(pki, "apiserver", "kube-apiserver", hosts=[*names, state.server_address])
        authority.issue(pki, "kubelet-client", "kube-apiserver-kubelet-client", group="system:masters")
        authority.issue(pki, "kubelet", node_name(state.name), hosts=[node_name(state.name), state.addresses.node])
        write_signing_key(pki / "service-accounts.key")
        identities = {**_IDENTITIES, "kubelet": (f"system:node:{node_name(state.name)}", "system:nodes")}
        lines = [f'{state.tokens[name]},{user},{user},"{group}"' for name, (user, group) in identities.items()]
        _write_secret(pki / "tokens.csv", "\n".join(lines) + "\n")
        for name in identities:
            target = self._paths.kubeconfig if name == "admin" else self.kubeconfig_of(name)
            _write_secret(target, yaml.safe_dump(self._kubeconfig(state.tokens[name])))

    def kubeconfig_of(self, component: str) -> Path:
        """The kubeconfig of a component."""
        return self._paths.pki / f"{component}.kubeconfig"

    def start(self) -> None:
        """Start all programs; returns when the API server is ready."""
        self._start_etcd()
        self.start_api_server()
        self.wait_ready()
        # After the API server is ready: the other two exit if it does not accept their tokens yet.
        self._spawn("kube-controller-manager", self._controller_manager())
        if self._state.node:
            self._spawn("kube-scheduler", self._scheduler())

    def start_api_server(self) -> None:
        """Start the API server, also after stop_api_server."""
        self._spawn("kube-apiserver", self._api_server())

    def stop_api_server(self) -> None:
        """Kill the API server with SIGKILL, as in a crash."""
        self._processes.stop("kube-apiserver", patience=0)

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until /readyz of the API server succeeds."""

        def ready() -> bool:
            self._processes.must_live(self.program_names[:2])
            return self._answers("/readyz")

        wait_until(ready, f"the API server of {self._state.name} to be ready", timeout, pause=0.05)

    def is_healthy(self) -> bool:
        """Whether all programs are running and the API server is ready."""
        alive = all(self._processes.pid(name) is not None for name in self.program_names)
        return alive and self._answers("/readyz")

    def _answers(self, path: str) -> bool:
        try:
            context = ssl.create_default_context(cafile=str(self._paths.pki / "ca.crt"))
            request = urllib.request.Request(
                self._state.server + path, headers={"Authorization": f"Bearer {self._state.tokens['admin']}"}
            )
            # No proxy from the environment, because the address is on this machine.
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
            )
            with opener.open(request, timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def _spawn(self, name: str, arguments: Sequence[str]) -> None:
        self._processes.spawn(name, [*self._entering_node, str(self._programs[name]), *arguments])

    def compact_etcd(self) -> int:
        """Remove all older versions from etcd; returns the oldest revision that is left."""
        url = f"http://127.0.0.1:{self._etcd_port}/v3/kv"
        revision = int(_etcd(f"{url}/range", {"key": "YQ=="})["header"]["revision"])
        _etcd(f"{url}/compaction", {"revision": str(revision), "physical": True})
        return revision

    def _start_etcd(self) -> None:
        shutil.rmtree(self._paths.etcd, ignore_errors=True)
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._etcd_port + 1}"
        arguments = ["--name=default", f"--data-dir={self._paths.etcd}", "--unsafe-no-fsync", "--log-level=warn"]
        arguments += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        arguments += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        arguments += [f"--initial-cluster=default={peer}"]
        self._spawn("etcd", arguments)

    @property
    def _etcd_port(self) -> int:
        return self._state.addresses.port(0)

    def _api_server(self) -> list[str]:
        state, pki = self._state, self._paths.pki
        arguments = {
            "etcd-servers": f"http://127.0.0.1:{self._etcd_port}",
            "bind-address": state.server_address,
            "advertise-address": state.server_address,
            "secure-port": str(state.server_port),
            "tls-cert-file": str(pki / "apiserver.crt"),
            "tls-private-key-file": str(pki / "apiserver.key"),
            "client-ca-file": str(pki / "ca.crt"),
            "token-auth-file": str(pki / "tokens.csv"),
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "allow-privileged": "true",
            "service-cluster-ip-range": state.addresses.services,
            "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
            "service-account-key-file": str(pki / "service-accounts.key"),
            "service-account-signing-key-file": str(pki / "service-accounts.key"),
            "kubelet-client-certificate": str(pki / "kubelet-client.crt"),
            "kubelet-client-key": str(pki / "kubelet-client.key"),
            "kubelet-certificate-authority": str(pki / "ca.crt"),
            "kubelet-preferred-address-types": "InternalIP",
            "profiling": "false",
            **audit.server_arguments(self._paths),
        }
        if state.node:
            # A mutating policy gives pods the uid of their namespace, as OpenShift does.
            arguments["feature-gates"] = "MutatingAdmissionPolicy=true"
            arguments["runtime-config"] = "admissionregistration.k8s.io/v1beta1=true"
        else:
            # The service `kubernetes` needs an endpoint that pods can reach; loopback is none, and no pods run.
            arguments["endpoint-reconciler-type"] = "none"
        return [f"--{name}={value}" for name, value in arguments.items()]

    def _controller_manager(self) -> list[str]:
        kubeconfig = str(self.kubeconfig_of("kube-controller-manager"))
        arguments = {
            "kubeconfig": kubeconfig,
            "authentication-kubeconfig": kubeconfig,
            "authorization-kubeconfig": kubeconfig,
            "bind-address": "127.0.0.1",
            "secure-port": str(self._state.addresses.port(3)),
            "leader-elect": "false",
            "use-service-account-credentials": "true",
            "service-account-private-key-file": str(self._paths.pki / "service-accounts.key"),
            "root-ca-file": str(self._paths.pki / "ca.crt"),
            "profiling": "false",
            # At the default of 20 requests a second, starting all controllers alone takes 5 s.
            "kube-api-qps": "500",
            "kube-api-burst": "1000",
            # Tests delete and claim things all the time; waiting 15 s for a volume is no use to anyone.
            "pvclaimbinder-sync-period": "2s",
        }
        if self._state.node:
            addresses = self._state.addresses
            arguments |= {"allocate-node-cidrs": "true", "cluster-cidr": addresses.pods, "node-cidr-mask-size": "20"}
        return [f"--{name}={value}" for name, value in arguments.items()]

    def _scheduler(self) -> list[str]:
        kubeconfig = str(self.kubeconfig_of("kube-scheduler"))
        arguments = {
            "kubeconfig": kubeconfig,
            "authentication-kubeconfig": kubeconfig,
            "authorization-kubeconfig": kubeconfig,
            "bind-address": "127.0.0.1",
            "secure-port": str(self._state.addresses.port(4)),
            "leader-elect": "false",
            "profiling": "false",
        }
        return [f"--{name}={value}" for name, value in arguments.items()]

    def _kubeconfig(self, token: str) -> dict[str, object]:
        name = self._state.name
        authority = base64.b64encode((self._paths.pki / "ca.crt").read_bytes()).decode()
        cluster = {"server": self._state.server, "certificate-authority-data": authority}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        }


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _etcd(url: str, body: object) -> dict[str, Any]:
    """Call the JSON gateway of etcd."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: dict[str, Any] = json.load(response)
    return answer
