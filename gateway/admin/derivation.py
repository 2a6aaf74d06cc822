"""The admin API's operations on derivation: how far each rule is trusted, and by which checks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gateway.admin.operations import Call, Operation, Parameter
from gateway.cache.keys import PUBLIC
from gateway.derivation.plans import RULES
from gateway.derivation.trust import Check, Trust
from gateway.derivation.trust_store import Place, TrustStore
from gateway.errors import InvalidInput, NoSuchRecord

NEEDED = {rule.name: rule.needed for rule in RULES}
DIGITS = frozenset("0123456789abcdef")


class DerivationApi:
    """Operations on the fleet's trust. ``now`` is the fleet's clock."""

    def __init__(self, store: TrustStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    @property
    def operations(self) -> list[Operation]:
        where = {
            "scope": Parameter("public, or a credential's fingerprint"),
            "institution": Parameter("the institution; outside of any if it is missing"),
        }
        one = where | {"subject": Parameter("what is trusted by itself, such as listed:views:article")}
        path, checks = "/api/derivation", "/api/derivation/checks"
        return [
            Operation("GET", path, "How far rules of derivation are trusted", self.trust),
            Operation("GET", checks, "The last checks, with both answers", self.checks, where, reveals=True),
            Operation("DELETE", path, "Forget one subject: it is untested again", self.forget, one, status=204),
        ]

    async def trust(self, _: Call) -> Any:
        now = self._now()
        places = await self._store.places()
        return {"places": [_place_view(place, await self._store.of(place, now)) for place in places]}

    async def checks(self, call: Call) -> Any:
        place = _place(call)
        found = await self._store.of(place, self._now())
        view = {subject: _checks_view(trust) for subject, trust in sorted(found.items())}
        return {"scope": place.scope, "institution": place.institution, "subjects": view}

    async def forget(self, call: Call) -> Any:
        place, subject = _place(call), call.query.get("subject", "")
        if subject not in await self._store.of(place, self._now()):
            raise NoSuchRecord("nothing is known of this subject there; see /api/derivation")
        call.facts.update(institution=place.institution, subject=subject)
        await self._store.forget(place, subject)


def _place(call: Call) -> Place:
    scope = call.query.get("scope", "")
    if scope != PUBLIC and (len(scope) != 64 or set(scope) - DIGITS):
        raise InvalidInput("scope must be public, or a fingerprint as in /api/derivation")
    return Place(scope, call.query.get("institution", ""))


def _place_view(place: Place, subjects: dict[str, Trust]) -> dict[str, Any]:
    view = [_trust_view(subject, trust) for subject, trust in sorted(subjects.items())]
    return {"scope": place.scope, "institution": place.institution, "subjects": view}


def _trust_view(subject: str, trust: Trust) -> dict[str, Any]:
    """What is known of a subject, without anybody's numbers. As many calls as ``agreed`` would have been saved."""
    rule = subject.partition(":")[0]
    return {
        "subject": subject,
        "rule": rule,
        "state": trust.state,
        "since": _moment(trust.since),
        "reason": trust.reason,
        "in_a_row": trust.row,
        "needed": NEEDED.get(rule),
        "kinds": trust.kinds,
        "agreed": trust.agreed,
        "checked": trust.checked,
        "in_doubt": len(trust.doubts),
        "last_checked": _moment(trust.checked_at),
    }


def _checks_view(trust: Trust) -> dict[str, Any]:
    return {
        "checks": [_check_view(check) for check in reversed(trust.checks)],
        "difference": None if trust.sample is None else _check_view(trust.sample),
    }


def _check_view(check: Check) -> dict[str, Any]:
    return {
        "question": check.question,
        "verdict": check.verdict,
        "at": _moment(check.at),
        "derived": check.derived.decode("utf-8", "replace"),
        "told": check.told.decode("utf-8", "replace"),
        "kind": check.kind,
    }


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
