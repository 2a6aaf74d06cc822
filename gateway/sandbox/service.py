"""Service: the statistics service itself, without any misbehaviour."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from gateway.sandbox.accounts import is_authorised
from gateway.sandbox.answer import Answer, Complaint, forbidden, method_not_allowed, render
from gateway.sandbox.census import Census
from gateway.sandbox.endpoint import route
from gateway.sandbox.examples import documented_answers
from gateway.sandbox.question import read
from gateway.sandbox.universe import Universe


class Service:
    """Answers requests about the universe of a seed, under the documented examples if these are wanted."""

    def __init__(self, seed: int, *, examples: bool, today: Callable[[], date]) -> None:
        self._universe = Universe(seed)
        self._examples = documented_answers() if examples else {}
        self._today = today

    def answer(self, method: str, path: str, query: str, authorization: bytes | None) -> Answer:
        """The answer to a raw path and query, errors included.

        The endpoint is looked at first, then the caller, then the parameters.
        """
        try:
            return self._answer(method, path, query, authorization)
        except Complaint as complaint:
            return complaint.answer()

    def _answer(self, method: str, path: str, query: str, authorization: bytes | None) -> Answer:
        if method not in ("GET", "HEAD"):
            raise method_not_allowed(method)
        endpoint = route(path)
        if endpoint.protected and not is_authorised(endpoint.institution, authorization):
            raise forbidden()
        question = read(endpoint, path, query)
        if question in self._examples:
            return Answer(200, render(self._examples[question]))
        return Answer(200, render(Census(self._universe, question, self._today()).answer()))
