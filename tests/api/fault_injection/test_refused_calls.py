"""`/ready` never answers 200 while a refused system call lets a backup, restore, reset or deletion fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.fault_injection.campaign import scratch_folder
from tests.api.fault_injection.refused_calls import Refusal, RefusedCalls, all_refusals, share
from tests.api.support.fork_server import ForkServer
from tests.api.support.requirements import require_programs

pytestmark = pytest.mark.api
ONE_IN = 25
KNOWN = (
    *(Refusal("flock", name) for name in ("ENOLCK", "ENOSYS", "EOPNOTSUPP")),
    *(Refusal("linkat", name) for name in ("ENOSYS", "EPERM", "EIO")),
    *(Refusal("fsync", name) for name in ("EIO", "EINVAL")),
    *(Refusal("fadvise64", name) for name in ("ENOSYS", "EINVAL")),
    *(Refusal("fsync", name, folder) for name in ("EINVAL", "EIO") for folder in ("backups", "config/.gateway")),
)
"""Refusals of real file systems: NFS without lockd, FUSE, vfat, CIFS, vboxsf, and failing disks."""


@pytest.fixture(scope="module")
def table(fork_server: ForkServer) -> Iterator[RefusedCalls]:
    require_programs("strace")
    with scratch_folder() as folder:
        yield RefusedCalls(fork_server, folder / "table")


def test_ready_never_lies_in_a_share_of_all_refused_calls(table: RefusedCalls) -> None:
    calls = table.calls()
    assert {"openat", "fsync", "fdatasync", "linkat", "flock", "fadvise64", "fstatfs"} <= set(calls)
    rows = list(table.rows([*KNOWN, *share(all_refusals(calls), ONE_IN)]))
    print("\n".join(map(str, rows)))
    assert not [str(row) for row in rows if row.lies]
    assert sum(row.injected for row in rows) > len(rows) // 2


def test_file_systems_that_lack_an_operation_serve_all_operations(table: RefusedCalls) -> None:
    lacking = [
        *(Refusal("linkat", name) for name in ("EPERM", "ENOSYS", "EOPNOTSUPP", "EMLINK", "EXDEV", "EINVAL")),
        *(Refusal("fadvise64", name) for name in ("EPERM", "ENOSYS", "EOPNOTSUPP", "EINVAL")),
        *(Refusal("fsync", "EINVAL", folder) for folder in ("config", "config/.gateway", "backups")),
        *(Refusal("fsync", "EOPNOTSUPP", folder) for folder in ("config", "backups/.gateway")),
    ]
    rows = list(table.rows(lacking))
    assert all(row.injected for row in rows)
    assert not [str(row) for row in rows if row.ready or any(row.codes.values())]
