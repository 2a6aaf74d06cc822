"""Schedules: when a warming is due, and the targets that it wants."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cronsim import CronSim

from gateway.errors import ConfigurationError, Refusal
from gateway.jobs.wanted import MOST_BYTES, body_of, wanted
from gateway.setting_values import Warming, zone_of
from gateway.settings import Settings

JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due: cron's five fields, in a time zone. Times are in Unix seconds.

    Where clocks are put forward, what would be due in the hour that is left out is due at its end. Where they are
    put back, what is due at a given hour is due once, the first time.
    """

    cron: str
    zone: str

    def last(self, now: float) -> float | None:
        """When it was due last, ``now`` included; None where it has not been for fifty years."""
        # The library leaves a moment's own second out, unless a fraction of it has passed.
        moments = CronSim(self.cron, self._local(now).replace(microsecond=1), reverse=True)
        due = next((each.timestamp() for each in moments), None)
        # Looking back in an hour that comes the second time, it passes by what was due the first time.
        while due is not None and (later := self.following(due)) is not None and later <= now:
            due = later
        return due

    def following(self, now: float) -> float | None:
        """When it is due after ``now``."""
        # In an hour that comes the second time, the library begins with what was due the first time.
        moments = (each.timestamp() for each in CronSim(self.cron, self._local(now)))
        return next((each for each in moments if each > now), None)

    def _local(self, now: float) -> datetime:
        return datetime.fromtimestamp(int(now), zone_of(self.zone))


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A warming of the settings by its name, and when it is due."""

    name: str
    warming: Warming
    schedule: Schedule

    @property
    def mark(self) -> str:
        """Differs where the schedule does: a changed one begins anew."""
        return hashlib.sha256(repr(self.schedule).encode()).hexdigest()[:16]

    def job_id(self, due: float) -> str:
        """The id of the job for one run: the same in every process of a fleet."""
        return hashlib.sha256(f"{self.name} {self.mark} {due:.0f}".encode()).hexdigest()[:32]

    def about(self, due: float) -> str:
        """What a run is, in a line for people."""
        return f"warming {self.name}, due {datetime.fromtimestamp(due, UTC):%Y-%m-%d %H:%M} UTC"

    def targets(self) -> list[str]:
        """What is to be warmed; a file is read anew each time. Raises InvalidInput, BodyTooLarge, and
        ConfigurationError for a file that cannot be read."""
        if self.warming.template:
            document: Mapping[str, object] = {**self.warming.values, "template": self.warming.template}
            return wanted(msgspec.json.encode(document), JSON).targets
        try:
            with Path(self.warming.file).open("rb") as file:
                text = file.read(MOST_BYTES + 1).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{self.warming.file} cannot be read: {type(error).__name__}") from None
        return wanted(body_of(text), JSON).targets


def scheduled(settings: Settings) -> list[Scheduled]:
    """The warmings of the settings. Raises ConfigurationError for a template that stands for no targets."""
    found = []
    for name, warming in settings.warm.items():
        schedule = Schedule(warming.schedule or settings.warm_schedule, settings.warm_timezone)
        found.append(Scheduled(name, warming, schedule))
        if warming.template:
            _check(found[-1])
    return found


def _check(entry: Scheduled) -> None:
    try:
        entry.targets()
    except Refusal as error:
        raise ConfigurationError(f"warm.{entry.name}.template: {error.message}") from None
