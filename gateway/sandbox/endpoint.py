"""Endpoint: which of the service's endpoints a path names (contract page, Endpoints)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from gateway.sandbox.answer import not_found

Family = Literal["total", "timeline", "breakdown", "top", "overview", "count"]

COUNTERS = ("views", "downloads", "shares")
FIRST_SEGMENTS = ("total", "timeline", "breakdown", "top", "count")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path taken apart; its values are decoded and not yet checked.

    ``overview`` is ``/total/{item}/{id}`` without a counter, ``count`` is ``/count/articles``, asked by POST.
    """

    family: Family
    institution: str | None
    item: str
    item_id: str | None = None
    counter: str | None = None
    granularity: str | None = None

    @property
    def protected(self) -> bool:
        """Whether the institution's pair is needed: for all but totals and counts, inside an institution."""
        return self.institution is not None and self.family not in ("total", "overview", "count")

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that it is asked by."""
        return ("POST",) if self.family == "count" else ("GET", "HEAD")


def route(path: str) -> Endpoint:
    """The endpoint of a raw path. Raises Complaint (404) where the service has none."""
    segments = [unquote(segment) for segment in path.split("/")[1:]]
    if not all(segments):
        raise not_found(path)
    institution = None if segments[0] in FIRST_SEGMENTS else segments.pop(0)
    match segments:
        case ["total", counter, item, item_id]:
            return Endpoint("total", institution, item, item_id, counter)
        case ["timeline" | "breakdown" as family, granularity, counter, item, item_id]:
            kind: Family = "timeline" if family == "timeline" else "breakdown"
            return Endpoint(kind, institution, item, item_id, counter, granularity)
        case ["top", counter, item]:
            return Endpoint("top", institution, item, None, counter)
        case ["total", item, item_id] if item not in COUNTERS:
            return Endpoint("overview", institution, item, item_id)
        case ["count", "articles"]:
            return Endpoint("count", institution, "group")
        case _:
            raise not_found(path)
