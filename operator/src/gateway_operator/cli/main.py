"""``kubectl gateway``: runs a command, and converts each error to a message and an exit code."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Sequence

from gateway_operator.cli.options.commands import parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    arguments = parser().parse_args(argv)
    module, _, function = arguments.act.partition(":")
    try:
        # The imports come after parsing, so that --help and usage errors are answered without loading the client.
        from gateway_operator.cli.session import run

        act = getattr(importlib.import_module(f"gateway_operator.cli.{module}"), function)
    except ModuleNotFoundError as error:
        from gateway_operator import missing_package_message

        sys.stderr.write(f"error: {missing_package_message(error, 'cli')}\n")
        return 2
    try:
        return asyncio.run(run(act, arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of stdout, for example `head`, has ended. The null device avoids a second error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
