"""``kubectl_complete-gateway``: the candidates for each position of a command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway_operator.cli.options import completion
from gateway_operator.cli.options.completion import candidates


def names(kind: str, flags: Sequence[str]) -> list[str]:
    """One object of each kind, which shows the flags that kubectl would get."""
    return ["-".join([kind.partition(".")[0], *flags])]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["backup", "drill", "restore", "retention", "schedule", "status"]),
        (["re"], ["restore", "retention"]),
        (["restore", ""], ["approve", "commit", "create", "diff", "list", "rollback"]),
        (["restore", "create", "x", "--la"], ["--latest"]),
        (["restore", "create", "x", "--mode", ""], ["Apply", "Drill", "DryRun"]),
        (["restore", "create", "x", "--backup", ""], ["gatewaybackups"]),
        (["restore", "create", ""], []),
        (["restore", "commit", "gatewayr"], ["gatewayrestores"]),
        (["backup", "delete", "a", ""], ["gatewaybackups"]),
        (["backup", "delete", "-n", "prod", ""], ["gatewaybackups--n-prod"]),
        (["backup", "delete", "--context=c", ""], ["gatewaybackups---context=c"]),
        (["backup", "delete", "--timeout", ""], []),
        (["backup", "list", ""], []),
        (["backup", "create", "--wait", ""], []),
        (["backup", "create", "--gateway", ""], ["deployments"]),
        (["retention", "explain", ""], ["gatewaybackupschedules"]),
        (["status", ""], ["deployments"]),
        (["no-such-command", "--what", ""], ["backup", "drill", "restore", "retention", "schedule", "status"]),
    ],
    ids=" ".join,
)
def test_candidates_follow_from_the_words_before(words: list[str], expected: list[str]) -> None:
    assert candidates(words, names) == expected


def test_names_come_from_kubectl_and_a_failure_completes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert completion.names_of_objects("namespaces", []) == []
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\nif [ "$6" = -n ]; then echo "namespace/$7"; else exit 1; fi\n')
    kubectl.chmod(0o755)
    assert completion.names_of_objects("namespaces", ["-n", "prod"]) == ["prod"]
    assert completion.names_of_objects("namespaces", []) == []


def test_program_prints_the_directive_after_the_candidates(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["kubectl_complete-gateway", "sta"])
    assert completion.main() == 0
    assert capsys.readouterr().out == "status\n:4\n"
