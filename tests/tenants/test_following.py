"""What could not be read is tried again, and leaves what was read before in force."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.errors import ConfigurationError, RegistryUnavailable
from gateway.tenants import files
from gateway.tenants.file_store import FileStore
from gateway.tenants.following import SILENT_SECONDS, Standing
from gateway.tenants.redis_store import RedisStore
from gateway.tenants.registry import Registry
from gateway.tenants.vault import Keyring, Vault
from tests.redis_server import redis_server
from tests.tenants.places import KEY, LBORO, MONASH, Seconds, key_file, works


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process may open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_revocation_is_seen_although_the_first_read_failed(
    followed: Registry, editor: Registry, keys: dict[str, str], seconds: Seconds
) -> None:
    editor.revoke_key(keys["reports"][4:14])
    with no_more_files(), pytest.raises(RegistryUnavailable, match="Too many open files"):
        followed.refresh()
    seconds.now += 60
    with no_more_files():
        assert not followed.refresh()  # told once
    assert works(followed, keys["reports"])
    assert followed.standing == Standing("unread", 60.0)
    assert followed.refresh()
    assert not works(followed, keys["reports"])
    assert followed.standing == Standing(None, 0.0)


def test_a_key_file_that_cannot_be_read_keeps_no_revocation_waiting(
    registry: Registry, path: Path, keyring: Keyring
) -> None:
    registry.add("reports", pair=LBORO)
    key = registry.add_key("reports")
    follower = Registry(FileStore(path), Keyring("", path))
    follower.load()
    registry.put_credential("reports", MONASH)
    registry.revoke_key(key[4:14])
    aside = key_file(keyring).rename(path.with_name("aside"))
    key_file(keyring).mkdir()
    with pytest.raises(RegistryUnavailable, match=r"no regular file"):
        follower.refresh()
    assert not works(follower, key)
    assert follower.standing.reason == "unread"
    key_file(keyring).rmdir()
    aside.rename(key_file(keyring))
    assert follower.refresh()
    assert sorted(follower.directory.tenants["reports"].credentials) == ["lboro", "monash"]
    assert follower.standing.reason is None


def test_a_key_file_that_fails_once_is_read_again(registry: Registry, path: Path, keyring: Keyring) -> None:
    """Its stamp is the same before and after, so that only who remembers the failure looks again."""
    registry.add("reports", pair=LBORO)
    follower = Registry(FileStore(path), Unlucky("", path))
    follower.load()
    registry.put_credential("reports", MONASH)
    Unlucky.failures = 1
    with pytest.raises(RegistryUnavailable, match="Input/output error"):
        follower.refresh()
    assert list(follower.directory.tenants["reports"].credentials) == ["lboro"]
    assert follower.refresh()
    assert sorted(follower.directory.tenants["reports"].credentials) == ["lboro", "monash"]


class Unlucky(Keyring):
    """On a disk with a bad sector."""

    failures = 0

    def vault(self) -> Vault:
        if Unlucky.failures:
            Unlucky.failures -= 1
            raise RegistryUnavailable("cannot read the keys: Input/output error")
        return super().vault()


def test_a_redis_that_does_not_answer_in_time_is_asked_again() -> None:
    with redis_server() as server:
        tables = RedisStore(server.url, "sgw", timeout=0.5)
        editor, follower = Registry(tables, Keyring(KEY, None)), Registry(tables, Keyring(KEY, None))
        editor.add("reports")
        key = editor.add_key("reports")
        follower.load()
        editor.revoke_key(key[4:14])
        server.call("CLIENT", "PAUSE", "1000", "ALL")
        with pytest.raises(RegistryUnavailable, match="does not answer"):
            follower.refresh()
        assert follower.standing.reason == "unread"
        time.sleep(1.0)  # until Redis goes on by itself
        assert follower.refresh()
        assert not works(follower, key)
        assert follower.standing.reason is None


def test_whatever_a_look_fails_by_the_next_is_made(path: Path, keyring: Keyring) -> None:
    class Failing(FileStore):
        fails = True

        def mark(self) -> object:
            if self.fails:
                raise MemoryError
            return super().mark()

    registry = Registry(Failing(path), keyring)
    with pytest.raises(RegistryUnavailable, match="MemoryError"):
        registry.refresh()
    Failing.fails = False
    assert registry.refresh()


# What is no file that can be read


@pytest.mark.parametrize("what", ["fifo", "folder", "device"])
def test_only_regular_files_are_read(what: str, followed: Registry, path: Path, keys: dict[str, str]) -> None:
    whole = path.read_text()
    path.unlink()
    match what:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to("/dev/zero")
    with pytest.raises(RegistryUnavailable, match="no regular file"):
        followed.refresh()
    assert works(followed, keys["reports"])
    with pytest.raises(ConfigurationError, match="no regular file"):
        Registry(FileStore(path), Keyring(KEY, None)).load()  # nor does anything start on it
    path.rmdir() if what == "folder" else path.unlink()
    path.write_text(whole)
    assert followed.refresh()


def test_a_mount_that_hangs_is_told_and_keeps_one_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    started: list[Path] = []

    def hangs(path: Path) -> files.Stamp | None:
        started.append(path)
        assert goes_on.wait(60)
        return None

    monkeypatch.setattr(files, "stamp", hangs)
    reader = files.Reader(limit=0.05)
    for _ in range(3):
        with pytest.raises(RegistryUnavailable, match=r"nothing came of it within 0\.05 s"):
            reader.stamp(path)
    assert started == [path]
    monkeypatch.undo()
    goes_on.set()
    while threading.active_count() > 1 and any(each.name == "registry" for each in threading.enumerate()):
        time.sleep(0.01)
    assert reader.stamp(path) is None


def test_a_look_that_hangs_shows_and_keeps_no_loop_from_ending(
    path: Path, keyring: Keyring, seconds: Seconds
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    class Hanging(FileStore):
        def mark(self) -> object:
            hangs.set()
            goes_on.wait(300)
            return super().mark()

    registry = Registry(Hanging(path), keyring, clock=seconds)
    registry.load()

    async def main() -> None:
        watching = asyncio.create_task(
            registry.watch(lambda *_: None, lambda _: None, pause=lambda _: asyncio.sleep(0))
        )
        while not hangs.is_set():
            await asyncio.sleep(0)
        seconds.now += SILENT_SECONDS + 1
        assert registry.standing == Standing("unread", SILENT_SECONDS + 1)
        watching.cancel()

    began = time.monotonic()
    asyncio.run(main())  # which waits for its threads
    assert time.monotonic() - began < 60
    goes_on.set()


@pytest.mark.parametrize(
    "broken", [b"\xff", b"[tenants.reports", b"tenant = 1", b"[tenants.reports]\ncolour = 'red'"]
)
def test_what_is_broken_is_read_once(
    broken: bytes, followed: Registry, path: Path, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(broken)
    with pytest.raises(ConfigurationError, match=f"{path}") as raised:
        followed.refresh()
    assert "failed" not in str(raised.value)
    monkeypatch.setattr(files, "read", None)  # nothing is read again
    assert not followed.refresh()
    assert works(followed, keys["reports"])
    assert followed.standing.reason == "broken"


# At the start


def test_an_empty_registry_is_told_at_the_start(path: Path, keyring: Keyring, anywhere: Registry) -> None:
    path.write_text("")
    registry = Registry(FileStore(path), keyring)
    registry.load()
    assert registry.notes() == [f"the registry at {path} has no tenants"]
    anywhere.load()
    assert any("no tenants" in note for note in anywhere.notes())


def test_a_broken_registry_starts_nothing(path: Path, keyring: Keyring) -> None:
    path.write_text("[tenants.reports")
    with pytest.raises(ConfigurationError, match="not TOML"):
        Registry(FileStore(path), keyring).load()
