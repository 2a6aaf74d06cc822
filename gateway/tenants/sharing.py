"""Sharing: which answers are asked for once for all, though the caller holds a credential."""

from __future__ import annotations

from gateway.cache.purges import Marks
from gateway.catalogue.answers import read
from gateway.catalogue.query import Family, Query
from gateway.errors import CacheUnavailable, Headers

SHARED = frozenset({Family.TOTALS, Family.OVERVIEW})
REFUSALS = frozenset({401, 403})


class Sharing:
    """``totals``: the operator says that totals are the same with a credential and without. They are then asked
    without, and kept in the public scope: nothing that a credential brought is ever there.

    Some institution may keep its totals to itself all the same. The service says so when it is asked; whoever
    holds a credential then asks with it, and the fleet remembers that for a day (``Marks.private``).
    """

    def __init__(self, marks: Marks, *, totals: bool) -> None:
        self._marks = marks
        self._totals = totals

    def __repr__(self) -> str:
        return f"<Sharing totals={self._totals}>"

    def covers(self, query: Query) -> bool:
        """Whether this query is asked for once for all."""
        return self._totals and query.family in SHARED and not self._marks.private(query)

    async def withdraw(self, query: Query) -> None:
        """The service refused this query without a credential: here that is known at once, in the fleet as soon as
        Redis is told; while it does not answer, each process finds out for itself."""
        if query.institution is None or self._marks.private(query):
            return
        try:
            await self._marks.keep_private(query.institution)
        except CacheUnavailable:
            return


def refuses(query: Query, status: int, headers: Headers, body: bytes) -> bool:
    """Whether an answer is the service's own refusal to whoever has no credential, and nobody's in its place."""
    return status in REFUSALS and read(query.family, status, headers, body).speaks
