"""The registry file followed while it changes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import ConfigurationError
from gateway.tenants.directory import Difference, Directory
from gateway.tenants.edits import Mark
from gateway.tenants.file_store import FileStore
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import Pair
from gateway.tenants.vault import Keyring
from tests.tenants.places import key_file, path_of

PAIR = Pair("lboro", "lboro", "hunter2")


class SlowTables(FileStore):
    """A file on a disk that takes its time."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked, self.answers = threading.Event(), threading.Event()

    def mark(self) -> Mark:
        self.asked.set()
        assert self.answers.wait(20)
        return super().mark()


class Watched:
    """A registry that is watched, one look at a time; what it calls back with is in ``told``."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.told: list[Directory | ConfigurationError] = []
        self.differences: list[Difference] = []
        self._ahead = asyncio.Semaphore(0)
        self._behind = asyncio.Semaphore(0)
        self.task = asyncio.create_task(
            registry.watch(self._changed, self.told.append, interval=7.0, pause=self._pause)
        )

    def _changed(self, directory: Directory, difference: Difference) -> None:
        self.told.append(directory)
        self.differences.append(difference)

    async def _pause(self, seconds: float) -> None:
        assert seconds == 7.0
        self._behind.release()
        await self._ahead.acquire()

    async def look(self) -> None:
        """Lets it look once, and waits until it has."""
        await asyncio.wait_for(self._behind.acquire(), 20)
        self._ahead.release()
        await asyncio.wait_for(self._behind.acquire(), 20)
        self._behind.release()


@pytest.fixture
async def watched(registry: Registry) -> AsyncIterator[Watched]:
    registry.add("reports", pair=PAIR)
    registry.load()
    watched = Watched(registry)
    yield watched
    watched.task.cancel()
    await asyncio.wait([watched.task], timeout=20)
    assert watched.task.cancelled()


async def test_a_change_is_in_force_after_the_next_look_and_told_once(watched: Watched) -> None:
    await watched.look()
    watched.registry.add("dashboards")
    await watched.look()
    await watched.look()
    assert watched.told == [watched.registry.directory]
    assert list(watched.registry.directory.tenants) == ["reports", "dashboards"]
    assert watched.differences == [Difference(["dashboards"], [], [])]


async def test_a_revoked_key_stops_working_after_the_next_look(watched: Watched) -> None:
    key = watched.registry.add_key("reports")
    await watched.look()
    assert watched.registry.directory.holder_of(key.encode(), time.time()) is not None
    watched.registry.revoke_key(key[4:14])
    await watched.look()
    assert watched.registry.directory.holder_of(key.encode(), time.time()) is None


async def test_a_broken_file_keeps_the_last_good_state_and_is_told_once_per_change(watched: Watched) -> None:
    good = watched.registry.directory
    whole = path_of(watched.registry).read_text()
    for broken in ("[tenants.reports", "[tenants.reports.and.more"):
        path_of(watched.registry).write_text(broken)
        await watched.look()
        await watched.look()
        assert watched.registry.directory is good
    assert [type(each) for each in watched.told] == [ConfigurationError] * 2
    path_of(watched.registry).write_text(whole)
    await watched.look()
    assert watched.told[2:] == [watched.registry.directory]


async def test_a_file_that_is_gone_keeps_the_last_good_state(watched: Watched, keyring: Keyring) -> None:
    good = watched.registry.directory
    path_of(watched.registry).unlink()
    await watched.look()
    await watched.look()
    assert [str(each) for each in watched.told] == [
        f"{path_of(watched.registry)} is gone; the tenants stay as they were"
    ]
    key_file(keyring).write_text(key_file(keyring).read_text() + "\n")
    await watched.look()
    assert watched.registry.directory is good


async def test_a_restored_encryption_key_is_noticed(watched: Watched, keyring: Keyring) -> None:
    key = key_file(keyring).read_text()
    key_file(keyring).unlink()
    await watched.look()
    assert "there is no encryption key" in str(watched.told[-1])
    key_file(keyring).write_text(key)
    await watched.look()
    assert watched.told[-1] is watched.registry.directory


async def test_nobody_waits_for_a_look_that_takes_its_time(path: Path, keyring: Keyring) -> None:
    tables = SlowTables(path)
    registry = Registry(tables, keyring)
    registry.load()
    Registry(FileStore(path), keyring).add("reports")
    watched = Watched(registry)
    look = asyncio.create_task(watched.look())
    while not tables.asked.is_set():
        await asyncio.sleep(0)  # the loop turns
    assert watched.told == []
    tables.answers.set()
    await look
    assert watched.told == [registry.directory]
    watched.task.cancel()
    await asyncio.wait([watched.task], timeout=20)


async def test_a_registry_that_starts_without_a_file_sees_its_first_tenant(registry: Registry) -> None:
    registry.load()
    watched = Watched(registry)
    await watched.look()
    assert watched.told == []
    registry.add("reports", pair=PAIR)
    await watched.look()
    assert list(registry.directory.tenants["reports"].credentials) == ["lboro"]
    watched.task.cancel()
    await asyncio.wait([watched.task], timeout=20)
