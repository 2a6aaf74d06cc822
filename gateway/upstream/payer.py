"""Payer: whose turn of the budget a job takes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.tenants.tenant import Credential, Tenant

COST = 1_000
"""What a job costs at share 1."""


@dataclass(frozen=True, slots=True)
class Payer:
    """A tenant in the queue: its ``share`` (weight) beside others' 1, and how many jobs it may have ``queued``.

    None leaves that to the queue's own bound. ``caller`` is who asks where that is not the tenant as a whole: one
    of its keys, or one of the addresses without a key. ``credential`` is the fingerprint of the pair
    that is sent along, if any.
    """

    tenant: str
    share: float = 1.0
    queued: int | None = None
    caller: str = ""
    credential: str = ""

    @property
    def asker(self) -> str:
        """Whose refusals count together."""
        return self.caller or self.tenant

    @property
    def bearer(self) -> str:
        """Whom a 429 tells to slow down."""
        return self.credential or f"caller:{self.asker}"

    def target(self, question: str) -> str:
        """What a refusal is about first: the question as it goes with this credential, or without one."""
        return f"{self.credential}.{question}"

    @property
    def cost(self) -> int:
        """Thousandths of virtual time that a job takes (start-time fair queuing)."""
        return max(1, round(COST / self.share))

    def most(self, bound: int) -> int:
        """How many jobs may wait, where the queue itself bounds them too."""
        return bound if self.queued is None else min(bound, self.queued)


NOBODY = Payer("")
"""For whom nothing counts."""


def payer_of(tenant: Tenant, caller: str = "", credential: Credential | None = None) -> Payer:
    """The tenant as the queue knows it, for a query of this caller's that goes with a credential, or without."""
    limits = tenant.limits
    fingerprint = "" if credential is None else credential.fingerprint
    return Payer(tenant.id, limits.share, limits.queued, caller, fingerprint)
