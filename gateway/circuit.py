"""Circuit: whether Redis is asked at all."""

from __future__ import annotations

RENEWAL_SECONDS = 1.0


class Circuit:
    """Closed while Redis answers. Open from the first silence until a trial has succeeded: nobody waits, nobody
    connects but the trial.

    ``epoch`` counts what made the connections that were there doubtful; a connection of an earlier one is
    not used again, and what it still does counts for nothing. ``errors`` counts failures, error replies included.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.epoch = 0
        self.opened = 0
        self.errors = 0
        self._renewed = float("-inf")
        self._closed = float("-inf")

    def __repr__(self) -> str:
        return f"<Circuit {'open' if self.is_open else 'closed'}, epoch {self.epoch}>"

    def lost(self, epoch: int) -> bool:
        """A connection of this epoch failed; whether that opened the circuit."""
        self.errors += 1
        if self.is_open or epoch != self.epoch:
            return False
        self.is_open = True
        self.epoch += 1
        self.opened += 1
        return True

    def answered(self, now: float) -> None:
        """A trial succeeded: all may ask again."""
        self.is_open = False
        self._closed = now

    def flapping(self, now: float) -> bool:
        """Whether the last trial's success was so short ago that the next trial had better wait."""
        return now - self._closed < RENEWAL_SECONDS

    def demoted(self, now: float) -> None:
        """A server refused to write. After a failover its name may lead to another, so connections are made
        anew, at most once a second."""
        if now - self._renewed >= RENEWAL_SECONDS:
            self._renewed = now
            self.epoch += 1
