"""Settings that cannot be used say so in one line; those that differ by profile do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import ConfigurationError, UnusableSettings
from gateway.redis_url import masked_url
from gateway.settings import load_settings

ODD = st.text(st.sampled_from("ab1:/@?#%&=[]\\,. \n") | st.characters(), max_size=30)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"pass_methods": "POST,TRACE"}, "'TRACE' cannot be passed on"),
        ({"pass_methods": "PO ST@"}, "'ST@' cannot be passed on"),
        ({"content_codings": "gzip,br"}, "'br' is not one of zstd, gzip"),
        ({"stale_if_error_family": {"total": 5}}, "'total' is not one of"),
        ({"stale_while_revalidate_family": {"totals": -5}}, "greater than 0"),
        ({"profile": "other"}, "'statistics' or 'generic'"),
        ({"warm": {"a": {"tenant": "lib"}}}, "warm.a (STATS_GATEWAY_WARM.A): needs either a file or a template"),
        ({"warm": {"a": {"tenant": "lib", "file": "f", "values": {"id": [1]}}}}, "values belong to a template"),
        ({"warm": {"a": {"tenant": "lib", "file": "f", "schedule": "often"}}}, "warm.a.schedule"),
        (
            {"warm": {"a": {"tenant": "lib", "file": "f\n"}, "b": {"tenant": "l\u200b", "file": "f"}}},
            "warm.b.tenant",
        ),
    ],
    ids=range(10),
)
def test_what_is_wrong_is_named(flags: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^[^\n]+$") as raised:
        load_settings(**flags)
    assert complaint in raised.value.message


def test_the_generic_profile_paces_and_invents_nothing_unless_told_to() -> None:
    plain = load_settings(profile="generic")
    assert (plain.budget, plain.refresh_floor, plain.lifetime_jitter, plain.content_codings) == (
        "unlimited",
        0,
        0,
        (),
    )
    assert load_settings(profile="generic", budget="2/s").budget_interval == 0.5
    assert load_settings().budget == "1/s"


def test_a_profile_from_a_file_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATS_GATEWAY_CONFIG", "")
    path = tmp_path / "gateway.toml"
    path.write_text('profile = "generic"\n[stale_if_error_family]\ntotals = 5\n')
    found = load_settings(path)
    assert (found.budget, found.stale_if_error_family) == ("unlimited", {"totals": 5})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory://", "memory://"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("rediss://user:secret@cache.example:6380/1", "rediss://user:***@cache.example:6380/1"),
        ("redis://:secret@[::1]:6379", "redis://:***@[::1]:6379"),
        ("redis+sentinel://u:secret@a:1,b:2/service/0", "redis+sentinel://u:***@a:1,b:2/service/0"),
        ("unix://u:secret@/run/redis.sock?db=1", "unix://u:***@/run/redis.sock?***"),
        ("redis://u:se/cret@h/0", "redis://u:***@h/0"),
        ("redis://u:se@cr/e@t@h/0", "redis://u:***@h/0"),
        ("redis://u:se?c#ret@h/0", "redis://u:***@***"),
        ("redis://u:se://cret@h/0", "redis://u:***@h/0"),
        ("redis://secret@h/0", "redis://***@h/0"),
        ("redis://u:secret", "redis://***"),
        ("redis://h/0?password=se@cret", "redis://***@***"),
        ("u:secret@h/0", "***"),
        ("secret://u@h/0", "***"),
    ],
    ids=range(15),
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@given(ODD, ODD)
@example("se/cret", "")
@example("", "a@b")
def test_whatever_the_password_no_more_is_shown_than_without(password: str, other: str) -> None:
    """There are a few forms in all, and which of them it is says no more than which kind of sign is in it."""
    hidden = {"redis://u:***@h:1/0", "redis://u:***@***"}
    assert masked_url(f"redis://u:{password}@h:1/0") in hidden
    assert masked_url(f"redis://{password}@h:1/0").endswith(("***@h:1/0", "***@***"))
    in_query = {"redis://u:***@h:1/0?***", "redis://u:***@***", "redis://u:***@***?***"}
    assert masked_url(f"redis://u:{password}@h:1/0?password={other}") in in_query
    bare = {"redis://h:1/0?***", "redis://h:***@***", "redis://h:***@***?***"}
    assert masked_url(f"redis://h:1/0?password={other}") in bare


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"host": "0.0.0.0", "port": 80}, "http://localhost:80"),
        ({"host": "::1"}, "http://[::1]:8080"),
        ({"public_url": "https://stats.example.org/behind/"}, "https://stats.example.org/behind"),
    ],
)
def test_lines_to_paste_say_where_clients_ask(given: dict[str, Any], base: str) -> None:
    assert load_settings(**given).public_base == base


def test_where_clients_ask_is_a_url_without_a_password() -> None:
    for wrong in ("stats.example.org", "https://me:hunter2@stats.example.org", "https://stats.example.org?a=1"):
        with pytest.raises(ConfigurationError, match="public_url") as raised:
            load_settings(public_url=wrong)
        assert "hunter2" not in raised.value.message


VALID: dict[str, str] = {
    "host": "127.0.0.1",
    "port": "9000",
    "upstream": "http://127.0.0.1:9",
    "public_url": "https://gateway.example",
    "profile": "generic",
    "budget": "2/s",
    "log_level": "debug",
    "allow_anonymous": "true",
    "lifetime_open": "60",
    "admin_token": "a-long-token",
    "redis_url": "redis://:password@127.0.0.1:1/0",
    "redis_sentinel_password": "hunter2",
    "redis_prefix": "sgw2",
    "registry": "/etc/tenants.toml",
    "encryption_keys": "b25l,dHdv",
    "content_codings": "gzip",
    "trusted_proxies": "10.0.0.0/8,::1",
    "admin_tokens": '{"ops": {"digest": "sha256:' + "0" * 64 + '"}}',
    "stale_if_error_family": '{"totals": 5}',
    "warm": '{"nightly": {"tenant": "lib", "file": "/etc/list"}}',
    "warm_schedule": "0 4 * * MON-FRI",
    "warm_timezone": "Europe/London",
    "otlp_endpoint": "http://127.0.0.1:4318/v1/traces",
}


@pytest.mark.parametrize(
    "around", ["{}\n", " {}", "\t{}\r\n", "\u00a0{}\u2003"], ids=["line", "space", "crlf", "wide"]
)
@pytest.mark.parametrize("name", VALID)
def test_white_space_around_a_value_counts_nowhere(
    name: str, around: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variable = f"STATS_GATEWAY_{name.upper()}"
    monkeypatch.setenv(variable, VALID[name])
    plain = load_settings()
    if not VALID[name].startswith("{") or around.format("").isascii():  # JSON knows its own white space alone
        monkeypatch.setenv(variable, around.format(VALID[name]))
        assert getattr(load_settings(), name) == getattr(plain, name)
    monkeypatch.delenv(variable)
    if not VALID[name].startswith("{"):
        file = tmp_path / "gateway.toml"
        quoted = around.format(VALID[name]).encode("unicode_escape").decode().replace("\\xa0", "\\u00a0")
        file.write_text(f'{name} = "{quoted}"\n')
        monkeypatch.setenv("STATS_GATEWAY_CONFIG", str(file))
        assert getattr(load_settings(), name) == getattr(plain, name)


def test_secrets_within_tables_are_stripped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATS_GATEWAY_CONFIG", "")
    file = tmp_path / "gateway.toml"
    digest = "sha256:" + "0" * 64
    file.write_text(f'admin_tokens.ops = {{digest = "{digest}\\n", role = " read-write"}}\n')
    assert load_settings(file).admin_tokens["ops"].digest == digest


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("admin_token", "tok\nen"),
        ("admin_token", "tok\u200ben"),  # pasted, and seen by nobody
        ("admin_token", "\ufefftoken"),
        ("upstream", "http://127.0.0.1\n:9"),
        ("upstream", "http://exa mple"),
        ("upstream", "http://127.0.0.1:99999"),
        ("upstream", "http://127.0.0.1:http"),
        ("public_url", "https://gate way.example"),
        ("otlp_endpoint", "http://127.0.0.1:x/v1/traces"),
        ("redis_url", "redis://127.0.0.1 :6379"),
        ("redis_url", "redis://127.0.0.1\r:6379"),
        ("registry", "redis://127.0.0.1 :6379"),
        ("registry", "tenants\n.toml"),
        ("registry", " \n"),
        ("host", "127.0.0.1 ::1"),
        ("host", "x" * 300),
        ("admin_host", "127.0.0.1\t8081"),
        ("encryption_keys", "b25l,\x00dHdv"),
        ("redis_sentinel_password", "hunter\x7f2"),
        ("lifetime_open", "nan"),
        ("refresh_floor", "inf"),
        ("drain_seconds", "1e999"),
        ("budget", "9" * 400 + "/s"),
        ("port", "eighty"),
        ("log_level", "loud"),
        ("admin_tokens", "{]"),
        ("warm_schedule", "61 2 * * *"),
        ("warm_schedule", "30 2 * * * *"),
        ("warm_schedule", "@daily"),
        ("warm_schedule", "0 0 31 2 *"),
        ("warm_timezone", "Europe/Londn"),
        ("warm_timezone", "../../etc/passwd"),
        ("warm", '{"Nightly!": {"tenant": "lib", "file": "a"}}'),
        ("admin_tokens", '{"o\\u0000ps": {"digest": "sha256:' + "0" * 64 + '"}}'),
    ],
)
def test_anything_else_is_refused_by_its_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "\x00" in value:
        given = {name: value}
    else:
        given = {}
        monkeypatch.setenv(f"STATS_GATEWAY_{name.upper()}", value)
    with pytest.raises(UnusableSettings) as raised:
        load_settings(**given)  # type: ignore[arg-type]
    (problem,) = raised.value.problems
    assert problem.startswith(f"{name} (STATS_GATEWAY_{name.upper()}): ")
    assert "hunter" not in problem
    assert value not in problem


@pytest.mark.parametrize("keys", ["b25l\ndHdv\n", "b25l, dHdv", "b25l\r\n\tdHdv"])
def test_encryption_keys_may_stand_on_lines(keys: str) -> None:
    assert load_settings(encryption_keys=keys).encryption_keys.get_secret_value() == keys.strip()
