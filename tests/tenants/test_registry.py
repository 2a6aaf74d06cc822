"""A registry, wherever it lies: edited, read, moved."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
import pytest

from gateway.errors import ConfigurationError, RecordExists, Unauthenticated
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import Pair, parse_key
from gateway.tenants.vault import Keyring
from tests.tenants.places import KEY, LBORO, MONASH, OTHER_KEY, Reopen, asker

ADD_KEYS = """
import sys
from gateway.settings import Settings
from gateway.tenants.registry import open_registry
registry = open_registry(Settings(registry=sys.argv[1], encryption_keys=sys.argv[2], redis_prefix=sys.argv[3]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(10):
    print(registry.add_key("reports", f"{sys.argv[4]}-{number}"))
"""


def test_a_tenant_with_a_credential_and_a_key_is_found_by_that_key(anywhere: Registry) -> None:
    anywhere.add("reports", "Report scripts", LBORO)
    key = anywhere.add_key("reports", "cron", now=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
    tenant = asker(anywhere, key)
    assert (tenant.id, tenant.name) == ("reports", "Report scripts")
    assert [held.created for held in tenant.keys.values()] == [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)]
    credential = tenant.credential_for("lboro")
    assert credential is not None
    assert credential.username == "lboro"
    assert tenant.credential_for("monash") is None


def test_a_revoked_key_is_refused_and_keeps_its_first_date(anywhere: Registry) -> None:
    anywhere.add("reports")
    key = anywhere.add_key("reports")
    parsed = parse_key(key)
    assert parsed is not None
    first = datetime(2026, 1, 2, tzinfo=UTC)
    anywhere.revoke_key(parsed[0], now=first)
    anywhere.revoke_key(parsed[0])
    with pytest.raises(Unauthenticated):
        asker(anywhere, key)
    assert anywhere.store.read()["reports"].keys[parsed[0]].revoked == first


def test_adding_again_adds_institutions_replaces_passwords_and_renames(anywhere: Registry) -> None:
    anywhere.add("reports", "One", LBORO)
    before = anywhere.load().tenants["reports"]
    anywhere.add("reports", None, MONASH)
    anywhere.add("reports", "Two", Pair("lboro", "lboro", "other"))
    after = anywhere.load().tenants["reports"]
    assert after.name == "Two"
    assert list(after.credentials) == ["lboro", "monash"]
    assert after.credentials["lboro"].fingerprint != before.credentials["lboro"].fingerprint


def test_tenants_with_the_same_pair_share_its_fingerprint(anywhere: Registry) -> None:
    anywhere.add("reports", pair=LBORO)
    anywhere.add("dashboards", pair=LBORO)
    tenants = anywhere.load().tenants
    assert tenants["reports"].credentials == tenants["dashboards"].credentials


def test_removing_takes_one_institution_or_all(anywhere: Registry) -> None:
    anywhere.add("reports", pair=LBORO)
    anywhere.add("reports", pair=MONASH)
    key = anywhere.add_key("reports")
    anywhere.remove("reports", "monash")
    assert list(asker(anywhere, key).credentials) == ["lboro"]
    anywhere.remove("reports")
    with pytest.raises(Unauthenticated):
        asker(anywhere, key)


def test_processes_that_write_at_once_lose_nothing(anywhere: Registry, place: tuple[str, str, str]) -> None:
    anywhere.add("reports")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", ADD_KEYS, *place, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    made = [key for writer in writers for key in writer.communicate(timeout=60)[0].split()]
    assert [writer.returncode for writer in writers] == [0] * 4
    assert len(set(made)) == 40
    directory = anywhere.load()
    holders = [directory.holder_of(key.encode(), time.time()) for key in made]
    assert all(holder is not None and holder.tenant is directory.tenants["reports"] for holder in holders)


def test_a_failed_edit_changes_nothing(anywhere: Registry) -> None:
    anywhere.add("reports", pair=LBORO)
    before = anywhere.store.read()
    for attempt in (
        lambda: anywhere.add("Reports"),
        lambda: anywhere.add("anonymous"),
        lambda: anywhere.add("reports", "a\nb"),
        lambda: anywhere.add("new", pair=Pair("top", "u", "p")),
        lambda: anywhere.add_key("nobody"),
        lambda: anywhere.add_key("reports", "a\nb"),
        lambda: anywhere.remove("nobody"),
        lambda: anywhere.remove("reports", "monash"),
        lambda: anywhere.revoke_key("AbCdEf1234"),
    ):
        with pytest.raises(ConfigurationError):
            attempt()
    assert anywhere.store.read() == before


def test_a_tenant_is_created_once(anywhere: Registry) -> None:
    anywhere.create("reports", name="One", limits={"burst": 7})
    with pytest.raises(RecordExists):
        anywhere.create("reports", name="Two")
    table = anywhere.store.read()["reports"]
    assert (table.name, table.limits.burst) == ("One", 7)


def test_a_key_that_is_rotated_works_beside_the_new_one_for_a_while(anywhere: Registry) -> None:
    anywhere.add("reports")
    old = anywhere.add_key("reports", "cron")
    now = datetime(2030, 1, 1, tzinfo=UTC)
    new = anywhere.rotate_key(old[4:14], 3_600, now=now)
    directory = anywhere.load()
    for seconds, works in ((3_599, True), (3_601, False)):
        assert (directory.holder_of(old.encode(), now.timestamp() + seconds) is not None) is works
        assert directory.holder_of(new.encode(), now.timestamp() + seconds) is not None
    assert directory.tenants["reports"].keys[new[4:14]].label == "cron"


def test_fields_limits_and_lifetimes_are_kept(anywhere: Registry) -> None:
    anywhere.add("reports")
    anywhere.change("reports", note="by\nmail", origins=["https://a.example"], limits={"burst": 5, "share": 2.5})
    anywhere.change("reports", lifetimes={"open": 60.0}, limits={"burst": None})
    tenant = anywhere.load().tenants["reports"]
    assert (tenant.note, tenant.origins, tenant.lifetimes) == (
        "by\nmail",
        ("https://a.example",),
        {"open": 60},
    )
    assert (tenant.limits.burst, tenant.limits.share) == (None, 2.5)


def test_what_is_exported_is_the_same_elsewhere(anywhere: Registry, registry: Registry) -> None:
    registry = Registry(registry.store, Keyring(KEY, None))
    anywhere.add("reports", "Report scripts", LBORO)
    anywhere.change("reports", limits={"share": 3.0})
    key = anywhere.add_key("reports", "cron")
    anywhere.add("other", pair=MONASH)
    registry.import_tables(anywhere.store.read())
    assert registry.store.read() == anywhere.store.read()
    assert asker(registry, key).credentials == asker(anywhere, key).credentials


def test_an_import_replaces_nobody_unless_it_is_told_to(anywhere: Registry) -> None:
    anywhere.add("reports", "Mine", LBORO)
    held = anywhere.store.read()
    theirs = {"reports": msgspec.structs.replace(held["reports"], name="Theirs"), "new": held["reports"]}
    with pytest.raises(RecordExists, match=r"'reports'; "):
        anywhere.import_tables(theirs)
    assert anywhere.store.read() == held
    anywhere.import_tables(theirs, replace=True)
    assert anywhere.store.read() == theirs


def test_nothing_is_imported_when_one_password_does_not_open(anywhere: Registry, reopen: Reopen) -> None:
    anywhere.add("reports", pair=LBORO)
    other = reopen(OTHER_KEY)
    tables = {f"copy-{number}": table for number, table in enumerate(anywhere.store.read().values())}
    with pytest.raises(ConfigurationError, match=r"'copy-0', institution 'lboro': .*another"):
        other.import_tables(tables)
    assert list(anywhere.store.read()) == ["reports"]


def test_passwords_are_sealed_anew_with_the_newest_key(anywhere: Registry, reopen: Reopen) -> None:
    anywhere.add("reports", pair=LBORO)
    anywhere.add("reports", pair=MONASH)
    anywhere.add("plain")
    assert reopen(f"{OTHER_KEY},{KEY}").reseal() == 1
    tenant = reopen(OTHER_KEY).load().tenants["reports"]
    assert {each.username for each in tenant.credentials.values()} == {"lboro", "monash"}
    with pytest.raises(ConfigurationError, match=r"'reports', institution 'lboro': .*another"):
        anywhere.load()


def test_a_look_finds_what_others_changed_and_nothing_else(anywhere: Registry, reopen: Reopen) -> None:
    anywhere.add("reports", pair=LBORO)
    key = anywhere.add_key("reports")
    anywhere.add("other")
    follower = reopen()
    follower.load()
    other = follower.directory.tenants["other"]
    assert not follower.refresh()
    anywhere.revoke_key(key[4:14])
    anywhere.add("third", "Third")
    assert follower.refresh()
    assert not follower.refresh()
    assert follower.directory.holder_of(key.encode(), time.time()) is None
    assert sorted(follower.directory.tenants) == ["other", "reports", "third"]
    assert follower.directory.tenants["other"] == other
    anywhere.remove("other")
    assert follower.refresh()
    assert sorted(follower.directory.tenants) == ["reports", "third"]


def test_one_tenant_that_cannot_be_used_stops_no_revocation(anywhere: Registry, reopen: Reopen) -> None:
    anywhere.add("reports", pair=LBORO)
    key = anywhere.add_key("reports")
    follower = reopen()
    follower.load()
    reopen(OTHER_KEY).add("strange", pair=MONASH)
    anywhere.revoke_key(key[4:14])
    with pytest.raises(ConfigurationError, match=r"'strange', institution 'monash': .*another"):
        follower.refresh()
    assert follower.directory.holder_of(key.encode(), time.time()) is None
    assert not follower.directory.tenants["strange"].credentials


def test_a_revocation_does_not_wait_for_a_password_that_does_not_open(anywhere: Registry, reopen: Reopen) -> None:
    anywhere.add("reports", pair=LBORO)
    revoked, kept = anywhere.add_key("reports"), anywhere.add_key("reports")
    follower = reopen()
    before = follower.load().tenants["reports"].credentials
    reopen(f"{OTHER_KEY},{KEY}").reseal()
    anywhere.revoke_key(revoked[4:14])
    with pytest.raises(ConfigurationError, match=r"'reports', institution 'lboro': .*another"):
        follower.refresh()
    assert follower.directory.holder_of(revoked.encode(), time.time()) is None
    assert follower.directory.holder_of(kept.encode(), time.time()) is not None
    assert follower.directory.tenants["reports"].credentials == before


def test_what_the_keys_here_do_not_open_they_do_not_add_to(anywhere: Registry, reopen: Reopen) -> None:
    anywhere.add("reports", pair=LBORO)
    held = anywhere.store.read()
    with pytest.raises(ConfigurationError, match=r"'reports', institution 'lboro': .*another"):
        reopen(OTHER_KEY).add("reports", pair=MONASH)
    assert anywhere.store.read() == held


@pytest.mark.parametrize("dead", ["revoked", "expired"])
def test_a_dead_key_is_not_rotated(anywhere: Registry, dead: str) -> None:
    anywhere.add("reports")
    now = datetime(2030, 1, 1, tzinfo=UTC)
    key = anywhere.add_key("reports", expires=now if dead == "expired" else None)
    if dead == "revoked":
        anywhere.revoke_key(key[4:14])
    with pytest.raises(ConfigurationError, match="revoked or expired"):
        anywhere.rotate_key(key[4:14], 60, now=now)
    assert len(anywhere.store.read()["reports"].keys) == 1


@pytest.mark.parametrize("ago", [timedelta(days=1), timedelta(0)])
def test_a_key_that_would_be_dead_is_not_made(anywhere: Registry, ago: timedelta) -> None:
    anywhere.add("reports")
    key = anywhere.add_key("reports")
    now = datetime(2030, 1, 1, tzinfo=UTC)
    with pytest.raises(ConfigurationError, match="expired already"):
        anywhere.add_key("reports", expires=now - ago, now=now)
    with pytest.raises(ConfigurationError, match="expired already"):
        anywhere.rotate_key(key[4:14], 60, expires=now - ago, now=now)
    (held,) = anywhere.load().tenants["reports"].keys.values()
    assert (held.id, held.expires) == (key[4:14], None)


@pytest.mark.parametrize("text", ["\x1b[2J", "\0", "\x9b2J", "a\rb"])
def test_what_a_terminal_would_obey_is_no_name_label_nor_note(anywhere: Registry, text: str) -> None:
    anywhere.create("reports", note="three\nlines\r\n\tand é")
    for edit in (
        partial(anywhere.change, "reports", note=text),
        partial(anywhere.change, "reports", name=text),
        partial(anywhere.create, "other", note=text),
        partial(anywhere.add_key, "reports", text),
    ):
        with pytest.raises(ConfigurationError, match="without control characters"):
            edit()
    assert list(anywhere.load().tenants) == ["reports"]
    assert anywhere.directory.tenants["reports"].note == "three\nlines\r\n\tand é"


def test_a_key_that_ends_is_replaced_by_one_that_ends(anywhere: Registry) -> None:
    anywhere.add("reports")
    begin, later = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 20, tzinfo=UTC)
    end = datetime(2030, 1, 31, tzinfo=UTC)
    key = anywhere.add_key("reports", now=begin, expires=end)
    new = anywhere.rotate_key(key[4:14], 60, now=later)
    asked_for = anywhere.rotate_key(new[4:14], 60, now=later, expires=end)
    held = anywhere.store.read()["reports"].keys
    assert held[new[4:14]].created == later
    assert held[asked_for[4:14]].expires == end
    anywhere.add_key("reports")
    assert anywhere.load().tenants["reports"].keys[new[4:14]].expires == datetime(2030, 1, 20, 0, 1, tzinfo=UTC)
