"""The process that reads one large config for a server, which would otherwise hold its interpreter, and with it every
probe. It gets descriptors that are open already, answers on its standard output and ends.

It opens no file, makes none and renames none: whatever becomes of it, or of the server before it, nothing it did can
be seen on a volume. It dies with its server, at the latest when that closes the pipe.
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
_NICENESS = 5


def _die_with(server: int) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != server:
        os._exit(1)


def _step_back() -> None:
    """Probes first, also when memory runs out; and no secret in a core file."""
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123 - at start
        file.write("1000")


def _map(fd: int | None) -> memoryview | None:
    if fd is None:
        return None
    size = os.fstat(fd).st_size
    return memoryview(mmap.mmap(fd, size, prot=mmap.PROT_READ)) if size else memoryview(b"")


def main() -> None:
    """Reads one job from standard input: a line of JSON that names the server, the reading and the descriptors."""
    job = json.loads(sys.stdin.readline())
    _die_with(job["server"])
    _step_back()
    # One large config is all there will ever be: nothing of it becomes garbage in a cycle.
    gc.disable()
    data, old = _map(job["data"]), _map(job["old"])
    assert data is not None
    if job["reading"] == "judge":
        answer, content = parse_tasks.parse(data, **job["options"])
    elif job["reading"] == "difference":
        answer, content = parse_tasks.difference(old, data)
    else:
        answer, content = parse_tasks.admin_key(data)
    if content is not None:
        write_pieces(job["output"], [content])
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    # Without taking the config apart again, object by object.
    os._exit(0)
