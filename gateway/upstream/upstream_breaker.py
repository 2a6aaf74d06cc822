"""The circuit breaker for the service (the *gate*), and the evidence that closes it: this process's view. Pure.

It is closed while the service seems to block us (docs/decisions.md, 9). A refusal counts against its target first,
then against its caller or credential, and last against the service. The fleet's gate and evidence are in Redis
(``lua/gate.lua``, ``lua/evidence.lua``), by the same rules; without Redis, this process's decide. Times are
monotonic, in seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from gateway.errors import CallerPaused, GateClosed, Overload, QueryPaused, SlowedDown, TargetRefused
from gateway.tenants.tenant import ANONYMOUS
from gateway.upstream.credential_breaker import HELD, REFUSALS, PauseRules, Signal, SignalKind, trim
from gateway.upstream.flight import FlightRequest, Flow

ENOUGH = 3
"""Targets that are newly refused, with no answer between, before that counts against the service."""
TOLERATED = 2
"""Refusals in a row that cost their caller nothing."""
MOST_PAUSED = 1_000
MEMORY = 3_600.0
"""Seconds after a pause for which a refusal is remembered."""
ACTIVE = 600.0
"""Seconds after its last query for which a caller, or a credential, counts as active."""
MOST_ACTIVE = 16


class PauseKind(StrEnum):
    """What is paused: the target, the bearer (a credential, or a caller without one), or the caller."""

    TARGET = "target"
    BEARER = "bearer"
    CALLER = "caller"


PAUSES: dict[PauseKind, tuple[type[QueryPaused], str]] = {
    PauseKind.TARGET: (
        TargetRefused,
        "The service refused this query a moment ago; it will be asked again later.",
    ),
    PauseKind.BEARER: (SlowedDown, "The service asked for fewer requests; it will be asked again later."),
    PauseKind.CALLER: (CallerPaused, "The service refused several of your queries in a row; try again later."),
}


def paused_error(kind: PauseKind, seconds: float) -> QueryPaused:
    """The refusal of a query that is paused for ``seconds``."""
    error, message = PAUSES[kind]
    return error(message, retry_after=seconds)


def closed_error(seconds: float, *, held: bool) -> GateClosed:
    """The refusal of a query that would have to ask the service while the gate is closed."""
    if held:
        return GateClosed("The service is not asked for now, by decision of an operator.", retry_after=seconds)
    return GateClosed("The service seems to block the gateway; it will be asked again later.", retry_after=seconds)


class UpstreamBreaker:
    """Open, closed until a time, or half open: one probe is out, or may set out.

    Closing only ever extends; only the answer to a probe opens, since flights from before the block say nothing
    about whether it is over. ``held``: an operator keeps it closed, as far as is known; ``closings`` counts how
    often it was seen to close, ``why`` is the signal that did it last. ``evidence`` is this process's own, for
    when it has no other.
    """

    def __init__(self, rules: PauseRules) -> None:
        self.rules = rules
        self.evidence = Evidence(rules)
        self.held = False
        self.closings = 0
        self.why = ""
        self._until: float | None = None
        self._pause = 0.0
        self._level = 0
        self._by: tuple[str, ...] = ()
        self._alone = ""
        self._probe = 0
        self._probes = 0
        self._unreported = False

    def __repr__(self) -> str:
        state = "open" if self._until is None else f"closed until {self._until:.1f}"
        return f"<UpstreamBreaker {'held' if self.held else state}>"

    def closed_for(self, now: float) -> float:
        """Seconds for which nothing may be asked; 0 if the gate is open or waits for a probe."""
        return HELD if self.held else self._paused_for(now)

    def _paused_for(self, now: float) -> float:
        if self._until is None:
            return 0.0
        if now < self._until:
            return self._until - now
        return self.rules.shortest if self._probe else 0.0

    def unreported(self, now: float) -> float:
        """Seconds left of a closing that Redis does not know of; 0 if there is none."""
        return self._paused_for(now) if self._unreported else 0.0

    def update(self, now: float, remaining: float) -> None:
        """Take over the state of the fleet's gate, unless the fleet has yet to hear of a longer closing.

        ``remaining`` seconds are negative while it is held by hand.
        """
        self.held = remaining < 0
        if self._unreported and self._paused_for(now) > remaining:
            return
        self._unreported, self._probe = False, 0
        self.closings += self._until is None and remaining > 0
        self._until = now + remaining if remaining > 0 else None
        if remaining <= 0:
            self._level, self._by, self._alone = 0, (), ""

    def objection(self, now: float, request: FlightRequest) -> Overload | None:
        """The refusal of a query that may not be asked now; None if it may."""
        flow = request.flow
        self.evidence.note_active(now, flow)
        paused = self.evidence.paused(now, request)
        if paused is None:
            self._contest(now, flow.asker)
        closed = self.closed_for(now)
        if closed == 0 and paused is not None:
            kind, left = paused
            if kind is not PauseKind.CALLER or not self.evidence.may_try(now, request):
                return paused_error(kind, left)
        if closed == 0 and self.may_probe(now, flow.asker):
            return None
        return closed_error(max(closed, self.rules.shortest), held=self.held)

    def _contest(self, now: float, asker: str) -> None:
        """If only one tenant's evidence closed the gate, a caller who had no part in that makes it too little; and
        so is what another's probe may find."""
        if self._alone and asker not in self._by:
            self._probe = 0
            self._until = None if self._until is None else min(self._until, now)

    def may_probe(self, now: float, asker: str) -> bool:
        """Whether this caller's query may find out whether a block is over. Those who caused it leave that to the
        other active callers, for as long again as the pause was."""
        if self._until is None or asker not in self._by or now >= self._until + self._pause:
            return True
        return not self.evidence.others_than(now, self._by)

    def enter(self) -> int:
        """Let a local flight set out, if ``closed_for`` is 0; its number as the probe, 0 if the gate is open."""
        if self._until is None:
            return 0
        self._probes += 1
        self._probe = self._probes
        return self._probe

    def judge(self, now: float, signal: Signal, request: FlightRequest, *, probe: int = 0) -> bool:
        """Judge the signal of a flight whose landing Redis does not hear of; whether that closed the gate.

        An answer to its probe opens the gate. If one tenant's evidence alone closed it, so does an answer to
        anybody who had no part in that.
        """
        flow, kind = request.flow, signal.kind
        probes = probe != 0 and probe == self._probe
        if probes:
            self._probe = 0
        if kind in REFUSALS:
            closing = self.evidence.testify(now, signal, request)
            if closing is None and probes and kind is not SignalKind.RESET:
                closing = Closing({flow.tenant: flow.asker}, signal.retry_after)
            return closing is not None and self._close(now, closing, kind, probes)
        if kind is not SignalKind.NOTHING:
            answered = kind is SignalKind.ANSWERED
            self.evidence.clear(now, request, answered=answered)
            refuted = self._alone != "" and flow.asker not in self._by
            if answered and (probes or refuted):
                self._open()
        return False

    def _open(self) -> None:
        self.evidence.forget(self._by)
        self._until, self._level, self._by, self._alone, self._unreported = None, 0, (), "", False

    def _close(self, now: float, closing: Closing, why: SignalKind, probe: bool) -> bool:
        """Close, or extend the pause; whether it was open.

        Flights from before the closing extend the pause, but it does not grow with each of them. While there are
        others to probe, it grows only with the probe of a tenant's caller who had no part in it, and if two
        tenants say so.
        """
        by, opened = closing.by, self._until is None
        news = any(tenant != ANONYMOUS.id and asker not in self._by for tenant, asker in by.items())
        before = [self._alone] if self._alone else []
        self._alone = sole_witness([*before, *by]) if opened or before else ""
        callers = [asker for asker in self._by if asker not in by.values()] + list(by.values())
        self._by = tuple(callers[-MOST_ACTIVE:])
        if opened or (probe and ((news and not self._alone) or not self.evidence.others_than(now, self._by))):
            self._level += 1
        self.closings += opened
        until = now + self.rules.pause_of(max(1, self._level), closing.after)
        self._until = until if self._until is None else max(self._until, until)
        self._pause, self.why = self._until - now, why.value
        self._unreported, self._probe = True, 0
        return opened


@dataclass(slots=True)
class Pause:
    """``level`` refusals in a row, of which ``flow`` met the last. It began at ``since``, or let ``tried`` through
    then."""

    until: float
    level: int
    flow: Flow
    since: float
    tried: str = ""


class Pauses:
    """What is not asked for a while, by name: at most ``MOST_PAUSED``, those that end last."""

    def __init__(self, rules: PauseRules) -> None:
        self._rules = rules
        self._pauses: dict[str, Pause] = {}

    def left(self, name: str, now: float) -> float | None:
        """Seconds left, 0 once it is over; None if nothing was refused lately."""
        pause = self._pauses.get(name)
        return None if pause is None or pause.until < now - MEMORY else max(0.0, pause.until - now)

    def lasting(self, now: float) -> Iterator[tuple[str, float, Flow]]:
        """Name, seconds left, and the flow that met it last, of each pause that lasts."""
        for name, pause in self._pauses.items():
            if pause.until > now:
                yield name, pause.until - now, pause.flow

    def begin(self, name: str, flow: Flow, now: float, asked: float | None, free: int = 0) -> tuple[bool, float]:
        """Begin or extend a pause, of ``asked`` seconds if the service said so; whether it is new, and its length.

        The first ``free`` refusals cost none. Requests from before a pause do not make it grow.
        """
        left = self.left(name, now)
        level = 0 if left is None else self._pauses[name].level
        level += not left
        length = max(self._rules.pause_of(level - free, asked) if level > free else 0.0, left or 0.0)
        self._pauses[name] = Pause(now + length, level, flow, now)
        if left is None and len(self._pauses) > MOST_PAUSED:
            del self._pauses[min(self._pauses, key=lambda each: self._pauses[each].until)]
        return left is None, length

    def tries(self, name: str, target: str, now: float) -> bool:
        """Whether this target is let through in spite of the pause: one per length of a first pause."""
        pause = self._pauses.get(name)
        if pause is not None and pause.tried != target and now >= pause.since + self._rules.pause_of(1):
            pause.since, pause.tried = now, target
        return pause is not None and pause.tried == target

    def end(self, name: str) -> None:
        self._pauses.pop(name, None)

    def keep(self, askers: Collection[str]) -> None:
        """Forget the pauses that others than these callers met last."""
        self._pauses = {name: pause for name, pause in self._pauses.items() if pause.flow.asker in askers}


class Recent:
    """Names with the time at which each was last seen: the ``MOST_ACTIVE`` latest."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def note(self, name: str, now: float) -> None:
        if not name:
            return
        self._at.pop(name, None)
        self._at[name] = now
        trim(self._at, MOST_ACTIVE)

    def names(self, now: float) -> list[str]:
        return [name for name, at in self._at.items() if at > now - ACTIVE]


@dataclass(frozen=True, slots=True)
class Closing:
    """Evidence against the service itself, from these callers (by tenant); it asked for ``after`` seconds."""

    by: dict[str, str]
    after: float | None


class Evidence:
    """The refusals that one process met, and the callers that it saw lately."""

    def __init__(self, rules: PauseRules) -> None:
        self.targets, self.callers, self.bearers = (Pauses(rules) for _ in range(3))
        self._askers, self._credentials = Recent(), Recent()
        self._users: dict[str, Recent] = {}
        self._refused: dict[str, int] = {}
        self._provokers: dict[str, str] = {}

    def note_active(self, now: float, flow: Flow) -> None:
        """Note who asks, and with which credential."""
        self._askers.note(flow.asker, now)
        self._credentials.note(flow.credential, now)
        if flow.credential:
            self._users.setdefault(flow.credential, Recent()).note(flow.tenant, now)
            trim(self._users, MOST_PAUSED)

    def sole_user(self, now: float, flow: Flow) -> bool:
        """Whether no other tenant used the credential lately."""
        users = self._users.get(flow.credential)
        return users is None or all(name == flow.tenant for name in users.names(now))

    def paused(self, now: float, request: FlightRequest) -> tuple[PauseKind, float] | None:
        """What keeps this from being asked, and for how many seconds; None if nothing does."""
        for kind, left in (
            (PauseKind.TARGET, self.targets.left(request.target, now)),
            (PauseKind.BEARER, self.bearers.left(request.flow.bearer, now)),
            (PauseKind.CALLER, self.callers.left(request.flow.asker, now)),
        ):
            if left:
                return kind, left
        return None

    def may_try(self, now: float, request: FlightRequest) -> bool:
        """Whether a caller's pause lets this through: now and then one target that was never refused, so that a
        caller who met refused ones by chance is not stopped for long."""
        target = request.target
        return self.targets.left(target, now) is None and self.callers.tries(request.flow.asker, target, now)

    def others_than(self, now: float, askers: Collection[str]) -> bool:
        return any(name not in askers for name in self._askers.names(now))

    def testify(self, now: float, signal: Signal, request: FlightRequest) -> Closing | None:
        """Heed a refusal, a reset or a 429; evidence against the service itself, if it amounts to that."""
        flow = request.flow
        free = 1 if signal.kind is SignalKind.RESET else 0
        fresh, _ = self.targets.begin(request.target, flow, now, signal.retry_after, free)
        if signal.kind is SignalKind.LIMITED:
            return self._limited(now, signal, flow)
        if not fresh:
            return None
        self.callers.begin(flow.asker, flow, now, signal.retry_after, TOLERATED)
        self._refused[flow.tenant] = self._refused.get(flow.tenant, 0) + 1
        self._provokers[flow.tenant] = flow.asker
        two = any(independent(tenant, flow.tenant) for tenant in self._refused)
        if sum(self._refused.values()) < ENOUGH or not (two or not self.others_than(now, [flow.asker])):
            return None
        by = dict(self._provokers)
        self._begin_anew()
        return Closing(by, signal.retry_after)

    def _begin_anew(self) -> None:
        self._refused.clear()
        self._provokers.clear()

    def _limited(self, now: float, signal: Signal, flow: Flow) -> Closing | None:
        """A 429 is for its bearer. It is evidence against the service if another bearer got one and its pause
        lasts, or the same one that has no credential; if two callers are active, only from an independent tenant;
        and if only one credential is in use."""
        own, sole = flow.bearer, not self.others_than(now, [flow.asker])
        again = sole and not flow.credential and bool(self.bearers.left(own, now))
        _, longest = self.bearers.begin(own, flow, now, signal.retry_after)
        by = {flow.tenant: flow.asker}
        for name, left, other in self.bearers.lasting(now):
            if name != own and (sole or independent(other.tenant, flow.tenant)):
                again, longest = True, max(longest, left)
                by.setdefault(other.tenant, other.asker)
        if again:
            return Closing(by, longest)
        if sole and len(self._credentials.names(now)) <= 1:
            return Closing(by, signal.retry_after)
        return None

    def clear(self, now: float, request: FlightRequest, *, answered: bool) -> None:
        """The service itself spoke: earlier refusals were not about it, and an answer ends its query's pauses."""
        self._begin_anew()
        if answered:
            flow = request.flow
            self.targets.end(request.target)
            self.callers.end(flow.asker)
            if self.bearers.left(flow.bearer, now) == 0:
                self.bearers.end(flow.bearer)

    def forget(self, by: Collection[str]) -> None:
        """Forget what others than these callers were refused, as an effect of the block that is over. What these
        asked may have caused it: it stays refused, and their own pauses go on."""
        self._begin_anew()
        self.targets.keep(by)


def independent(one: str, other: str) -> bool:
    """Whether two tenants are independent witnesses: the holder of a key may ask without it too."""
    return one != other and ANONYMOUS.id not in (one, other)


def sole_witness(tenants: Iterable[str]) -> str:
    """The one tenant on whose evidence alone this rests; empty if two independent ones agree."""
    witness = ""
    for tenant in tenants:
        if witness and independent(witness, tenant):
            return ""
        if witness in ("", ANONYMOUS.id):
            witness = tenant
    return witness
