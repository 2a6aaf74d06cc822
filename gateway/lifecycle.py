"""Lifecycle: the phase of life that this process is in."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Starting, running, or draining before the end."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"


class Lifecycle:
    """Read by the readiness route and by the proxy; moved on by the app's lifespan and by signals."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING

    def __repr__(self) -> str:
        return f"<Lifecycle {self.phase.value}>"

    @property
    def ready(self) -> bool:
        """Whether a load balancer should send requests here."""
        return self.phase is Phase.RUNNING

    @property
    def draining(self) -> bool:
        """Whether answers should ask for the connection to be closed."""
        return self.phase is Phase.DRAINING

    def started(self) -> None:
        """All parts run."""
        if self.phase is Phase.STARTING:
            self.phase = Phase.RUNNING

    def drain(self) -> None:
        """The end has been asked for."""
        self.phase = Phase.DRAINING
