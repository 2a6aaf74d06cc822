"""Forms and what they say, without a browser."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admin.web.forms import FORM_TYPE, read_form, read_sent
from gateway.admin.web.pages import own_path
from gateway.admin.web.tenants import changes_of, end_of, fields_of, overlap_of, version_of
from gateway.cache.lifetimes import Rule
from gateway.errors import InvalidInput
from gateway.tenants.schema import TenantTable, tenant_view
from gateway.tenants.tenant import TenantLimits

NOW = 1_900_000_000.0


def test_a_form_is_read_as_browsers_send_it() -> None:
    body = b"name=+L%C3%BCbeck%26co+&empty=&name=second&password=+p+"
    assert read_form(f"{FORM_TYPE}; charset=UTF-8", body) == {"name": "Lübeck&co", "empty": "", "password": " p "}


BOUNDARY = "multipart/form-data; boundary=X"


def with_files(*fields: tuple[str, bytes], end: bytes = b"--X--\r\n") -> bytes:
    parts = (
        b"--X\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (name.encode(), value)
        for name, value in fields
    )
    return b"".join(parts) + end


def test_a_form_with_a_file_is_read_as_browsers_send_it() -> None:
    file = b"\xef\xbb\xbfid\r\n1--X\r\n--Y\r\n\r\n"
    body = with_files(
        ('name="name"', " Lübeck&co\r\nb ".encode()),
        ('name="name"', b"second"),
        ('name="file"; filename="a;b %22c%22.csv"\r\nContent-Type: text/csv', file),
        ('name="none"; filename=""\r\nContent-Type: application/octet-stream', b""),
    )
    form, files = read_sent(BOUNDARY, body)
    assert form == {"name": "Lübeck&co\nb"}
    assert files == {"file": ("a;b %22c%22.csv", file)}
    assert read_sent(FORM_TYPE, b"a=1") == ({"a": "1"}, {})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", with_files()),
        ("multipart/form-data; boundary=Y", with_files(('name="a"', b"1"))),
        (BOUNDARY, with_files(('name="a"', b"1"), end=b"")),
        (BOUNDARY, with_files(('name="a"', b"\xff"))),
        (BOUNDARY, with_files(("name=a", b"1"))),
        (BOUNDARY, b"preamble\r\n" + with_files(('name="a"', b"1"))),
        (BOUNDARY, with_files(*[('name="a"', b"1")] * 300)),
        ("multipart/mixed; boundary=X", with_files(('name="a"', b"1"))),
    ],
)
def test_what_no_form_of_ours_sends_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_sent(kind, body)


@given(st.text(max_size=60), st.binary(max_size=200))
def test_whatever_is_sent_is_a_form_or_refused(kind: str, body: bytes) -> None:
    framed = with_files(('name="a"', body), ('name="b"; filename="c"', body))
    for each, sent in ((kind, body), (FORM_TYPE, body), (BOUNDARY, body), (BOUNDARY, framed)):
        try:
            form, _ = read_sent(each, sent)
        except InvalidInput:
            continue
        assert all(isinstance(text, str) for text in (*form, *form.values()))


@given(st.text(max_size=80))
def test_after_signing_in_nobody_leaves_the_console(text: str) -> None:
    path = own_path(text)
    assert path.startswith("/")
    assert path[1:2] not in ("/", "\\")


TENANT = tenant_view(
    "reports",
    TenantTable(name="Reports", note="a\nb", limits=TenantLimits(burst=40, requests_per_second=0.5, share=2.0)),
)


def test_a_form_that_is_sent_back_as_it_was_changes_nothing() -> None:
    fields = fields_of(TENANT)
    assert fields["requests_per_second"] == "0.5"
    assert changes_of(fields, fields) == {}
    plain = fields_of(tenant_view("x", TenantTable()))
    assert (plain["name"], plain["share"]) == ("", "")
    assert changes_of(plain, plain) == {}


@pytest.mark.parametrize(
    ("change", "body"),
    [
        ({"name": ""}, {"name": None}),
        ({"note": "c"}, {"note": "c"}),
        ({"enabled": None}, {"enabled": False}),
        ({"origins": "https://a.example\r\n https://b.example "}, {"origins": ["https://a.example", "https://b.example"]}),
        ({"networks": "10.1.0.0/16\r\n fd00:1::/48 "}, {"networks": ["10.1.0.0/16", "fd00:1::/48"]}),
        ({"burst": "41", "share": ""}, {"limits": {"burst": 41, "share": None}}),
        ({"lifetime_open": "1.5"}, {"lifetimes": {"open": 1.5}}),
    ],
)  # fmt: skip
def test_only_what_changed_is_sent_on(change: dict[str, str | None], body: dict[str, Any]) -> None:
    before = fields_of(TENANT)
    form = {name: text for name, text in (before | change).items() if text is not None}
    assert changes_of(form, before) == body


@given(st.dictionaries(st.sampled_from(["burst", "share", "lifetime_open", "queued"]), st.text(max_size=20)))
def test_a_number_is_one_above_0_or_refused(form: dict[str, str]) -> None:
    try:
        body = changes_of(form, {})
    except InvalidInput:
        return
    for number in (*body.get("limits", {}).values(), *body.get("lifetimes", {}).values()):
        assert number is None or 0 < number < float("inf")


def test_the_version_differs_with_each_own_field_and_not_with_keys() -> None:
    versions = {
        version_of(tenant_view("x", table))
        for table in (
            TenantTable(),
            TenantTable(name="y"),
            TenantTable(note="y"),
            TenantTable(enabled=False),
            TenantTable(origins=("https://a.example",)),
            TenantTable(networks=("10.1.0.0/16",)),
            TenantTable(limits=TenantLimits(burst=2)),
            TenantTable(lifetimes={Rule.OPEN: 3.0}),
        )
    }
    assert len(versions) == 8
    assert version_of(TENANT) == version_of(TENANT | {"keys": [{"id": "k"}]})


def test_a_key_ends_with_its_last_day() -> None:
    assert end_of("", NOW) is None
    assert end_of("2030-03-17", NOW) == datetime(2030, 3, 18, tzinfo=UTC), "today, by UTC, is not over"
    for text in ("2030-03-16", "2001-01-01", "soon", "2030-13-01", "9999-12-31"):
        with pytest.raises(InvalidInput):
            end_of(text, NOW)


def test_an_old_key_ends_when_one_of_the_choices_says() -> None:
    assert overlap_of({}) == 604_800
    assert overlap_of({"overlap": "0"}) == 0
    for text in ("", "-1", "nan", "1"):
        with pytest.raises(InvalidInput):
            overlap_of({"overlap": text})
