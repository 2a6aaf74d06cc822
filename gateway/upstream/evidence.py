"""Evidence: what a refusal says of its target, of whoever asked, of the credential, and last of the service. Pure.

The fleet's evidence is in Redis (``lua/evidence.lua``), by the same rules; without Redis, this process's decides.
Times are monotonic, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.tenants.tenant import ANONYMOUS
from gateway.upstream.credential_breaker import Kind, Sign
from gateway.upstream.flight import Payer

ENOUGH = 3
"""Targets that are newly refused, with no answer between, before that counts against the service."""
TOLERATED = 2
"""As many in a row cost their caller nothing."""
MOST_PAUSED = 1_000
MEMORY = 3_600.0
"""Seconds after a pause for which a refusal is remembered."""
ACTIVE = 600.0
"""Seconds after its last query for which a caller, or a credential, counts as active."""
MOST_ACTIVE = 16

PauseOf = Callable[[int, float | None], float]
"""The pause after so many refusals in a row, or as long as the service asks for."""


class Why(StrEnum):
    """What is paused: the target, the bearer (a credential, or a caller without one), or the caller."""

    TARGET = "target"
    BEARER = "bearer"
    CALLER = "caller"


@dataclass(slots=True)
class Pause:
    """``level`` refusals in a row; the last was met by ``payer``.

    It began at ``since``, or ``tried`` was let through then.
    """

    until: float
    level: int
    payer: Payer
    since: float
    tried: str = ""


class Pauses:
    """What is not asked for a while, by name: at most ``MOST_PAUSED``, those that end last."""

    def __init__(self, pause_of: PauseOf) -> None:
        self._pause_of = pause_of
        self._pauses: dict[str, Pause] = {}

    def left(self, name: str, now: float) -> float | None:
        """Seconds left, 0 once it is over; None where nothing was refused of late."""
        pause = self._pauses.get(name)
        return None if pause is None or pause.until < now - MEMORY else max(0.0, pause.until - now)

    def lasting(self, now: float) -> Iterator[tuple[str, float, Payer]]:
        """Name, seconds left, and who met it last, of each that lasts."""
        for name, pause in self._pauses.items():
            if pause.until > now:
                yield name, pause.until - now, pause.payer

    def begin(self, name: str, payer: Payer, now: float, asked: float | None, free: int = 0) -> tuple[bool, float]:
        """Whether it is news, and the pause's length; the first ``free`` refusals cost none.

        Those who asked before a pause began do not make it grow.
        """
        left = self.left(name, now)
        level = 0 if left is None else self._pauses[name].level
        level += not left
        length = max(self._pause_of(level - free, asked) if level > free else 0.0, left or 0.0)
        self._pauses[name] = Pause(now + length, level, payer, now)
        if left is None and len(self._pauses) > MOST_PAUSED:
            del self._pauses[min(self._pauses, key=lambda each: self._pauses[each].until)]
        return left is None, length

    def tries(self, name: str, target: str, now: float) -> bool:
        """Whether this target is let through in spite of the pause: one in as long as a first pause takes."""
        pause = self._pauses.get(name)
        if pause is not None and pause.tried != target and now >= pause.since + self._pause_of(1, None):
            pause.since, pause.tried = now, target
        return pause is not None and pause.tried == target

    def end(self, name: str) -> None:
        """It was answered."""
        self._pauses.pop(name, None)

    def keep(self, askers: Collection[str]) -> None:
        """What others met is forgotten."""
        self._pauses = {name: pause for name, pause in self._pauses.items() if pause.payer.asker in askers}


class Recent:
    """Names with the time at which each was last heard: the ``MOST_ACTIVE`` latest."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def note(self, name: str, now: float) -> None:
        if not name:
            return
        self._at.pop(name, None)
        self._at[name] = now
        if len(self._at) > MOST_ACTIVE:
            del self._at[next(iter(self._at))]

    def names(self, now: float) -> list[str]:
        return [name for name, at in self._at.items() if at > now - ACTIVE]


@dataclass(frozen=True, slots=True)
class Closing:
    """The service itself is meant, by the evidence of these (tenant -> caller).

    ``after`` says when it may be asked again."""

    by: dict[str, str]
    after: float | None


@dataclass(slots=True)
class Evidence:
    """What one process knows by itself."""

    pause_of: PauseOf
    targets: Pauses = field(init=False)
    callers: Pauses = field(init=False)
    bearers: Pauses = field(init=False)
    askers: Recent = field(default_factory=Recent)
    credentials: Recent = field(default_factory=Recent)
    users: dict[str, Recent] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    provokers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.targets, self.callers, self.bearers = (Pauses(self.pause_of) for _ in range(3))

    def asks(self, now: float, payer: Payer) -> None:
        """Somebody asks: who is active counts."""
        self.askers.note(payer.asker, now)
        self.credentials.note(payer.credential, now)
        if payer.credential:
            self.users.setdefault(payer.credential, Recent()).note(payer.tenant, now)
            if len(self.users) > MOST_PAUSED:
                del self.users[next(iter(self.users))]

    def sole_user(self, now: float, payer: Payer) -> bool:
        """Whether no other tenant used the credential of late."""
        users = self.users.get(payer.credential)
        return users is None or all(name == payer.tenant for name in users.names(now))

    def paused(self, now: float, payer: Payer, target: str) -> tuple[Why, float] | None:
        """Why this may not be asked, and for how many seconds; None where it may."""
        for why, left in (
            (Why.TARGET, self.targets.left(target, now)),
            (Why.BEARER, self.bearers.left(payer.bearer, now)),
            (Why.CALLER, self.callers.left(payer.asker, now)),
        ):
            if left:
                return why, left
        return None

    def may_try(self, now: float, payer: Payer, target: str) -> bool:
        """Whether a caller's pause lets this through: now and then one target that was never refused, so that who
        met refused ones by chance is not stopped for long."""
        return self.targets.left(target, now) is None and self.callers.tries(payer.asker, target, now)

    def others_than(self, now: float, askers: Collection[str]) -> bool:
        """Whether anybody asks of late but these."""
        return any(name not in askers for name in self.askers.names(now))

    def testify(self, now: float, sign: Sign, payer: Payer, target: str) -> Closing | None:
        """Heeds a refusal, a reset or a 429; whether the service itself is meant by it."""
        free = 1 if sign.kind is Kind.RESET else 0
        fresh, _ = self.targets.begin(target, payer, now, sign.retry_after, free)
        if sign.kind is Kind.LIMITED:
            return self._limited(now, sign, payer)
        if not fresh:
            return None
        self.callers.begin(payer.asker, payer, now, sign.retry_after, TOLERATED)
        self.refused[payer.tenant] = self.refused.get(payer.tenant, 0) + 1
        self.provokers[payer.tenant] = payer.asker
        two = any(independent(tenant, payer.tenant) for tenant in self.refused)
        if sum(self.refused.values()) < ENOUGH or not (two or not self.others_than(now, [payer.asker])):
            return None
        by = dict(self.provokers)
        self._begin_anew()
        return Closing(by, sign.retry_after)

    def _begin_anew(self) -> None:
        self.refused.clear()
        self.provokers.clear()

    def _limited(self, now: float, sign: Sign, payer: Payer) -> Closing | None:
        """A 429 is for its bearer. The service is meant where another bearer was told the same and its pause
        lasts, or the same one that has no credential; of an independent tenant, where two callers are active; and
        where only one credential is in use."""
        own, sole = payer.bearer, not self.others_than(now, [payer.asker])
        again = sole and not payer.credential and bool(self.bearers.left(own, now))
        _, longest = self.bearers.begin(own, payer, now, sign.retry_after)
        by = {payer.tenant: payer.asker}
        for name, left, other in self.bearers.lasting(now):
            if name != own and (sole or independent(other.tenant, payer.tenant)):
                again, longest = True, max(longest, left)
                by.setdefault(other.tenant, other.asker)
        if again:
            return Closing(by, longest)
        if sole and len(self.credentials.names(now)) <= 1:
            return Closing(by, sign.retry_after)
        return None

    def heard(self, now: float, payer: Payer, target: str, *, answered: bool) -> None:
        """The service spoke: what came before was not about it."""
        self._begin_anew()
        if answered:
            self.targets.end(target)
            self.callers.end(payer.asker)
            if self.bearers.left(payer.bearer, now) == 0:
                self.bearers.end(payer.bearer)

    def forget(self, by: Collection[str]) -> None:
        """What others than these callers were refused was so because of the block that is over. Theirs may be what
        brought it about, so that it stays refused, and their own pauses go on."""
        self._begin_anew()
        self.targets.keep(by)


def independent(one: str, other: str) -> bool:
    """Whether two tenants are witnesses of their own: whoever has a key may ask without it too."""
    return one != other and ANONYMOUS.id not in (one, other)


def sole_witness(tenants: Iterable[str]) -> str:
    """The one tenant on whose word all this rests; empty where two independent ones say so."""
    witness = ""
    for tenant in tenants:
        if witness and independent(witness, tenant):
            return ""
        if witness in ("", ANONYMOUS.id):
            witness = tenant
    return witness
