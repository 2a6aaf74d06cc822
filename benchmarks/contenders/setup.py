"""Setup: what all contenders stand in front of, whom they know, and where they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from gateway.settings import load_settings
from gateway.tenants.registry import open_registry
from gateway.tenants.tenant import Pair, mint_key

ENOUGH_PER_SECOND = 1_000_000.0
"""A tenant's limit that nothing here reaches, so that limits are counted and nobody is refused."""
INSTITUTIONS = ("lboro", "monash", "melbourne")
TENANT = """\
[tenants.{name}.limits]
requests_per_second = {rate}
[tenants.{name}.institutions.{pair.institution}]
username = "{pair.username}"
password = "{sealed}"
[tenants.{name}.keys.{key.id}]
digest = "{key.stored}"
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """A tenant as a contender has to know it: its key in clear, and its pairs."""

    name: str
    key: str
    pairs: Sequence[Pair]


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long answers are good for, in seconds; the gateway's defaults. ``grace`` is for how long a stale one
    serves while it is refreshed, where a contender has one for all."""

    closed: float = 7 * 86_400
    open: float = 900
    totals: float = 600
    error: float = 600
    forbidden: float = 10
    grace: float = 900

    def divided(self, factor: float) -> Lifetimes:
        """In a time that passes so many times as fast; to the millisecond, since VCL reads few digits."""
        return Lifetimes(*(round(seconds / factor, 3) for seconds in astuple(self)))


@dataclass(frozen=True, slots=True)
class Setup:
    """``origin_port`` on loopback is the service. A contender runs on ``core``, or on any where that is None.

    ``settings`` are the gateway's own, on top of its contender's. ``today`` tells which windows are closed.
    """

    folder: Path
    origin_port: int
    holders: Sequence[Holder]
    core: int | None = None
    lifetimes: Lifetimes = Lifetimes()
    settings: Mapping[str, object] = field(default_factory=dict)
    today: date = field(default_factory=lambda: datetime.now(UTC).date())

    @property
    def registry(self) -> Path:
        """Where the gateway's tenants are."""
        return self.folder / "tenants.toml"


def pair_of(institution: str) -> Pair:
    """The pair that the sandbox, too, takes for one of its institutions."""
    return Pair(institution, institution, f"sandbox-{institution}")


def with_tenants(folder: Path, tenants: Mapping[str, Sequence[str]]) -> list[Holder]:
    """Makes a registry in the folder: tenants by name, each with the institutions that it holds pairs for.

    Each gets a key, and a limit that is counted and never reached.
    """
    registry = open_registry(load_settings(registry=str(folder / "tenants.toml")))
    holders = []
    for name, institutions in tenants.items():
        pairs = [pair_of(institution) for institution in institutions]
        registry.create(name, limits={"requests_per_second": ENOUGH_PER_SECOND})
        for pair in pairs:
            registry.put_credential(name, pair)
        holders.append(Holder(name, registry.add_key(name), pairs))
    return holders


def with_many_tenants(folder: Path, count: int) -> list[Holder]:
    """The same for so many tenants that hold one institution's pair, written at once: one by one, ten thousand
    would take an hour."""
    pair = pair_of(INSTITUTIONS[0])
    path = folder / "tenants.toml"
    sealed = open_registry(load_settings(registry=str(path))).keyring.vault_for_sealing().seal(pair.password)
    common = {"rate": ENOUGH_PER_SECOND, "pair": pair, "sealed": sealed}
    named = {f"tenant-{number}": mint_key() for number in range(count)}
    path.write_text("".join(TENANT.format(name=name, key=key, **common) for name, key in named.items()))
    return [Holder(name, key.text, [pair]) for name, key in named.items()]
