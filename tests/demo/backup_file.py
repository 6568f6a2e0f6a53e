"""Shows the content of a backup file with standard tools (zstd, jq), or with Python if they are not installed."""

import gzip
import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import zstandard

from tests.demo.kube import Kube

_SUMMARY = "{projects: [.projects[].project_name], users: [.users[].email], keys: (.apikeys | length)}"
_LIMIT = 64 * 1024 * 1024


@dataclass(frozen=True)
class BackupContent:
    """Digest of the file and the names of its projects, without keys."""

    sha256: str
    projects: list[str]


def show(kube: Kube, reading: Sequence[str]) -> BackupContent:
    """Read the file with kubectl and print the names in it, without keys; the last argument is the file's path."""
    path = reading[-1]
    unpack = {"zst": ["zstd", "-dc"], "gz": ["gzip", "-dc"]}.get(path.rpartition(".")[2], ["cat"])
    stored = kube.read_bytes(*reading)
    pipeline = f"{kube.command_line(*reading)} | {' '.join(unpack)} | jq -c '{_SUMMARY}'"
    if all(shutil.which(program) for program in (unpack[0], "jq")):
        kube.report.command(pipeline)
        content = subprocess.run(unpack, input=stored, capture_output=True, check=True, timeout=60).stdout
        command = ["jq", "-c", _SUMMARY]
        line = subprocess.run(command, input=content, capture_output=True, check=True, timeout=60).stdout.decode()
    else:
        kube.report.command(pipeline)
        kube.report.note("(zstd or jq is not installed: Python does the same)")
        line = json.dumps(_summary(json.loads(_unpack(stored, path))), separators=(",", ":"))
    kube.report.output(line)
    return BackupContent(hashlib.sha256(stored).hexdigest(), list(json.loads(line)["projects"]))


def _unpack(stored: bytes, path: str) -> bytes:
    if path.endswith(".zst"):
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=_LIMIT)
    return gzip.decompress(stored) if path.endswith(".gz") else stored


def _summary(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "projects": [project["project_name"] for project in config["projects"].values()],
        "users": [user["email"] for user in config["users"].values()],
        "keys": len(config["apikeys"]),
    }
