"""Configs of different sizes and shapes that a gateway accepts, and invalid files in the place of a config."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.api.support.admin_process import gateway_config

KIB, MIB = 1 << 10, 1 << 20
SIZES = (
    *(1_500, 13_000, 64 * KIB, 100_000),
    *(128 * KIB - 1, 128 * KIB, 128 * KIB + 1, 180_000, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1, 400_000, 700_000),
    *(MIB - 1, MIB, MIB + 1, 1_400_000, 3_000_000),
)
"""Config sizes in bytes: small ones, and sizes around each chunk size and threshold of the server."""


@dataclass(frozen=True)
class Config:
    """The bytes of a config file. ``valid``: a gateway accepts it. ``issues``: it has dangling references."""

    data: bytes
    valid: bool = True
    issues: bool = False

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Numbers of configs, projects, users and API keys."""
        config = json.loads(self.data)
        configs, projects, users, keys = (len(config.get(name, {})) for name in DATA)
        return configs, projects, users, keys


DATA = ("mcp_configs", "projects", "users", "apikeys")


def _plain(_: dict[str, Any]) -> None:
    return


def _empty(config: dict[str, Any]) -> None:
    config.update({name: {} for name in DATA})


def _remote(config: dict[str, Any]) -> None:
    config["plugins"]["auth"]["provider"] = "enkrypt"
    for name in DATA:
        del config[name]


def _loose(config: dict[str, Any]) -> None:
    config["projects"]["p-0"]["users"] = None
    config["projects"]["p-0"]["mcp_config_id"] = None
    config["users"]["u-0"] = {"email": ["a", 1.5, None], "big": 2**80, "small": 1e-300}
    config["plugins"]["guardrails"] = None


def _unicode(config: dict[str, Any]) -> None:
    config["users"] |= {"é\U0001f600": {"email": "ü@example.com"}, "\ud800half": {"email": "\udfff"}, "": {}}
    config["mcp_configs"]["x" * 300] = {"mcp_config": []}


def _nested(config: dict[str, Any]) -> None:
    deep: Any = {}
    for number in range(500):
        deep = [deep] if number % 2 else {"in": deep}
    config["users"]["u-0"]["deep"] = deep


def _old_key(config: dict[str, Any]) -> None:
    config["enkrypt_config"]["admin_apikey"] = config.pop("admin_apikey")


def _dangling(config: dict[str, Any]) -> None:
    config["projects"]["p-0"]["users"] = [f"nobody-{number}" for number in range(1001)]
    config["apikeys"]["k" * 40] = {"project_id": 7, "user_id": None, "disabled": True}


SHAPES: tuple[Callable[[dict[str, Any]], None], ...] = (
    *(_plain, _plain, _plain, _empty, _remote, _loose, _unicode, _nested, _old_key, _dangling),
)


def config_of(key: str, size: int, seed: int, shape: int, *, noise: bool) -> Config:
    """A valid config of ``size`` bytes, or more if the shape needs them. ``noise``: it is hard to compress."""
    config = gateway_config(key, users=1 + seed % 4, projects=1 + seed % 3)
    change = SHAPES[shape % len(SHAPES)]
    change(config)
    config["padding"] = ""
    text = json.dumps(config)
    missing = max(0, size - len(text))
    filler = (
        base64.b64encode(Random(seed).randbytes(missing)).decode() if noise else f"pad {seed} " * (missing // 5 + 1)
    )
    config["padding"] = filler[:missing]
    return Config(json.dumps(config).encode(), issues=change is _dangling)


def invalid_config(key: str, kind: int) -> Config:
    """A file that no gateway accepts as its config."""
    whole = json.dumps(gateway_config(key)).encode()
    broken = (
        *(b"", b"{}", b"[]", b"null", b"\x00" * 4096, whole[:-1], whole[: len(whole) // 2], whole + b"}"),
        *(b"\xef\xbb\xbf" + whole, b"\xff" + whole, whole.replace(b'"p-0"', b'"p-\xe9"', 1)),
        whole[:-1] + b', "n": NaN}',
        whole[:-1] + b', "n": 1e999}',
        whole[:-1] + b', "n": ' + b"9" * 5000 + b"}",
        whole[:-1] + b', "users": {}}',
        whole[:-1] + b', "n": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        json.dumps(gateway_config(key) | {"users": []}).encode(),
        json.dumps(gateway_config(key) | {"apikeys": {"k": None}}).encode(),
        json.dumps(gateway_config(key) | {"mcp_configs": {"c": {"mcp_config": {}}}}).encode(),
    )
    return Config(broken[kind % len(broken)], valid=False)


def key_in(data: bytes) -> str | None:
    """The admin key in a file, also if the rest of the config is invalid; None if there is none."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or b"1e999" in data or data.startswith(b"\xef\xbb\xbf"):
        return None
    old = value.get("enkrypt_config")
    key = value.get("admin_apikey") or (old.get("admin_apikey") if isinstance(old, dict) else None)
    return key if isinstance(key, str) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("twice")
    return dict(pairs)


def _refused(_: str) -> float:
    raise ValueError("no number")
