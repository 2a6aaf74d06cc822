"""The command line as people and scripts meet it: a process, its streams, its exit code."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from gateway.tenants.file_store import FileStore
from gateway.tenants.registry import Registry
from gateway.tenants.vault import Keyring
from tests.cli.command import command
from tests.cli.terminal import on_a_terminal


def test_settings_name_the_registry_and_the_encryption_keys(tmp_path: Path) -> None:
    path, key = tmp_path / "who.toml", Fernet.generate_key().decode()
    settings = {"STATS_GATEWAY_REGISTRY": str(path), "STATS_GATEWAY_ENCRYPTION_KEYS": key}
    pair = ["--institution", "lboro", "--username", "lboro", "--password-stdin"]
    added = command("tenant", "add", "reports", *pair, given="pässword\r\n".encode(), **settings)
    assert (added.code, added.out) == (0, "")
    made = command("key", "add", "reports", given=b"", **settings)
    directory = Registry(FileStore(path), Keyring(key, path)).load()
    holder = directory.holder_of(made.out.removesuffix("\n").encode(), time.time())
    assert holder is not None
    expected = Keyring(key, path).vault().fingerprint("lboro", "lboro", "pässword")
    assert holder.tenant.credentials["lboro"].fingerprint == expected
    assert not path.with_name("who.toml.key").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("tenant show nobody", 3),
        ("tenant set nobody --burst 3", 3),
        ("tenant add", 2),
        ("tenant add reports --password=hunter2", 2),
        ("tenant add reports --password hunter2", 2),
        ("key mint", 2),
        ("key revoke AbCdEf1234", 3),
        ("key rotate AbCdEf1234", 3),
        ("no-such-command", 2),
    ],
)
def test_every_mistake_is_one_line_on_stderr_and_an_exit_code(words: str, code: int, tmp_path: Path) -> None:
    done = command(*words.split(), STATS_GATEWAY_REGISTRY=str(tmp_path / "tenants.toml"))
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("stats-gateway: ")
    assert done.err.count("\n") == 1
    assert "hunter2" not in done.err


def test_a_broken_registry_and_a_broken_setting_are_one_line_each(tmp_path: Path) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text("[tenants.reports]\ncolour = 'red'\n")
    broken = command("tenant", "list", STATS_GATEWAY_REGISTRY=str(path))
    assert (broken.code, broken.err.count("\n")) == (2, 1)
    assert f"{path}: tenant 'reports'" in broken.err
    path.unlink()
    pair = ["--institution", "lboro", "--username", "lboro", "--password-stdin"]
    settings = {"STATS_GATEWAY_REGISTRY": str(path), "STATS_GATEWAY_ENCRYPTION_KEYS": "no-key"}
    unusable = command("tenant", "add", "reports", *pair, given=b"p\n", **settings)
    assert (unusable.code, unusable.err.count("\n")) == (2, 1)
    assert "no-key" not in unusable.err


def test_a_password_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    pair = ["--institution", "lboro", "--username", "lboro", "--password-stdin"]
    path = str(tmp_path / "tenants.toml")
    done = command("tenant", "add", "reports", *pair, given=b"\xff\n", STATS_GATEWAY_REGISTRY=path)
    assert (done.code, done.err) == (2, "stats-gateway: the password on stdin is not UTF-8\n")


@pytest.mark.parametrize("words", [["tenant"], ["tenant", "add"], ["key"], ["key", "add"], ["key", "revoke"]])
def test_help_says_what_it_does_and_never_offers_a_password_argument(words: list[str]) -> None:
    done = command(*words, "--help", COLUMNS="100", NO_COLOR="1", TERM="dumb")
    assert done.code == 0
    assert "Usage: " in done.out
    assert "--password " not in done.out
    assert len(words) == 1 or "Example" in done.out


def test_on_a_terminal_the_password_is_asked_for_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "tenants.toml"
    pair = ["--institution", "lboro", "--username", "lboro", "--registry", str(path)]
    with on_a_terminal("tenant", "add", "reports", *pair) as terminal:
        terminal.read_until(b"Password of lboro at lboro: ")
        terminal.type(b"hunter2\n")
        terminal.read_until(b"stats-gateway key add reports")
        assert terminal.ended() == 0
    assert b"hunter2" not in terminal.showed
    keyring = Keyring("", path)
    credential = Registry(FileStore(path), keyring).load().tenants["reports"].credentials["lboro"]
    assert credential.fingerprint == keyring.vault().fingerprint("lboro", "lboro", "hunter2")
