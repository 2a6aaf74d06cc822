"""Prepared answers: responses from the near cache, rendered, with what they rest on and whom they are for."""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from msgspec import structs

from gateway.catalogue.query import Query
from gateway.errors import Headers
from gateway.observe.outcome import Aggregate
from gateway.proxy.access_log import kind_of
from gateway.proxy.lookup import Validity
from gateway.proxy.profiles import Profile
from gateway.proxy.request import Request
from gateway.proxy.response import BODILESS, Response
from gateway.server.request_key import Identity, Question

SHARED, SHORT = 2_048, 200
"""Headers that responses share, and the bytes of the longest of their values."""
ANSWER, CALLER, REPEATED = 3_000, 2_500, 450
"""Approximate bytes that each costs: an answer beside its question, head and body, a caller beside its identity, a
repeated request beside its head."""

Place = tuple[str, str, bool]
"""Which of a question's answers: the scope in which it is looked up, the caller's terms (``KnownCaller``), and
whether no other scope would be asked after a refusal."""

Repeated = bytes | tuple[Question, Identity]
"""By what a repeated request is known."""


class KnownCaller:
    """Somebody who was identified by what a request says of it, with all that its answers depend on.

    ``registry`` is the revision of the registry at which this was last found to hold, until the key expires
    (``until``). ``subject`` is held to the tenant's limits; it is empty where there are none. Callers of equal
    ``terms`` get the same answers in one scope. ``who`` is what the access log says of it.
    """

    __slots__ = ("identity", "key_id", "registry", "subject", "tallies", "tenant", "terms", "until", "who")

    def __init__(
        self, identity: Identity, request: Request, registry: int, subject: str, terms: str, who: dict[str, Any]
    ) -> None:
        self.identity = identity
        self.tenant = request.tenant
        self.key_id = request.key_id
        self.registry = registry
        self.subject = subject
        self.terms = terms
        self.who = who
        self.until = _key_expiry(request)
        self.tallies: dict[str, Aggregate] = {}

    @property
    def size(self) -> int:
        return CALLER + _bytes_in(self.identity)


class KnownQuestion:
    """What some requests ask, and the answers to it."""

    __slots__ = ("answers", "query", "question")

    def __init__(self, question: Question, query: Query) -> None:
        self.question = question
        self.query = query
        self.answers: dict[Place, PreparedAnswer] = {}


class PreparedAnswer:
    """A response with what it rests on, and with what of it depends on the time.

    ``purges`` and ``changes`` are the revisions of purges and of the near cache at which it was last found valid.

    ``render`` writes it as of a time; that holds from ``since`` until ``tick``, when its age or what is left of
    its lifetime becomes another whole number of seconds. It expires at ``until``. It is ``head``, which ends in
    the name of the request id's header, ``last`` and ``body``; or, as an ASGI server takes it, ``headers`` and
    ``last_headers``. Before the last ones stands what each response has of its own: that id, and what is left of
    a limit. ``kind`` names the ``labels`` under which it counts; ``line`` is what the access log has of it.
    """

    __slots__ = (
        *("_names", "_places", "_template", "_times", "body", "changes", "head", "headers", "kind", "labels"),
        *("last", "last_headers", "line", "place", "purges", "question", "scope", "since", "status", "tick"),
        *("until", "validity"),
    )

    def __init__(
        self,
        question: KnownQuestion,
        place: Place,
        request: Request,
        response: Response,
        validity: Validity,
        profile: Profile,
        line: dict[str, Any],
    ) -> None:
        # Its body may be large, and must not live on here once it left the near cache.
        entry = structs.replace(validity.entry, body=b"")
        self.question, self.place, self.line = question, place, line
        self.validity = structs.replace(validity, entry=entry)
        self.scope = validity.scope
        self.purges = self.changes = 0
        self.until = min(entry.fresh_until, entry.drop_at)
        self.status = response.status
        self.body = b"" if request.method == "HEAD" else response.body
        self.labels = kind_of(request, response)
        self.kind = f"{self.labels.family} {self.labels.status}"
        self.last_headers = [shared(*pair) for pair in request.origin_headers]
        if response.status not in BODILESS:
            self.last_headers.append(shared(b"content-length", b"%d" % len(response.body)))
        self.last = lines(self.last_headers) + b"\r\n"
        self._times = profile.times(entry, request.public)
        # Of headers with one name the last is the gateway's own.
        last = {name: place for place, (name, _) in enumerate(response.headers)}
        self._places = {name: last[name] for name in self._times(entry.born) if name in last}
        self.headers = [shared(*pair) for pair in response.headers]
        constant = [(name.replace(b"%", b"%%"), value.replace(b"%", b"%%")) for name, value in response.headers]
        for name, place_ in self._places.items():
            constant[place_] = (name, b"%s")
        self._template = b"%s%sx-request-id: " % (status_line(response.status), lines(constant))
        self._names = sorted(self._places, key=self._places.__getitem__)
        self.head = b""
        self.since = self.tick = 0.0

    def __repr__(self) -> str:
        return f"<PreparedAnswer {self.kind}>"

    @property
    def size(self) -> int:
        heads = 3 * len(self._template) + len(self.last)
        return ANSWER + _bytes_in(self.question.question) + heads + len(self.body)

    def end(self) -> None:
        """Make it expire now: repeated requests may still refer to it."""
        self.until = self.tick = -math.inf
        self.body = self.head = b""

    def render(self, now: float) -> None:
        """Write the headers that change with the time as of ``now``."""
        times = self._times(now)
        self.head = self._template % tuple([times[name] for name in self._names])
        for name, place in self._places.items():
            self.headers[place] = (name, times[name])
        entry = self.validity.entry
        self.since = now
        older, less = entry.born + int(now - entry.born) + 1, entry.fresh_until - int(entry.fresh_until - now)
        self.tick = min(older, less, self.until)


class RepeatedRequest:
    """A request that comes again, and what was found for it: who asks, the answer, and the aggregate it counts in.

    It is known by its whole head (``key`` is bytes), unless it has an id, and by what is asked and who asks. What
    was found holds as long as the registry and the purges have these revisions; by the head of a caller without a
    key it holds for this ``peer`` alone.
    """

    __slots__ = ("answer", "caller", "key", "peer", "purges", "registry", "tally")

    def __init__(self, key: Repeated, caller: KnownCaller, answer: PreparedAnswer, tally: Aggregate) -> None:
        self.key = key
        self.peer: str | None = None
        self.caller = caller
        self.answer = answer
        self.tally = tally
        self.registry = caller.registry
        self.purges = answer.purges

    def by_head(self, head: bytes, peer: str | None) -> RepeatedRequest:
        """The same, known by its head."""
        other = RepeatedRequest(head, self.caller, self.answer, self.tally)
        other.peer = peer
        return other

    @property
    def size(self) -> int:
        return REPEATED + (len(self.key) if isinstance(self.key, bytes) else 0)


class Prepared:
    """All that is kept, within ``max_bytes``; callers and answers that were not used for longest leave first."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.callers: dict[Identity, KnownCaller] = {}
        self.questions: dict[Question, KnownQuestion] = {}
        self.repeated: dict[Repeated, RepeatedRequest] = {}
        self._sizes: OrderedDict[Kept, int] = OrderedDict()

    def __repr__(self) -> str:
        kept = f"{len(self.callers)} callers, {len(self.questions)} questions, {len(self.repeated)} repeated"
        return f"<Prepared {kept}, {self.bytes}/{self.max_bytes} bytes>"

    def used(self, thing: Kept) -> None:
        """Note that it was used just now, if it is still kept."""
        if thing in self._sizes:
            self._sizes.move_to_end(thing)

    def keep_caller(self, caller: KnownCaller) -> None:
        """Keep a caller in place of what was known of it."""
        if (before := self.callers.get(caller.identity)) is not None:
            self.drop(before)
        self.callers[caller.identity] = caller
        self._keep(caller)

    def keep_answer(self, answer: PreparedAnswer) -> None:
        """Keep an answer in place of the one before, unless it is larger than all that may be kept."""
        question = answer.question
        if (before := question.answers.get(answer.place)) is not None:
            self.drop(before)
        if answer.size <= self.max_bytes:
            self.questions[question.question] = question
            question.answers[answer.place] = answer
            self._keep(answer)

    def keep_repeated(self, request: RepeatedRequest) -> None:
        """Keep a repeated request in place of what was found for it before."""
        if (before := self.repeated.get(request.key)) is not None:
            self.drop(before)
        self.repeated[request.key] = request
        self._keep(request)

    def drop(self, thing: Kept) -> None:
        """Forget it, if it is still kept."""
        size = self._sizes.pop(thing, None)
        if size is None:
            return
        self.bytes -= size
        match thing:
            case KnownCaller():
                del self.callers[thing.identity]
            case RepeatedRequest():
                del self.repeated[thing.key]
            case PreparedAnswer():
                self._drop_answer(thing)

    def _drop_answer(self, answer: PreparedAnswer) -> None:
        question = answer.question
        del question.answers[answer.place]
        if not question.answers:
            del self.questions[question.question]
        answer.end()

    def _keep(self, thing: Kept) -> None:
        self._sizes[thing] = size = thing.size
        self.bytes += size
        while self.bytes > self.max_bytes:
            self.drop(next(iter(self._sizes)))


Kept = KnownCaller | PreparedAnswer | RepeatedRequest


def shared(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header, the same object wherever it occurs: most of a response's are those of any other."""
    return _shared(name, value) if len(value) <= SHORT else (name, value)


def lines(headers: Headers) -> bytes:
    """Headers as they are written (RFC 9112 §5)."""
    return b"".join([b"%s: %s\r\n" % pair for pair in headers])


def status_line(status: int) -> bytes:
    """The first line of a response (RFC 9112 §4); a status that nobody registered has no phrase."""
    try:
        phrase = HTTPStatus(status).phrase.encode()
    except ValueError:
        phrase = b""
    return b"HTTP/1.1 %d %s\r\n" % (status, phrase)


@lru_cache(SHARED)
def _shared(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    return (name, value)


def _key_expiry(request: Request) -> float:
    held = None if request.key_id is None else request.tenant.keys[request.key_id]
    return math.inf if held is None or held.expires is None else held.expires.timestamp()


def _bytes_in(parts: Any) -> int:
    """Approximate bytes of a tuple of texts, and of tuples of them."""
    if isinstance(parts, tuple):
        return sum(60 + _bytes_in(part) for part in parts)
    return len(parts or b"")
