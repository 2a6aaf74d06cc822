"""``stats-gateway tenant set``, and keys that end."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.format import moment_of, seconds_of
from gateway.errors import ConfigurationError
from gateway.tenants.file_store import FileStore
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import TenantLimits
from gateway.tenants.vault import Keyring
from tests.cli.command import Done, run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tenants.toml"
    assert run("tenant", "add", "reports", "--registry", str(path)).code == 0
    return path


def change(path: Path, *words: str, tenant: str = "reports") -> Done:
    return run("tenant", "set", tenant, *words, "--registry", str(path))


def shown(path: Path) -> Any:
    return json.loads(run("tenant", "show", "reports", "--json", "--registry", str(path)).out)


def test_what_is_set_is_what_the_gateway_reads(path: Path) -> None:
    done = change(
        path, "--name", "Reports", "--requests-per-second", "2.5", "--burst", "40", "--requests-per-day", "9000",
        "--queued", "5", "--share", "3", "--lifetime", "open=60", "--lifetime", "closed=3600",
        "--origin", "https://a.example", "--origin", "http://localhost:3000", "--note", "ask the library",
        "--network", "10.1.0.0/16", "--network", "2001:DB8:1::/48",
    )  # fmt: skip
    assert (done.code, done.error) == (0, None)
    tenant = Registry(FileStore(path), Keyring("", path)).load().tenants["reports"]
    assert tenant.limits == TenantLimits(2.5, 40, 9_000, 5, 3)
    assert tenant.lifetimes == {"open": 60, "closed": 3_600}
    assert tenant.origins == ("https://a.example", "http://localhost:3000")
    assert (tenant.name, tenant.note) == ("Reports", "ask the library")
    assert tenant.networks == (ip_network("10.1.0.0/16"), ip_network("2001:db8:1::/48"))
    assert shown(path)["limits"]["burst"] == 40
    assert shown(path)["networks"] == ["10.1.0.0/16", "2001:db8:1::/48"]
    told = run("tenant", "show", "reports", "--registry", str(path)).out
    assert "network: 10.1.0.0/16\nnetwork: 2001:db8:1::/48\n" in told


def test_none_takes_a_value_out_and_leaves_the_others(path: Path) -> None:
    change(path, "--burst", "40", "--queued", "5", "--lifetime", "open=60", "--origin", "*", "--note", "x")
    change(path, "--network", "10.1.0.0/16")
    without = ("--lifetime", "open=none", "--origin", "none", "--network", "none", "--note", "none")
    assert change(path, "--burst", "none", *without).code == 0
    told = shown(path)
    assert (told["limits"]["burst"], told["limits"]["queued"]) == (None, 5)
    assert (told["lifetimes"], told["origins"], told["networks"], told["note"]) == ({}, [], [], "")


def test_a_disabled_tenant_can_be_enabled_again(path: Path) -> None:
    change(path, "--disable")
    assert shown(path)["enabled"] is False
    change(path, "--enable")
    assert shown(path)["enabled"] is True


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "nothing to change"),
        (("--burst", "many"), "burst must be a number"),
        (("--burst", "0"), "limits.burst"),
        (("--burst", "2.5"), "limits.burst"),
        (("--requests-per-second", "-1"), "limits.requests_per_second"),
        (("--share", "0"), "limits.share"),
        (("--lifetime", "open"), "must be like open=60"),
        (("--lifetime", "ever=60"), "must be like open=60"),
        (("--lifetime", "open=0"), "lifetimes"),
        (("--origin", "https://a.example/path"), "no origin"),
        (("--origin", "a.example"), "no origin"),
        (("--network", "10.1.2.3/16"), "the network is 10.1.0.0/16"),
        (("--network", "10.0.0.0/7"), "at least 8 bits"),
        (("--network", "fe80::1%eth0"), "has a zone"),
        (("--network", "intranet"), "no network"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_makes_no_sense_is_refused_by_name_and_changes_nothing(
    path: Path, words: tuple[str, ...], complaint: str
) -> None:
    before = path.read_text()
    done = change(path, *words)
    assert complaint in (done.error or "")
    assert path.read_text() == before


def test_a_tenant_that_is_not_there_cannot_be_changed(path: Path) -> None:
    assert "no tenant 'nobody'" in (change(path, "--burst", "1", tenant="nobody").error or "")


def test_a_key_says_when_it_ends(path: Path) -> None:
    late = run("key", "add", "reports", "--expires", "2001-01-31", "--registry", str(path))
    assert "expired already" in (late.error or "")
    run("key", "add", "reports", "--expires", "2199-01-31", "--registry", str(path))
    path.write_text(path.read_text().replace("2199-", "2001-"))
    run("key", "add", "reports", "--expires", "90d", "--registry", str(path))
    (past, coming) = shown(path)["keys"]
    assert past["expires"] == "2001-01-31T00:00:00Z"
    assert re.search(r"reports +\S+ +enabled +- +1\n", run("tenant", "list", "--registry", str(path)).out)
    until = datetime.fromisoformat(coming["expires"]) - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < until <= timedelta(days=90)
    listed = run("key", "list", "reports", "--registry", str(path)).out
    assert "expired" in listed
    assert "active" in listed


def test_a_rotated_key_keeps_its_label_and_the_old_one_ends_after_the_overlap(path: Path) -> None:
    old = run("key", "add", "reports", "--label", "cron", "--registry", str(path)).out.strip()
    new = run("key", "rotate", old[4:14], "--overlap", "1h", "--registry", str(path)).out.strip()
    assert new != old
    before, after = shown(path)["keys"]
    assert (before["label"], after["label"]) == ("cron", "cron")
    assert after["expires"] is None
    assert datetime.fromisoformat(before["expires"]) > datetime.now(UTC) + timedelta(minutes=59)


def test_rotating_never_makes_a_key_live_longer(path: Path) -> None:
    old = run("key", "add", "reports", "--expires", "1h", "--registry", str(path)).out.strip()
    end = shown(path)["keys"][0]["expires"]
    run("key", "rotate", old[4:14], "--overlap", "7d", "--registry", str(path))
    assert shown(path)["keys"][0]["expires"] == end


def test_a_key_that_is_not_there_cannot_be_rotated(path: Path) -> None:
    done = run("key", "rotate", "0123456789", "--registry", str(path))
    assert "no key with the id 0123456789" in (done.error or "")


def test_times_are_read_as_people_write_them() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert seconds_of("90d") == 90 * 86_400
    assert moment_of("12h", now) == now + timedelta(hours=12)
    assert moment_of("2030-01-31", now) == datetime(2030, 1, 31, tzinfo=UTC)
    for nonsense in ("soon", "5 days", "-1d", "2030-13-01"):
        with pytest.raises(ConfigurationError):
            moment_of(nonsense, now)
