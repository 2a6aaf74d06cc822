"""Signals of calls about the service and about credentials, and the breaker for credentials that it refuses.

Refused credentials do not spend anybody's budget (docs/decisions.md, 7).
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
from gateway.upstream.pacing import micros
from gateway.upstream.snapshot import Refused

DENIALS = frozenset({403, 503})
"""Statuses that are a refusal unless the service itself gave them."""
MOST = 1_000
"""Refused credentials that a process remembers; beyond that, the service itself says no."""
MOST_SUSPECTED = 16
"""Refused questions that are remembered for each credential."""
HELD = 60.0
"""Seconds after which to try again what is held by hand; as in gate.lua."""
STEEPEST = 30
"""Doublings of a pause; keeps the arithmetic finite."""


class SignalKind(StrEnum):
    """What a call says about whether the service wants to hear from us. FAILED is the service's own failure."""

    ANSWERED = "answered"
    FAILED = "failed"
    REFUSED = "refused"
    LIMITED = "limited"
    RESET = "reset"
    NOTHING = "nothing"


REFUSALS = frozenset({SignalKind.REFUSED, SignalKind.LIMITED, SignalKind.RESET})
"""The signals that the service, or something in front of it, may not want to hear from us."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A call's signal; ``retry_after`` is how many seconds a refusal asks us to stay away, if it says so."""

    kind: SignalKind
    retry_after: float | None = None


ANSWERED, FAILED, REFUSED, LIMITED, RESET, NOTHING = (Signal(kind) for kind in SignalKind)


class Standing(StrEnum):
    """Whether a credential is used: refused by the service, held by an operator, or used."""

    REFUSED = "refused"
    HELD = "held"
    USED = "used"


@dataclass(frozen=True, slots=True)
class CredentialSignal:
    """What the answer to a protected query says about the credential with this fingerprint. ``question`` names the
    query: one may be odd, two different ones are not."""

    fingerprint: str
    refused: bool
    question: str = ""


def signal_of(status: int, headers: Sequence[tuple[bytes, bytes]], now: float, *, speaks: bool) -> Signal:
    """The signal of an answer: header names in lower case, ``now`` in seconds since the epoch; ``speaks``: the
    answer is the service's, not that of something in front of it.

    A 429 (RFC 6585 §4) asks for fewer requests. A refusal is a 403 or 503 that is not the service's own. Other
    failures (RFC 9110 §15.6), and anything else that is not the service's, say nothing about us.
    """
    if status == 429:
        return Signal(SignalKind.LIMITED, retry_after(headers, now))
    if status in DENIALS and not speaks:
        return Signal(SignalKind.REFUSED, retry_after(headers, now))
    return ANSWERED if speaks and status < 500 else FAILED


def signal_of_error(error: GatewayError) -> Signal:
    """The signal of a call without an answer. The end of a kept connection says nothing about us."""
    return RESET if isinstance(error, UpstreamDisconnected) and not error.kept else NOTHING


def retry_after(headers: Sequence[tuple[bytes, bytes]], now: float) -> float | None:
    """Seconds from ``now`` that ``Retry-After`` asks for, as a delay or a date (RFC 9110 §10.2.3).

    None if it is missing, unreadable or repeated.
    """
    values = [value.strip() for name, value in headers if name == b"retry-after"]
    if len(values) != 1:
        return None
    delay = seconds(values[0])
    if delay is not None:
        return delay
    at = http_date(values[0], now)
    return None if at is None else max(0.0, at - now)


@dataclass(frozen=True, slots=True)
class PauseRules:
    """Pauses in seconds: the first one, which doubles with each refusal in a row, and the bounds of all."""

    pause: float
    longest: float = 900.0
    shortest: float = 0.0

    @property
    def arguments(self) -> tuple[int, int, int]:
        """First pause, longest and shortest in microseconds, as the Lua scripts take them."""
        return micros(self.pause), micros(self.longest), micros(self.shortest)

    def pause_of(self, level: int, retry_after: float | None = None) -> float:
        """The pause after ``level`` refusals in a row; ``retry_after`` seconds if the service asks for that."""
        wanted = self.pause * 2.0 ** min(level - 1, STEEPEST) if retry_after is None else retry_after
        return min(max(wanted, self.shortest), self.longest)


Probe = Callable[[str, str, str], Awaitable[tuple[bool, float | None]]]
"""Asks the fleet for the probe of a fingerprint, for a tenant's question: whether it is granted, and the seconds
left of the pause as in ``CredentialBreaker.refused_for``."""


class CredentialBreaker:
    """The refused credentials as far as this process knows, so that no look-up costs a round trip.

    The fleet's are in Redis (``lua/breaker.lua``) and spread by heartbeats and messages; without Redis each
    process judges on its own. A probe takes at most ``longest_probe`` seconds; ``clock`` is monotonic.
    ``refusals`` counts those that flights of this process met; ``on_change`` hears of each credential that stops
    or begins to be used.
    """

    def __init__(
        self,
        rules: PauseRules,
        ask: Probe,
        longest_probe: float = 60.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.refusals = 0
        self.on_change: Callable[[str, Standing], None] = lambda fingerprint, standing: None
        self._rules = rules
        self._ask = ask
        self._longest_probe = longest_probe
        self._clock = clock
        self._until: dict[str, float] = {}
        self._held: set[str] = set()
        self._reported: dict[str, Standing] = {}
        self._levels: dict[str, int] = {}
        self._probes: dict[str, float] = {}
        self._suspected: dict[str, dict[str, str]] = {}
        self._contested: dict[tuple[str, str], float] = {}

    def __repr__(self) -> str:
        return f"<CredentialBreaker {self.count} refused>"

    @property
    def count(self) -> int:
        """Credentials that the service refuses, or that are held by hand."""
        return len(self._held | self._until.keys())

    @property
    def refused(self) -> list[Refused]:
        """The credentials that this process does not use, the held first, as if held since now."""
        held = [Refused(name, self._paused_for(name) or 0.0, 0.0) for name in self._held]
        return held + [
            Refused(name, self._paused_for(name) or 0.0, None) for name in self._until.keys() - self._held
        ]

    def refused_for(self, fingerprint: str) -> float | None:
        """None for a credential in good standing; else the seconds left of its pause, 0 when a probe may go.

        A credential held by hand has no known end: it gets some time, and no probe.
        """
        if not self._until and not self._held:
            return None  # the usual case, for each hit
        return HELD if fingerprint in self._held else self._paused_for(fingerprint)

    def is_held(self, fingerprint: str) -> bool:
        """Whether an operator holds a credential."""
        return fingerprint in self._held

    def _paused_for(self, fingerprint: str) -> float | None:
        until = self._until.get(fingerprint)
        return None if until is None else max(0.0, until - self._clock())

    async def probe(self, fingerprint: str, question: str = "", tenant: str = "") -> bool:
        """Whether the tenant's request may go: as the one probe of the fleet, or because nothing is refused.

        The next signal about the credential releases the probe, else its time does. A question that was refused
        already leaves the probe to others, for as long again as the pause was. If only another tenant's evidence
        caused the refusal, this tenant's request may go at once.
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
            self.update(fingerprint, left)
        return granted

    def _contests(self, fingerprint: str, tenant: str, left: float) -> bool:
        """Whether to ask the fleet, once in a pause, if another tenant's evidence alone made it."""
        now, contest = self._clock(), (fingerprint, tenant)
        if not tenant or fingerprint in self._held or self._contested.get(contest, now) > now:
            return False
        self._contested.pop(contest, None)
        self._contested[contest] = now + left
        trim(self._contested, MOST)
        return True

    def settled(self, signal: CredentialSignal | None, refused_for: float | None) -> None:
        """The fleet accepted a signal; ``refused_for`` is what holds for the credential now."""
        if signal is not None:
            self.refusals += signal.refused
            self.update(signal.fingerprint, refused_for)

    def judge(self, signal: CredentialSignal | None, tenant: str = "", *, alone: bool = True) -> None:
        """Judge a signal about a tenant's question that the fleet does not hear; ``alone``: nobody else uses the
        credential.

        One question may be odd, and so may one tenant's questions: a credential is refused once two different
        ones were, with no success between, and from two tenants if two use it.
        """
        if signal is None:
            return
        name = signal.fingerprint
        self._probes.pop(name, None)
        self.refusals += signal.refused
        if not signal.refused:
            self._suspected.pop(name, None)
            self.update(name, None)
        elif self._suspects(signal, tenant, alone=alone) and not self._paused_for(name):
            # Requests from before the pause do not make it grow.
            self._levels[name] = self._levels.get(name, 0) + 1
            self.update(name, self._rules.pause_of(self._levels[name]))

    def _suspects(self, signal: CredentialSignal, tenant: str, *, alone: bool) -> bool:
        """Whether the credential was refused already, or enough questions were."""
        questions = self._suspected.setdefault(signal.fingerprint, {})
        questions[signal.question] = tenant
        trim(questions, MOST_SUSPECTED)
        trim(self._suspected, MOST)
        if signal.fingerprint in self._until:
            return True
        return len(questions) > 1 and (alone or len(set(questions.values())) > 1)

    def update(self, fingerprint: str, left: float | None) -> None:
        """Take over the fleet's word on one credential, as in ``refused_for``; negative while held by hand."""
        if left is not None and left < 0:
            self._held.add(fingerprint)
        elif left is None:
            self._until.pop(fingerprint, None)
            self._levels.pop(fingerprint, None)
        elif fingerprint in self._until or self.count < MOST:
            self._until[fingerprint] = self._clock() + left
        self._report()

    def resumed(self, fingerprint: str) -> None:
        """Forget a credential that an operator resumed."""
        self._held.discard(fingerprint)
        self.update(fingerprint, None)

    def replace(self, refused: Mapping[str, float]) -> None:
        """Take over the fleet's word on all credentials: those refused and the seconds left of their pauses,
        negative while held by hand."""
        now = self._clock()
        self._until = {name: now + left for name, left in refused.items() if left >= 0}
        self._held = {name for name, left in refused.items() if left < 0}
        self._levels = {name: level for name, level in self._levels.items() if name in refused}
        self._report()

    def _report(self) -> None:
        """Report what changed since the last report."""
        if not self._until and not self._held and not self._reported:
            return  # the usual case, for each landing and heartbeat
        before, now = self._reported, dict.fromkeys(self._until, Standing.REFUSED)
        now.update(dict.fromkeys(self._held, Standing.HELD))
        self._reported = now
        for name in before.keys() | now.keys():
            if before.get(name) is not now.get(name):
                self.on_change(name, now.get(name, Standing.USED))

    def _probe_alone(self, fingerprint: str, question: str, tenant: str) -> bool:
        now, questions = self._clock(), self._suspected.get(fingerprint, {})
        if self._paused_for(fingerprint) and (not questions or not {tenant, ""}.isdisjoint(questions.values())):
            return False
        again = self._until.get(fingerprint, now) + self._rules.pause_of(self._levels.get(fingerprint, 1))
        if now < again and question in questions:
            return False
        if self._probes.get(fingerprint, now) > now:
            return False
        self._probes[fingerprint] = now + self._longest_probe
        return True


def trim(table: dict[Any, Any], most: int) -> None:
    """Drop the oldest entry of a table that has more than ``most``."""
    if len(table) > most:
        del table[next(iter(table))]
