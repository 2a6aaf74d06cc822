"""Verdicts: what *explain* found, in a headline and a reason. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gateway.cache.lifetimes import CHANGED
from gateway.console.web.served import span

SERVED = "It would be served from the cache"
STALE = "It would be served from the cache, as stale"
ASKED = "The service would be asked"
REFUSED = "It would be refused"
FAILED = "It could not be answered now"


KINDS = {SERVED: "good", STALE: "warn", REFUSED: "bad", FAILED: "bad"}


class Verdict(NamedTuple):
    """What would become of a request, and why."""

    headline: str
    reason: str

    @property
    def kind(self) -> str:
        """How good it is, as a class of the style sheet."""
        return KINDS.get(self.headline, "")


def verdict_of(told: Mapping[str, Any]) -> Verdict:
    """The verdict on what the operation answered."""
    decision = told["decision"]
    if decision == "Refuse":
        return Verdict(REFUSED, _sentence(told["why"]))
    withheld = told["credential_withheld_for"]
    if withheld is not None and told["query"]["protected"]:
        if withheld > 0:
            return Verdict(
                "It would be refused", f"The service refuses this credential; tried again in {span(withheld)}."
            )
        return Verdict(
            "The service would be asked", "It refused this credential before, and is to be tried again."
        )
    match decision:
        case "Serve":
            return Verdict("It would be served from the cache", _fresh(told))
        case "ServeAndRefresh":
            return Verdict(
                "It would be served from the cache, as stale",
                "Meanwhile the service is asked for a fresher answer.",
            )
    return _asking(told)


def _fresh(told: Mapping[str, Any]) -> str:
    entry, error = told["entry"], told["error_record"]
    if error is not None and error["fresh_for"] > 0 and (entry is None or entry["fetched"] <= error["fetched"]):
        left = span(error["fresh_for"])
        if error["rule"] == CHANGED:
            return f"The service took to another shape of answer; this one is kept for another {left}."
        return f"The service's own error {error['status']} is remembered for another {left}."
    if entry is None:
        return "What is stored is fresh."
    return f"What is stored is fresh for another {span(entry['fresh_for'])}; nothing is asked of the service."


def _asking(told: Mapping[str, Any]) -> Verdict:
    closed, entry = told["gate_closed_for"], told["entry"]
    if closed > 0 and entry is not None and entry["stands_in_for_failures_for"] > 0 and not told["purged"]:
        return Verdict(STALE, f"The gate is closed for {span(closed)}.")
    if closed > 0:
        return Verdict(
            "It could not be answered now", f"The gate is closed for {span(closed)}, and nothing stored helps."
        )
    if told["decision"] == "Revalidate":
        return Verdict(ASKED, "Only whether what is stored still holds.")
    if entry is None:
        return Verdict(ASKED, "Nothing is stored that answers it.")
    return Verdict(ASKED, "What is stored is too old, or was purged.")


def _sentence(text: str) -> str:
    whole = text[:1].upper() + text[1:]
    return whole if whole.endswith((".", "?")) else whole + "."
