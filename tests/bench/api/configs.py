"""Generates realistic gateway configs of any size, with projects, users, API keys and MCP servers. Deterministic."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from tests.api.support.admin_process import gateway_config

TEXT = (
    "Reads searches lists creates updates deletes fetches returns the a of in for with without and or issues pull "
    "requests messages channels files tables rows queries pages tickets records customers orders invoices metrics "
    "given matching optional required maximum number results sorted by date name status owner from to workspace"
)
WORDS = TEXT.split()
KINDS = ("github", "slack", "postgres", "jira", "filesystem", "notion", "sentry", "stripe", "grafana", "s3")
PROJECTS_EACH, USERS_EACH = 3, 12


def _hex(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _id(kind: str, number: int) -> str:
    text = _hex(kind, number)
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:32]}"


def _text(seed: str, words: int) -> str:
    digits = _hex(seed) * (1 + words // 32)
    return " ".join(WORDS[int(digits[2 * n : 2 * n + 2], 16) % len(WORDS)] for n in range(words)).capitalize() + "."


def _time(number: int) -> str:
    return f"2026-{1 + number % 12:02}-{1 + number % 28:02}T{number % 24:02}:{number % 60:02}:12.{number % 10**6:06}"


def _server(number: int) -> dict[str, Any]:
    kind = KINDS[number % len(KINDS)]
    return {
        "server_name": f"{kind}_server_{number}",
        "description": _text(f"server {number}", 14),
        "config": {
            "command": "npx",
            "args": ["-y", f"@modelcontextprotocol/server-{kind}@2026.{number % 12}.{number % 7}"],
            "env": {f"{kind.upper()}_TOKEN": _hex("token", number)[:40], "LOG_LEVEL": "INFO"},
        },
        "oauth_config": {"enabled": number % 5 == 0, "is_remote": False, "OAUTH_TIMEOUT": 30},
        "tools": {
            f"{kind}_{verb}_{n}": _text(f"tool {number} {n}", 9) for n, verb in enumerate(("list", "get", "create"))
        },
        "denied_tools": [f"{kind}_delete"],
        "input_guardrails_config": {
            "enabled": number % 2 == 0,
            "guardrail_name": f"Guardrail {number % 40}",
            "additional_config": {"pii_redaction": number % 3 == 0, "threshold": 0.85},
            "block": ["policy_violation", "injection_attack"],
        },
        "output_guardrails_config": {
            "enabled": False,
            "guardrail_name": f"Guardrail {number % 40}",
            "additional_config": {"relevancy": False, "hallucination": False, "adherence": False},
            "block": ["policy_violation"],
        },
    }


def _add(config: dict[str, Any], number: int) -> None:
    """Add one team: an MCP config with two servers, its projects, its users, and their keys."""
    mcp_id = _id("config", number)
    servers = [_server(2 * number), _server(2 * number + 1)]
    config["mcp_configs"][mcp_id] = {
        "mcp_config_name": f"team-{number}",
        "common_overrides": {},
        "mcp_config": servers,
        "created_at": _time(number),
    }
    users = [_id("user", USERS_EACH * number + n) for n in range(USERS_EACH)]
    for n, user in enumerate(users):
        config["users"][user] = {"email": f"person.{number}.{n}@team-{number}.example.com", "created_at": _time(n)}
    for n in range(PROJECTS_EACH):
        project = _id("project", PROJECTS_EACH * number + n)
        members = users[n :: PROJECTS_EACH - 1] if n else users
        config["projects"][project] = {
            "project_name": f"team-{number}-project-{n}",
            "mcp_config_id": mcp_id,
            "users": members,
            "created_at": _time(number + n),
        }
        for user in members[:: n + 1]:
            key = _hex("key", project, user)[:48]
            config["apikeys"][key] = {
                "project_id": project,
                "user_id": user,
                "created_at": _time(n),
                "disabled": len(config["apikeys"]) % 9 == 0,
            }


def config_of(size: int, key: str) -> bytes:
    """A valid config in the gateway's format, of at most ``size`` bytes or one team, whichever is larger."""
    config = gateway_config(key)
    base = len(_dump(config))
    _add(config, 0)
    each = len(_dump(config)) - base
    for number in range(1, math.floor(max(1, (size - base) / each * 0.98))):
        _add(config, number)
    return _dump(config)


def _dump(config: dict[str, Any]) -> bytes:
    return json.dumps(config, indent=2).encode()
