"""Families: the kinds of questions that the service answers, each with all that is known of it (docs/service.md,
Endpoints). Pure.

A new family is a row here, its place in ``openapi.json``, and what its answers need beyond that.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple, Self

import msgspec

NUMBER = re.compile(rb"[-0-9]|null")
OBJECT = re.compile(rb"\{|null")
"""How a value of each kind begins in JSON; each may be null."""

ID = re.compile("[0-9]+")
_ENVELOPE = frozenset(
    {
        *("code", "description", "detail", "details", "error", "errorcode", "errormessage", "errors", "exception"),
        *("fault", "maintenance", "message", "messages", "msg", "ok", "reason", "status", "statuscode", "success"),
        *("title", "type"),
    }
)
"""Names that intermediaries use for their own state; compared without case, ``_`` and ``-``."""

_COUNTS = msgspec.json.Decoder(dict[str, float])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Shape:
    """The shape of a family's answers: an object with these ``keys``, whose values are of one kind or null.
    Without keys it is an object of such values by the ids of what was asked about.

    ``bare`` says that with a sub-item the wrapper may be missing, which leaves an object of numbers.
    """

    def __init__(self, *keys: str, kind: re.Pattern[bytes], bare: bool = False) -> None:
        self.keys = keys
        self.kind = kind
        self.bare = bare
        # Other members are skipped, and values checked, but nothing is built of them.
        self._wrapped = msgspec.json.Decoder(msgspec.defstruct("Wrapped", [(key, msgspec.Raw) for key in keys]))

    def values(self, body: bytes, *, sub_item: bool) -> list[msgspec.Raw] | None:
        """The values of the keys as JSON; None for a body of another shape. Raises ValueError for a body that is
        not JSON. ``sub_item`` says that the query had one.
        """
        if not self.keys:
            return self._unnamed(body)
        try:
            found = self._wrapped.decode(body)
        except msgspec.ValidationError:
            return [msgspec.Raw(body.strip())] if self.bare and sub_item and _is_bare(body) else None
        values = [getattr(found, key) for key in self.keys]
        return values if all(map(self.kind.match, values)) else None

    def _unnamed(self, body: bytes) -> list[msgspec.Raw] | None:
        try:
            found = _OBJECT.decode(body)
        except msgspec.ValidationError:
            return None
        values = list(found.values())
        return values if all(map(self.kind.match, values)) and all(map(ID.fullmatch, found)) else None


def _is_bare(body: bytes) -> bool:
    try:
        counts = _COUNTS.decode(body)
        return bool(counts) and not any(map(is_envelope, counts))
    except msgspec.ValidationError:
        return False


def is_envelope(name: str) -> bool:
    """Whether a top-level name of an answer is one that intermediaries use for their own state."""
    return name.lower().replace("_", "").replace("-", "") in _ENVELOPE


class Form(NamedTuple):
    """What a family's questions and answers look like.

    ``path`` is its template below the institution; ``parameters`` are the documented ones of its query, in the
    order in which the gateway's own pages write them. An answer that covers ``all_time`` needs no credential
    inside an institution; one that is ``shareable`` may be the same with a credential and without. ``label`` is
    its name on pages. ``shape`` is None where any JSON may come.
    """

    path: str = ""
    shape: Shape | None = None
    label: str = ""
    parameters: tuple[str, ...] = ()
    all_time: bool = False
    shareable: bool = False

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments of its path: words, and names of fields in braces."""
        return tuple(self.path.split("/"))

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields in its path."""
        return tuple([segment.strip("{}") for segment in self.segments if segment.startswith("{")])

    def has(self, field: str) -> bool:
        """Whether its path or its query has this field."""
        return field in self.fields or field in self.parameters


_FILTERS = ("start_date", "end_date", "sub_item", "sub_item_id")
ANY = Form()
"""The form of a question that nobody knows."""
_RANKED = ("item_id", "sub_item", "count", "start_date", "end_date")
_ITEM = "{counter}/{item}/{item_id}"


class Family(StrEnum):
    """The known families, and everything else.

    An overview is all totals of one item at once; counts are of the articles in groups, and are asked by POST.
    """

    TOTALS = (
        "totals",
        Form(f"total/{_ITEM}", Shape("totals", kind=NUMBER), "Total", all_time=True, shareable=True),
    )
    OVERVIEW = (
        "overview",
        Form(
            "total/{item}/{item_id}",
            Shape("views", "downloads", "shares", kind=NUMBER),
            "Total of each counter",
            all_time=True,
            shareable=True,
        ),
    )
    TIMELINE = (
        "timeline",
        Form(f"timeline/{{granularity}}/{_ITEM}", Shape("timeline", kind=OBJECT), "Timeline", _FILTERS),
    )
    BREAKDOWN = (
        "breakdown",
        Form(
            f"breakdown/{{granularity}}/{_ITEM}", Shape("breakdown", kind=OBJECT), "Breakdown by place", _FILTERS
        ),
    )
    TOPS = "tops", Form("top/{counter}/{item}", Shape("top", kind=OBJECT, bare=True), "Top list", _RANKED)
    COUNT = "count", Form("count/articles", Shape(kind=NUMBER), all_time=True)
    UNKNOWN = "unknown"

    form: Form

    def __new__(cls, value: str, form: Form = ANY) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.form = form
        return member


ALL_TIME = frozenset([family for family in Family if family.form.all_time])
FIRST_SEGMENTS = frozenset([family.form.segments[0] for family in Family if family.form.path])
"""First segments of known paths: none of them is an institution."""
PATHS = {
    (family.form.segments[0], len(family.form.segments)): (family, family.form.fields)
    for family in Family
    if family.form.fields
}
"""The families that a path names, and its fields' names, by its first segment and its number of segments."""
