"""``kubectl_complete-gateway``: the words that may follow, for the shell completion of kubectl.

kubectl runs this program with the words of the command line; the last one is incomplete. It prints one candidate a
line, and then ``:4``, by which the shell adds no file names. Names of objects come from kubectl itself.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from gateway_operator.cli.options.commands import parser

_NO_FILE_NAMES: Final = ":4"
_SECONDS: Final = 3
"""A person waits for the answer."""
_KINDS: Final = {
    "--gateway": "deployments.apps",
    "--backup": "gatewaybackups.mcpgateway.dev",
    "--schedule": "gatewaybackupschedules.mcpgateway.dev",
    "--namespace": "namespaces",
    "-n": "namespaces",
}
"""The kind of the object that an option names."""
_KINDS_OF_COMMANDS: Final = {
    "status": "deployments.apps",
    "backup": "gatewaybackups.mcpgateway.dev",
    "schedule": "gatewaybackupschedules.mcpgateway.dev",
    "retention": "gatewaybackupschedules.mcpgateway.dev",
    "restore": "gatewayrestores.mcpgateway.dev",
}
"""The kind of the objects whose names are the arguments of a command."""
_NEW_NAMES: Final = frozenset({"create", "adopt", "import"})
"""The commands whose argument is the name of a new object."""
_FORWARDED: Final = ("-n", "--namespace", "--kubeconfig", "--context", "--cluster", "--user", "--as")

Names = Callable[[str, Sequence[str]], Sequence[str]]
"""From a kind and kubectl's own flags to the names of the objects."""


def main() -> int:
    """Print the candidates for the words on the command line. Returns 0: no completion is no error."""
    for word in candidates(sys.argv[1:], names_of_objects):
        sys.stdout.write(f"{word}\n")
    sys.stdout.write(f"{_NO_FILE_NAMES}\n")
    return 0


def candidates(words: Sequence[str], names: Names) -> list[str]:
    """The words that may take the place of the last, incomplete one. Sorted."""
    *before, last = words or [""]
    return sorted({word for word in _possible(before, last, names) if word.startswith(last)})


def _possible(before: Sequence[str], last: str, names: Names) -> Iterator[str]:
    node: argparse.ArgumentParser = parser()
    commands: list[str] = []
    flags: list[str] = []
    option: str | None = None
    for word in before:
        if option is not None:
            flags += [option, word] if option in _FORWARDED else []
            option = None
        elif word.startswith("-"):
            option = word if _takes_value(node, word) else None
            flags += [word] if word.partition("=")[0] in _FORWARDED and "=" in word else []
        elif word in (choices := _commands(node)):
            node, commands = choices[word], [*commands, word]
    if option is not None:
        action = _options(node)[option]
        yield from map(str, action.choices or ())
        if option in _KINDS:
            yield from names(_KINDS[option], flags)
    elif last.startswith("-"):
        yield from _options(node)
    elif choices := _commands(node):
        yield from choices
    elif commands and commands[0] in _KINDS_OF_COMMANDS and commands[-1] not in _NEW_NAMES and _has_argument(node):
        yield from names(_KINDS_OF_COMMANDS[commands[0]], flags)


def _options(node: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {text: action for action in node._actions for text in action.option_strings}


def _takes_value(node: argparse.ArgumentParser, word: str) -> bool:
    action = _options(node).get(word)
    return action is not None and action.nargs != 0


def _commands(node: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in node._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _has_argument(node: argparse.ArgumentParser) -> bool:
    return any(not action.option_strings for action in node._actions)


def names_of_objects(kind: str, flags: Sequence[str]) -> list[str]:
    """The names of all objects of a kind in the namespace; empty without kubectl, permission or an answer."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        return []
    command = [kubectl, "get", kind, "-o", "name", f"--request-timeout={_SECONDS}s", *flags]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=2 * _SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.rpartition("/")[2] for line in done.stdout.splitlines()]
