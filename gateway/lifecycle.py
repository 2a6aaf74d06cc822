"""Lifecycle: the phase of life that this process is in."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Starting, running, or draining before the end."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"


class Lifecycle:
    """Read by the readiness route and by the proxy; moved on by the app's lifespan and by signals.

    ``draining`` says whether answers should ask for the connection to be closed. ``refused`` counts connections
    beyond the listeners' limits, ``exhausted`` the looks, a sample, at which no file could be opened.
    """

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.draining = False  # the phase once more, since each request looks at it
        self.refused = 0
        self.exhausted = 0

    def __repr__(self) -> str:
        return f"<Lifecycle {self.phase.value}>"

    @property
    def ready(self) -> bool:
        """Whether a load balancer should send requests here."""
        return self.phase is Phase.RUNNING

    def started(self) -> None:
        """All parts run."""
        if self.phase is Phase.STARTING:
            self.phase = Phase.RUNNING

    def drain(self) -> None:
        """The end has been asked for."""
        self.phase, self.draining = Phase.DRAINING, True
