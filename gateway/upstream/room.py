"""Room: whose turn is next without Redis, and who gives way where it is full; the rules of room.lua. Pure."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

from gateway.upstream.flight import Band, Flight, Payer


@dataclass(frozen=True, slots=True)
class Place:
    """Who pays for a flight, and its turn: a start tag (start-time fair queuing); among equals a tenant that had
    no turn to wait for goes first, then by arrival."""

    payer: Payer
    start: int
    newcomer: bool
    number: int


class Room:
    """The flights of a process that wait for their turns, at most ``most`` of them."""

    def __init__(self, most: int, most_per_tenant: int) -> None:
        self._most = most
        self._most_per_tenant = most_per_tenant
        self._places: dict[Flight, Place] = {}
        self._finish: Counter[str] = Counter()
        self._virtual = 0
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._places)

    def enter(self, flight: Flight) -> None:
        """It waits for its turn from now on."""
        self._charge(flight, flight.payer)

    def leave(self, flight: Flight) -> None:
        """It waits no more, if it did, and its tenant is not charged for it."""
        if place := self._places.pop(flight, None):
            self._finish[place.payer.tenant] -= place.payer.cost
            self._tidy()

    def next(self) -> Flight | None:
        """The flight whose turn it is, which waits no more then."""
        flight = min(self._places, key=self._turn, default=None)
        if flight is not None:
            self._virtual = self._places.pop(flight).start
            self._tidy()
        return flight

    def rank(self, flight: Flight) -> int:
        """How many go before it."""
        if flight not in self._places:
            return 0
        turn = self._turn(flight)
        return sum(self._turn(other) < turn for other in self._places)

    def pointless(self) -> list[Flight]:
        """Those whose answers would be for nobody."""
        return [flight for flight in self._places if flight.pointless]

    def ahead_of(self, tenant: str) -> int:
        """How many go before a tenant's next one."""
        last = self._last(tenant)
        return len(self) if last is None else self.rank(last) + 1

    def loser(self, flight: Flight, flying: int) -> Flight | None:
        """Who gives way so that this one may wait, beside so many that fly: itself where nobody else does; None
        where there is room."""
        payer, band = flight.payer, flight.band
        if self._count(payer.tenant) >= payer.most(self._most_per_tenant):
            return self._behind(band, payer.tenant) or flight
        queued = len(self) + flying
        if band is Band.REFRESH and queued * 2 >= self._most:
            return flight
        if queued < self._most:
            return None
        return self._behind(band) or (band is Band.PEOPLE and self._heaviest_last(payer)) or flight

    def _heaviest_last(self, payer: Payer) -> Flight | None:
        """The last one of the tenant that has the most by its share, but nobody's only one; None where this tenant
        has some already, and would have the most. Where another tenant waits for it too, that one is charged for
        it instead, and the next is looked for."""
        mine = self._count(payer.tenant)
        while (heaviest := self._heaviest()) is not None:
            most, load = heaviest
            last = self._last(most)
            if last is None or (mine and (mine + 1) * payer.cost >= load):
                return None
            heir = next((other for other in last.others.values() if other.tenant != most), None)
            if heir is None:
                return last
            del last.others[heir.tenant]
            self.leave(last)
            self._charge(last, heir)
        return None

    def _heaviest(self) -> tuple[str, int] | None:
        """Of those with more than one, the tenant whose flights together cost the most, and what they cost."""
        jobs, loads = Counter[str](), Counter[str]()
        for place in self._places.values():
            jobs[place.payer.tenant] += 1
            loads[place.payer.tenant] += place.payer.cost
        several = (tenant for tenant, count in jobs.items() if count > 1)
        most = max(several, key=lambda tenant: (loads[tenant], tenant), default=None)
        return None if most is None else (most, loads[most])

    def _count(self, tenant: str) -> int:
        return sum(place.payer.tenant == tenant for place in self._places.values())

    def _behind(self, band: Band, tenant: str | None = None) -> Flight | None:
        """The last one of all, or of a tenant's, where it goes behind this band."""
        last = self._last(tenant)
        return None if last is None or self._band(last) <= band else last

    def _charge(self, flight: Flight, payer: Payer) -> None:
        finish = self._finish[payer.tenant]
        start = max(self._virtual, finish)
        self._finish[payer.tenant] = start + payer.cost
        self._places[flight] = Place(payer, start, finish <= self._virtual, next(self._arrivals))

    def _tidy(self) -> None:
        if not self._places:
            self._virtual = 0
            self._finish.clear()

    def _last(self, tenant: str | None) -> Flight | None:
        places = self._places
        theirs = [each for each in places if tenant is None or places[each].payer.tenant == tenant]
        return max(theirs, key=self._turn, default=None)

    def _band(self, flight: Flight) -> Band:
        if flight.band is Band.PEOPLE and flight.deserted:
            return Band.LEFT
        return flight.band

    def _turn(self, flight: Flight) -> tuple[Band, int, bool, int]:
        place = self._places[flight]
        return self._band(flight), place.start, not place.newcomer, place.number
