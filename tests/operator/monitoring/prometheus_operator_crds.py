"""The CRDs of the Prometheus operator, from its Go module: the module proxy is the only registry that has them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.cluster.golang import find_go
from tests.cluster.output import to_stderr
from tests.cluster.paths import ClusterError, cache_dir

MODULE = "github.com/prometheus-operator/prometheus-operator"
VERSION = "v0.93.0"
SUM = "h1:AohlYJT+En8TmNpAcEUJ3GsaJTAqfEBwHmGTVpRm/Io="
KINDS = ("podmonitors", "prometheusrules", "servicemonitors")


def crd_files() -> list[Path]:
    """Paths of the CRD files of `KINDS`, in the cache of Go. ClusterError if the module cannot be read or differs."""
    command = [str(find_go(to_stderr)), "mod", "download", "-json", f"{MODULE}@{VERSION}"]
    environment = {**os.environ, "GOWORK": "off", "GOFLAGS": "-mod=mod"}
    done = subprocess.run(
        command, cwd=cache_dir(), env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode != 0:
        raise ClusterError(f"cannot download {MODULE} {VERSION}: {done.stdout}{done.stderr}")
    module = json.loads(done.stdout)
    if module["Sum"] != SUM:
        raise ClusterError(f"{MODULE} {VERSION} has the digest {module['Sum']} instead of {SUM}")
    folder = Path(module["Dir"]) / "example" / "prometheus-operator-crd"
    return [folder / f"monitoring.coreos.com_{kind}.yaml" for kind in KINDS]
