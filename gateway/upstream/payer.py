"""Payer: whose turn of the budget a job takes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.tenants.tenant import Tenant

COST = 1_000
"""What a job costs at share 1."""


@dataclass(frozen=True, slots=True)
class Payer:
    """A tenant in the queue: its ``share`` (weight) beside others' 1, and how many jobs it may have ``queued``.

    None leaves that to the queue's own bound.
    """

    tenant: str
    share: float = 1.0
    queued: int | None = None

    @property
    def cost(self) -> int:
        """Thousandths of virtual time that a job takes (start-time fair queuing)."""
        return max(1, round(COST / self.share))

    def most(self, bound: int) -> int:
        """How many jobs may wait, where the queue itself bounds them too."""
        return bound if self.queued is None else min(bound, self.queued)


def payer_of(tenant: Tenant) -> Payer:
    """The tenant as the queue knows it."""
    return Payer(tenant.id, tenant.limits.share, tenant.limits.queued)
