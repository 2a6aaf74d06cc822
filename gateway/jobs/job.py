"""Job: what is wanted, how far it is, and the answers that it keeps, as values and as bytes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from gateway.cache.entry import CodingError, compress, decompress
from gateway.errors import FORBIDDEN_BODY, AnswerPurged, CacheUnavailable, render
from gateway.jobs.asking import Answered, How

ANSWERS = 128
"""Answers that a chunk holds at most."""
CHUNK_BYTES = 256 * 1024
"""Bytes of answers from which on a chunk is full."""


class State(StrEnum):
    """What becomes of a job. Only one that is ``running`` is led; all but it and ``paused`` are its end."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self not in (State.RUNNING, State.PAUSED)


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a job will take, found before it asks: the targets whose answers are ``cached``, those that are
    ``refused``, the ``calls`` for the others, and the ``seconds`` that these take at the budget.

    For a report these are the calls at best; ``worst`` and ``worst_seconds`` are those at worst, None where that
    rests on how many items there are, and ``methods`` has how each counter's columns are to be filled.
    """

    cached: int
    refused: int
    calls: int
    seconds: float
    worst: int | None = None
    worst_seconds: float | None = None
    methods: dict[str, str] = {}


class Job(msgspec.Struct, frozen=True):
    """A job as it was ordered, but for what it wants, which is for the driver of its ``kind``; ``targets`` is how
    many answers that comes to, or how many items a report has. It makes ``max_calls`` calls at most, where that is
    said. ``created`` is in Unix seconds, ``about`` says for people what it is. ``schedule`` names the scheduled
    warming that it is a run of."""

    id: str
    tenant: str
    kind: str
    targets: int
    created: float
    max_calls: int | None = None
    about: str = ""
    schedule: str = ""


class Standing(msgspec.Struct):
    """How far a job is. ``hows`` counts answers by how they came, ``errors`` those of status 400 or more;
    ``calls`` are those that it made.

    ``chunks`` has the number of answers in each chunk, ``bytes`` is their size in Redis. ``ended`` is in Unix
    seconds, ``why`` says why it failed or paused.
    """

    state: State = State.RUNNING
    plan: Plan | None = None
    hows: dict[str, int] = {}
    errors: int = 0
    calls: int = 0
    calls_left: int = 0
    chunks: list[int] = []
    bytes: int = 0
    ended: float = 0.0
    why: str = ""

    @property
    def answered(self) -> int:
        return sum(self.hows.values())

    def count(self, kept: Kept) -> None:
        """Count one more answer."""
        self.hows[kept.how] = self.hows.get(kept.how, 0) + 1
        self.errors += kept.status >= 400
        self.calls += kept.called


class Kept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An answer that a job keeps, and what may be read of it by whom: the ``scope`` it was found in, and the
    ``institution`` whose credential opens that. ``since`` is as in ``Asker.ask``; ``called`` says that the job
    made a call for it. ``order`` is when it was asked for, by the fleet's own time, 0 where an older version
    wrote it."""

    target: str
    status: int
    at: float
    how: How
    body: bytes
    institution: str | None = None
    scope: str = ""
    since: float | None = None
    called: bool = False
    order: float = 0.0

    @property
    def answered(self) -> Answered:
        return Answered(self.target, self.status, self.at, self.how, self.body)


class Look(msgspec.Struct, frozen=True, array_like=True):
    """What a job found stored at its ``number``-th look: of each target ``1`` or ``0``, as text."""

    number: int
    found: str


class Chunk(msgspec.Struct, array_like=True):
    """Some of what a job keeps, in order."""

    answers: list[Kept] = []
    looks: list[Look] = []
    size: int = 0
    """Bytes of its answers."""

    @property
    def is_full(self) -> bool:
        return len(self.answers) >= ANSWERS or self.size >= CHUNK_BYTES

    def add(self, kept: Kept | Look) -> None:
        if isinstance(kept, Look):
            self.looks.append(kept)
        else:
            self.answers.append(kept)
            self.size += len(kept.body)


_encode = msgspec.msgpack.Encoder().encode
_chunk = msgspec.msgpack.Decoder(Chunk)
_job = msgspec.msgpack.Decoder(Job)
_standing = msgspec.msgpack.Decoder(Standing)


def encoded(value: Job | Standing | Chunk) -> bytes:
    """The value as bytes, compressed, for Redis."""
    return compress(_encode(value))


def job_of(data: bytes) -> Job:
    """The job of these bytes. Raises what ``msgspec`` and the compression raise, as does the next."""
    return _job.decode(decompress(data))


def standing_of(data: bytes) -> Standing:
    return _standing.decode(decompress(data))


def chunk_of(data: bytes) -> Chunk:
    """The chunk of these bytes. Raises CacheUnavailable where they are damaged."""
    try:
        return _chunk.decode(decompress(data))
    except (msgspec.DecodeError, CodingError, UnicodeDecodeError):
        raise CacheUnavailable("what the job keeps cannot be read") from None


def wanting(targets: Sequence[str]) -> bytes:
    """Targets as bytes, compressed: what a batch or a warming wants."""
    return compress(_encode(targets))


def targets_of(wants: bytes) -> list[str]:
    """The targets of these bytes. Raises as ``job_of``."""
    return msgspec.msgpack.decode(decompress(wants), type=list[str])


def place_of(chunks: Sequence[int], number: int) -> tuple[int, int]:
    """The chunk that holds the answer of a number (from 0), and its place there; beyond the last chunk for one
    that is still to come."""
    for index, count in enumerate(chunks):
        if number < count:
            return index, number
        number -= count
    return len(chunks), number


# Lines


def answer_line(number: int, kept: Kept, now: float) -> bytes:
    """An answer as a line of JSON. A body that is JSON stands there as it is, but for line ends, which are no part
    of it; any other as a text."""
    facts = (number, _json(kept.target), kept.status, max(0, int(now - kept.at)), kept.how.encode())
    return b'{"n":%d,"target":%s,"status":%d,"age":%d,"how":"%s","body":%s}' % (*facts, _json_of(kept.body))


def withheld(kept: Kept) -> Kept:
    """The same answer for a tenant who may not read it any more."""
    return Kept(kept.target, 403, kept.at, "refused", FORBIDDEN_BODY)


def hidden(kept: Kept) -> Kept:
    """The same answer after a hard purge of it."""
    status, _, body = render(AnswerPurged("This answer was purged; ask for it again"))
    return Kept(kept.target, status, kept.at, "refused", body)


def _json_of(body: bytes) -> bytes:
    try:
        body.decode()
        _check(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _json(body.decode("utf-8", "replace"))
    return body.replace(b"\n", b" ").replace(b"\r", b" ")


_json = msgspec.json.Encoder().encode
_check = msgspec.json.Decoder(msgspec.Raw).decode
