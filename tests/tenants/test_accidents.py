"""What has lost too much at once is not believed at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from gateway.errors import RegistryDoubtful, RegistryUnavailable
from gateway.tenants.file_store import FileStore
from gateway.tenants.following import Standing
from gateway.tenants.redis_store import RedisStore
from gateway.tenants.registry import Registry
from gateway.tenants.vault import Keyring
from tests.redis_server import RedisServer, redis_server
from tests.tenants.places import DOUBT, KEY, TENANTS, Seconds, works


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
    registries = [Registry(FileStore(each), Keyring(KEY, None)) for each in (path, place)]
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
    follower = Registry(FileStore(mount / "tenants.toml"), Keyring(KEY, None))
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


def test_what_another_registry_adds_goes_with_it_and_counts_for_nothing(
    followed: Registry, path: Path, keys: dict[str, str], tmp_path: Path
) -> None:
    """Else the right file, put back, would be doubted for want of them."""
    other = Registry(FileStore(tmp_path / "other.toml"), Keyring(KEY, None))
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


# In Redis


def test_a_redis_that_was_flushed_and_began_anew_is_doubted(seconds: Seconds) -> None:
    with redis_server() as server:
        tables = RedisStore(server.url, "sgw", timeout=5.0)
        editor = Registry(tables, Keyring(KEY, None))
        follower = Registry(RedisStore(server.url, "sgw"), Keyring(KEY, None), DOUBT, seconds)
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
    editor, follower = (Registry(RedisStore(shared_redis.url, prefix), Keyring(KEY, None)) for _ in range(2))
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


def test_a_redis_that_is_put_back_as_it_was_keeps_nothing_of_a_doubt(
    shared_redis: RedisServer, prefix: str
) -> None:
    editor, follower = (Registry(RedisStore(shared_redis.url, prefix), Keyring(KEY, None)) for _ in range(2))
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
