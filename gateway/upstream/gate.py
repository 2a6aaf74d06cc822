"""Gate: closed while the service seems to block us (decision 9); this process's view of it. Pure.

The fleet's gate is in Redis (``lua/gate.lua``), by the same rules; without Redis, this one decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import GateClosed
from gateway.upstream.signs import RESETS, Kind, Sign

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


class Gate:
    """Open, closed until a time, or half open: one probe is out, or may set out. ``now`` is monotonic.

    Closing only ever extends; only the answer to a probe opens, since flights that set out before the block
    say nothing about whether it is over. ``held`` says that somebody keeps it closed by hand, as far as the
    fleet was last heard; ``closings`` counts how often it was seen to close.
    """

    def __init__(self, rules: GateRules) -> None:
        self.rules = rules
        self.held = False
        self.closings = 0
        self._until: float | None = None
        self._level = 0
        self._resets = 0
        self._probing = False
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
        return self.rules.shortest if self._probing else 0.0

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
        self._untold = self._probing = False
        self.closings += self._until is None and remaining > 0
        self._until = now + remaining if remaining > 0 else None
        if remaining <= 0:
            self._level = 0

    def enter(self) -> bool:
        """A local flight sets out, where ``closed_for`` is 0; whether as the probe."""
        self._probing = self._until is not None
        return self._probing

    def judge(self, now: float, sign: Sign, *, probe: bool = False) -> None:
        """What a local flight, or one whose landing Redis did not take, says about the gate."""
        probe = probe and self._probing
        self._probing = self._probing and not probe
        kind = self._counted(sign.kind)
        if kind is Kind.BLOCKED:
            self._close(now, sign.retry_after, probe)
        elif kind is Kind.ANSWERED and probe:
            self._until, self._level, self._untold = None, 0, False

    def _counted(self, kind: Kind) -> Kind:
        if kind is Kind.RESET:
            self._resets += 1
            return Kind.BLOCKED if self._resets >= RESETS else kind
        if kind is not Kind.NOTHING:
            self._resets = 0
        return kind

    def _close(self, now: float, retry_after: float | None, probe: bool) -> None:
        """Those who set out before it closed extend the pause, but it does not grow with each of them."""
        if probe or self._until is None:
            self._level += 1
        self.closings += self._until is None
        until = now + self.rules.pause_of(max(1, self._level), retry_after)
        self._until = until if self._until is None else max(self._until, until)
        self._untold, self._probing = True, False


def refusal(seconds: float, *, held: bool) -> GateClosed:
    """What those get who would have to ask while the gate is closed."""
    return GateClosed(ON_HOLD if held else BLOCKED, retry_after=seconds)
