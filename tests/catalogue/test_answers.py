"""Whether the service speaks, and when it took to another way of speaking."""

from __future__ import annotations

import json

import pytest

from gateway.catalogue.answers import IN_A_ROW, Reading, Shapes, read
from gateway.catalogue.families import Family

TOTALS, OVERVIEW, TIMELINE, BREAKDOWN, TOPS, COUNT, UNKNOWN = Family
JSON = b"application/json; charset=UTF-8"
FORBIDDEN = b'{"data": null, "code": "Forbidden", "message": "Unauthorized request"}'


def said(
    family: Family, body: bytes, status: int = 200, kind: bytes | None = JSON, *, sub_item: bool = False
) -> Reading:
    headers = [] if kind is None else [(b"content-type", kind)]
    return read(family, status, headers, body, sub_item=sub_item)


@pytest.mark.parametrize(
    ("family", "body"),
    [
        (TOTALS, b'{"totals": 231}'),
        (TOTALS, b'{"totals": -1.5e3}'),
        (TOTALS, b'{"totals": null}'),
        (TOTALS, b'{"took": 3, "totals": 123456789012345678901234567890, "message": "hello"}'),
        (OVERVIEW, b'{"views": 3, "downloads": 0, "shares": null, "cites": 1}'),
        (TIMELINE, b'{"timeline": {"2015-07-01": 7, "2015-07-02": 3}}'),
        (TIMELINE, b'\n{ "timeline" : null }\n'),
        (BREAKDOWN, b'{"breakdown": {"2014": {"C\xc3\xb4te d\'Ivoire": {"Unknown": 8, "total": 8}}}}'),
        (BREAKDOWN, b'{"breakdown": {}}'),
        (TOPS, b'{"top": {"200341": 2341}}'),
        (COUNT, b'{"327": 20, "12": null}'),
        (COUNT, b"{}"),
        (UNKNOWN, b'{"views": 3}'),
        (UNKNOWN, b"[]"),
    ],
)
def test_an_answer_has_the_shape_of_its_family(family: Family, body: bytes) -> None:
    assert said(family, body).speaks


BARE = (b'{"total": 5}', b'{"timeline": 5}', b'{"views": 3, "downloads": 1}')
"""What is nobody's but might be tops without their wrapper."""
IMPOSTORS = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"7",
    b'"maintenance"',
    b"<h1>Sorry</h1>",
    b'{"message": "down for maintenance"}',
    b'{"status": 200}',
    b'{"error": 1, "code": 2}',
    b'{"data": null, "code": "Forbidden", "message": "Unauthorized request"}',
    b'{"total": 5}',
    b'{"totals": 5',
    b'{"totals": "5"}',
    b'{"totals": {}}',
    b'{"totals": true}',
    b'{"totals": NaN}',
    b'{"totals": 5} {}',
    b'{"totals": 5, "x": nope}',
    b'{"totals": 5, "x": "\xff"}',
    b'{"timeline": 5}',
    b'{"timeline": [7]}',
    b'{"breakdown": "down"}',
    b'{"top": 5, "x": {}}',
    b'{"top": [["a", 5]]}',
    b'{"views": 3, "downloads": 1}',
    b'{"views": 3, "downloads": 1, "shares": "none"}',
    b'{"top": ' + b"[" * 100_000,
]


@pytest.mark.parametrize(
    "body", [each for each in IMPOSTORS if each != b"{}"] + [b'{"327": "20"}', b'{"327": 20, "status": 200}']
)
def test_counts_are_by_the_ids_of_groups_and_nothing_else(body: bytes) -> None:
    assert not said(COUNT, body).speaks


def test_a_count_of_nothing_is_empty() -> None:
    assert said(COUNT, b'{"327": 0, "12": 0}').empty
    assert said(COUNT, b"{}").empty
    assert not said(COUNT, b'{"327": 0, "12": 1}').empty


def test_tops_with_a_sub_item_may_be_bare() -> None:
    body = b'{"www.google.com": 212, "www.figshare.com": 175.0}'
    assert said(TOPS, body, sub_item=True).speaks
    assert not said(TOPS, body).speaks
    assert not said(TOPS, b"{}", sub_item=True).speaks


@pytest.mark.parametrize("family", [TOTALS, OVERVIEW, TIMELINE, BREAKDOWN, TOPS])
@pytest.mark.parametrize("body", IMPOSTORS)
def test_any_other_200_is_somebody_elses(family: Family, body: bytes) -> None:
    assert not said(family, body).speaks
    assert said(family, body, sub_item=True).speaks is (family is TOPS and body in BARE)


@pytest.mark.parametrize("kind", [None, b"", b"text/html", b"text/plain", b"application/jsonp", b"text/json"])
@pytest.mark.parametrize("status", [200, 400, 404, 503])
def test_what_does_not_say_that_it_is_json_is_not_the_services(status: int, kind: bytes | None) -> None:
    body = b'{"totals": 5, "message": "m", "code": "c"}'
    assert said(TOTALS, body, status).speaks
    assert not said(TOTALS, body, status, kind).speaks


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 418, 421, 429, 451, 500, 503])
@pytest.mark.parametrize("family", [TOTALS, UNKNOWN])
def test_an_error_has_a_message_and_a_code(family: Family, status: int) -> None:
    assert said(family, FORBIDDEN, status).speaks
    assert said(family, b'{"code": 17, "message": ""}', status).speaks
    for body in (
        b"",
        b"{}",
        b"[]",
        b'{"message": "Forbidden"}',
        b'{"code": 404}',
        b'{"message": 1, "code": 2}',
    ):
        assert not said(family, body, status).speaks


@pytest.mark.parametrize("status", [201, 202, 203, 204, 206, 300, 301, 302, 307, 304])
def test_of_a_known_family_no_other_status_is_known(status: int) -> None:
    assert not said(TOTALS, b'{"totals": 5}', status).speaks
    assert said(UNKNOWN, b"", status, None).speaks


def strange(**members: object) -> Reading:
    return said(TOTALS, json.dumps(members).encode())


def test_a_new_shape_is_known_by_its_top_level_names() -> None:
    assert strange(value=3, unit="views").names == ("unit", "value")
    assert strange(totals="3").names == ("totals",)
    assert said(TOTALS, b'{"totals": 3}').names == ()


@pytest.mark.parametrize(
    "name",
    ["message", "Error", "errors", "status", "status_code", "statusCode", "code", "detail", "title", "success"],
)
def test_an_intermediarys_state_is_no_new_shape(name: str) -> None:
    assert strange(**{name: 1, "value": 3}).names == ()


def test_data_without_a_wrapper_is_no_new_shape() -> None:
    assert strange(**{f"name{number}": 1 for number in range(21)}).names == ()
    assert strange(**{"n" * 65: 1}).names == ()
    assert said(TOTALS, b"{}").names == ()


class Listener:
    """Reads answers of totals, one query after another, and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Family, tuple[str, ...]]] = []
        self.shapes = Shapes(lambda family, names: self.told.append((family, names)))
        self.queries = 0

    def hear(self, body: bytes, query: str = "", *, status: int = 200, family: Family = TOTALS) -> Reading:
        self.queries += 1
        return self.shapes.read(family, query or str(self.queries), status, [(b"content-type", JSON)], body)

    def hear_often(self, body: bytes, times: int) -> list[bool]:
        return [self.hear(body).speaks for _ in range(times)]


NEW = b'{"value": 3, "unit": "views"}'
NAMES = ("unit", "value")


def test_the_twentieth_query_in_a_row_shows_that_the_service_changed() -> None:
    listener = Listener()
    assert listener.hear_often(NEW, IN_A_ROW + 1) == [False] * (IN_A_ROW - 1) + [True] * 2
    assert listener.hear(NEW).changed
    assert listener.told == [(TOTALS, NAMES)]


def test_the_same_query_again_shows_nothing() -> None:
    listener = Listener()
    assert not any(listener.hear(NEW, "same").speaks for _ in range(2 * IN_A_ROW))


@pytest.mark.parametrize(
    ("body", "status"),
    [(b'{"totals": 3}', 200), (b'{"other": 3}', 200), (b"{}", 200), (b"<h1>", 404), (b"", 204), (b"", 503)],
)
def test_whatever_else_is_said_between_begins_the_row_anew(body: bytes, status: int) -> None:
    listener = Listener()
    listener.hear_often(NEW, IN_A_ROW - 1)
    listener.hear(body, status=status)
    assert listener.hear_often(NEW, IN_A_ROW) == [False] * (IN_A_ROW - 1) + [True]


def test_an_error_of_the_services_own_does_not() -> None:
    listener = Listener()
    listener.hear_often(NEW, IN_A_ROW - 1)
    assert listener.hear(FORBIDDEN, status=400).speaks
    assert listener.hear(NEW).speaks


def test_each_family_changes_by_itself() -> None:
    listener = Listener()
    listener.hear_often(NEW, IN_A_ROW)
    assert not listener.hear(NEW, family=TIMELINE).speaks


def test_a_failure_or_a_stranger_does_not_end_a_change() -> None:
    listener = Listener()
    listener.hear_often(NEW, IN_A_ROW)
    for body, status in ((b"", 502), (b'{"other": 3}', 200), (b"{}", 200)):
        assert not listener.hear(body, status=status).speaks
        assert listener.hear(NEW).speaks


def test_the_known_shape_ends_it() -> None:
    listener = Listener()
    listener.hear_often(NEW, IN_A_ROW)
    assert listener.hear(b'{"totals": 3}') == Reading(speaks=True)
    assert not listener.hear(NEW).speaks
    assert listener.told == [(TOTALS, NAMES), (TOTALS, ())]


def test_a_second_change_takes_the_firsts_place() -> None:
    listener = Listener()
    listener.hear_often(NEW, IN_A_ROW)
    assert listener.hear_often(b'{"v2": 3}', IN_A_ROW)[-1]
    assert listener.told[-1] == (TOTALS, ("v2",))
    assert not listener.hear(NEW).speaks
