"""The Go twin: built once into the cache, like the cluster's programs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tests.cluster.golang import find_go
from tests.cluster.locks import locked
from tests.cluster.output import Log, run
from tests.cluster.paths import cache_dir

_SOURCE = Path(__file__).parent / "twin"


def build(log: Log) -> Path:
    """The program. Another source or other versions get another folder. ClusterError where it cannot be built."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((_SOURCE / name).read_bytes())
    target = cache_dir() / "programs" / digest.hexdigest()[:16] / "gateway-twin"
    with locked(cache_dir() / "build.lock"):
        if not target.exists():
            log(f"building the Go twin: once, up to 5 minutes on two cores, into {cache_dir()}")
            target.parent.mkdir(parents=True, exist_ok=True)
            half = target.with_suffix(".half")
            command = [
                str(find_go(log)),
                "build",
                "-buildvcs=false",
                "-mod=readonly",
                "-ldflags=-s -w",
                "-o",
                str(half),
            ]
            run([*command, "."], cwd=_SOURCE, env={**os.environ, "GOWORK": "off"}, timeout=1200)
            half.replace(target)
    return target
