"""Wanted: what the body of a batch or a warming asks for, and what is wrong with it, by line. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product
from math import prod
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.errors import BodyTooLarge, InvalidInput
from gateway.tenants.tenant import id_within

MOST_TARGETS = 20_000
MOST_BYTES = 4 * 1024 * 1024
"""What a body may have."""
JOB_PATHS = (b"/-/batch", b"/-/warm", b"/-/reports")
"""Where such bodies are posted."""
NAMED = 20
"""Faults that an error names one by one."""
LINES = frozenset(
    {b"application/x-ndjson", b"application/ndjson", b"application/jsonl", b"application/x-jsonlines"}
)
"""Content types of a body of which each line is a target."""
PLACE = re.compile(r"\{([a-z_]+)\}")
"""A place in a template."""
FORMS = 'either "targets", a list, or "template", a text, with a list for each of its {places}'


class Wanted(msgspec.Struct, frozen=True):
    """The targets that are asked for, in order; ``dry_run``: only the plan is."""

    targets: list[str]
    dry_run: bool = False


def wanted(body: bytes, content_type: bytes) -> Wanted:
    """What a body asks for: JSON with ``targets`` or a ``template``, or a target a line, each a JSON text or an
    object with a ``target``.

    Raises BodyTooLarge, and InvalidInput, whose ``data`` names each fault by its line or its place in the list.
    """
    if len(body) > MOST_BYTES:
        raise BodyTooLarge(f"A list of targets may have {MOST_BYTES} bytes.")
    if id_within(body.decode("latin-1")) is not None:
        raise InvalidInput("The body holds a gateway key; a key belongs in a header")  # what is wanted is kept
    if content_type.partition(b";")[0].strip().lower() in LINES:
        return Wanted(_checked("line", _lines(body)))
    document = _document(body)
    dry_run = document.pop("dry_run", False)
    if not isinstance(dry_run, bool):
        raise InvalidInput('"dry_run" must be true or false')
    if document.keys() == {"targets"} and isinstance(document["targets"], list):
        return Wanted(_checked("target", enumerate(document["targets"], 1)), dry_run)
    template = document.pop("template", None)
    if not isinstance(template, str):
        raise InvalidInput(f"The body must be a JSON object with {FORMS}")
    return Wanted(_expanded(template, document), dry_run)


def body_of(text: str) -> bytes:
    """The body that orders what a file's text lists: a JSON document as it is, else a target for each line, which
    may be written as in NDJSON."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and lines[0].startswith("{") and not isinstance(_said(lines[0].encode()), str):
        return text.encode()
    said = [_said(line.encode()) for line in lines]
    targets = [each if isinstance(each, str) else line for each, line in zip(said, lines, strict=True)]
    return msgspec.json.encode({"targets": targets})


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"The body is not JSON: {error}. A target a line is application/x-ndjson") from None
    if not isinstance(document, dict):
        raise InvalidInput(f"The body must be a JSON object with {FORMS}")
    return document


def _lines(body: bytes) -> Iterator[tuple[int, Any]]:
    """What each line that is not empty says, by its number; None for what is no JSON."""
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            yield number, _said(line)


def _said(line: bytes) -> Any:
    """What a line says: a target, as a JSON text or as an object with a ``target``; None for what is no JSON."""
    try:
        said = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return said["target"] if isinstance(said, dict) and said.keys() == {"target"} else said


def _checked(what: str, said: Iterable[tuple[int, Any]]) -> list[str]:
    """The targets among what was said. Raises InvalidInput for everything that is none, and for too many."""
    numbered = list(said)
    _check_number(len(numbered))
    wrong = [number for number, each in numbered if not isinstance(each, str)]
    if wrong:
        why = "This is no target: a text such as /total/views/article/1"
        raise _faulty({f"{what} {number}": why for number in wrong})
    return [each for _, each in numbered]


def _expanded(template: str, lists: dict[str, Any]) -> list[str]:
    """Every combination, the last place changing first; a value stands in the path or query percent-encoded."""
    places = list(dict.fromkeys(PLACE.findall(template)))
    faults = dict.fromkeys(lists.keys() - set(places), "There is no such place in the template")
    for name in places:
        if fault := _fault(lists.get(name)):
            faults[name] = fault
    if faults:
        raise _faulty(faults)
    many = prod(len(lists[name]) for name in places)
    _check_number(many)
    values = [[quote(str(value), safe="") for value in lists[name]] for name in places]
    parts = PLACE.split(template)
    _check_bytes(parts, dict(zip(places, values, strict=True)), many)
    return [_filled(parts, dict(zip(places, each, strict=True))) for each in product(*values)]


def _check_bytes(parts: list[str], values: dict[str, list[str]], many: int) -> None:
    """Raises BodyTooLarge where so many targets are longer than a list of them may be; before they are made."""
    # Each value of a place stands in as many targets as any other of its values.
    means = {name: sum(map(len, each)) / len(each) for name, each in values.items()}
    if many * sum(means[part] if at % 2 else len(part) for at, part in enumerate(parts)) > MOST_BYTES:
        raise BodyTooLarge(f"The targets of a template may have {MOST_BYTES} bytes together.")


def _filled(parts: list[str], values: dict[str, str]) -> str:
    return "".join([values[part] if at % 2 else part for at, part in enumerate(parts)])


def _fault(values: Any) -> str:
    """What is wrong with the values of a place; empty where nothing is."""
    if not isinstance(values, list) or not values:
        return "The template needs a list of values for this place"
    for at, value in enumerate(values, 1):
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            return f"Value {at} is neither a text nor a whole number"
    return ""


def _check_number(targets: int) -> None:
    if not 0 < targets <= MOST_TARGETS:
        many = targets if targets < 10**18 else "far too many"  # Python writes no number of thousands of digits
        raise InvalidInput(f"These are {many} targets; from 1 to {MOST_TARGETS} may be asked for at once")


def _faulty(faults: dict[str, str]) -> InvalidInput:
    """The error for these faults, each by its place; the first of many are named."""
    place, why = next(iter(faults.items()))
    named = [{"at": each, "message": faults[each]} for each in list(faults)[:NAMED]]
    more = f", and {len(faults) - 1} more like it" if len(faults) > 1 else ""
    return InvalidInput(f"{place}: {why}{more}. Nothing was asked", data={"errors": named, "count": len(faults)})
