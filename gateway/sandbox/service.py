"""The sandbox's statistics service: invented answers, the documented examples (docs/service.md) and accounts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from gateway.sandbox.census import Census
from gateway.sandbox.habits import Habits
from gateway.sandbox.question import (
    COUNTERS,
    Answer,
    Complaint,
    Endpoint,
    Question,
    forbidden,
    method_not_allowed,
    read,
    read_groups,
    render,
    route,
)
from gateway.sandbox.world import Universe

DOCUMENTED: Mapping[str, Any] = {
    "/total/views/article/23": {"totals": 231},
    "/total/shares/author/15": {"totals": 134},
    "/monash/total/downloads/group/10": {"totals": 5},
    "/lboro/total/views/collection/15": {"totals": 3},
    "/timeline/day/downloads/article/23?start_date=2015-07-01&end_date=2015-07-31": {
        "timeline": {
            "2015-07-01": 7,
            "2015-07-02": 3,
            "2015-07-09": 1,
            "2015-07-15": 3,
            "2015-07-16": 2,
            "2015-07-18": 1,
        }
    },
    "/monash/timeline/year/views/article/2000000?start_date=2013-01-01&end_date=2015-08-01": {
        "timeline": {"2013": 16, "2014": 23, "2015": 12}
    },
    "/monash/timeline/month/shares/group/10"
    "?sub_item=category&sub_item_id=2&start_date=2014-01-03&end_date=2014-05-12": {
        "timeline": {"2014-01": 3, "2014-02": 5, "2014-03": 18, "2014-04": 4, "2014-05": 2}
    },
    "/monash/timeline/day/views/group/10"
    "?sub_item=item_type&sub_item_id=dataset&start_date=2014-03-01&end_date=2014-03-04": {
        "timeline": {"2014-03-01": 10, "2014-03-02": 14, "2014-03-03": 15, "2014-03-04": 9}
    },
    "/lboro/timeline/total/views/collection/15?start_date=2014-01-02&end_date=2014-03-05": {
        "timeline": {"total": 10}
    },
    "/monash/breakdown/year/views/project/1345?start_date=2013-01-01&end_date=2015-01-01": {
        "breakdown": {
            "2013": {
                "Spain": {"Seville": 5, "Madrid": 3, "total": 8},
                "China": {"Fuzhou": 2, "Chengdu": 3, "total": 5},
            },
            "2014": {
                "United States": {"Kansas City": 3, "Orlando": 1, "total": 4},
                "Venezuela": {"Caracas": 5, "total": 5},
                "Brazil": {"Indaiatuba": 4, "Campinas": 3, "total": 7},
            },
        }
    },
    "/monash/top/views/group?item_id=2&sub_item=category&count=3&start_date=2014-01-01&end_date=2014-12-31": {
        "top": {"2": 12351, "7": 11001, "3": 10435}
    },
    "/top/views/project?item_id=13&count=2&sub_item=referral": {
        "www.google.com": 212,
        "www.figshare.com": 175,
    },
    "/top/shares/author?item_id=13456&count=3&sub_item=item_type": {
        "fileset": 135,
        "collection": 120,
        "figure": 98,
    },
}


def documented_answers() -> dict[Question, Any]:
    """The documented answers by question, so that every spelling of one is answered alike."""
    return {_question(target): answer for target, answer in DOCUMENTED.items()}


def _question(target: str) -> Question:
    path, _, query = target.partition("?")
    return read(route(path), path, query)


INSTITUTIONS = ("lboro", "monash", "melbourne")


def password_of(institution: str) -> str:
    """The password that goes with the institution's name as the username."""
    return f"sandbox-{institution}"


def is_authorised(
    institution: str | None, authorization: bytes | None, known: Collection[str] = INSTITUTIONS
) -> bool:
    """Whether an ``Authorization`` value carries the institution's pair; never so for an unknown one."""
    if institution is None or institution not in known or authorization is None:
        return False
    scheme, _, token = authorization.partition(b" ")
    pair = f"{institution}:{password_of(institution)}".encode()
    return scheme.lower() == b"basic" and token.strip() == b64encode(pair)


class Service:
    """Answers requests about the universe of a seed by its habits; ``institutions`` are those that have a pair."""

    def __init__(
        self,
        seed: int,
        *,
        today: Callable[[], date],
        habits: Habits = Habits(),  # noqa: B008 (never changes)
        institutions: Collection[str] = INSTITUTIONS,
    ) -> None:
        self._institutions = institutions
        self._universe = Universe(seed, habits)
        self._examples = documented_answers() if habits.examples else {}
        self._today = today

    def answer(
        self, method: str, path: str, query: str, authorization: bytes | None, content: bytes = b""
    ) -> Answer:
        """The answer to a raw path and query, errors included; ``content`` is the request's.

        The endpoint is looked at first, then the caller, then the parameters.
        """
        try:
            return self._answer(method, path, query, authorization, content)
        except Complaint as complaint:
            return complaint.answer()

    def _answer(self, method: str, path: str, query: str, authorization: bytes | None, content: bytes) -> Answer:
        if method not in ("GET", "HEAD", "POST"):
            raise method_not_allowed(method)
        endpoint = route(path)
        if method not in endpoint.methods:
            raise method_not_allowed(method)
        if endpoint.protected and not is_authorised(endpoint.institution, authorization, self._institutions):
            raise forbidden()
        if endpoint.family == "count":
            return Answer(200, render(self._counted(endpoint, content)))
        return Answer(200, render(self._value(read(endpoint, path, query))))

    def _value(self, question: Question) -> Any:
        if question.family == "overview":
            totals = {name: replace(question, family="total", counter=name) for name in COUNTERS}
            return {name: self._value(total)["totals"] for name, total in totals.items()}
        if question in self._examples:
            return self._examples[question]
        return Census(self._universe, question, self._today()).answer()

    def _counted(self, endpoint: Endpoint, content: bytes) -> dict[str, int]:
        groups = [Question("count", endpoint.institution, "group", str(id)) for id in read_groups(content)]
        return {group.item_id or "": self._value(group) for group in groups}
