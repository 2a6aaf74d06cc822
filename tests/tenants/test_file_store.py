"""The registry file: what people wrote in it stays, and what is wrong with it is said."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gateway.errors import ConfigurationError, RegistryReadOnly
from gateway.tenants.file_store import FileStore, section_of
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import parse_key
from gateway.tenants.vault import Keyring
from tests.tenants.places import LBORO, MONASH, asker, key_file, path_of


def test_a_missing_file_is_no_tenants_and_a_clear_note(registry: Registry) -> None:
    assert dict(registry.load().tenants) == {}
    assert registry.notes() == [f"there is no registry file at {path_of(registry)} yet, so there are no tenants"]


def test_neither_the_file_nor_any_beside_it_holds_a_password_or_a_keys_secret(registry: Registry) -> None:
    registry.add("reports", pair=LBORO)
    secret = registry.add_key("reports").rpartition("_")[2]
    files = [file.read_bytes() for file in path_of(registry).parent.iterdir()]
    assert len(files) >= 2
    for content in files:
        for hidden in (LBORO.password, secret):
            assert hidden.encode() not in content


def test_the_file_is_its_owners_alone_and_stays_so(registry: Registry) -> None:
    for pair in (LBORO, MONASH):
        registry.add("reports", pair=pair)
        assert stat.S_IMODE(path_of(registry).stat().st_mode) == 0o600


def test_comments_and_order_survive_every_edit(registry: Registry) -> None:
    registry.add("reports", pair=LBORO)
    text = path_of(registry).read_text()
    commented = "# ours\n" + text.replace('username = "lboro"', 'username = "lboro"  # by mail, in May')
    path_of(registry).write_text(commented + "\n# end of reports\n\n[tenants.other]  # last\nname = 'Other'\n")
    registry.add("reports", "New", MONASH)
    parsed = parse_key(registry.add_key("reports"))
    assert parsed is not None
    registry.revoke_key(parsed[0])
    registry.add("third")
    registry.remove("third")
    after = path_of(registry).read_text()
    for comment in ("# ours\n", "# by mail, in May\n", "# end of reports\n", "# last\n", "name = 'Other'"):
        assert comment in after
    assert list(registry.load().tenants) == ["reports", "other"]


def test_tables_in_any_order_and_form_can_be_edited(registry: Registry) -> None:
    path_of(registry).write_text(
        "[tenants.a]\n[tenants.b]\nname = 'B'\n[tenants.a.keys]\n"
        "[tenants.c]\nname = 'C'\n[tenants.b.institutions]\n[tenants]\nd = {name = 'D'}\n"
    )
    for tenant in "abcd":
        registry.add(tenant, pair=LBORO)
        key = registry.add_key(tenant)
        assert asker(registry, key).id == tenant
    assert sorted(registry.load().tenants) == ["a", "b", "c", "d"]


def test_a_layout_that_cannot_be_edited_without_loss_is_refused_and_left_alone(registry: Registry) -> None:
    text = "[tenants]\nreports.name = 'Reports'\n"
    path_of(registry).write_text(text)
    with pytest.raises(ConfigurationError, match="edit it by hand"):
        registry.add("reports", pair=LBORO)
    assert path_of(registry).read_text() == text


@pytest.mark.parametrize(
    "others",
    [
        "[tenants]\nodd.name = 'Odd'\n",
        'tenants.odd = {name = \'Odd\', note = """\n[tenants.reports]\nname = \'no header\'\n"""}\n',
    ],
)
def test_anothers_unusual_layout_is_no_reason_to_refuse_an_edit(registry: Registry, others: str) -> None:
    path_of(registry).write_text(f"{others}\n# about reports\n[tenants.reports]\nname = 'Reports'  # ours\n")
    registry.change("reports", note="by hand")
    after = path_of(registry).read_text()
    assert after.startswith(f"{others}\n# about reports\n[tenants.reports]\nname = 'Reports'  # ours\n")
    assert {name: tenant.note for name, tenant in registry.load().tenants.items()}["reports"] == "by hand"


def test_a_file_as_it_was_before_a_tenant_came_is_the_same_after_it_left(registry: Registry) -> None:
    for before in (
        "",
        "# nothing\n",
        "[tenants.a]\nname = 'A'\n\n# end",
        "[tenants.a]\n[tenants.c]\n[tenants.a.keys]\n",
    ):
        path_of(registry).write_text(before)
        registry.add("b", pair=LBORO)
        registry.add_key("b")
        assert path_of(registry).read_text().startswith(before)
        registry.remove("b")
        assert path_of(registry).read_text().strip() == before.strip()


def test_a_broken_file_is_never_written_over(registry: Registry) -> None:
    path_of(registry).write_text("[tenants.reports")
    with pytest.raises(ConfigurationError, match="not TOML"):
        registry.add("other")
    assert path_of(registry).read_text() == "[tenants.reports"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[tenants.reports", "not TOML: Expected"),
        ("[tenants.a]\n[tenants.a]", "not TOML"),
        ("a = " + "[" * 5_000, "not TOML"),
        ("[tenants.reports]\ncolour = 'red'", "tenant 'reports': .*colour"),
    ],
)
def test_a_broken_file_is_an_error_with_path_and_reason(registry: Registry, text: str, reason: str) -> None:
    path_of(registry).write_text(text)
    with pytest.raises(ConfigurationError, match=reason) as error:
        registry.load()
    assert error.value.message.startswith(f"{path_of(registry)}: ")


def test_a_password_in_clear_is_refused_with_the_command_that_encrypts_it(registry: Registry) -> None:
    path_of(registry).write_text(
        "[tenants.reports.institutions.lboro]\nusername = 'lboro'\npassword = 'hunter2-lboro'\n"
    )
    with pytest.raises(
        ConfigurationError, match=r"tenant 'reports', institution 'lboro': .*tenant add reports"
    ) as error:
        registry.load()
    assert "hunter2" not in error.value.message
    registry.add("reports", pair=LBORO)
    assert "lboro" in registry.load().tenants["reports"].credentials
    assert "hunter2" not in path_of(registry).read_text()


def test_another_encryption_key_is_an_error_that_names_tenant_and_institution(
    registry: Registry, keyring: Keyring, path: Path
) -> None:
    registry.add("reports", pair=LBORO)
    key_file(keyring).unlink()
    with pytest.raises(ConfigurationError, match=r"'reports', institution 'lboro': there is no encryption key"):
        registry.load()
    keyring.vault_for_sealing()
    with pytest.raises(ConfigurationError, match=r"'reports', institution 'lboro': .*another") as error:
        registry.load()
    assert "hunter2" not in error.value.message
    assert list(Registry(FileStore(path), Keyring("", path)).store.read()) == ["reports"]


@pytest.mark.parametrize("read_only", ["file", "folder"])
def test_what_cannot_be_written_says_so_and_where_to_change_it(
    registry: Registry, path: Path, monkeypatch: pytest.MonkeyPatch, read_only: str
) -> None:
    registry.add("reports")
    text = path.read_text()
    if read_only == "file":
        path.chmod(0o444)
    else:
        monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    with pytest.raises(RegistryReadOnly, match="is read-only here"):
        registry.add_key("reports")
    assert path.read_text() == text


A, B, C = "[tenants.a]\nname = 'A'\n", "[tenants.b]\nname = 'B'\n[tenants.b.keys.K]\n\n", ' [tenants."c"]\n'


@pytest.mark.parametrize("own", [B, B.replace("tenants.b", "tenants.'b'"), f"{B}# more\n[tenants.b.limits]\n"])
def test_the_pieces_are_the_whole_and_the_middle_is_the_tenants(own: str) -> None:
    for before in ("", A, f"# first\n{A}# about b\n"):
        for after in ("", C, "[tenants.bb]\n", "[tenants.b-2]\n"):
            found = section_of(before + own + after, "b")
            assert found == (before, own, after)


def test_one_who_has_no_tables_gets_them_at_the_end() -> None:
    for text in ("", A, A.rstrip(), f"{A}# end"):
        found = section_of(text, "b")
        assert found is not None
        assert not found.own + found.after
        assert found.before.startswith(text)
        assert (found.before + B).removeprefix(text) == {"": B, A: f"\n{B}"}.get(text, f"\n\n{B}")


def test_tables_that_others_stand_between_are_not_in_one_piece() -> None:
    assert section_of(B + A + B, "b") is None
    assert section_of(B + "[tenants]\n" + B, "b") is None
