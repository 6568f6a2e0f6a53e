"""A policy engine for the node: kube-network-policies enforces NetworkPolicies with nftables, as a real cluster does.

The node itself enforces none. The engine is built once into the cache, from the Go module in `policy_engine/`.
"""

import hashlib
import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.cluster.cluster import Cluster
from tests.cluster.golang import find_go
from tests.cluster.locks import locked
from tests.cluster.network import entering
from tests.cluster.output import Log, run, to_stderr, wait_until
from tests.cluster.paths import HERE, ClusterPaths, cache_dir
from tests.cluster.processes import Processes

_MODULE = HERE / "policy_engine"
_PACKAGE = "sigs.k8s.io/kube-network-policies/cmd"
_BUILD_SECONDS = 900
_PROGRAM = "policy-engine"
_ACCOUNT = "kube-network-policies"
_QUEUE = "98"


def build(log: Log = to_stderr) -> Path:
    """The engine's program from the cache, or built: about 3 minutes on two idle cores."""
    digest = hashlib.sha256(b"".join((_MODULE / name).read_bytes() for name in ("go.mod", "go.sum"))).hexdigest()
    program = cache_dir() / f"kube-network-policies-{digest[:12]}"
    with locked(program.with_suffix(".lock")):
        if not program.exists():
            log("building the policy engine")
            with tempfile.TemporaryDirectory(dir=program.parent) as folder:
                built = Path(folder) / "engine"
                command = [str(find_go(log)), "build", "-trimpath", "-ldflags", "-s -w", "-o", str(built), _PACKAGE]
                run(command, cwd=_MODULE, timeout=_BUILD_SECONDS)
                built.rename(program)
    return program


@contextmanager
def enforced_policies(cluster: Cluster) -> Iterator[None]:
    """Enforce the NetworkPolicies of the cluster until the block ends."""
    program = build()
    _grant(cluster)
    processes = Processes(ClusterPaths.of(cluster.name))
    processes.spawn(_PROGRAM, _command(cluster, program), {**os.environ, **_service(cluster)})
    log = ClusterPaths.of(cluster.name).logs / f"{_PROGRAM}.log"
    try:
        wait_until(lambda: "Syncing" in log.read_text(), "the policy engine has read the policies", timeout=60)
        yield
    finally:
        # On SIGTERM it deletes its rules within 5 s. Rules without a program behind them would drop packets.
        processes.stop(_PROGRAM, patience=15)


def _service(cluster: Cluster) -> dict[str, str]:
    """The variables by which a program in a pod finds the API server."""
    address = urlsplit(cluster.server)
    return {"KUBERNETES_SERVICE_HOST": str(address.hostname), "KUBERNETES_SERVICE_PORT": str(address.port)}


def _command(cluster: Cluster, program: Path) -> list[str]:
    """Run the program in the node's network, with the files that a program in a pod has at fixed paths."""
    token = cluster.token_for(_ACCOUNT, "kube-system")
    authority = ClusterPaths.of(cluster.name).pki / "ca.crt"
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    flags = [f"--hostname-override={cluster.node_name}", f"--nfqueue-id={_QUEUE}", "--v=2"]
    script = "; ".join(
        (
            # Only for this program: the mount namespace is its own.
            "mount -t tmpfs none /var/run",
            f"mkdir -p {folder}",
            f"printf %s {shlex.quote(token)} > {folder}/token",
            f"cp {shlex.quote(str(authority))} {folder}/ca.crt",
            f"exec {shlex.join([str(program), *flags])}",
        )
    )
    return [*entering(cluster.name), "unshare", "--mount", "sh", "-euc", script]


def _grant(cluster: Cluster) -> None:
    kubectl = cluster.kubectl
    kubectl("-n", "kube-system", "create", "serviceaccount", _ACCOUNT, check=False)
    resources = "--resource=pods,namespaces,nodes,networkpolicies.networking.k8s.io"
    kubectl("create", "clusterrole", _ACCOUNT, "--verb=get,list,watch", resources, check=False)
    account = f"--serviceaccount=kube-system:{_ACCOUNT}"
    kubectl("create", "clusterrolebinding", _ACCOUNT, f"--clusterrole={_ACCOUNT}", account, check=False)
