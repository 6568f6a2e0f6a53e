"""Creates a restic repository with thousands of snapshots within a second.

`restic backup` takes half a second for each snapshot, so the snapshot files are written directly. A snapshot is a small
encrypted JSON file whose name is its SHA-256 digest. The key comes from `restic cat masterkey`. `restic forget` reads
only these files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305


class ResticRepository:
    """A new repository in a folder that does not exist yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "RESTIC_PASSWORD": "test", "TZ": "UTC"}
        self._run("init")
        key = json.loads(self._run("cat", "masterkey"))
        self._encrypt = base64.b64decode(key["encrypt"])
        self._mac_k, self._mac_r = (base64.b64decode(key["mac"][part]) for part in "kr")

    def _run(self, *arguments: str) -> bytes:
        command = ["restic", "--no-cache", "-q", "-r", str(self._folder), *arguments]
        return subprocess.run(command, env=self._environment, check=True, capture_output=True).stdout

    def add(self, host: str, name: str, time: datetime) -> None:
        """Write an empty snapshot whose only path is the name."""
        body = {"time": time.isoformat(), "tree": "0" * 64, "paths": [name], "hostname": host, "username": "test"}
        nonce = secrets.token_bytes(16)
        encryptor = Cipher(algorithms.AES(self._encrypt), modes.CTR(nonce)).encryptor()
        ciphertext = encryptor.update(json.dumps(body).encode()) + encryptor.finalize()
        # Poly1305-AES: the second half of the key is the encrypted nonce.
        block = Cipher(algorithms.AES(self._mac_k), modes.ECB()).encryptor()
        tag = Poly1305.generate_tag(self._mac_r + block.update(nonce) + block.finalize(), ciphertext)
        data = nonce + ciphertext + tag
        (self._folder / "snapshots" / hashlib.sha256(data).hexdigest()).write_bytes(data)

    def forget(self, rules: Sequence[str]) -> dict[str, dict[str, set[str]]]:
        """The snapshots that `restic forget` would keep: host → name → reasons."""
        output = self._run("forget", "--dry-run", "--no-lock", "--json", "--group-by", "host", *rules)
        groups: list[dict[str, Any]] = json.loads(output)
        return {
            group["host"]: {
                one["snapshot"]["paths"][0]: {reason for reason in one["matches"] if not reason.startswith("oldest")}
                for one in group["reasons"]
            }
            for group in groups
        }
