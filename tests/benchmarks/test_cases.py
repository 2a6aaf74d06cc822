"""What clients send in each case of ``make bench`` differs as the case says, and asks for what is measured."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from benchmarks.cases import CASES, FRESH, LETTERS, Case

pytestmark = pytest.mark.quick

TAGS = {f"/total/views/article/{number}": f'"{number}"' for number in range(40)}


def heads(letter: str) -> list[str]:
    case = LETTERS[letter]
    keys = [f"key-{number}" for number in range(case.tenants)]
    *found, rest = case.drawn(keys, TAGS).decode().split("\r\n\r\n")
    assert rest == ""
    return found


def values(found: list[str], name: str) -> set[str]:
    return {value for head in found for value in re.findall(f"\r\n{name}: (.*?)(?:\r|$)", head)}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_case_asks_for_every_target_with_every_key(case: Case) -> None:
    found = heads(case.letter)
    assert len(found) == case.heads
    assert {head.split()[1] for head in found} == set(TAGS)
    assert len(values(found, "X-API-Key")) == case.tenants
    assert all(head.isascii() and len(values([head], "Host")) == 1 for head in found)


def test_only_identical_heads_are_repeated_for_each_target() -> None:
    assert len(set(heads("a"))) == len(TAGS)
    for letter in "bcdg":
        assert all(FRESH in head for head in heads(letter)), letter
    for letter in "ef":
        assert len(set(heads(letter))) == pytest.approx(len(TAGS) * LETTERS[letter].tenants, rel=10)


def test_an_ingress_tells_some_thousands_of_addresses_in_three_headers() -> None:
    found = heads("c")
    assert len(values(found, "X-Forwarded-For")) > 4_096
    for head in found:
        [address] = values([head], "X-Forwarded-For")
        assert values([head], "X-Real-IP") == {address}
        assert f"for={address};" in head


def test_browsers_and_scripts_are_of_as_many_kinds_as_is_said() -> None:
    assert len(values(heads("d"), "User-Agent")) == 12
    assert len(values(heads("e"), "User-Agent")) == 10


def test_one_trace_in_a_hundred_is_recorded() -> None:
    flags = Counter(
        head[-2:] for head in (re.findall("traceparent: (.*)\r", text)[0].strip() for text in heads("g"))
    )
    assert flags["01"] / flags["00"] == pytest.approx(0.01, rel=0.5)


def test_half_of_the_conditional_requests_name_the_current_answer() -> None:
    found = heads("h")
    current = sum(TAGS[head.split()[1]] in values([head], "If-None-Match") for head in found)
    assert current / len(found) == pytest.approx(0.5, rel=0.1)
