"""A look at settings, files, Redis and the registry, all of them real."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from gateway.admin.doctor.finding import Finding, fixed
from gateway.admin.doctor.settings import Surroundings, look_around
from gateway.provenance import Sources
from gateway.settings import Settings, load_settings
from gateway.tenants.registry import open_registry
from gateway.tenants.tenant import Pair
from tests.redis_server import RedisServer, free_port

NOBODY = 65_534
LBORO = Pair("lboro", "lboro", "hunter2-lboro")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenants.toml"


async def look(environment: dict[str, str] | None = None, **settings: Any) -> Surroundings:
    effective = load_settings(**settings)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        sources = Sources.of(settings)
    return await look_around(effective, sources)


def states(around: Surroundings, check: str) -> set[str]:
    return {finding.state.value for finding in around.findings if finding.check == check}


def only(around: Surroundings, check: str) -> Finding:
    (found,) = [finding for finding in around.findings if finding.check == check]
    return found


@pytest.mark.parametrize(("allowed", "state"), [(False, "problem"), (True, "warning")])
async def test_a_variable_that_names_no_setting_is_told(path: Path, allowed: bool, state: str) -> None:
    variables = {
        "STATS_GATEWAY_BUGDET": "3/s",
        "STATS_GATEWAY_ADMIN_URL": "x",
        "STATS_GATEWAY_PORT": "tcp://10.0.0.1:1",
    }
    around = await look(variables, registry=path, allow_unknown_settings=allowed)
    finding = only(around, "settings.variables")
    assert finding.state.value == state
    assert "did you mean STATS_GATEWAY_BUDGET?" in finding.what


async def test_a_setting_that_the_generic_profile_does_not_heed_is_noted(path: Path) -> None:
    variables = {"STATS_GATEWAY_LIFETIME_OPEN": "60", "STATS_GATEWAY_STALE_IF_ERROR": "60"}
    around = await look(variables, registry=path, profile="generic")
    finding = only(around, "settings.profile")
    assert (finding.state.value, finding.what) == ("note", "profile generic heeds nothing of: lifetime_open")
    around = await look(variables, registry=path)
    assert not [each for each in around.findings if each.check == "settings.profile"]


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ('redis_url = "redis://:hunter2@127.0.0.1:1/0"\n', "problem"),
        ('admin_token = "hunter2-hunter2-hunter2"\n', "problem"),
        ('encryption_keys = "hunter2"\n', "problem"),
        ('registry = "redis://127.0.0.1:1/0?password=hunter2"\n', "problem"),
        ("budget_burst = 3\n", "note"),
        ('redis_url = "redis://127.0.0.1:1/0"\nregistry = "who.toml"\n', "note"),
    ],
)
async def test_a_settings_file_that_others_may_read_is_judged_by_its_secrets(
    text: str, state: str, path: Path, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    file.chmod(0o644)
    around = await look({"STATS_GATEWAY_CONFIG": str(file)}, registry=path)
    assert states(around, "files.settings") == {state}
    assert "hunter2" not in str(around.findings)
    file.chmod(0o600)
    assert states(await look({"STATS_GATEWAY_CONFIG": str(file)}, registry=path), "files.settings") == {"ok"}


async def test_bad_modes_of_registry_and_key_file(path: Path) -> None:
    open_registry(Settings(registry=path)).add("reports", None, LBORO)
    good = await look(registry=path)
    assert states(good, "files.registry") == states(good, "files.encryption_keys") == {"ok"}
    path.chmod(0o666)
    Path(f"{path}.key").chmod(0o644)
    bad = await look(registry=path)
    assert states(bad, "files.registry") == states(bad, "files.encryption_keys") == {"problem"}
    assert only(bad, "files.registry").advice == f"chmod go-w {path}"
    # Keys from the environment make the file beside the registry nobody's business.
    assert (
        states(await look(registry=path, encryption_keys=Fernet.generate_key().decode()), "files.encryption_keys")
        == set()
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_what_may_not_be_read_is_unknown_and_no_error() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "tenants.toml"
        open_registry(Settings(registry=path)).add("reports", None, LBORO)
        path.parent.chmod(0o755)
        unreadable = await _look_as_nobody(registry=path)
        path.chmod(0o644)
        sealed = await _look_as_nobody(registry=path)
        path.parent.chmod(0o700)
        hidden = await _look_as_nobody(registry=path)
    assert states(unreadable, "registry.reading") == {"unknown"}
    assert states(sealed, "registry.reading") == {"ok"}
    assert states(sealed, "credentials.opening") == {"unknown"}
    assert states(hidden, "files.registry") == states(hidden, "registry.reading") == {"unknown"}
    for around in (unreadable, hidden):
        assert "problem" not in {finding.state.value for finding in around.findings}


async def _look_as_nobody(**settings: Any) -> Surroundings:
    os.seteuid(NOBODY)
    try:
        return await look(**settings)
    finally:
        os.seteuid(0)


async def test_a_registry_that_cannot_be_used_is_a_problem(path: Path) -> None:
    path.write_text("[tenants.reports]\ncolour = 'red'\n")
    assert "tenant 'reports'" in only(await look(registry=path), "registry.reading").what
    gone = await look(registry=f"redis://127.0.0.1:{free_port()}/0")
    assert states(gone, "registry.reading") == {"problem"}


async def test_a_registry_that_is_not_there_is_never_said_to_be_well(path: Path) -> None:
    missing = only(await look(registry=path), "registry.reading")
    assert (missing.state.value, f"there is no file {path} yet" in missing.what) == ("note", True)
    astray = only(await look(registry=path.parent / "typo" / "tenants.toml"), "registry.reading")
    assert (astray.state.value, "nor a folder" in astray.what) == ("problem", True)
    path.write_text("")
    assert only(await look(registry=path), "registry.reading").what == f"{path} can be read, and is empty"
    open_registry(Settings(registry=path)).add("reports", None, LBORO)
    assert states(await look(registry=path), "registry.reading") == {"ok"}


async def test_passwords_that_need_an_older_key_can_be_sealed_with_the_newest(path: Path) -> None:
    open_registry(Settings(registry=path)).add("reports", None, LBORO)
    keys = Path(f"{path}.key")
    keys.write_text(f"{Fernet.generate_key().decode()}\n{keys.read_text()}")
    before = only(await look(registry=path), "credentials.rotation")
    assert before.fix is not None
    assert fixed(before, before.fix).state.value == "ok"
    after = await look(registry=path)
    assert (states(after, "credentials.rotation"), states(after, "credentials.opening")) == (set(), {"ok"})


async def test_redis_in_its_states(shared_redis: RedisServer, path: Path) -> None:
    there = await look(registry=path, redis_url=shared_redis.url)
    assert there.redis
    assert states(there, "redis.version") == states(there, "redis.permissions") == {"ok"}
    gone = await look(registry=path, redis_url=f"redis://:hunter2@127.0.0.1:{free_port()}/0")
    assert not gone.redis
    assert states(gone, "redis.reach") == {"problem"}
    assert "hunter2" not in str(gone.findings)
    memory = await look(registry=path)
    assert not memory.redis
    assert states(memory, "redis.reach") == {"note"}


async def test_a_registry_in_redis(shared_redis: RedisServer, prefix: str) -> None:
    key = Fernet.generate_key().decode()
    settings: dict[str, Any] = {"registry": shared_redis.url, "redis_prefix": prefix, "encryption_keys": key}
    open_registry(load_settings(**settings)).add("reports", None, LBORO)
    alone = await look(**settings)
    assert states(alone, "tenants.count") == states(alone, "credentials.opening") == {"ok"}
    assert states(alone, "registry.eviction") == {"note"}
    assert states(alone, "registry.persistence") == {"warning"}
    both = await look(**settings, redis_url=shared_redis.url.replace("/0", "/1"))
    assert states(both, "redis.persistence") == {"warning"}
    assert states(both, "registry.persistence") == set()
    other = await look(**settings | {"encryption_keys": Fernet.generate_key().decode()})
    assert states(other, "credentials.opening") == {"problem"}
    nonsense = await look(**settings | {"encryption_keys": "hunter2"})
    assert states(nonsense, "credentials.opening") == {"problem"}
    assert "hunter2" not in str(nonsense.findings)


async def test_looking_changes_nothing(path: Path) -> None:
    await look(registry=path)
    assert list(path.parent.iterdir()) == []
