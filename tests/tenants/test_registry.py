"""The registry file: read and edited."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.errors import ConfigurationError, Unauthenticated
from gateway.tenants import keys
from gateway.tenants.identify import identify
from gateway.tenants.keyring import Keyring
from gateway.tenants.registry import FileRegistry
from gateway.tenants.tenant import Pair, Tenant

LBORO = Pair("lboro", "lboro", "hunter2-lboro")
MONASH = Pair("monash", "monash", "hunter2-monash")

ADD_KEYS = """
import sys
from pathlib import Path
from gateway.tenants.keyring import Keyring
from gateway.tenants.registry import FileRegistry
path = Path(sys.argv[1])
registry = FileRegistry(path, Keyring("", path))
print("ready", flush=True)
sys.stdin.readline()
for number in range(10):
    print(registry.add_key("reports", f"{sys.argv[2]}-{number}"))
"""


def asker(registry: FileRegistry, key: str) -> Tenant:
    return identify([(b"x-api-key", key.encode())], registry.load(), None, time.time()).tenant


def test_a_missing_file_is_no_tenants_and_a_clear_note(registry: FileRegistry) -> None:
    assert dict(registry.load().tenants) == {}
    assert registry.notes() == [f"there is no registry file at {registry.path} yet, so there are no tenants"]


def test_a_tenant_with_a_credential_and_a_key_is_found_by_that_key(registry: FileRegistry) -> None:
    registry.add("reports", "Report scripts", LBORO)
    key = registry.add_key("reports", "cron", now=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
    tenant = asker(registry, key)
    assert (tenant.id, tenant.name) == ("reports", "Report scripts")
    assert [held.created for held in tenant.keys.values()] == [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)]
    credential = tenant.credential_for("lboro")
    assert credential is not None
    assert credential.username == "lboro"
    assert tenant.credential_for("monash") is None
    assert registry.notes() == []


def test_neither_the_file_nor_any_beside_it_holds_a_password_or_a_keys_secret(registry: FileRegistry) -> None:
    registry.add("reports", pair=LBORO)
    secret = registry.add_key("reports").rpartition("_")[2]
    files = [file.read_bytes() for file in registry.path.parent.iterdir()]
    assert len(files) >= 2
    for content in files:
        for hidden in (LBORO.password, secret):
            assert hidden.encode() not in content


def test_the_file_is_its_owners_alone_and_stays_so(registry: FileRegistry) -> None:
    for pair in (LBORO, MONASH):
        registry.add("reports", pair=pair)
        assert stat.S_IMODE(registry.path.stat().st_mode) == 0o600


def test_a_revoked_key_is_refused_and_keeps_its_first_date(registry: FileRegistry) -> None:
    registry.add("reports")
    key = registry.add_key("reports")
    parsed = keys.parse(key)
    assert parsed is not None
    first = datetime(2026, 1, 2, tzinfo=UTC)
    registry.revoke_key(parsed[0], now=first)
    registry.revoke_key(parsed[0])
    with pytest.raises(Unauthenticated):
        asker(registry, key)
    assert registry.tables()["reports"].keys[parsed[0]].revoked == first


def test_adding_again_adds_institutions_replaces_passwords_and_renames(registry: FileRegistry) -> None:
    registry.add("reports", "One", LBORO)
    before = registry.load().tenants["reports"]
    registry.add("reports", None, MONASH)
    registry.add("reports", "Two", Pair("lboro", "lboro", "other"))
    after = registry.load().tenants["reports"]
    assert after.name == "Two"
    assert list(after.credentials) == ["lboro", "monash"]
    assert after.credentials["lboro"].fingerprint != before.credentials["lboro"].fingerprint


def test_tenants_with_the_same_pair_share_its_fingerprint(registry: FileRegistry) -> None:
    registry.add("reports", pair=LBORO)
    registry.add("dashboards", pair=LBORO)
    tenants = registry.load().tenants
    assert tenants["reports"].credentials == tenants["dashboards"].credentials


def test_removing_takes_one_institution_or_all(registry: FileRegistry) -> None:
    registry.add("reports", pair=LBORO)
    registry.add("reports", pair=MONASH)
    key = registry.add_key("reports")
    registry.remove("reports", "monash")
    assert list(asker(registry, key).credentials) == ["lboro"]
    registry.remove("reports")
    with pytest.raises(Unauthenticated):
        asker(registry, key)


def test_comments_and_order_survive_every_edit(registry: FileRegistry) -> None:
    registry.add("reports", pair=LBORO)
    text = registry.path.read_text()
    commented = "# ours\n" + text.replace('username = "lboro"', 'username = "lboro"  # by mail, in May')
    registry.path.write_text(commented + "\n# end of reports\n\n[tenants.other]  # last\nname = 'Other'\n")
    registry.add("reports", "New", MONASH)
    parsed = keys.parse(registry.add_key("reports"))
    assert parsed is not None
    registry.revoke_key(parsed[0])
    registry.add("third")
    registry.remove("third")
    after = registry.path.read_text()
    for comment in ("# ours\n", "# by mail, in May\n", "# end of reports\n", "# last\n", "name = 'Other'"):
        assert comment in after
    assert list(registry.load().tenants) == ["reports", "other"]


def test_tables_in_any_order_and_form_can_be_edited(registry: FileRegistry) -> None:
    registry.path.write_text(
        "[tenants.a]\n[tenants.b]\nname = 'B'\n[tenants.a.keys]\n"
        "[tenants.c]\nname = 'C'\n[tenants.b.institutions]\n[tenants]\nd = {name = 'D'}\n"
    )
    for tenant in "abcd":
        registry.add(tenant, pair=LBORO)
        key = registry.add_key(tenant)
        assert asker(registry, key).id == tenant
    assert sorted(registry.load().tenants) == ["a", "b", "c", "d"]


def test_a_layout_that_cannot_be_edited_without_loss_is_refused_and_left_alone(registry: FileRegistry) -> None:
    text = "[tenants]\nreports.name = 'Reports'\n"
    registry.path.write_text(text)
    with pytest.raises(ConfigurationError, match="edit it by hand"):
        registry.add("reports", pair=LBORO)
    assert registry.path.read_text() == text


def test_processes_that_write_at_once_lose_nothing(registry: FileRegistry) -> None:
    registry.add("reports")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", ADD_KEYS, str(registry.path), str(number)],
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
    directory = registry.load()
    holders = [directory.holder_of(key.encode(), time.time()) for key in made]
    assert all(holder is not None and holder.tenant is directory.tenants["reports"] for holder in holders)


def test_a_failed_edit_changes_nothing(registry: FileRegistry) -> None:
    registry.add("reports", pair=LBORO)
    before = registry.path.read_text()
    for attempt in (
        lambda: registry.add("Reports"),
        lambda: registry.add("anonymous"),
        lambda: registry.add("reports", "a\nb"),
        lambda: registry.add("new", pair=Pair("top", "u", "p")),
        lambda: registry.add_key("nobody"),
        lambda: registry.add_key("reports", "a\nb"),
        lambda: registry.remove("nobody"),
        lambda: registry.remove("reports", "monash"),
        lambda: registry.revoke_key("AbCdEf1234"),
    ):
        with pytest.raises(ConfigurationError):
            attempt()
    assert registry.path.read_text() == before


def test_a_broken_file_is_never_written_over(registry: FileRegistry) -> None:
    registry.path.write_text("[tenants.reports")
    with pytest.raises(ConfigurationError, match="not TOML"):
        registry.add("other")
    assert registry.path.read_text() == "[tenants.reports"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[tenants.reports", "not TOML: Expected"),
        ("[tenants.a]\n[tenants.a]", "not TOML"),
        ("a = " + "[" * 5_000, "not TOML"),
        ("[tenants.reports]\ncolour = 'red'", "tenant 'reports': .*colour"),
    ],
)
def test_a_broken_file_is_an_error_with_path_and_reason(registry: FileRegistry, text: str, reason: str) -> None:
    registry.path.write_text(text)
    with pytest.raises(ConfigurationError, match=reason) as error:
        registry.load()
    assert error.value.message.startswith(f"{registry.path}: ")


def test_a_password_in_clear_is_refused_with_the_command_that_encrypts_it(registry: FileRegistry) -> None:
    registry.path.write_text(
        "[tenants.reports.institutions.lboro]\nusername = 'lboro'\npassword = 'hunter2-lboro'\n"
    )
    with pytest.raises(
        ConfigurationError, match=r"tenant 'reports', institution 'lboro': .*tenant add reports"
    ) as error:
        registry.load()
    assert "hunter2" not in error.value.message
    registry.add("reports", pair=LBORO)
    assert "lboro" in registry.load().tenants["reports"].credentials
    assert "hunter2" not in registry.path.read_text()


def test_another_encryption_key_is_an_error_that_names_tenant_and_institution(
    registry: FileRegistry, keyring: Keyring, path: Path
) -> None:
    registry.add("reports", pair=LBORO)
    keyring.path.unlink()
    with pytest.raises(ConfigurationError, match=r"'reports', institution 'lboro': there is no encryption key"):
        registry.load()
    keyring.vault_for_sealing()
    with pytest.raises(ConfigurationError, match=r"'reports', institution 'lboro': .*another") as error:
        registry.load()
    assert "hunter2" not in error.value.message
    assert list(FileRegistry(path, Keyring("", path)).tables()) == ["reports"]
