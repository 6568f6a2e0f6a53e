"""Builds the Go baseline once into the cache, like the programs of the test cluster."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tests.cluster.golang import find_go
from tests.cluster.locks import locked
from tests.cluster.output import Log, run
from tests.cluster.paths import cache_dir

_SOURCE = Path(__file__).parent / "go_baseline"


def build(log: Log) -> Path:
    """Path of the program, built if the cache lacks it; ClusterError if the build fails.

    The folder's name is a digest of the source and the module versions, so a change leads to a new build.
    """
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((_SOURCE / name).read_bytes())
    target = cache_dir() / "programs" / digest.hexdigest()[:16] / "gateway-baseline"
    with locked(cache_dir() / "build.lock"):
        if not target.exists():
            log(f"building the Go baseline: once, up to 5 minutes on two cores, into {cache_dir()}")
            target.parent.mkdir(parents=True, exist_ok=True)
            # Built under another name, then renamed: an interrupted build leaves no incomplete program.
            unfinished = target.with_suffix(".half")
            command = [
                str(find_go(log)),
                "build",
                "-buildvcs=false",
                "-mod=readonly",
                "-ldflags=-s -w",
                "-o",
                str(unfinished),
            ]
            run([*command, "."], cwd=_SOURCE, env={**os.environ, "GOWORK": "off"}, timeout=1200)
            unfinished.replace(target)
    return target
