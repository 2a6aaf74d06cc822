"""Keys as text."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tenants.tenant import ALPHABET, KEY_TEXT, key_identity, mint_key, parse_key, same_digest

OLDER = "sgw_AbCdEf1234_" + "x" * 43
WHOLE = "sgw_AbCdEf1234_" + "x" * 27


def test_a_new_key_reads_back_and_matches_its_digest() -> None:
    minted = mint_key()
    for _ in range(2):
        assert key_identity(minted.text.encode()) == (minted.id, minted.digest)


def test_the_digest_is_the_sha256_of_the_secrets_text() -> None:
    minted = mint_key()
    secret = minted.text.rpartition("_")[2]
    assert minted.digest == hashlib.sha256(secret.encode("ascii")).digest()


def test_every_key_is_new_and_of_one_width() -> None:
    minted = [mint_key() for _ in range(200)]
    assert len({key.id for key in minted}) == len({key.digest for key in minted}) == 200
    assert {len(key.text) for key in minted} == {42}


def test_a_secret_has_160_bits_and_all_digits_come_as_often() -> None:
    secrets = [mint_key().text.rpartition("_")[2] for _ in range(500)]
    assert 62 ** len(secrets[0]) > 2**160
    counts = Counter("".join(secrets))
    assert set(counts) == set(ALPHABET)
    assert max(counts.values()) < 2 * min(counts.values())


@pytest.mark.parametrize("username", ["", "lboro", "u" * 14])
def test_basic_credentials_with_a_new_key_fit_on_a_line_of_base64(username: str) -> None:
    assert len(base64.b64encode(f"{username}:{mint_key().text}".encode())) <= 76


def test_a_key_of_an_older_version_works_as_ever() -> None:
    assert parse_key(OLDER) == ("AbCdEf1234", "x" * 43)
    assert key_identity(OLDER.encode()) == ("AbCdEf1234", hashlib.sha256(b"x" * 43).digest())
    for cut in (1, 10, 15):
        assert parse_key(OLDER[:-cut]) is None


def test_another_secret_does_not_match() -> None:
    minted = mint_key()
    presented = key_identity(f"sgw_{minted.id}_{'x' * 27}".encode())
    assert presented is not None
    assert same_digest(minted.digest, minted.digest)
    assert not same_digest(minted.digest, presented[1])


def test_bytes_and_text_read_alike() -> None:
    assert parse_key(WHOLE) == parse_key(WHOLE.encode()) == ("AbCdEf1234", "x" * 27)


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
    assert parse_key(text) is None
    assert key_identity(text.encode("utf-8", "surrogatepass")) is None


@given(st.binary(max_size=80) | st.from_regex(KEY_TEXT, fullmatch=True))
def test_whatever_reads_as_a_key_is_written_that_way(raw: bytes) -> None:
    parsed = parse_key(raw)
    if parsed is not None:
        assert f"sgw_{parsed[0]}_{parsed[1]}".encode() == raw
