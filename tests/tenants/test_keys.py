"""Keys as text."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tenants import keys

WHOLE = "sgw_AbCdEf1234_" + "x" * 43


def test_a_new_key_reads_back_and_matches_its_digest() -> None:
    minted = keys.mint()
    for _ in range(2):
        assert keys.identity(minted.text.encode()) == (minted.id, minted.digest)


def test_the_digest_is_the_sha256_of_the_secrets_text() -> None:
    minted = keys.mint()
    secret = minted.text.rpartition("_")[2]
    assert minted.digest == hashlib.sha256(secret.encode("ascii")).digest()


def test_every_key_is_new_and_of_one_width() -> None:
    minted = [keys.mint() for _ in range(200)]
    assert len({key.id for key in minted}) == len({key.digest for key in minted}) == 200
    assert {len(key.text) for key in minted} == {58}


def test_another_secret_does_not_match() -> None:
    minted = keys.mint()
    presented = keys.identity(f"sgw_{minted.id}_{'x' * 43}".encode())
    assert presented is not None
    assert keys.matches(minted.digest, minted.digest)
    assert not keys.matches(minted.digest, presented[1])


def test_bytes_and_text_read_alike() -> None:
    assert keys.parse(WHOLE) == keys.parse(WHOLE.encode()) == ("AbCdEf1234", "x" * 43)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sgw_",
        WHOLE[:-1],
        WHOLE + "x",
        WHOLE + "\n",
        " " + WHOLE,
        WHOLE.upper(),
        WHOLE.replace("_", "-"),
        WHOLE.replace("x", "é"),
        WHOLE.replace("x", "\udcff"),
        WHOLE.replace("1", "١"),
        WHOLE.replace("x", "+"),
        WHOLE * 10_000,
    ],
)
def test_what_is_not_exactly_a_key_is_none(text: str) -> None:
    assert keys.parse(text) is None
    assert keys.identity(text.encode("utf-8", "surrogatepass")) is None


@given(st.binary(max_size=80) | st.from_regex(keys.KEY, fullmatch=True))
def test_whatever_reads_as_a_key_is_written_that_way(raw: bytes) -> None:
    parsed = keys.parse(raw)
    if parsed is not None:
        assert f"sgw_{parsed[0]}_{parsed[1]}".encode() == raw
