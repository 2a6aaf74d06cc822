"""What commands do to a registry is believed at once, in a doubt too, and vouches for nothing else."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest
import redis
import tomlkit

from gateway.errors import RegistryDoubtful
from gateway.tenants.file_store import FileStore, leads
from gateway.tenants.redis_store import RedisStore
from gateway.tenants.registry import Registry
from gateway.tenants.vault import Keyring
from tests.tenants.places import DOUBT, KEY, LBORO, TENANTS, Reopen, Seconds, works


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


def test_however_many_commands_there_were_since_the_last_look_they_are_believed(
    followed: Registry, editor: Registry
) -> None:
    for number in range(200):
        editor.change("reports", note=f"{number}")
    for tenant in TENANTS[1:]:
        editor.remove(tenant)
    assert followed.refresh()
    assert list(followed.directory.tenants) == ["reports"]


def test_a_command_after_an_accident_does_not_make_it_a_command(
    followed: Registry, editor: Registry, path: Path, keys: dict[str, str]
) -> None:
    path.write_text("")
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
    by_link = Registry(FileStore(link), Keyring(KEY, None))
    by_file = Registry(FileStore(path), Keyring(KEY, None))
    follower, commands = (by_link, by_file) if follower_links else (by_file, by_link)
    follower.load()
    for tenant in TENANTS[1:]:
        commands.remove(tenant)
    assert follower.refresh()
    assert list(follower.directory.tenants) == ["reports"]
    assert list(link.parent.iterdir()) == [link]


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


# Commands during a doubt


class Doubted(NamedTuple):
    follower: Registry
    editor: Registry
    keys: dict[str, str]

    def working(self) -> list[str]:
        return [tenant for tenant in TENANTS if works(self.follower, self.keys[tenant])]


@pytest.fixture
def doubted(anywhere: Registry, place: tuple[str, str, str], seconds: Seconds) -> Doubted:
    """A registry, in a file and in Redis, from which three of five tenants have just gone by accident."""
    for tenant in TENANTS:
        if tenant not in anywhere.store.read():
            anywhere.add(tenant)
    keys = {tenant: anywhere.add_key(tenant) for tenant in TENANTS}
    where, _, prefix = place
    store = FileStore(Path(where)) if where.startswith("/") else RedisStore(where, prefix)
    follower = Registry(store, Keyring(KEY, None), DOUBT, seconds)
    follower.load()
    if isinstance(store, FileStore):
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


@pytest.mark.parametrize("how", ["it is taken", "it moves", "its tenant is made anew"])
def test_a_network_that_commands_take_in_a_doubt_is_gone_at_once(
    how: str, anywhere: Registry, request: pytest.FixtureRequest
) -> None:
    anywhere.create("reports", networks=["10.1.0.0/16"])
    follower, editor, _ = request.getfixturevalue("doubted")
    assert whose(follower, "10.1.2.3") == "reports"
    if how == "its tenant is made anew":
        editor.remove("reports")
        editor.add("reports")
    else:
        editor.change("reports", networks=[])
    if how == "it moves":
        editor.change("dashboards", networks=["10.1.0.0/16"])
    follower.refresh()
    assert whose(follower, "10.1.2.3") in {None, "dashboards"}


def whose(registry: Registry, address: str) -> str | None:
    claim = registry.directory.networks.claim_on(ip_address(address))
    return None if claim is None or claim.tenant is None else claim.tenant.id


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
