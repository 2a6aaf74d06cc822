"""``stats-gateway top``: the gateway, live on a terminal."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import httpx2 as httpx
import msgspec
import typer

from gateway.cli.options import (
    DEFAULT_URL,
    AdminUrl,
    AsJson,
    Commands,
    admin_client,
    ask_admin,
    examples,
    flag,
    print_json,
)
from gateway.errors import AdminRefused, AdminUnreachable, ConfigurationError, NoSuchRecord
from gateway.redis_url import masked_url

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.cli.screen import Seen

TIMEOUT_SECONDS = 5.0
USAGE_SECONDS = 10.0
"""Between two looks at the tenants' days: gateways report them every five seconds, and there may be thousands."""
EOF = b"\x04"
"""Ctrl-D, or a terminal that is gone."""
Wait = Callable[[float], bytes]
QUIT = (b"q", b"Q", EOF)
T = TypeVar("T")

app = Commands()


@app.command(epilog=examples("stats-gateway top --interval 5", "stats-gateway top --once"))
def top(
    interval: Annotated[
        float, typer.Option("--interval", "-n", metavar="SECONDS", min=0.5, max=3_600, help="Between two looks.")
    ] = 2.0,
    once: Annotated[bool, flag("--once", "Print what there is now, and end.")] = False,
    as_json: AsJson = False,
    admin_url: AdminUrl = DEFAULT_URL,
) -> None:
    """Watch the whole fleet, live; q or Ctrl-C ends it.

    It shows requests, hits, calls, latency, queue, gate and tenants. Where the output is no terminal, as with
    --once, it prints what there is now and ends.
    """
    if as_json:
        print_json(ask_admin(admin_url, "GET", "/api/overview"))
        return
    # Here, so that the small commands need not wait for it to load.
    from rich.console import Console

    console = Console(highlight=False)
    with admin_client(admin_url, TIMEOUT_SECONDS) as client:
        source = Source(admin_url, client)
        if once or not sys.stdout.isatty() or console.is_dumb_terminal:
            print_once(source, console)
        else:
            watch(source, console, interval)


class Source:
    """A running gateway, asked through one connection."""

    def __init__(self, url: str, client: httpx.Client) -> None:
        self._url = url
        self._client = client
        self._seen: Seen | None = None
        self._usage_at = 0.0

    def look(self) -> Seen:
        """The gateway's state now. Raises AdminRefused and AdminUnreachable."""
        from gateway.cli.screen import Day, Seen, Waiting
        from gateway.observe.overview import Overview

        before = self._seen
        try:
            overview = self._ask("/api/overview", Overview)
        except NoSuchRecord:
            raise AdminRefused("that gateway is older than this command: it has no overview") from None
        seen = self._seen = Seen(overview, [] if before is None else before.days)
        try:
            seen.waiting = self._ask("/api/queue", Waiting)
            if time.monotonic() - self._usage_at >= USAGE_SECONDS:
                day = overview.now.date().isoformat()
                rows = self._ask("/api/usage", dict[str, Any], first=day, last=day)["usage"]
                seen.days = self._read(rows, list[Day])
                self._usage_at = time.monotonic()
        except AdminRefused:
            pass  # while Redis is gone there is an overview all the same
        return seen

    def failed(self, error: ConfigurationError) -> Seen:
        """The state as it was last seen, with the error that hides the present one."""
        assert self._seen is not None
        what = "not reachable" if isinstance(error, AdminUnreachable) else "refused"
        self._seen.trouble = f"{what}, retrying: {error.message}"
        return self._seen

    def _ask(self, path: str, shape: type[T], **query: str | None) -> T:
        return self._read(ask_admin(self._url, "GET", path, query=query, client=self._client), shape)

    def _read(self, content: Any, shape: type[T]) -> T:
        try:
            return msgspec.convert(content, shape)
        except msgspec.ValidationError:
            raise AdminUnreachable(
                f"{masked_url(self._url)} answers, but not as this version's gateway does"
            ) from None


def print_once(source: Source, console: Console) -> None:
    """Prints one frame, as plain lines."""
    from gateway.cli.screen import frame

    for line in frame(source.look(), console.width, None, plain=console.options.ascii_only):
        console.print(line, soft_wrap=True)


def watch(source: Source, console: Console, interval: float) -> None:
    """Shows frames until q or Ctrl-C, and waits for a gateway that went away. Raises what the first look does."""
    from rich.live import Live

    def ended(*_: Any) -> None:
        raise KeyboardInterrupt

    seen = source.look()
    signal.signal(signal.SIGTERM, ended)
    try:
        # Redrawn oftener than asked, so that it follows a terminal that changes its size.
        with Live(seen, console=console, screen=True, refresh_per_second=4) as live, keyboard() as wait:
            while wait(interval) not in QUIT:
                try:
                    seen = source.look()
                except ConfigurationError as error:
                    seen = source.failed(error)
                live.update(seen, refresh=True)
    except KeyboardInterrupt:
        sys.exit(0)


@contextmanager
def keyboard() -> Iterator[Wait]:
    """A function that waits so many seconds for a key, without echo and Enter; it returns the key, or nothing."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield _only_wait
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def wait(seconds: float) -> bytes:
        ready, _, _ = select.select([terminal], [], [], seconds)
        return (os.read(terminal, 1) or EOF) if ready else b""

    try:
        tty.setcbreak(terminal)
        yield wait
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _only_wait(seconds: float) -> bytes:
    time.sleep(seconds)
    return b""
