"""Which part of a registry file is one tenant's own."""

from __future__ import annotations

import pytest

from gateway.tenants.file_store import section_of

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
