"""``stats-gateway sandbox``: a stand-in for the statistics service, on a port of this machine."""

from __future__ import annotations

import re

import typer

from gateway.cli.options import Commands
from gateway.cli.options import examples as example_lines
from gateway.errors import ConfigurationError

RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)/s")

app = Commands()


@app.command(
    epilog=example_lines("stats-gateway sandbox --rate 1/s", "stats-gateway sandbox --latency 2 --fail 0.1")
)
def sandbox(
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
    examples: bool = typer.Option(
        True, "--examples/--no-examples", help="Answer the documented examples word for word."
    ),
) -> None:
    """Stand in for the statistics service, for trying and testing.

    Answers every endpoint from an invented but consistent world.
    The institutions lboro, monash and melbourne take their name as the
    username and sandbox-NAME as the password.

    GET /-/calls tells how often the sandbox was asked, and DELETE /-/calls
    starts counting again. Ctrl-C stops it.
    """
    # Here, so that the other commands need not wait for it to load.
    from gateway.sandbox import create_sandbox
    from gateway.sandbox.app import bind, run, url_of
    from gateway.sandbox.service import INSTITUTIONS, password_of

    try:
        service = create_sandbox(seed=seed, latency=latency, rate=_per_second(rate), fail=fail, examples=examples)
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
