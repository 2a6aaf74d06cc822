"""Service: the statistics service itself, without any misbehaviour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

from gateway.sandbox.accounts import is_authorised
from gateway.sandbox.answer import Answer, Complaint, forbidden, method_not_allowed, render
from gateway.sandbox.census import Census
from gateway.sandbox.endpoint import COUNTERS, Endpoint, route
from gateway.sandbox.examples import documented_answers
from gateway.sandbox.question import Question, read, read_groups
from gateway.sandbox.universe import Universe


class Service:
    """Answers requests about the universe of a seed, under the documented examples if these are wanted."""

    def __init__(self, seed: int, *, examples: bool, today: Callable[[], date]) -> None:
        self._universe = Universe(seed)
        self._examples = documented_answers() if examples else {}
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
        if endpoint.protected and not is_authorised(endpoint.institution, authorization):
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
        """How many articles each group has."""
        groups = [Question("count", endpoint.institution, "group", str(id)) for id in read_groups(content)]
        return {group.item_id or "": self._value(group) for group in groups}
