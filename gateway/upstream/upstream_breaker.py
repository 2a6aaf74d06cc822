"""Gate: closed while the service seems to block us (decision 9); this process's view of it. Pure.

The fleet's gate is in Redis (``lua/gate.lua``), by the same rules; without Redis, this one decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import CallerPaused, GateClosed, Overload, QueryPaused, SlowedDown, TargetRefused
from gateway.tenants.tenant import ANONYMOUS
from gateway.upstream.credential_breaker import REFUSALS, Kind, Sign
from gateway.upstream.evidence import MOST_ACTIVE, Closing, Evidence, Why, sole_witness
from gateway.upstream.flight import Payer

MICRO = 1e-6
HELD = 60.0
"""Seconds after which those may ask again who come while it is held by hand; as in gate.lua."""
STEEPEST = 30
"""Doublings of a pause; keeps the arithmetic finite."""


@dataclass(frozen=True, slots=True)
class GateRules:
    """Seconds: the first pause without ``Retry-After``, and the bounds of every pause.

    ``shortest`` is also what those are told who come while the probe is out.
    """

    pause: float = 5.0
    longest: float = 900.0
    shortest: float = 1.0

    @property
    def arguments(self) -> tuple[int, int, int]:
        """Pause and bounds in microseconds, as the scripts take them."""
        return round(self.pause / MICRO), round(self.longest / MICRO), round(self.shortest / MICRO)

    def pause_of(self, level: int, retry_after: float | None) -> float:
        """The pause after the ``level``-th block in a row, as long as it asks for where it does."""
        wanted = self.pause * 2 ** min(level - 1, STEEPEST) if retry_after is None else retry_after
        return min(max(wanted, self.shortest), self.longest)


BLOCKED = "The service seems to block the gateway; it will be asked again later."
ON_HOLD = "The service is not asked for now, by decision of an operator."


PAUSES: dict[Why, tuple[type[QueryPaused], str]] = {
    Why.TARGET: (TargetRefused, "The service refused this query a moment ago; it will be asked again later."),
    Why.BEARER: (SlowedDown, "The service asked for fewer requests; it will be asked again later."),
    Why.CALLER: (CallerPaused, "The service refused several of your queries in a row; try again later."),
}


class Gate:
    """Open, closed until a time, or half open: one probe is out, or may set out. ``now`` is monotonic.

    Closing only ever extends; only the answer to a probe opens, since flights that set out before the block
    say nothing about whether it is over. ``held`` says that somebody keeps it closed by hand, as far as the
    fleet was last heard; ``closings`` counts how often it was seen to close, ``why`` is the sign that did it last.
    ``evidence`` is this process's own, for when it has no other.
    """

    def __init__(self, rules: GateRules) -> None:
        self.rules = rules
        self.evidence = Evidence(rules.pause_of)
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
        self._untold = False

    def __repr__(self) -> str:
        state = "open" if self._until is None else f"closed until {self._until:.1f}"
        return f"<Gate {'held' if self.held else state}>"

    def closed_for(self, now: float) -> float:
        """Seconds for which nothing may be asked; 0 where the gate is open or waits for somebody to probe."""
        return HELD if self.held else self._paused_for(now)

    def _paused_for(self, now: float) -> float:
        if self._until is None:
            return 0.0
        if now < self._until:
            return self._until - now
        return self.rules.shortest if self._probe else 0.0

    def untold(self, now: float) -> float:
        """Seconds that remain of a closing that Redis knows nothing of; 0 if there is none."""
        return self._paused_for(now) if self._untold else 0.0

    def told(self, now: float, remaining: float) -> None:
        """What the fleet's gate says goes, but for a closing that the fleet has yet to hear of.

        ``remaining`` seconds are negative while it is held by hand.
        """
        self.held = remaining < 0
        if self._untold and self._paused_for(now) > remaining:
            return
        self._untold, self._probe = False, 0
        self.closings += self._until is None and remaining > 0
        self._until = now + remaining if remaining > 0 else None
        if remaining <= 0:
            self._level, self._by, self._alone = 0, (), ""

    def objection(self, now: float, payer: Payer, question: str) -> Overload | None:
        """What somebody gets who may not ask this now; None where it may be asked."""
        self.evidence.asks(now, payer)
        target = payer.target(question)
        paused = self.evidence.paused(now, payer, target)
        if paused is None:
            self._contest(now, payer.asker)
        closed = self.closed_for(now)
        if closed == 0 and paused is not None:
            why, left = paused
            if why is not Why.CALLER or not self.evidence.may_try(now, payer, target):
                return held_back(why, left)
        if closed == 0 and self.may_probe(now, payer.asker):
            return None
        return refusal(max(closed, self.rules.shortest), held=self.held)

    def _contest(self, now: float, asker: str) -> None:
        """Where the gate was closed on one tenant's word alone, the coming of somebody who had no part in that
        makes it too little; and what another's probe may find, too."""
        if self._alone and asker not in self._by:
            self._probe = 0
            self._until = None if self._until is None else min(self._until, now)

    def may_probe(self, now: float, asker: str) -> bool:
        """Whether this caller's query may find out whether a block is over. Whoever brought it about leaves that
        to the others who are active, for as long again as the pause was."""
        if self._until is None or asker not in self._by or now >= self._until + self._pause:
            return True
        return not self.evidence.others_than(now, self._by)

    def enter(self) -> int:
        """A local flight sets out, where ``closed_for`` is 0; its number as the probe, 0 where it is open."""
        if self._until is None:
            return 0
        self._probes += 1
        self._probe = self._probes
        return self._probe

    def judge(self, now: float, sign: Sign, payer: Payer, question: str, *, probe: int = 0) -> bool:
        """What a local flight, or one whose landing Redis did not take, says about the gate; whether that closed
        it.

        An answer to its probe opens it, and where it is closed on one tenant's word alone, one to anybody who had
        no part in that.
        """
        target = payer.target(question)
        probes = probe != 0 and probe == self._probe
        if probes:
            self._probe = 0
        if sign.kind in REFUSALS:
            closing = self.evidence.testify(now, sign, payer, target)
            if closing is None and probes and sign.kind is not Kind.RESET:
                closing = Closing({payer.tenant: payer.asker}, sign.retry_after)
            return closing is not None and self._close(now, closing, sign.kind, probes)
        if sign.kind is not Kind.NOTHING:
            self.evidence.heard(now, payer, target, answered=sign.kind is Kind.ANSWERED)
            refuted = self._alone != "" and payer.asker not in self._by
            if sign.kind is Kind.ANSWERED and (probes or refuted):
                self._open()
        return False

    def _open(self) -> None:
        self.evidence.forget(self._by)
        self._until, self._level, self._by, self._alone, self._untold = None, 0, (), "", False

    def _close(self, now: float, closing: Closing, why: Kind, probe: bool) -> bool:
        """Those who set out before it closed extend the pause, but it does not grow with each of them. While there
        are others to probe, it grows only with the probe of a tenant's caller who had no part in it, and where two
        tenants say so."""
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
        self._untold, self._probe = True, 0
        return opened


def refusal(seconds: float, *, held: bool) -> GateClosed:
    """What those get who would have to ask while the gate is closed."""
    return GateClosed(ON_HOLD if held else BLOCKED, retry_after=seconds)


def held_back(why: Why, seconds: float) -> QueryPaused:
    """What those get who ask for what is paused."""
    error, message = PAUSES[why]
    return error(message, retry_after=seconds)
