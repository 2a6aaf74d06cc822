"""What could not be read is tried again, and what has lost too much is not believed at once."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import redis
import tomlkit

from gateway.errors import ConfigurationError, RegistryDoubtful, RegistryUnavailable
from gateway.tenants import files
from gateway.tenants.file_tables import FileTables, leads
from gateway.tenants.following import SILENT_SECONDS, Standing
from gateway.tenants.keyring import Keyring
from gateway.tenants.redis_tables import RedisTables
from gateway.tenants.registry import Registry
from gateway.tenants.vault import Vault
from tests.redis_server import RedisServer, redis_server
from tests.tenants.places import KEY, LBORO, MONASH, Reopen, key_file

DOUBT = 10.0
TENANTS = ("reports", "dashboards", "library", "repository", "bench")


class Seconds:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def editor(path: Path) -> Registry:
    """The registry as commands see it, with five tenants of one key each."""
    return Registry(FileTables(path), Keyring(KEY, None))


@pytest.fixture
def keys(editor: Registry) -> dict[str, str]:
    for tenant in TENANTS:
        editor.add(tenant)
    return {tenant: editor.add_key(tenant) for tenant in TENANTS}


@pytest.fixture
def followed(path: Path, keys: dict[str, str], seconds: Seconds) -> Registry:
    registry = Registry(FileTables(path), Keyring(KEY, None), DOUBT, seconds)
    registry.load()
    return registry


def works(registry: Registry, key: str) -> bool:
    return registry.directory.holder_of(key.encode(), time.time()) is not None


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process may open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# What could not be read


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
    follower = Registry(FileTables(path), Keyring("", path))
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
    follower = Registry(FileTables(path), Unlucky("", path))
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
        tables = RedisTables(server.url, "sgw", timeout=0.5)
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
    class Failing(FileTables):
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


# What is not believed


def emptied(path: Path) -> None:
    path.write_text("")


def cut(path: Path) -> None:
    text = path.read_text()
    path.write_text(text[: text.index("\n[tenants.dashboards")])


def only_comments(path: Path) -> None:
    path.write_text("# to be done\n")


def without_keys(path: Path) -> None:
    path.write_text("".join(f"[tenants.{tenant}]\n" for tenant in TENANTS))


@pytest.mark.parametrize("accident", [emptied, cut, only_comments, without_keys])
def test_an_accident_leaves_the_last_good_state_for_a_while(
    accident: Callable[[Path], None], followed: Registry, path: Path, keys: dict[str, str], seconds: Seconds
) -> None:
    accident(path)
    with pytest.raises(RegistryDoubtful, match=r"[45] of 5 tenants are gone from it"):
        followed.refresh()
    for passed in range(1, int(DOUBT)):
        seconds.now += 1
        assert not followed.refresh()
        assert all(works(followed, key) for key in keys.values())
        assert followed.standing == Standing("doubtful", passed)
    seconds.now += 1
    assert followed.refresh()
    assert not works(followed, keys["dashboards"])
    assert followed.standing == Standing(None, 0.0)


def test_what_came_back_in_time_never_was_away(
    followed: Registry, path: Path, keys: dict[str, str], seconds: Seconds
) -> None:
    whole = path.read_text()
    for _ in range(3):  # and the time is counted anew each time
        path.write_text("")
        with pytest.raises(RegistryDoubtful):
            followed.refresh()
        seconds.now += DOUBT - 1
        assert not followed.refresh()
        path.write_text(whole)
        assert followed.refresh()
        assert all(works(followed, key) for key in keys.values())


def test_a_doubtful_state_that_changes_is_doubted_from_then_on(
    followed: Registry, path: Path, keys: dict[str, str], seconds: Seconds
) -> None:
    emptied(path)
    with pytest.raises(RegistryDoubtful):
        followed.refresh()
    seconds.now += DOUBT - 1
    path.write_text("[tenants.reports]\n")
    followed.refresh()
    seconds.now += DOUBT - 1
    assert not followed.refresh()
    path.write_text("[tenants.reports]\n# as before\n")  # says the same
    assert not followed.refresh()
    assert works(followed, keys["reports"])
    seconds.now += 1
    assert followed.refresh()
    assert list(followed.directory.tenants) == ["reports"]


def test_a_doubtful_state_that_could_not_be_read_is_doubted_anew(
    followed: Registry, path: Path, keys: dict[str, str], seconds: Seconds
) -> None:
    emptied(path)
    with pytest.raises(RegistryDoubtful):
        followed.refresh()
    seconds.now += DOUBT - 1
    path.rename(path.with_name("aside"))
    with pytest.raises(RegistryUnavailable, match="is gone"):
        followed.refresh()
    path.with_name("aside").rename(path)
    with pytest.raises(RegistryDoubtful):
        followed.refresh()
    seconds.now += DOUBT - 1
    assert not followed.refresh()
    assert works(followed, keys["reports"])


def test_keys_that_a_doubtful_state_revokes_end_at_once(
    followed: Registry, path: Path, keys: dict[str, str], seconds: Seconds
) -> None:
    text = path.read_text()
    cut_short = text[: text.index("\n[tenants.library")]
    revoked = keys["reports"][4:14]
    line = f"[tenants.reports.keys.{revoked}]"
    assert line in cut_short
    path.write_text(cut_short.replace(line, f"{line}\nrevoked = 2026-01-01T00:00:00Z") + "\n[tenants.stranger]\n")
    with pytest.raises(RegistryDoubtful, match="3 of 5"):
        followed.refresh()
    assert [tenant for tenant in TENANTS if works(followed, keys[tenant])] == list(TENANTS[1:])
    assert "stranger" in followed.directory.tenants  # what is new takes nothing from anybody
    path.write_text(text)  # an undone revocation, beside everything else that is back
    assert followed.refresh()
    assert "stranger" not in followed.directory.tenants
    assert works(followed, keys["reports"])


def test_a_leaked_key_that_another_replaces_by_hand_ends_at_once(path: Path, tmp_path: Path) -> None:
    place = tmp_path / "other.toml"
    registries = [Registry(FileTables(each), Keyring(KEY, None)) for each in (path, place)]
    for registry in registries:
        registry.add("reports")
    leaked, new = (registry.add_key("reports") for registry in registries)
    registries[0].load()
    path.write_text(place.read_text())
    assert registries[0].refresh()
    assert not works(registries[0], leaked)
    assert works(registries[0], new)


def test_few_who_go_by_hand_are_gone_at_once(followed: Registry, path: Path, keys: dict[str, str]) -> None:
    text = path.read_text()
    path.write_text(text[: text.index("\n[tenants.repository")])
    assert followed.refresh()
    assert list(followed.directory.tenants) == list(TENANTS[:3])
    assert followed.standing.reason is None


@pytest.mark.parametrize("left", [0, 1])
def test_however_many_a_command_removes_are_gone_at_once(left: int, anywhere: Registry, reopen: Reopen) -> None:
    for tenant in TENANTS:
        anywhere.add(tenant)
        anywhere.add_key(tenant)
    follower = reopen()
    follower.load()
    for tenant in TENANTS[left:]:
        anywhere.remove(tenant)
    assert follower.refresh()
    assert list(follower.directory.tenants) == list(TENANTS[:left])
    assert not follower.refresh()
    assert follower.standing.reason is None


def test_a_command_after_an_accident_does_not_make_it_a_command(
    followed: Registry, editor: Registry, path: Path, keys: dict[str, str]
) -> None:
    emptied(path)
    editor.add("reports")
    with pytest.raises(RegistryDoubtful, match="5 of 5"):
        followed.refresh()
    assert works(followed, keys["reports"])
    for tenant in TENANTS[1:]:
        editor.add(tenant)
    assert not followed.refresh()  # it is still nobody's key that is there, and told
    assert works(followed, keys["reports"])


def test_what_a_command_once_left_vouches_for_nothing_later(
    followed: Registry, editor: Registry, path: Path, keys: dict[str, str]
) -> None:
    whole = path.read_text()
    for tenant in TENANTS:
        editor.remove(tenant)
    assert followed.refresh()
    path.write_text(whole)
    assert followed.refresh()
    path.write_text("")
    with pytest.raises(RegistryDoubtful):
        followed.refresh()
    assert works(followed, keys["reports"])


def test_who_cannot_read_what_commands_left_waits(
    followed: Registry, editor: Registry, path: Path, keys: dict[str, str], seconds: Seconds
) -> None:
    for tenant in TENANTS[1:]:
        editor.remove(tenant)
    revisions = path.with_name(path.name + ".revisions")
    revisions.unlink()
    revisions.mkdir()
    with pytest.raises(RegistryDoubtful):
        followed.refresh()
    seconds.now += DOUBT
    assert followed.refresh()
    assert list(followed.directory.tenants) == ["reports"]
    editor.add("again")  # and no command fails for want of that line
    assert followed.refresh()


@pytest.mark.parametrize("follower_links", [True, False])
def test_commands_by_a_link_and_by_the_file_itself_see_what_the_other_left(
    follower_links: bool, editor: Registry, path: Path, keys: dict[str, str]
) -> None:
    link = path.with_name("elsewhere") / "linked.toml"
    link.parent.mkdir()
    link.symlink_to(path)
    by_link = Registry(FileTables(link), Keyring(KEY, None))
    by_file = Registry(FileTables(path), Keyring(KEY, None))
    follower, commands = (by_link, by_file) if follower_links else (by_file, by_link)
    follower.load()
    for tenant in TENANTS[1:]:
        commands.remove(tenant)
    assert follower.refresh()
    assert list(follower.directory.tenants) == ["reports"]
    assert list(link.parent.iterdir()) == [link]


def test_a_secret_that_kubernetes_swaps_is_followed(
    followed: Registry, path: Path, keys: dict[str, str], tmp_path: Path
) -> None:
    """The mounted file is a link through ``..data``, which is replaced whole. Nothing there can be written."""
    mount = tmp_path / "mount"
    text = path.read_text()
    states = {"one": text, "two": text[: text.index("\n[tenants.repository")], "three": ""}
    for state, held in states.items():
        (mount / state).mkdir(parents=True)
        (mount / state / "tenants.toml").write_text(held)
        (mount / state).chmod(0o555)
    (mount / "..data").symlink_to("one")
    (mount / "tenants.toml").symlink_to("..data/tenants.toml")
    follower = Registry(FileTables(mount / "tenants.toml"), Keyring(KEY, None))
    follower.load()
    for state in ("two", "three"):
        (mount / "..tmp").symlink_to(state)
        (mount / "..tmp").replace(mount / "..data")
        if state == "two":
            assert follower.refresh()
        else:
            with pytest.raises(RegistryDoubtful):
                follower.refresh()
        assert list(follower.directory.tenants) == list(TENANTS[:3])


def test_what_commands_leave_is_read_by_who_reads_the_registry(editor: Registry, path: Path) -> None:
    editor.add("reports")
    path.chmod(0o640)
    editor.add("others")
    assert path.with_name(path.name + ".revisions").stat().st_mode == path.stat().st_mode


@pytest.mark.parametrize(
    ("revisions", "since", "now", "whether"),
    [
        ("a b\n", "a", "b", True),
        ("a b\nb c\nc d\n", "a", "d", True),
        ("a b\nb c\nc d\n", "b", "d", True),
        ("a b\nc d\n", "a", "d", False),  # b became c by hand
        ("a b\n", "a", "c", False),
        ("b c\na b\n", "a", "c", False),  # not in this order
        ("a b\n", "b", "b", False),
        ("", "a", "b", False),
        ("nonsense\n\n \na b", "a", "b", True),
    ],
)
def test_lines_lead_from_state_to_state(revisions: str, since: str, now: str, whether: bool) -> None:
    assert leads(revisions, since, now) is whether


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
        Registry(FileTables(path), Keyring(KEY, None)).load()  # nor does anything start on it
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

    class Hanging(FileTables):
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
    registry = Registry(FileTables(path), keyring)
    registry.load()
    assert registry.notes() == [f"the registry at {path} has no tenants"]
    anywhere.load()
    assert any("no tenants" in note for note in anywhere.notes())


def test_a_broken_registry_starts_nothing(path: Path, keyring: Keyring) -> None:
    path.write_text("[tenants.reports")
    with pytest.raises(ConfigurationError, match="not TOML"):
        Registry(FileTables(path), keyring).load()


# In Redis


def test_a_redis_that_was_flushed_and_began_anew_is_doubted(seconds: Seconds) -> None:
    with redis_server() as server:
        tables = RedisTables(server.url, "sgw", timeout=5.0)
        editor = Registry(tables, Keyring(KEY, None))
        follower = Registry(RedisTables(server.url, "sgw"), Keyring(KEY, None), DOUBT, seconds)
        for tenant in TENANTS:
            editor.add(tenant)
        keys = {tenant: editor.add_key(tenant) for tenant in TENANTS}
        follower.load()
        server.call("FLUSHALL")
        with pytest.raises(RegistryUnavailable, match="is gone"):
            follower.refresh()
        seconds.now += 100 * DOUBT
        assert not follower.refresh()
        assert all(works(follower, key) for key in keys.values())
        assert follower.standing.reason == "unread"
        editor.add("first")
        with pytest.raises(RegistryDoubtful, match="5 of 5 tenants"):
            follower.refresh()
        assert all(works(follower, key) for key in keys.values())
        seconds.now += DOUBT
        assert follower.refresh()
        assert list(follower.directory.tenants) == ["first"]


def test_tenants_that_others_took_from_redis_are_doubted(shared_redis: RedisServer, prefix: str) -> None:
    editor, follower = (Registry(RedisTables(shared_redis.url, prefix), Keyring(KEY, None)) for _ in range(2))
    for tenant in TENANTS:
        editor.add(tenant)
    keys = {tenant: editor.add_key(tenant) for tenant in TENANTS}
    follower.load()
    client = redis.Redis.from_url(shared_redis.url)
    client.delete(f"{prefix}:{{registry}}:tenants")
    client.delete(f"{prefix}:{{registry}}:changes")
    client.hdel(f"{prefix}:{{registry}}:owners", *(key[4:14] for key in keys.values()))
    editor.add("first")
    with pytest.raises(RegistryDoubtful, match="5 of 5 tenants"):
        follower.refresh()
    assert works(follower, keys["reports"])


# Commands during a doubt


@pytest.fixture
def doubted(anywhere: Registry, place: tuple[str, str, str], seconds: Seconds) -> Doubted:
    """A registry, in a file and in Redis, from which three of five tenants have just gone by accident."""
    for tenant in TENANTS:
        anywhere.add(tenant)
    keys = {tenant: anywhere.add_key(tenant) for tenant in TENANTS}
    where, _, prefix = place
    store = FileTables(Path(where)) if where.startswith("/") else RedisTables(where, prefix)
    follower = Registry(store, Keyring(KEY, None), DOUBT, seconds)
    follower.load()
    if isinstance(store, FileTables):
        text = store.path.read_text()
        document = tomlkit.parse(text)
        for tenant in TENANTS[2:]:
            del document["tenants"][tenant]
        store.path.write_text(document.as_string())
    else:
        client = redis.Redis.from_url(where)
        client.hdel(f"{prefix}:{{registry}}:tenants", *TENANTS[2:])
        client.delete(f"{prefix}:{{registry}}:changes")
        anywhere.change("reports", note="so that there is a stream")
    with pytest.raises(RegistryDoubtful, match="3 of 5"):
        follower.refresh()
    return Doubted(follower, anywhere, keys)


class Doubted(NamedTuple):
    follower: Registry
    editor: Registry
    keys: dict[str, str]

    def working(self) -> list[str]:
        return [tenant for tenant in TENANTS if works(self.follower, self.keys[tenant])]


def test_what_commands_add_in_a_doubt_works_at_once(doubted: Doubted, seconds: Seconds) -> None:
    follower, editor, _ = doubted
    editor.add("fresh", pair=LBORO)
    fresh, second = editor.add_key("fresh"), editor.add_key("reports")
    assert follower.refresh()
    assert works(follower, fresh)
    assert works(follower, second)
    assert list(follower.directory.tenants["fresh"].credentials) == ["lboro"]
    assert doubted.working() == list(TENANTS)
    editor.revoke_key(fresh[4:14])
    assert follower.refresh()
    assert not works(follower, fresh)
    editor.remove("fresh")
    assert follower.refresh()
    assert "fresh" not in follower.directory.tenants
    assert follower.standing.reason == "doubtful"


def test_what_commands_take_in_a_doubt_is_gone_at_once(doubted: Doubted) -> None:
    follower, editor, keys = doubted
    editor.revoke_key(keys["reports"][4:14])
    assert follower.refresh()
    assert doubted.working() == list(TENANTS[1:])
    editor.remove("dashboards")
    assert follower.refresh()
    assert doubted.working() == list(TENANTS[2:])
    assert "dashboards" not in follower.directory.tenants
    editor.remove("reports")
    editor.add("reports")
    assert follower.refresh()
    assert follower.directory.tenants["reports"].keys == {}
    assert doubted.working() == list(TENANTS[2:])


def test_commands_do_not_prolong_a_doubt(doubted: Doubted, seconds: Seconds) -> None:
    follower, editor, _ = doubted
    for number in range(int(DOUBT) - 1):
        seconds.now += 1
        editor.add(f"fresh-{number}")
        assert follower.refresh()
        assert doubted.working() == list(TENANTS)
    seconds.now += 1
    editor.add("last")
    assert follower.refresh()
    assert doubted.working() == list(TENANTS[:2])
    assert follower.standing.reason is None
    assert "fresh-0" in follower.directory.tenants


def test_what_another_registry_adds_goes_with_it_and_counts_for_nothing(
    followed: Registry, path: Path, keys: dict[str, str], tmp_path: Path
) -> None:
    """Else the right file, put back, would be doubted for want of them."""
    other = Registry(FileTables(tmp_path / "other.toml"), Keyring(KEY, None))
    for tenant in "abcdefgh":
        other.add(tenant)
    theirs = [other.add_key(tenant) for tenant in "abcdefgh"]
    whole = path.read_text()
    path.write_text((tmp_path / "other.toml").read_text())
    with pytest.raises(RegistryDoubtful):
        followed.refresh()
    assert all(works(followed, key) for key in (*theirs, *keys.values()))
    path.write_text(whole)
    assert followed.refresh()
    assert list(followed.directory.tenants) == list(TENANTS)
    assert not any(works(followed, key) for key in theirs)
    assert followed.standing.reason is None


def test_keys_that_move_to_other_tenants_in_a_doubt_never_stop_working(
    followed: Registry, path: Path, keys: dict[str, str], seconds: Seconds
) -> None:
    text = path.read_text()
    for tenant in TENANTS:
        text = text.replace(f"[tenants.{tenant}", f"[tenants.new-{tenant}")
    path.write_text(text)
    with pytest.raises(RegistryDoubtful):
        followed.refresh()
    assert followed.directory.holder_of(keys["bench"].encode(), 0).tenant.id == "bench"  # type: ignore[union-attr]
    seconds.now += DOUBT
    assert followed.refresh()
    assert list(followed.directory.tenants) == [f"new-{tenant}" for tenant in TENANTS]
    assert all(works(followed, key) for key in keys.values())


def test_a_redis_that_is_put_back_as_it_was_keeps_nothing_of_a_doubt(
    shared_redis: RedisServer, prefix: str
) -> None:
    editor, follower = (Registry(RedisTables(shared_redis.url, prefix), Keyring(KEY, None)) for _ in range(2))
    for tenant in TENANTS:
        editor.add(tenant)
    follower.load()
    client = redis.Redis.from_url(shared_redis.url)
    names = [f"{prefix}:{{registry}}:{name}" for name in ("tenants", "changes")]
    saved = [client.dump(name) or b"" for name in names]
    client.delete(*names)
    editor.add("first")
    editor.add("reports")
    editor.change("reports", enabled=False)
    with pytest.raises(RegistryDoubtful):
        follower.refresh()
    assert "first" in follower.directory.tenants
    assert not follower.directory.tenants["reports"].enabled
    for name, state in zip(names, saved, strict=True):
        client.restore(name, 0, state, replace=True)
    assert follower.refresh()
    assert sorted(follower.directory.tenants) == sorted(TENANTS)
    assert follower.directory.tenants["reports"].enabled
    assert follower.standing.reason is None
