"""Whether an answer comes from the service itself, by its content (docs/service.md, Answers and Errors). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from gateway.catalogue.families import Family, Shape, is_envelope

IN_A_ROW = 20
"""Different queries in a row, answered in the same new shape, before that counts as the service's own."""
MOST_NAMES, LONGEST_NAME = 20, 64
"""Most top-level names of a new shape, and the longest: data has many names, a shape few."""

_NOTHING = re.compile(rb"null|\{\s*\}|-?0(?:\.0*)?(?:[eE][-+]?[0-9]+)?")


class _Error(msgspec.Struct):
    message: str
    code: str | int


_ERROR = msgspec.json.Decoder(_Error)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder(msgspec.Raw)


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer shows about its sender.

    ``speaks``: the service itself sent it. ``empty``: it counts nothing. ``names``: the top-level names of a JSON
    200 without its family's shape. ``changed``: the service itself has started to use that shape.
    """

    speaks: bool
    empty: bool = False
    names: tuple[str, ...] = ()
    changed: bool = False


STRANGER = Reading(speaks=False)


def read(
    family: Family, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, sub_item: bool = False
) -> Reading:
    """Whether the service itself sent this answer to a query of ``family``; ``sub_item``: the query had one.

    Header names are lower case, the body is decoded. A 200 must have its family's shape, or be any JSON for an
    unknown endpoint. An error must have ``message`` and ``code``. Only unknown endpoints may redirect or answer
    without a body.
    """
    if status != 200 and status < 400:
        return Reading(speaks=family.form.shape is None)
    said = b", ".join([value for name, value in headers if name == b"content-type"])
    media_type = said.partition(b";")[0].strip().lower()
    if media_type != b"application/json" or not _is_utf8(body):
        return STRANGER
    try:
        if status == 200:
            return _answer(family.form.shape, body, sub_item=sub_item)
        _ERROR.decode(body)
        return Reading(speaks=True)
    except (ValueError, RecursionError):
        return STRANGER


def _answer(shape: Shape | None, body: bytes, *, sub_item: bool) -> Reading:
    values = [_ANY.decode(body)] if shape is None else shape.values(body, sub_item=sub_item)
    if values is None:
        return Reading(speaks=False, names=_names(body))
    return Reading(speaks=True, empty=all(map(_NOTHING.fullmatch, values)))


def _names(body: bytes) -> tuple[str, ...]:
    """The top-level names that identify a new shape; none where they look like an intermediary's or like data."""
    try:
        names = sorted(_OBJECT.decode(body))
    except msgspec.ValidationError:
        return ()
    if len(names) > MOST_NAMES or any(len(name) > LONGEST_NAME or is_envelope(name) for name in names):
        return ()
    return tuple(names)


def _is_utf8(body: bytes) -> bool:
    """Whether a body is UTF-8 (RFC 8259 §8.1), members that the decoders skip included."""
    try:
        return body.isascii() or bool(body.decode())
    except UnicodeDecodeError:
        return False


class Shapes:
    """Reads answers, and notices when the service itself changes the shape of a family's answers.

    A new shape counts after ``IN_A_ROW`` different queries of this process, until the first answer in the known
    shape. ``on_change`` is called at both moments with the family and the new names, or none.
    """

    def __init__(self, on_change: Callable[[Family, tuple[str, ...]], None] = lambda family, names: None) -> None:
        self._on_change = on_change
        self._changed: dict[Family, tuple[str, ...]] = {}
        self._runs: dict[Family, tuple[tuple[str, ...], set[str]]] = {}

    def read(
        self,
        family: Family,
        query: str,
        status: int,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        *,
        sub_item: bool = False,
    ) -> Reading:
        """As ``read``, but a new shape of the service's own counts as well. ``query`` identifies the query."""
        reading = read(family, status, headers, body, sub_item=sub_item)
        if not reading.speaks:
            return replace(reading, speaks=True, changed=True) if self._is_new(family, query, reading) else reading
        if status == 200 and (family in self._runs or family in self._changed):
            self._runs.pop(family, None)
            if self._changed.pop(family, None):
                self._on_change(family, ())
        return reading

    def _is_new(self, family: Family, query: str, reading: Reading) -> bool:
        names = reading.names
        if not names:
            self._runs.pop(family, None)  # somebody else answered in between
            return False
        if self._changed.get(family) == names:
            return True
        before, queries = self._runs.get(family, ((), set[str]()))
        queries = queries | {query} if before == names else {query}
        self._runs[family] = (names, queries)
        if len(queries) < IN_A_ROW:
            return False
        del self._runs[family]
        self._changed[family] = names
        self._on_change(family, names)
        return True
