"""TrustBook: the fleet's trust as one process knows it, at most a second old, and what it reports of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

import structlog

from gateway.derivation.trust import State, Trust
from gateway.derivation.trust_store import Place, Subjects, TrustStore

log = structlog.get_logger("gateway")

FRESH_SECONDS = 1.0
MOST_PLACES = 1_000
Report = Callable[[str, str], object]
"""Called with the name of a rule, and what a check of it came to."""


class TrustBook:
    """Reads and changes the fleet's trust. ``now`` is the fleet's clock, in seconds since the epoch; ``report`` is
    called for each check that this process makes.

    What this process finds out counts for it at once; for the others within a second.
    """

    def __init__(self, store: TrustStore, now: Callable[[], float], report: Report) -> None:
        self.store = store
        self.now = now
        self._report = report
        self._known: dict[Place, tuple[float, Subjects]] = {}
        self._reading: dict[Place, asyncio.Task[Subjects]] = {}

    def __repr__(self) -> str:
        return f"<TrustBook {len(self._known)} places>"

    async def of(self, place: Place) -> Subjects:
        """What is trusted at a place, by subject. Raises CacheUnavailable: then there is no trust."""
        read_at, subjects = self._known.get(place, (-FRESH_SECONDS, {}))
        if monotonic() - read_at < FRESH_SECONDS:
            return subjects
        reading = self._reading.get(place)
        if reading is None:
            reading = self._reading[place] = asyncio.create_task(self._read(place))
            reading.add_done_callback(lambda _: self._reading.pop(place, None))
        return await asyncio.shield(reading)

    async def change(self, place: Place, subject: str, change: Callable[[Trust], Trust]) -> Trust | None:
        """The trust in a subject after a change, as ``TrustStore.change``. Raises CacheUnavailable."""
        befores: list[Trust] = []

        def noted(before: Trust) -> Trust:
            befores.append(before)
            return change(before)

        after = await self.store.change(place, subject, noted, self.now())
        if after is not None:
            known = self._known.get(place)
            if known is not None:
                known[1][subject] = after
            self._tell(place, subject, befores[-1], after)
        return after

    async def _read(self, place: Place) -> Subjects:
        at = monotonic()
        subjects = await self.store.of(place, self.now())
        if len(self._known) >= MOST_PLACES:
            self._known.clear()
        self._known[place] = (at, subjects)
        return subjects

    def _tell(self, place: Place, subject: str, before: Trust, after: Trust) -> None:
        rule = subject.partition(":")[0]
        agreed, checked = after.agreed - before.agreed, after.checked - before.checked
        doubtful = sum(doubt not in before.doubts for doubt in after.doubts)
        for result, many in (("equal", agreed), ("different", checked - agreed), ("doubtful", doubtful)):
            for _ in range(many):
                self._report(rule, result)
        if after.state is not before.state:
            write = log.warning if after.state is State.SUSPENDED else log.info
            sample = after.sample.question if after.state is State.SUSPENDED and after.sample else ""
            facts = {"institution": place.institution, "subject": subject, "state": after.state.value}
            write("derivation_trust", **facts, reason=after.reason, sample=sample)
