"""What the registry's tables may hold."""

from __future__ import annotations

import tomllib

import pytest

from gateway.errors import ConfigurationError
from gateway.tenants.schema import check_pair, read_tables
from gateway.tenants.tenant import Pair

DIGEST = "sha256:" + "0" * 64
WHOLE = f"""
[tenants.reports]
name = "Report scripts"
enabled = false
[tenants.reports.institutions.lboro]
username = "lboro"
password = "enc:abc"
[tenants.reports.keys.AbCdEf1234]
digest = "{DIGEST}"
label = "cron"
created = 2026-01-02T03:04:05Z
revoked = 2026-01-03T03:04:05+02:00
"""


def test_a_whole_file_reads() -> None:
    table = read_tables(tomllib.loads(WHOLE))["reports"]
    assert (table.name, table.enabled) == ("Report scripts", False)
    assert table.institutions["lboro"].username == "lboro"
    assert table.keys["AbCdEf1234"].label == "cron"


def test_a_tenant_may_be_bare_and_is_enabled_then() -> None:
    assert read_tables(tomllib.loads("[tenants.reports]"))["reports"].enabled


def test_no_repr_shows_a_sealed_password_or_a_digest() -> None:
    shown = repr(read_tables(tomllib.loads(WHOLE)))
    assert "enc:abc" not in shown
    assert DIGEST not in shown


BROKEN = {
    "a = 1": "unknown table or field 'a'",
    "[tenant.reports]": "unknown table or field 'tenant'",
    "tenants = 3": "tenants: must be a table",
    "tenants.reports = 3": "tenant 'reports': must be a table",
    "[tenants.reports]\nnmae = 'x'": "tenant 'reports': .*unknown field `nmae`",
    "[tenants.reports]\nenabled = 'yes'": "tenant 'reports': .*Expected `bool`",
    '[tenants.reports]\nname = "a\\nb"': r"'reports': Expected `str` without control characters - at `\$.name`",
    '[tenants.reports]\nnote = "a\\u001bs3cret"': r"without control characters - at `\$.note`",
    "[tenants.Reports]": "tenant 'Reports': an id is",
    f"[tenants.{'a' * 64}]": "an id is",
    "[tenants.-a]": "an id is",
    '[tenants."a/b"]': "an id is",
    "[tenants.anonymous]": "callers without a key",
    "[tenants.reports]\nkeys = 3": "tenant 'reports': keys: must be a table",
    "[tenants.reports.institutions]\nlboro = 3": "institution 'lboro': must be a table",
    "[tenants.reports.institutions.lboro]\nusername = 'u'": "institution 'lboro': .*missing .*`password`",
    "[tenants.reports.institutions.lboro]\npasword = 's3cret'": "institution 'lboro': ",
    "[tenants.reports.institutions.lboro]\nusername = 'a:s3cret'\npassword = ''": "must not be empty nor have",
    '[tenants.reports.institutions."a/b"]\nusername = "u"\npassword = ""': "institution 'a/b'.*one path segment",
    "[tenants.reports.institutions.top]\nusername = 'u'\npassword = ''": "begins other paths",
    "[tenants.reports.keys.short]\ndigest = ''": "tenant 'reports': a key's id",
    "[tenants.reports.keys.AbCdEf1234]\ndigest = 's3cret'": "key AbCdEf1234: .*like sha256: and 64",
    f"[tenants.reports.keys.AbCdEf1234]\ndigest = '{DIGEST}'\ncreated = 2026-01-02T03:04:05": "timezone",
    f"[tenants.a.keys.AbCdEf1234]\ndigest = '{DIGEST}'\n[tenants.b.keys.AbCdEf1234]\ndigest = '{DIGEST}'": (
        "tenant 'b': key AbCdEf1234 also belongs to 'a'"
    ),
}


@pytest.mark.parametrize(("text", "reason"), BROKEN.items())
def test_a_broken_file_is_refused_with_place_and_reason_and_no_value(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as error:
        read_tables(tomllib.loads(text))
    assert "s3cret" not in error.value.message


@pytest.mark.parametrize("name", ["-", "", ".", "..", "a/b", "a b", "a%2f", "é", "total", "timeline", "breakdown"])
def test_some_names_cannot_be_an_institution(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be an institution"):
        check_pair(Pair(name, "u", "p"))


@pytest.mark.parametrize("name", ["lboro", "Lboro", "a.b", "a_b-c~d", "4tu"])
def test_other_names_can(name: str) -> None:
    check_pair(Pair(name, "user@example.org", "any: password, even with ünïcode"))


@pytest.mark.parametrize(
    "pair",
    [
        Pair("lboro", "", "s3cret"),
        Pair("lboro", "a:b", "s3cret"),
        Pair("lboro", "a\n", "s3cret"),
        Pair("lboro", "u", ""),
        Pair("lboro", "u", "s3cret\n"),
        Pair("lboro", "u", "s3cret" * 100),
        Pair("lboro", "u", "s3cret\udcff"),
    ],
)
def test_a_pair_that_basic_auth_cannot_carry_is_refused_unseen(pair: Pair) -> None:
    with pytest.raises(ConfigurationError) as error:
        check_pair(pair)
    assert "s3cret" not in error.value.message
    assert not pair.password or pair.password not in repr(pair)
