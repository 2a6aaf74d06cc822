"""Passwords at rest, and fingerprints."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigurationError
from gateway.tenants.vault import Vault

OLD, NEW = (base64.urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2))
VAULT = Vault([NEW])
texts = st.text("ab:\0é", max_size=4)
triples = st.tuples(texts, texts, texts)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_a_sealed_password_opens_again(password: str) -> None:
    assert VAULT.open(VAULT.seal(password)) == password


def test_a_sealed_password_shows_nothing_and_never_looks_the_same() -> None:
    first, second = VAULT.seal("hunter2"), VAULT.seal("hunter2")
    assert first != second
    assert first.startswith("enc:")
    assert "hunter2" not in first
    assert base64.b64encode(b"hunter2").decode() not in first


def test_what_an_older_key_sealed_still_opens_and_the_newest_seals() -> None:
    both = Vault([NEW, OLD])
    assert both.open(Vault([OLD]).seal("hunter2")) == "hunter2"
    assert VAULT.open(both.seal("hunter2")) == "hunter2"


def test_a_spoilt_password_does_not_open() -> None:
    sealed = VAULT.seal("hunter2")
    middle = len(sealed) // 2
    changed = sealed[:middle] + ("A" if sealed[middle] != "A" else "B") + sealed[middle + 1 :]
    for spoilt in (sealed[:-4], changed, "enc:", "enc:é"):
        with pytest.raises(ConfigurationError, match="another encryption key"):
            VAULT.open(spoilt)


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(ConfigurationError, match="another encryption key") as error:
        Vault([OLD]).open(VAULT.seal("hunter2"))
    assert OLD not in error.value.message


def test_a_password_in_clear_is_refused_unseen() -> None:
    with pytest.raises(ConfigurationError, match="in clear") as error:
        VAULT.open("hunter2")
    assert "hunter2" not in error.value.message


def test_a_vault_without_keys_says_what_to_set() -> None:
    with pytest.raises(ConfigurationError, match="STATS_GATEWAY_ENCRYPTION_KEYS"):
        Vault([]).seal("hunter2")
    with pytest.raises(ConfigurationError, match="no encryption key"):
        Vault([]).fingerprint("lboro", "lboro", "hunter2")


@pytest.mark.parametrize(
    "bad",
    ["secret-thing", "", "é" * 44, Fernet.generate_key().decode()[:-8]],
    ids=["text", "empty", "not ASCII", "too short"],
)
def test_a_key_that_is_none_is_named_by_its_place_alone(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="encryption key 2 is not") as error:
        Vault([NEW, bad])
    assert not bad or bad not in error.value.message


def test_its_repr_shows_no_key() -> None:
    assert repr(Vault([NEW, OLD])) == "Vault(keys=2)"


@given(triples, triples)
def test_fingerprints_are_equal_exactly_when_institution_and_pair_are(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    assert (VAULT.fingerprint(*one) == VAULT.fingerprint(*other)) == (one == other)


def test_moving_a_letter_between_the_parts_changes_the_fingerprint() -> None:
    splits = [("ab", "c", "d"), ("a", "bc", "d"), ("a", "b", "cd"), ("", "abc", "d"), ("abcd", "", "")]
    assert len({VAULT.fingerprint(*split) for split in splits}) == len(splits)


def test_fingerprints_depend_on_the_newest_key_alone() -> None:
    pair = ("lboro", "lboro", "hunter2")
    assert Vault([NEW, OLD]).fingerprint(*pair) == VAULT.fingerprint(*pair)
    assert Vault([OLD, NEW]).fingerprint(*pair) != VAULT.fingerprint(*pair)


def test_another_process_with_the_same_key_makes_the_same_fingerprint() -> None:
    code = f"from gateway.tenants.vault import Vault; print(Vault(['{NEW}']).fingerprint('i', 'ü', 'p'))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == VAULT.fingerprint("i", "ü", "p")
    assert len(told.stdout.strip()) == 64


def test_a_credential_is_ready_for_the_upstream_and_shows_no_password() -> None:
    credential = VAULT.credential("lboro", "lboro", VAULT.seal("pä:ss"))
    assert base64.b64decode(credential.authorization.removeprefix(b"Basic ")).decode() == "lboro:pä:ss"
    assert credential.fingerprint == VAULT.fingerprint("lboro", "lboro", "pä:ss")
    assert "ss" not in repr(credential)
    assert credential.authorization.decode() not in repr(credential)
