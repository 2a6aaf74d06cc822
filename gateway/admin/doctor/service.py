"""Answers: what the service's answers say about credentials, caching and clocks. Pure.

Calls: one question to the service for each credential, through the fleet's own queue and budget.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gateway.admin.doctor.finding import Finding, named, note, ok, problem, unknown, warning
from gateway.admin.doctor.redis import ClockReading
from gateway.cache.control import CacheControl, age_of, joined, response_control
from gateway.cache.dates import http_date
from gateway.cache.keys import question_of
from gateway.catalogue.answers import Reading, read
from gateway.catalogue.query import Family
from gateway.errors import CacheUnavailable, GatewayError, UpstreamRedirected
from gateway.tenants.tenant import Credential
from gateway.upstream.client import UpstreamClient, UpstreamRequest, UpstreamResponse
from gateway.upstream.credential_breaker import REFUSALS, sign_of, sign_of_error
from gateway.upstream.flight import Band, Confirm, Landing, Payer, Result, Reuse
from gateway.upstream.queue import Queue

DAY = "start_date=2014-01-01&end_date=2014-01-01"
PUBLIC = "/total/views/article/1"


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: its ``target``, the credential that goes along, and the tenants that hold that credential.

    Without a credential it is a public one, which tells of the service alone.
    """

    target: str
    credential: Credential | None = None
    tenants: tuple[str, ...] = ()

    @property
    def protected(self) -> bool:
        """Whether the service wants a credential for it."""
        return self.credential is not None

    @property
    def family(self) -> Family:
        """Of which family the question is."""
        return Family.TIMELINE if self.protected else Family.TOTALS


@dataclass(frozen=True, slots=True)
class Call:
    """What came of a question: the answer with the times between which it was given (seconds since the epoch), or
    the ``error`` in its place; ``withheld``: the fleet keeps this credential back, so that nothing was asked."""

    asked: Asked
    answer: UpstreamResponse | None = None
    sent: float = 0.0
    received: float = 0.0
    error: GatewayError | None = None
    withheld: bool = False

    @property
    def reading(self) -> Reading | None:
        """What the answer says of its sender."""
        return None if self.answer is None else _reading(self.asked, self.answer)


def questions(held: Iterable[tuple[str, Credential]]) -> list[Asked]:
    """One question for each distinct credential, about a day long past; a public one where there is none."""
    holders: dict[str, list[str]] = {}
    by_fingerprint: dict[str, Credential] = {}
    for tenant_id, credential in held:
        by_fingerprint[credential.fingerprint] = credential
        holders.setdefault(credential.fingerprint, []).append(tenant_id)
    return [
        Asked(f"/{each.institution}/timeline/total/views/article/1?{DAY}", each, tuple(holders[fingerprint]))
        for fingerprint, each in by_fingerprint.items()
    ] or [Asked(PUBLIC)]


class Caller:
    """Asks the service, one question after another.

    The queue paces them with all other calls of the fleet; a block that they meet closes the gate for all, as any
    call's would. What they say of a credential is for the operator alone.
    """

    def __init__(
        self, queue: Queue, client: UpstreamClient, timeout: float, now: Callable[[], float] = time.time
    ) -> None:
        self._queue = queue
        self._client = client
        self._timeout = timeout
        self._now = now

    async def call(self, asked: Asked) -> Call:
        """One call at most. Never raises but when cancelled."""
        if asked.credential is not None and self._queue.breaker.refused_for(asked.credential.fingerprint):
            return Call(asked, withheld=True)
        found: list[Call] = []

        async def work(confirm: Confirm) -> Result:
            call, result = await self._ask(asked, confirm)
            found.append(call)
            return result

        fingerprint = "" if asked.credential is None else asked.credential.fingerprint
        payer = Payer(asked.tenants[0] if asked.tenants else "doctor", caller="doctor", credential=fingerprint)
        flight = f"doctor{secrets.token_hex(8)}"
        try:
            landing, _ = await self._queue.land(
                flight,
                asked.target,
                payer,
                Band.PEOPLE,
                work,
                _nothing,
                self._timeout,
                reuse=_nobody,
                question=question_of(b"GET", asked.target.encode()),
            )
        except GatewayError as error:
            return Call(asked, error=error)
        return found[-1] if found else Call(asked, error=landing.error)

    async def _ask(self, asked: Asked, confirm: Confirm) -> tuple[Call, Result]:
        authorization = None if asked.credential is None else asked.credential.authorization
        request = UpstreamRequest(asked.target.encode(), authorization)
        sent = self._now()

        async def confirmed() -> None:
            nonlocal sent
            await confirm()
            sent = self._now()

        try:
            answer = await self._client.fetch(request, confirmed)
        except CacheUnavailable:
            raise
        except GatewayError as error:
            landing = Landing(asked.target, error=error)
            return Call(asked, error=error), Result(landing, sign=sign_of_error(error))
        received = self._now()
        sign = sign_of(answer.status, answer.headers, received, speaks=_reading(asked, answer).speaks)
        return Call(asked, answer, sent, received), Result(Landing(asked.target), sign=sign)


def is_block(call: Call) -> bool:
    """Whether the service, or something in front of it, wants to hear nothing more for now."""
    if call.answer is None:
        return False
    speaks = _reading(call.asked, call.answer).speaks
    return sign_of(call.answer.status, call.answer.headers, call.received, speaks=speaks).kind in REFUSALS


def seconds_for(calls: Sequence[Asked], interval: float | None) -> float | None:
    """How long these take at the budget's pace where nothing else is asked and answers come at once; None without
    a budget."""
    return None if interval is None else len(calls) * interval


def _reading(asked: Asked, answer: UpstreamResponse) -> Reading:
    return read(asked.family, answer.status, answer.headers, answer.body)


async def _nothing() -> Landing | None:
    return None


def _nobody() -> Reuse:
    return Reuse.NOBODY


SKEW_SECONDS = 5.0
IGNORE = "STATS_GATEWAY_UPSTREAM_DIRECTIVES=ignore"
WRONG = "does STATS_GATEWAY_UPSTREAM name the statistics service?"
MOST_SHOWN = 100


def answer_findings(calls: Sequence[Call], *, obey: bool, shortest: float) -> Iterator[Finding]:
    """What is to be said of the calls that were made: of each credential, then of all answers together.

    ``obey`` says that the service's Cache-Control counts, ``shortest`` is the shortest lifetime of an answer.
    """
    for call in calls:
        yield _credential(call) if call.asked.protected else _public(call)
    answers = [call.answer for call in calls if call.answer is not None and call.answer.status == 200]
    if answers:
        yield from _directives(answers, obey=obey, shortest=shortest)
    yield from _clock(calls)


def not_asked(asked: Sequence[Asked], why: str, advice: str = "") -> Iterator[Finding]:
    """What is to be said where nothing was asked."""
    names = [_name(each) for each in asked if each.protected]
    what = f"credentials not tried: {named(names)}" if names else "the service was not asked anything"
    yield unknown("upstream.credentials", f"{what}: {why}", advice)


def _name(asked: Asked) -> str:
    assert asked.credential is not None
    return f"{asked.credential.username} at {asked.credential.institution}"


def _credential(call: Call) -> Finding:
    check, name, answer = "upstream.credentials", _name(call.asked), call.answer
    whose = f"{name} (of {named(call.asked.tenants)})"
    if call.withheld:
        return warning(
            check,
            f"the fleet keeps {whose} back: the service refused it lately, or somebody holds it",
            "stats-gateway breaker list; stats-gateway breaker resume, to try it again",
        )
    if answer is None:
        return _unanswered(check, whose, call)
    speaks = call.reading is not None and call.reading.speaks
    if answer.status == 200 and speaks:
        return ok(check, f"the service accepts {whose}")
    if answer.status == 401 or (answer.status == 403 and speaks):
        assert call.asked.credential is not None
        given = call.asked.credential
        return problem(
            check,
            f"the service refuses {whose}: {answer.status}",
            f"stats-gateway tenant add {call.asked.tenants[0]} --institution {given.institution} "
            f"--username {given.username}, with the right password",
        )
    return _odd(check, whose, call, answer)


def _public(call: Call) -> Finding:
    check = "upstream.answer"
    if call.answer is None:
        return _unanswered(check, "a public query", call)
    if call.answer.status == 200 and call.reading is not None and call.reading.speaks:
        return ok(check, "the service answers a public query")
    return _odd(check, "a public query", call, call.answer)


def _unanswered(check: str, what: str, call: Call) -> Finding:
    why = "no answer" if call.error is None else call.error.message.rstrip(".")
    if isinstance(call.error, UpstreamRedirected):
        place = call.error.place[:MOST_SHOWN].encode("unicode_escape").decode()
        return warning(check, f"{what} was redirected to {place}, where nobody may take a key", WRONG)
    return unknown(check, f"{what} could not be tried: {why}", "try again later")


def _odd(check: str, what: str, call: Call, answer: UpstreamResponse) -> Finding:
    if is_block(call):
        return warning(
            check,
            f"{what} could not be tried: the service, or a firewall before it, blocks us ({answer.status})",
            "wait; the gate is closed for the fleet until a probe succeeds: stats-gateway gate show",
        )
    if call.reading is not None and call.reading.names:
        names = named(call.reading.names)
        return warning(check, f"the answer to {what} has another shape than the service's: {names}", WRONG)
    kind = joined(answer.headers, b"content-type").decode("latin-1") or "no content type"
    advice = WRONG if answer.status < 500 else "try again later"
    return unknown(check, f"{what} could not be tried: it answered {answer.status} ({kind[:60]})", advice)


def _directives(answers: Sequence[UpstreamResponse], *, obey: bool, shortest: float) -> Iterator[Finding]:
    check = "upstream.caching"
    controls = [(response_control(each.headers), age_of(each.headers)) for each in answers]
    said = sorted({_text(each) for each in answers} - {""})
    hindered = [why for control, age in controls if (why := _hindrance(control, age, shortest))]
    if not hindered:
        yield ok(check, f"nothing the service says prevents caching{f' ({named(said)})' if said else ''}")
    elif not obey:
        yield ok(check, f"the service says {named(said)}, which is ignored, as upstream_directives = ignore wants")
    else:
        worst = max(hindered)
        told = f"the service says {named(said)}: {worst[1]}"
        if worst[0] == SEVERE:
            yield warning(check, told, f"if its operator agrees, set {IGNORE}")
        else:
            yield note(check, told, f"if its operator agrees, set {IGNORE}")


MILD, SEVERE = 1, 2


def _hindrance(control: CacheControl, age: float, shortest: float) -> tuple[int, str] | None:
    """What directives do to caching, and how bad that is; None where they do nothing."""
    left = None if control.max_age is None else control.max_age - age
    if b"no-store" in control or control.no_cache:
        return SEVERE, "no answer is kept, so that every request costs a call"
    if left is not None and left <= 0:
        return SEVERE, "every answer is stale at once, so that nearly every request costs a call"
    if left is not None and left < shortest:
        return MILD, f"answers stay fresh for {left:.0f} s only"
    if b"private" in control:
        return MILD, "answers without a credential are not kept (those with one are, for their own tenant)"
    if control.forbids_stale:
        return MILD, "nothing stale may stand in while the service fails"
    return None


def _text(answer: UpstreamResponse) -> str:
    """What governs its caching, as it was said."""
    names = (b"cdn-cache-control", b"cache-control")
    return next((value.decode("latin-1") for name in names if (value := joined(answer.headers, name))), "")


def _clock(calls: Sequence[Call]) -> Iterator[Finding]:
    """The answer's Date counts whole seconds, hence up to one more."""
    for call in calls:
        date = b"" if call.answer is None else joined(call.answer.headers, b"date")
        there = http_date(date) if date else None
        if there is None:
            continue
        skew = ClockReading(call.sent - 1.0, there, call.received).skew
        if abs(skew) <= SKEW_SECONDS:
            yield ok("upstream.clock", "the clocks of the service and this machine agree")
        else:
            way = "behind" if skew > 0 else "ahead of"
            yield warning(
                "upstream.clock",
                f"this machine's clock is {abs(skew):.0f} s {way} the service's, which says what today is",
                "synchronise this machine with a time server (NTP)",
            )
        return
