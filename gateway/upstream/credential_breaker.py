"""Breaker: which credentials the service refuses, so that they spend nobody's budget (decision 7).

Signs: what a call says about whether the service wants to hear from us, and with whose credential. Pure.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.cache.control import seconds
from gateway.cache.dates import http_date
from gateway.errors import CacheUnavailable, GatewayError, UpstreamDisconnected

DENIALS = frozenset({403, 503})
"""Statuses that are a refusal where it is not the service that speaks."""


class Kind(StrEnum):
    """What a call was a sign of."""

    ANSWERED = "answered"
    FAILED = "failed"
    REFUSED = "refused"
    LIMITED = "limited"
    RESET = "reset"
    NOTHING = "nothing"


REFUSALS = frozenset({Kind.REFUSED, Kind.LIMITED, Kind.RESET})
"""What may mean that the service, or something in front of it, does not want to hear from us."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A call's sign. ``retry_after`` is how long a refusal asks us to stay away, in seconds, where it says so.

    FAILED is the service's own failure, which says nothing about us; REFUSED and RESET are evidence about their
    target first, LIMITED about its credential (``evidence.py``).
    """

    kind: Kind
    retry_after: float | None = None


ANSWERED, FAILED, REFUSED, LIMITED, RESET, NOTHING = (Sign(kind) for kind in Kind)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer to a protected query says about the credential of this fingerprint. ``question`` names the
    query: one may be odd, two different ones are not."""

    fingerprint: str
    refused: bool
    question: str = ""


def sign_of(status: int, headers: Sequence[tuple[bytes, bytes]], now: float, *, speaks: bool) -> Sign:
    """The sign that an answer gives: header names in lower case, ``now`` in seconds since the epoch; ``speaks``
    says that the service gave it, and nobody in its place.

    A 429 (RFC 6585 §4) asks for fewer requests. A refusal is a 403 or 503 that is no word of the service but of
    something in front of it. Other failures (RFC 9110 §15.6), and what else somebody in its place may say, tell
    nothing about us.
    """
    if status == 429:
        return Sign(Kind.LIMITED, retry_after(headers, now))
    if status in DENIALS and not speaks:
        return Sign(Kind.REFUSED, retry_after(headers, now))
    return ANSWERED if speaks and status < 500 else FAILED


def sign_of_error(error: GatewayError) -> Sign:
    """The sign that a call without an answer gives. That a kept connection ends says nothing about us."""
    if isinstance(error, UpstreamDisconnected) and error.kept:
        return NOTHING
    return RESET if isinstance(error, UpstreamDisconnected) else NOTHING


def retry_after(headers: Sequence[tuple[bytes, bytes]], now: float) -> float | None:
    """Seconds from ``now`` that ``Retry-After`` asks for, as a delay or a date (RFC 9110 §10.2.3).

    A delay of any length counts, as ``LONGEST`` at most. None where there is none, where it cannot be read, and
    where there are several.
    """
    values = [value.strip() for name, value in headers if name == b"retry-after"]
    if len(values) != 1:
        return None
    delay = seconds(values[0])
    if delay is not None:
        return delay
    at = http_date(values[0], now)
    return None if at is None else max(0.0, at - now)


MICRO = 1e-6
MOST = 1_000
"""Refused credentials that a process keeps in mind; beyond that, the service itself says no."""
MOST_SUSPECTED = 16
"""Questions that are remembered as refused, of each credential."""
HELD = 60.0
"""Seconds after which one that is held by hand may be asked for again; as in gate.lua."""
STEEPEST = 30
"""Doublings of a pause; keeps the arithmetic finite."""

Ask = Callable[[str, str, str], Awaitable[tuple[bool, float | None]]]
"""Asks the fleet for the probe of a fingerprint, with a question of a tenant's: whether it is ours, and as in
``refused_for``."""


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """Seconds: the first pause and the longest, which double from one to the other; how long a probe may take."""

    pause: float = 10.0
    longest: float = 900.0
    probe: float = 60.0

    @property
    def arguments(self) -> tuple[int, int]:
        """First and longest pause in microseconds, as the scripts take them."""
        return round(self.pause / MICRO), round(self.longest / MICRO)

    def pause_of(self, level: int) -> float:
        """The pause after the ``level``-th refusal in a row."""
        return min(self.pause * 2.0 ** min(level - 1, STEEPEST), self.longest)


class Breaker:
    """The refused credentials as far as this process knows: no look-up costs a round trip.

    The fleet's are in Redis (``lua/breaker.lua``) and spread with each sign of life and by message; without
    Redis each process judges on its own. ``clock`` is monotonic.
    ``refusals`` counts those that flights of this process met with.
    """

    def __init__(self, rules: BreakerRules, ask: Ask, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.rules = rules
        self._ask = ask
        self._clock = clock
        self.refusals = 0
        self._until: dict[str, float] = {}
        self._held: set[str] = set()
        self._levels: dict[str, int] = {}
        self._probes: dict[str, float] = {}
        self._suspected: dict[str, dict[str, str]] = {}
        self._contested: dict[tuple[str, str], float] = {}

    def __repr__(self) -> str:
        return f"<Breaker {self.count} refused>"

    @property
    def count(self) -> int:
        """Credentials that the service refuses, or that are held by hand."""
        return len(self._held | self._until.keys())

    def refused_for(self, fingerprint: str) -> float | None:
        """None for a credential in good standing; else the seconds left of its pause, 0 when a probe may go.

        While it is held by hand, nobody knows how long that takes: some time, and no probe.
        """
        if not self._until and not self._held:
            return None  # the usual case, for each hit
        return HELD if fingerprint in self._held else self._paused_for(fingerprint)

    def _paused_for(self, fingerprint: str) -> float | None:
        until = self._until.get(fingerprint)
        return None if until is None else max(0.0, until - self._clock())

    async def probe(self, fingerprint: str, question: str = "", tenant: str = "") -> bool:
        """Whether the tenant's request may go: as the one probe of the fleet, or because nothing is refused.

        The next verdict releases the probe, else its time does. A question that was refused already leaves the
        probe to others, for as long again as the pause was. Where another tenant's evidence alone refused it,
        this one's request may go at once.
        """
        left = self.refused_for(fingerprint)
        if left is None:
            return True
        if left > 0 and not self._contests(fingerprint, tenant, left):
            return False
        try:
            granted, left = await self._ask(fingerprint, question, tenant)
        except CacheUnavailable:
            return self._probe_alone(fingerprint, question, tenant)
        if not granted or left is None:
            self.heard(fingerprint, left)
        return granted

    def _contests(self, fingerprint: str, tenant: str, left: float) -> bool:
        """Whether to ask, once in a pause, if another tenant's evidence alone made it."""
        now, contest = self._clock(), (fingerprint, tenant)
        if not tenant or fingerprint in self._held or self._contested.get(contest, now) > now:
            return False
        self._contested.pop(contest, None)
        self._contested[contest] = now + left
        if len(self._contested) > MOST:
            del self._contested[next(iter(self._contested))]
        return True

    def settled(self, verdict: Verdict | None, refused_for: float | None) -> None:
        """The fleet took a verdict: what it says of the credential now, as in ``refused_for``."""
        if verdict is not None:
            self.refusals += verdict.refused
            self.heard(verdict.fingerprint, refused_for)

    def judge(self, verdict: Verdict | None, tenant: str = "", *, alone: bool = True) -> None:
        """Takes a verdict that the fleet does not hear, on a question of this tenant's; ``alone`` says that nobody
        else uses the credential.

        One question may be odd, and so may one tenant's questions: a credential is refused once two different
        ones were, with no success between, of two tenants where two use it.
        """
        if verdict is None:
            return
        name = verdict.fingerprint
        self._probes.pop(name, None)
        self.refusals += verdict.refused
        if not verdict.refused:
            self._suspected.pop(name, None)
            self.heard(name, None)
        elif self._suspects(verdict, tenant, alone=alone) and not self._paused_for(name):
            # Those who asked before the pause began do not make it grow.
            self._levels[name] = self._levels.get(name, 0) + 1
            self.heard(name, self.rules.pause_of(self._levels[name]))

    def _suspects(self, verdict: Verdict, tenant: str, *, alone: bool) -> bool:
        """Whether it was refused already, or enough questions were."""
        questions = self._suspected.setdefault(verdict.fingerprint, {})
        questions[verdict.question] = tenant
        kept: tuple[tuple[dict[str, Any], int], ...] = ((questions, MOST_SUSPECTED), (self._suspected, MOST))
        for each, most in kept:
            if len(each) > most:
                del each[next(iter(each))]
        if verdict.fingerprint in self._until:
            return True
        return len(questions) > 1 and (alone or len(set(questions.values())) > 1)

    def heard(self, fingerprint: str, left: float | None) -> None:
        """What the fleet says of one credential, as in ``refused_for``; negative while it is held by hand."""
        if left is not None and left < 0:
            self._held.add(fingerprint)
        elif left is None:
            self._until.pop(fingerprint, None)
            self._levels.pop(fingerprint, None)
        elif fingerprint in self._until or self.count < MOST:
            self._until[fingerprint] = self._clock() + left

    def resumed(self, fingerprint: str) -> None:
        """Somebody resumed it by hand: it is neither held nor refused any more."""
        self._held.discard(fingerprint)
        self.heard(fingerprint, None)

    def told(self, refused: Mapping[str, float]) -> None:
        """What the fleet says of all credentials: the refused, and the seconds left of their pauses, negative
        for those that are held by hand."""
        now = self._clock()
        self._until = {name: now + left for name, left in refused.items() if left >= 0}
        self._held = {name for name, left in refused.items() if left < 0}
        self._levels = {name: level for name, level in self._levels.items() if name in refused}

    def _probe_alone(self, fingerprint: str, question: str, tenant: str) -> bool:
        now, questions = self._clock(), self._suspected.get(fingerprint, {})
        if self._paused_for(fingerprint) and (not questions or not {tenant, ""}.isdisjoint(questions.values())):
            return False
        again = self._until.get(fingerprint, now) + self.rules.pause_of(self._levels.get(fingerprint, 1))
        if now < again and question in questions:
            return False
        if self._probes.get(fingerprint, now) > now:
            return False
        self._probes[fingerprint] = now + self.rules.probe
        return True
