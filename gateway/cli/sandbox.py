"""``stats-gateway sandbox``: a stand-in for the statistics service, on a port of this machine."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from gateway.cli.options import Commands, examples, option
from gateway.errors import ConfigurationError

RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)/s")

app = Commands()


HABITS = "Habits of the service"


@dataclass(frozen=True)
class HabitOptions:
    """The fields of ``gateway.sandbox.Habits``, which is not imported before it is needed."""

    examples: bool = typer.Option(
        True,
        "--examples/--no-examples",
        help="Answer the documented examples word for word.",
        rich_help_panel=HABITS,
    )
    items: Annotated[int, option("--items", "N", "Articles in each institution.", panel=HABITS)] = 400
    order: Annotated[str, option("--order", "ORDER", "Order of keys: rank, time or arbitrary.", panel=HABITS)] = (
        "rank"
    )
    count_limit: Annotated[
        int | None,
        option("--count-limit", "N", "The most that a top lists, whatever is asked for.", panel=HABITS),
    ] = None
    top_error: Annotated[
        float,
        option("--top-error", "FRACTION", "Share of a top, the lowest, whose numbers are too low.", panel=HABITS),
    ] = 0.0
    lag: Annotated[
        int, option("--lag", "DAYS", "The latest days that totals count, and nothing else does.", panel=HABITS)
    ] = 0
    zone: Annotated[str, option("--zone", "NAME", "Time zone in which a day begins and ends.", panel=HABITS)] = (
        "UTC"
    )
    revise: Annotated[
        float,
        option("--revise", "FRACTION", "Share of past events that is missing, another every day.", panel=HABITS),
    ] = 0.0
    empty: Annotated[
        str | None, option("--empty", "TEXT", "What stands for nothing: null or {}.", panel=HABITS)
    ] = None


@app.command(
    epilog=examples(
        "stats-gateway sandbox --rate 1/s",
        "stats-gateway sandbox --latency 2 --fail 0.1",
        "stats-gateway sandbox --items 20000 --order arbitrary --top-error 0.1",
    )
)
def sandbox(
    habits: HabitOptions,
    host: str = typer.Option("127.0.0.1", metavar="ADDRESS", help="Address to listen on."),
    port: int = typer.Option(
        9100, min=0, max=65_535, metavar="PORT", help="Port to listen on; 0 takes a free one."
    ),
    seed: int = typer.Option(1, min=0, metavar="N", help="Which invented world to answer from."),
    latency: float = typer.Option(0.0, min=0, max=3_600, metavar="SECONDS", help="How long every answer takes."),
    rate: str | None = typer.Option(
        None, metavar="N/s", help="Be strict: calls that come faster get 429 with Retry-After."
    ),
    fail: float = typer.Option(
        0.0, min=0, max=1, metavar="FRACTION", help="Share of calls that get 500, 503, silence or HTML 403."
    ),
) -> None:
    """Stand in for the statistics service, for trying and testing.

    Answers every endpoint from an invented but consistent world.
    The institutions lboro, monash and melbourne take their name as the
    username and sandbox-NAME as the password.

    GET /-/calls says how often the sandbox was asked, and DELETE /-/calls
    starts counting again. Ctrl-C stops it.
    """
    # Here, so that the other commands need not wait for it to load.
    from gateway.sandbox import Habits, create_sandbox
    from gateway.sandbox.app import bind, run, url_of
    from gateway.sandbox.service import INSTITUTIONS, password_of

    try:
        known = Habits(**asdict(habits))
        service = create_sandbox(seed=seed, latency=latency, rate=_per_second(rate), fail=fail, habits=known)
    except ValueError as error:
        raise ConfigurationError(f"sandbox: {error}") from None
    try:
        listener = bind(host, port)
    except OSError as error:
        # socket.create_server appends the address, which the line has already said
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise ConfigurationError(f"cannot listen on {host} port {port}: {reason}") from None
    pairs = ", ".join(f"{name}:{password_of(name)}" for name in INSTITUTIONS)
    line = f"sandbox listening on {url_of(listener)} (seed {seed}; pairs {pairs}; Ctrl-C stops)"
    run(service, listener, lambda: print(line, flush=True))


def _per_second(rate: str | None) -> float | None:
    if rate is None:
        return None
    found = RATE.fullmatch(rate)
    if found is None:
        raise ConfigurationError(f"--rate must be like 1/s or 0.5/s, not {rate!r}")
    return float(found[1])
