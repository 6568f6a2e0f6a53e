"""The worker process that runs one parse task on one large config.

Python parses JSON while it holds the interpreter lock. In the server's own process a large config would therefore
delay every probe. The worker inherits open descriptors, reads its job from standard input, writes the result to
standard output and ends. It opens, creates and renames no file on a volume, so it may be killed at any time. It dies
with its server.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import resource
import signal
import sys
from contextlib import suppress

from gateway_api.gateway_config import parse_tasks
from gateway_api.storage.content import write_pieces

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_NICENESS = 5


def _die_with_server(server: int) -> None:
    import ctypes

    # The signal is sent only if the server ends after this call. The check below covers a server that ended before.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != server:
        os._exit(1)


def _lower_priority() -> None:
    """Gives the server precedence for CPU and memory."""
    os.nice(_NICENESS)
    # When memory runs out, the kernel kills the worker first and not the server.
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123 - at start
        file.write("1000")


def forbid_dumps() -> None:
    """Disables core files and debuggers, because the worker holds a whole config with its secrets.

    The attribute of the server does not pass to a new program, so the worker sets its own.
    """
    import ctypes

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _map(fd: int | None) -> memoryview | None:
    if fd is None:
        return None
    size = os.fstat(fd).st_size
    return memoryview(mmap.mmap(fd, size, prot=mmap.PROT_READ)) if size else memoryview(b"")


def main() -> None:
    """Runs one job from standard input: a line of JSON with the task, the server's process id and the descriptors."""
    job = json.loads(sys.stdin.readline())
    _die_with_server(job["server"])
    _lower_priority()
    # After the priority: the files in /proc of a process that cannot be dumped belong to root.
    forbid_dumps()
    # The process holds one config until it ends and creates no reference cycles, so collection would only cost time.
    gc.disable()
    data, old = _map(job["data"]), _map(job["old"])
    assert data is not None
    if job["task"] == "parse":
        result, content = parse_tasks.parse(data, **job["options"])
    elif job["task"] == "compare":
        result, content = parse_tasks.compare(old, data)
    else:
        result, content = parse_tasks.read_admin_key(data)
    # The bytes are written before the result: the server reads them as soon as it has a result.
    if content is not None:
        write_pieces(job["output"], [content])
    sys.stdout.write(json.dumps(result))
    sys.stdout.flush()
    # Skips the interpreter's cleanup, which would free the config object by object.
    os._exit(0)
