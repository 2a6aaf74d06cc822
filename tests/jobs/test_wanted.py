"""What the body of a batch asks for, and what is wrong with it."""

from __future__ import annotations

import json
from itertools import product
from string import ascii_lowercase
from typing import Any

import pytest

from gateway.errors import BodyTooLarge, InvalidInput
from gateway.jobs.wanted import MOST_BYTES, MOST_TARGETS, body_of, wanted
from gateway.tenants.tenant import mint_key

JSON, LINES = b"application/json", b"application/x-ndjson; charset=utf-8"


def of(document: object) -> list[str]:
    return wanted(json.dumps(document).encode(), JSON).targets


def fault(body: bytes, kind: bytes = JSON) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        wanted(body, kind)
    return caught.value


def test_targets_are_asked_for_in_their_order_those_that_repeat_too() -> None:
    assert of({"targets": ["/b", "/a", "/b"]}) == ["/b", "/a", "/b"]


def test_lines_are_texts_or_objects_and_empty_ones_are_none() -> None:
    assert wanted(b'"/a"\n\n{"target": "/b"}\r\n', LINES).targets == ["/a", "/b"]


@pytest.mark.parametrize(
    "text",
    ["/a\n\n /b \n", '"/a"\r\n{"target": "/b"}\n', '{"target": "/a"}\n/b', '{\n"targets": ["/a", "/b"]\n}',
     '{"targets": ["/a", "/b"]}', '{"template": "/{id}", "id": ["a", "b"]}'],
)  # fmt: skip
def test_a_file_lists_targets_by_line_or_is_a_document(text: str) -> None:
    assert wanted(body_of(text), JSON).targets == ["/a", "/b"]


def test_a_template_stands_for_every_combination_with_its_values_encoded() -> None:
    document = {"template": "/x/{kind}/{id}", "kind": ["views", "a b/c"], "id": [1, 2]}
    assert of(document) == ["/x/views/1", "/x/views/2", "/x/a%20b%2Fc/1", "/x/a%20b%2Fc/2"]


def test_a_plan_alone_may_be_asked_for() -> None:
    assert wanted(b'{"targets": ["/a"], "dry_run": true}', JSON).dry_run
    assert not wanted(b'{"targets": ["/a"]}', JSON).dry_run


def test_each_fault_is_named_by_its_line() -> None:
    error = fault(b'"/a"\nno json\n{"goal": "/b"}\n"/c"\n7\n', LINES)
    assert [each["at"] for each in error.data["errors"]] == ["line 2", "line 3", "line 5"]
    assert error.message.startswith("line 2: ")
    assert error.data["count"] == 3


def test_of_many_faults_the_first_are_named() -> None:
    error = fault(json.dumps({"targets": [1] * 500}).encode())
    assert (len(error.data["errors"]), error.data["count"]) == (20, 500)


@pytest.mark.parametrize(
    "document",
    [
        [],
        ["/a"],
        {},
        {"targets": []},
        {"targets": "/a"},
        {"targets": ["/a"], "template": "/b"},
        {"targets": ["/a"], "dry_run": "yes"},
        {"targets": [None]},
        {"template": 7},
        {"template": "/{id}"},
        {"template": "/{id}", "id": []},
        {"template": "/{id}", "id": "1"},
        {"template": "/{id}", "id": [True]},
        {"template": "/{id}", "id": [1.5]},
        {"template": "/{id}", "id": [""]},
        {"template": "/{id}", "id": [1], "kind": ["views"]},
    ],
)
def test_what_is_neither_targets_nor_a_whole_template_is_refused(document: Any) -> None:
    assert fault(json.dumps(document).encode()).status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"targets": ["\xff"]}'])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    assert fault(body).status == 400


def test_more_targets_than_are_allowed_are_refused_before_they_are_made() -> None:
    half = list(range(MOST_TARGETS // 2 + 1))
    assert (
        str(2 * len(half))
        in fault(json.dumps({"template": "/{k}/{id}", "k": [1, 2], "id": half}).encode()).message
    )
    huge = {name: list(range(4_000)) for name in ("a", "b", "c", "d")}
    assert "256000000000000" in fault(json.dumps({"template": "/{a}{b}{c}{d}", **huge}).encode()).message
    with pytest.raises(BodyTooLarge):
        wanted(b" " * (MOST_BYTES + 1), JSON)


def test_a_number_of_targets_that_nobody_can_write_is_too_many() -> None:
    lists = {"".join(name): list(range(10)) for name in product(ascii_lowercase, repeat=3)}  # 10 ** 17,576
    template = "/" + "".join(f"{{{name}}}" for name in lists)
    assert "far too many" in fault(json.dumps({"template": template, **lists}).encode()).message


@pytest.mark.parametrize("template", ["/{id}/" + "x" * 1_000, "/" + "{id}" * 250])
def test_targets_longer_than_a_list_of_them_are_refused_before_they_are_made(template: str) -> None:
    ids = list(range(1_000, 1_000 + MOST_TARGETS))
    with pytest.raises(BodyTooLarge):
        wanted(json.dumps({"template": template, "id": ids}).encode(), JSON)
    assert len(of({"template": template, "id": ids[: MOST_TARGETS // 8]})) == MOST_TARGETS // 8


def test_a_key_in_the_body_is_refused_and_not_repeated() -> None:
    key = mint_key().text
    error = fault(json.dumps({"targets": [f"/total/views/article/1?key={key}"]}).encode())
    assert key not in str(error.data) + error.message
