"""Calls: one question to the service for each credential, through the fleet's own queue and budget."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gateway.cache.keys import question_of
from gateway.catalogue.answers import Reading, read
from gateway.catalogue.query import Family
from gateway.errors import CacheUnavailable, GatewayError
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
