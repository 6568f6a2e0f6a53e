"""The watch is compared with complete lists: when it has shown all objects, and which rows are gone."""

from __future__ import annotations

from collections.abc import Iterable

from gateway_operator.domain.index.backup_index import BackupIndex
from gateway_operator.domain.metrics.restores import RestoreIndex
from gateway_operator.domain.model.names import BACKUP_KIND, RESTORE_KIND
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.reconcile.watch_coverage import WatchCoverage


class Watch:
    """The indexes of two kinds, which the tests feed in place of a watch."""

    def __init__(self, *namespaces: str) -> None:
        self.backups, self.restores = BackupIndex(), RestoreIndex()
        self.coverage = WatchCoverage({BACKUP_KIND: self.backups, RESTORE_KIND: self.restores}, namespaces)

    def show_backup(self, uid: str, namespace: str = "prod") -> None:
        self.backups.upsert(Backup.parse({"metadata": {"namespace": namespace, "name": uid, "uid": uid}}))

    def show_restore(self, uid: str, namespace: str = "prod") -> None:
        self.restores.upsert(Restore.parse({"metadata": {"namespace": namespace, "name": uid, "uid": uid}}))

    def listed(self, namespace: str, backups: set[str], restores: Iterable[str] = ()) -> None:
        self.coverage.compare(namespace, {BACKUP_KIND: backups, RESTORE_KIND: set(restores)})


def test_watch_is_complete_once_it_has_shown_the_first_list() -> None:
    watch = Watch()
    watch.show_backup("a")
    assert not watch.coverage.complete, "there is no list yet"
    watch.listed("", {"a", "b"}, {"r"})
    assert not watch.coverage.complete
    watch.show_backup("b")
    assert not watch.coverage.complete
    watch.show_restore("r")
    assert watch.coverage.complete
    watch.listed("", {"a", "b", "new"}, {"r"})
    assert watch.coverage.complete, "the event of a new object may be on its way"


def test_each_namespace_needs_a_list() -> None:
    watch = Watch("prod", "test")
    watch.listed("prod", set())
    assert not watch.coverage.complete
    watch.listed("test", set())
    assert watch.coverage.complete


def test_object_deleted_before_the_watch_has_shown_it_does_not_block() -> None:
    watch = Watch()
    watch.listed("", {"gone"})
    assert not watch.coverage.complete
    watch.listed("", set())
    assert watch.coverage.complete


def test_row_is_dropped_after_two_lists_without_it() -> None:
    watch = Watch()
    for uid in ("a", "b"):
        watch.show_backup(uid)
    watch.show_restore("r")
    watch.show_backup("other", "test")
    watch.listed("prod", {"a"})
    assert watch.backups.uids("") == {"a", "b", "other"}, "it may have been created after the list"
    watch.listed("prod", {"a", "b"})
    watch.listed("prod", {"a"})
    watch.show_backup("new")
    assert watch.backups.uids("prod") == {"a", "b", "new"}
    watch.listed("prod", {"a"})
    assert watch.backups.uids("") == {"a", "new", "other"}
    assert watch.restores.uids("") == set()
