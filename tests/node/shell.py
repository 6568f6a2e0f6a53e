"""One bash process that runs commands one after the other, as a person's terminal does."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

# Each line of the input is the path of a script. Commands read nothing from the input, as it contains the next paths.
_LOOP = """
set -o pipefail
while IFS= read -r script; do
  source "$script" </dev/null
  printf '\\n%s %d\\n' "$END_MARK" "$?"
done
"""


class Shell:
    """A bash process in a folder. Closing it also ends its background commands."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._mark = f"end-of-command-{secrets.token_hex(8)}"
        self._scripts = folder / ".commands"
        self._scripts.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            ["bash", "-c", _LOOP],
            cwd=folder,
            env={**environment, "END_MARK": self._mark},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, script: str, timeout: float = 300) -> tuple[int, str]:
        """Run a script of several lines. Returns the exit status of its last command, and all output.

        A timeout in seconds ends the shell; the status is then 124. If the script ends the shell, the status is 255.
        """
        path = self._scripts / secrets.token_hex(8)
        path.write_text(script + "\n")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self._kill()

        timer = threading.Timer(timeout, expire)
        timer.start()
        try:
            self._process.stdin.write(f"{path}\n")
            self._process.stdin.flush()
            lines: list[str] = []
            for line in self._process.stdout:
                if line.startswith(self._mark):
                    return int(line.rpartition(" ")[2]), "".join(lines).removesuffix("\n")
                lines.append(line)
            return (124 if expired.is_set() else 255), "".join(lines)
        finally:
            timer.cancel()

    def close(self) -> None:
        """Kill the shell and all commands that it started."""
        self._kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
