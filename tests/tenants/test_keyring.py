"""Where the encryption keys come from."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from gateway.errors import ConfigurationError
from gateway.tenants import edits
from gateway.tenants.file_store import FileStore
from gateway.tenants.registry import Registry
from gateway.tenants.schema import TenantTable
from gateway.tenants.vault import Keyring
from tests.tenants.places import LBORO, key_file

SEAL = """
import sys
from pathlib import Path
from gateway.tenants.vault import Keyring
keyring = Keyring("", Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(keyring.vault_for_sealing().seal("hunter2"))
"""


def test_the_settings_keys_are_read_newest_first_and_no_file_is_made(path: Path) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    sealed = Keyring(old, path).vault_for_sealing().seal("hunter2")
    both = Keyring(f"{new}, {old}\n", path)
    assert both.vault().open(sealed) == "hunter2"
    pair = ("i", "u", "p")
    assert both.vault().fingerprint(*pair) == Keyring(new, path).vault().fingerprint(*pair)
    assert list(path.parent.iterdir()) == []


def test_reading_makes_no_key_file(keyring: Keyring) -> None:
    assert repr(keyring.vault()) == "Vault(keys=0)"
    assert not key_file(keyring).exists()


def test_the_first_sealing_makes_a_key_file_for_its_owner_alone(keyring: Keyring) -> None:
    sealed = keyring.vault_for_sealing().seal("hunter2")
    assert stat.S_IMODE(key_file(keyring).stat().st_mode) == 0o600
    assert keyring.vault().open(sealed) == "hunter2"
    assert keyring.vault_for_sealing().open(sealed) == "hunter2"
    assert keyring.complaint() is None


def test_processes_that_start_at_once_agree_on_one_key(path: Path, keyring: Keyring) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SEAL, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    sealed = []
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        sealed.append(process.communicate(timeout=60)[0].strip())
        assert process.returncode == 0
    assert [keyring.vault().open(each) for each in sealed] == ["hunter2"] * 4


def test_a_key_file_that_others_may_read_is_complained_about(path: Path, keyring: Keyring) -> None:
    keyring.vault_for_sealing()
    key_file(keyring).chmod(0o640)
    complaint = keyring.complaint()
    assert complaint is not None
    assert f"chmod 600 {keyring.path}" in complaint
    assert Keyring(Fernet.generate_key().decode(), path).complaint() is None


def test_a_broken_key_is_an_error_that_names_its_origin_and_not_itself(path: Path, keyring: Keyring) -> None:
    key_file(keyring).write_text("not-a-key")
    with pytest.raises(ConfigurationError, match=r"tenants\.toml\.key: encryption key 1") as error:
        keyring.vault()
    assert "not-a-key" not in error.value.message
    with pytest.raises(ConfigurationError, match="STATS_GATEWAY_ENCRYPTION_KEYS") as error:
        Keyring("not-a-key", path).vault()
    assert "not-a-key" not in error.value.message


def test_a_directory_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot lock .*No such file or directory"):
        Keyring("", tmp_path / "missing" / "tenants.toml").vault_for_sealing()


def test_its_repr_shows_no_key(path: Path, keyring: Keyring) -> None:
    key = Fernet.generate_key().decode()
    assert repr(Keyring(key, path)) == "Keyring(setting)"
    assert str(keyring.path) in repr(keyring)


def test_nothing_is_dropped_that_is_still_needed(path: Path, keyring: Keyring) -> None:
    registry = Registry(FileStore(path), keyring)
    registry.add("reports", pair=LBORO)
    vault = keyring.vault()
    sealed_before = vault.seal("hunter2-monash")
    held = keyring.vault_for_sealing()
    original = registry.reseal

    def overtaking(table: TenantTable | None) -> TenantTable:
        return edits.with_credential(edits.existing("reports", table), "monash", "monash", sealed_before)

    def reseal_and_be_overtaken() -> int:
        count = original()
        registry.store.edit({"reports": overtaking})
        return count

    registry.reseal = reseal_and_be_overtaken  # type: ignore[method-assign]
    with pytest.raises(ConfigurationError, match="institution 'monash'"):
        registry.renew_keys()
    assert held.open(vault.seal("x")) == "x"
    assert sorted(Registry(FileStore(path), keyring).load().tenants["reports"].credentials) == ["lboro", "monash"]


def test_two_who_renew_at_once_leave_passwords_that_open(path: Path) -> None:
    Registry(FileStore(path), Keyring("", path)).add("reports", pair=LBORO)
    command = [sys.executable, "-m", "gateway", "secrets", "rotate", "--new-key", "--registry", str(path)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(each.communicate(timeout=60)[1], each.returncode)[1] for each in both] == [0] * 3
    assert Registry(FileStore(path), Keyring("", path)).load().tenants["reports"].credentials
    assert len(key_file(Keyring("", path)).read_text().split()) == 1
