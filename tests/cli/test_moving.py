"""``tenant export`` and ``import``, and ``secrets``: a registry moves, and its encryption keys rotate."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings
from gateway.tenants.registry import open_registry
from gateway.tenants.vault import Vault
from tests.cli.command import command, run
from tests.redis_server import RedisServer

PASSWORD = "hunter2-lboro"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tenants.toml"
    pair = ("--institution", "lboro", "--username", "lboro", "--password-stdin")
    assert run("tenant", "add", "reports", *pair, "--registry", str(path), given=PASSWORD).code == 0
    assert run("tenant", "add", "plain", "--registry", str(path)).code == 0
    return path


def test_one_tenant_is_told_of_as_one(tmp_path: Path) -> None:
    place = ("--registry", str(tmp_path / "tenants.toml"))
    run("tenant", "add", "plain", *place)
    exported = run("tenant", "export", *place)
    assert exported.err == "Exported 1 tenant.\n"
    imported = run("tenant", "import", "-", "--registry", str(tmp_path / "others.toml"), given=exported.out)
    assert imported.err == "Imported 1 tenant.\n"


def test_an_export_goes_into_redis_and_back(
    path: Path, tmp_path: Path, shared_redis: RedisServer, prefix: str
) -> None:
    key = run("key", "add", "reports", "--registry", str(path)).out.strip()
    exported = run("tenant", "export", "--registry", str(path))
    assert exported.err.endswith("Exported 2 tenants.\n")
    assert PASSWORD not in exported.said
    assert key.rpartition("_")[2] not in exported.said
    (tmp_path / "all.toml").write_text(exported.out)
    secret = Path(f"{path}.key").read_text().strip()
    environment: Any = {
        "STATS_GATEWAY_REGISTRY": shared_redis.url,
        "STATS_GATEWAY_REDIS_PREFIX": prefix,
        "STATS_GATEWAY_ENCRYPTION_KEYS": secret,
    }
    imported = command("tenant", "import", str(tmp_path / "all.toml"), **environment)
    assert (imported.code, imported.err) == (0, "Imported 2 tenants.\n")
    again = command("tenant", "import", str(tmp_path / "all.toml"), **environment)
    assert again.code == 2
    assert "to replace them, use --replace" in again.err
    back = command("tenant", "export", **environment)
    assert tomllib.loads(back.out) == tomllib.loads(exported.out)
    listed = command("tenant", "list", **environment)
    assert re.search(r"reports +reports +enabled +lboro +1\n", listed.out)


def test_what_is_no_export_is_refused(path: Path, tmp_path: Path) -> None:
    for text, reason in (("[tenants", "not TOML"), ("colour = 1", "unknown table")):
        (tmp_path / "odd.toml").write_text(text)
        assert reason in (run("tenant", "import", str(tmp_path / "odd.toml"), "--registry", str(path)).error or "")
    missing = run("tenant", "import", str(tmp_path / "none.toml"), "--registry", str(path))
    assert "cannot read" in (missing.error or "")


def test_the_key_file_is_rotated_while_others_read(path: Path) -> None:
    key_file = Path(f"{path}.key")
    before, sealed = key_file.read_text(), path.read_text()
    done = run("secrets", "rotate", "--new-key", "--registry", str(path))
    assert (done.code, done.error) == (0, None)
    assert "passwords of 1 tenants" in done.err
    after = key_file.read_text()
    assert before.strip() not in after
    assert len(after.split()) == 1
    assert path.read_text() != sealed
    directory = open_registry(Settings(registry=path)).load()
    assert directory.tenants["reports"].credentials["lboro"].username == "lboro"


def test_keys_of_the_setting_are_rotated_by_setting_both(path: Path) -> None:
    old = Path(f"{path}.key").read_text().strip()
    new = run("secrets", "generate").out.strip()
    both: Any = {"STATS_GATEWAY_REGISTRY": str(path), "STATS_GATEWAY_ENCRYPTION_KEYS": f"{new},{old}"}
    assert command("secrets", "rotate", **both).code == 0
    assert open_registry(Settings(registry=path, encryption_keys=new)).load().tenants["reports"].credentials
    wrong = command("secrets", "rotate", **(both | {"STATS_GATEWAY_ENCRYPTION_KEYS": old}))
    assert wrong.code == 2
    assert "tenant 'reports', institution 'lboro': the password was encrypted with another" in wrong.err
    refused = command("secrets", "rotate", "--new-key", **both)
    assert refused.code == 2
    assert "STATS_GATEWAY_ENCRYPTION_KEYS" in refused.err


def test_a_rotation_says_what_no_longer_opens_and_encrypts_the_named_exports_anew(
    path: Path, tmp_path: Path
) -> None:
    exports = [tmp_path / "kept.toml", tmp_path / "left.toml"]
    for each in exports:
        each.write_text(run("tenant", "export", "--registry", str(path)).out)
    mark = open_registry(Settings(registry=path)).keyring.vault().mark
    assert f"the newest was {mark}." in exports[0].read_text()
    odd = tmp_path / "odd.toml"
    odd.write_text(exports[0].read_text().replace("enc:", "enc:x"))
    refused = run("secrets", "rotate", "--new-key", "--export", str(odd), "--registry", str(path))
    assert f"{odd}: tenant 'reports': the password was encrypted with another" in (refused.error or "")
    assert open_registry(Settings(registry=path)).keyring.vault().mark == mark, "nothing was done"
    done = run("secrets", "rotate", "--new-key", "--export", str(exports[0]), "--registry", str(path))
    assert f"cannot be opened once the older encryption keys ({mark}) are gone" in done.err
    assert f"Encrypted {exports[0]} with the newest key." in done.err
    for each, code in zip(exports, (0, 2), strict=True):
        replaced = run("tenant", "import", str(each), "--replace", "--registry", str(path))
        assert replaced.code == code, replaced.said
    assert open_registry(Settings(registry=path)).load().tenants["reports"].credentials


def test_keys_of_the_setting_that_exports_still_need_are_named(path: Path) -> None:
    old = Path(f"{path}.key").read_text().strip()
    both: Any = {
        "STATS_GATEWAY_REGISTRY": str(path),
        "STATS_GATEWAY_ENCRYPTION_KEYS": f"{run('secrets', 'generate').out.strip()},{old}",
    }
    assert (
        f"still need the older encryption keys ({Vault([old]).mark})" in command("secrets", "rotate", **both).err
    )


def test_a_wrong_encryption_key_ends_serve_with_the_tenants_name(path: Path) -> None:
    other = run("secrets", "generate").out.strip()
    environment: Any = {"STATS_GATEWAY_REGISTRY": str(path), "STATS_GATEWAY_ENCRYPTION_KEYS": other}
    done = command("serve", "--port", "0", "--admin-port", "0", **environment)
    assert done.code == 2
    assert "tenant 'reports', institution 'lboro': the password was encrypted with another" in done.err
    assert "Traceback" not in done.err


def test_a_password_in_an_options_url_is_refused_and_not_repeated() -> None:
    done = run("tenant", "list", "--registry", "redis://:hunter2@127.0.0.1:1/0")
    assert "STATS_GATEWAY_REGISTRY" in (done.error or "")
    assert "hunter2" not in done.said


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hun/hunter2@h:1",
        "redis://u:hunter2/x@h",
        "redis://u:1/hunter2@h",
        "redis://h:hunter2",
        "redis://u:p@hunter2@h",
    ],
    ids=["slash", "user", "port", "no-port", "at"],
)
@pytest.mark.parametrize("name", ["REGISTRY", "REDIS_URL"])
def test_a_url_that_can_be_read_two_ways_is_refused_and_not_repeated(url: str, name: str) -> None:
    settings: Any = {f"STATS_GATEWAY_{name}": url}
    done = command("tenant", "list", **settings)
    assert done.code == 2
    assert "percent-encoded" in done.err
    assert "hunter2" not in done.said


def test_serve_and_import_refuse_a_registry_that_redis_may_evict(path: Path, shared_redis: RedisServer) -> None:
    secret = Path(f"{path}.key").read_text().strip()
    there: Any = {"STATS_GATEWAY_REGISTRY": shared_redis.url, "STATS_GATEWAY_ENCRYPTION_KEYS": secret}
    # A server of its own would be kinder; the policy is put back at once.
    shared_redis.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        done = command("serve", "--port", "0", "--admin-port", "0", **there)
        imported = command("tenant", "import", str(path), **there)
    finally:
        shared_redis.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    for each in (done, imported):
        assert each.code == 2
        assert "may evict tenants" in each.err
