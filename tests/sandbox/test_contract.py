"""The documented examples and errors, byte for byte."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.sandbox import create_sandbox
from tests.sandbox.asking import answer_of, basic, client_of, json_of, pair_of, service

ROWS = tomllib.loads((Path(__file__).parents[1] / "data" / "contract.toml").read_text(encoding="utf-8"))["rows"]
JULY = "/timeline/day/downloads/article/23?start_date=2015-07-01&end_date=2015-07-31"
FORBIDDEN = b'{"data": null, "code": "Forbidden", "message": "Unauthorized request"}'


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
async def test_every_row_of_the_contract_is_answered_word_for_word(row: dict[str, Any]) -> None:
    headers = {"Authorization": pair_of(row["auth"])} if "auth" in row else {}
    async with client_of(create_sandbox()) as client:
        answer = await client.get(row["target"], headers=headers)
    assert answer.status_code == row["status"]
    assert answer.headers["content-type"] == row["content_type"]
    assert answer.content == row["body"].encode()


@pytest.mark.parametrize(
    "spelling",
    [
        "/timeline/day/downloads/article/23?end_date=2015-07-31&start_date=2015-07-01",
        "/timeline/day/downloads/article/23?start_date=2015%2D07-01&end_date=2015-07-31&n=10",
        "/timeline/day/downloads/%61rticle/23?start_date=2015-07-01&end_date=2015-07-31&sub_item_id=4",
    ],
)
def test_every_spelling_of_a_documented_example_is_answered_alike(spelling: str) -> None:
    asked = service(examples=True)
    assert answer_of(asked, spelling) == answer_of(asked, JULY)


def test_the_documented_examples_can_be_switched_off() -> None:
    assert json_of(service(examples=True), JULY) != json_of(service(examples=False), JULY)


@pytest.mark.parametrize(
    "path",
    [
        "/timeline/day/views/article/3",
        "/breakdown/day/views/article/3",
        "/top/views/group",
    ],
)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic ???",
        "Bearer " + pair_of("lboro").split()[1],
        basic("lboro", "wrong"),
        basic("", "sandbox-lboro"),
        pair_of("monash"),
    ],
)
def test_inside_an_institution_all_but_totals_and_counts_wants_its_own_pair(
    path: str, authorization: str | None
) -> None:
    sent = None if authorization is None else authorization.encode()
    answer = service().answer("GET", f"/lboro{path}", "", sent)
    assert (answer.status, answer.body) == (403, FORBIDDEN)
    assert service().answer("GET", f"/lboro{path}", "", pair_of("lboro").encode()).status == 200
    assert service().answer("GET", path, "", sent).status == 200


def test_the_scheme_of_an_authorization_is_read_in_any_case() -> None:
    sent = pair_of("lboro").replace("Basic", "bAsIc").encode()
    assert service().answer("GET", "/lboro/top/views/group", "", sent).status == 200


def test_an_institution_without_a_pair_is_never_let_in() -> None:
    sent = basic("elsewhere", "sandbox-elsewhere").encode()
    answer = service().answer("GET", "/elsewhere/timeline/day/views/article/3", "", sent)
    assert (answer.status, answer.body) == (403, FORBIDDEN)


@pytest.mark.parametrize("institution", ["lboro", "elsewhere", "two%20words", "Z%C3%BCrich"])
@pytest.mark.parametrize("authorization", [None, basic("lboro", "wrong").encode()])
def test_totals_need_no_pair_and_ignore_a_wrong_one(institution: str, authorization: bytes | None) -> None:
    answer = service().answer("GET", f"/{institution}/total/views/group/3", "", authorization)
    assert json.loads(answer.body)["totals"] > 0


def test_the_caller_is_looked_at_before_the_parameters() -> None:
    assert service().answer("GET", "/lboro/timeline/week/views/article/3", "", None).status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/total",
        "/total/views/article",
        "/total/views/article/",
        "/total/views/article/3/4",
        "/-",
        "//total/views/article/3",
        "/lboro//total/views/article/3",
        "/timeline/views/article/3",
        "/lboro/monash/top/views/group",
        "/top/views",
        "/top/views/article/3",
        "/count/articles/group/3",
        "/count/views/group/3",
        "/total%2Fviews/article/3",
    ],
)
def test_an_endpoint_that_does_not_exist_is_404_and_echoes_its_path(path: str) -> None:
    answer = answer_of(service(), path)
    expected = {"data": {"path": path}, "code": "NotFound", "message": "Endpoint not found"}
    assert (answer.status, json.loads(answer.body)) == (404, expected)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_the_service_is_only_read_from(method: str) -> None:
    assert answer_of(service(), "/total/views/article/3", method=method).status == 405


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_counts_are_asked_by_post_alone(method: str) -> None:
    assert answer_of(service(), "/count/articles", method=method).status == 405


@pytest.mark.parametrize("examples", [True, False])
@pytest.mark.parametrize("place", ["", "/lboro"])
@pytest.mark.parametrize(
    "item", ["article/3", "article/23", "author/15", "collection/15", "group/10", "project/2"]
)
def test_an_overview_is_all_totals_of_an_item(item: str, place: str, examples: bool) -> None:
    asked = service(examples=examples)
    assert json_of(asked, f"{place}/total/{item}") == {
        counter: json_of(asked, f"{place}/total/{counter}/{item}")["totals"]
        for counter in ("views", "downloads", "shares")
    }
    assert asked.answer("GET", f"{place}/total/{item}", "", None).status == 200


def test_a_count_tells_how_many_articles_each_group_has() -> None:
    asked = service()
    answer = asked.answer("POST", "/count/articles", "", None, b'{"groups": [{"id": 3}, {"id": 4}, {"id": 999}]}')
    told = json.loads(answer.body)
    assert (answer.status, list(told), told["999"]) == (200, ["3", "4", "999"], 0)
    assert told["3"] > 0


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"groups": 3}', b'{"groups": [3]}', b'{"groups": [{"id": "3"}]}', b"[" * 100_000],
)
def test_a_count_of_nothing_that_can_be_counted_is_400(content: bytes) -> None:
    assert service().answer("POST", "/count/articles", "", None, content).status == 400


async def test_a_head_has_the_headers_of_a_get_and_no_body() -> None:
    async with client_of(create_sandbox()) as client:
        head, got = await client.head("/total/views/article/23"), await client.get("/total/views/article/23")
    assert head.headers == got.headers
    assert head.content == b""
    assert got.headers["content-length"] == str(len(got.content))
