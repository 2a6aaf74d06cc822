"""``stats-gateway report``: a table of counters for many items, made by a running gateway."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import httpx2 as httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.cli.batch import DEFAULT_GATEWAY, JOB_ID, RETRIES, SOME_FAILED, Connection, GatewayUrl
from gateway.cli.format import ago
from gateway.cli.options import Commands, describe_error, examples, flag, note, option, print_json
from gateway.errors import ConfigurationError
from gateway.jobs.ids import MOST_PROBLEMS, read_ids

PAUSED = 4
"""The exit code where the report pauses, as it would make more calls than it may."""
FORMATS = ("csv", "json", "xlsx")
WHAT, HOW = "What is reported", "How it is made"

app = Commands()


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be reported, as it is typed."""

    institution: Annotated[str, option("--institution", "NAME", "The institution of the items.", WHAT)] = ""
    item: Annotated[str, option("--item", "KIND", "article, author, collection, group or project.", WHAT)] = (
        "article"
    )
    ids: Annotated[Path | None, option("--ids", "FILE", "CSV with their ids; - reads what is typed.", WHAT)] = None
    id_column: Annotated[str | None, option("--id-column", "NAME", "The column; else the first.", WHAT)] = None
    everything: Annotated[bool, flag("--all", "All items that the service's rankings list.", WHAT)] = False
    counters: Annotated[str, option("--counters", "NAMES", "views, downloads, shares.", WHAT)] = "views"
    by: Annotated[str, option("--by", "PERIOD", "total, year, month or day: a column each.", WHAT)] = "total"
    first: Annotated[str | None, option("--from", "DATE", "2025, 2025-01 or 2025-01-31.", WHAT)] = None
    last: Annotated[str | None, option("--to", "DATE", "As --from; its last day counts.", WHAT)] = None
    method: Annotated[str, option("--method", "METHOD", "auto, ranking or each.", HOW)] = "auto"

    def order(self) -> dict[str, Any]:
        """The order for the gateway; what was not read as it is written goes to stderr. Raises
        ConfigurationError."""
        if not self.institution or (self.ids is None) != self.everything:
            raise ConfigurationError("report needs --institution, and either --ids FILE or --all; or --resume JOB")
        counters = [each.strip() for each in self.counters.split(",") if each.strip()]
        dates = {name: date for name, date in (("from", self.first), ("to", self.last)) if date is not None}
        wish = {"institution": self.institution, "item": self.item, "counters": counters, "by": self.by}
        return wish | dates | {"method": self.method, "ids": "all" if self.ids is None else self._ids(self.ids)}

    def _ids(self, file: Path) -> list[int]:
        try:
            found = read_ids(sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes(), self.id_column)
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be read: {type(error).__name__}") from None
        more = len(found.notes) - MOST_PROBLEMS
        for each in [*found.notes[:MOST_PROBLEMS], *([f"and {more} more such lines"] if more > 0 else [])]:
            note(f"{file}: {each}")
        if not found.ids:
            raise ConfigurationError(f"{file} holds no ids")
        return list(found.ids)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the report goes, and in which form."""

    output: Annotated[Path | None, option("--output", "FILE", "Where the report goes, else to stdout.")] = None
    format: Annotated[
        str | None, option("--format", "FORMAT", "csv, json or xlsx; else by the file's name, else csv.")
    ] = None

    @property
    def form(self) -> str:
        """The format's name. Raises ConfigurationError for what cannot be written, before anything is asked."""
        ending = self.output.suffix.lower().removeprefix(".") if self.output else ""
        form = self.format or (ending if ending in FORMATS else "csv")
        if form not in FORMATS:
            raise ConfigurationError(f"--format is one of {', '.join(FORMATS)}")
        if self.output is None and form == "xlsx":
            raise ConfigurationError("a workbook needs --output FILE")
        if self.output is not None and self.output.is_dir():
            raise ConfigurationError(f"{self.output} is a folder; name a file in it")
        if self.output is not None and not self.output.absolute().parent.is_dir():
            raise ConfigurationError(f"there is no folder {self.output.absolute().parent}")
        return form

    def words(self) -> str:
        """The options that say the same."""
        output = "" if self.output is None else f" --output {quote(str(self.output))}"
        return output + ("" if self.format is None else f" --format {self.format}")


@app.command(
    epilog=examples(
        "stats-gateway report --institution lboro --ids ids.csv --output report.csv",
        "stats-gateway report --institution lboro --all --counters views,shares \\\n"
        "    --by month --from 2025-01 --to 2025-12 --output report.xlsx",
        "stats-gateway report --institution lboro --all --counters views --dry-run",
        "stats-gateway report --resume 3f0c… --output report.csv",
    )
)
def report(
    wish: Wish,
    target: Target,
    gateway: GatewayUrl = DEFAULT_GATEWAY,
    max_calls: Annotated[int | None, option("--max-calls", "N", "Pause before more calls are made.", HOW)] = None,
    dry_run: Annotated[bool, flag("--dry-run", "Only show the plan: calls and seconds.", HOW)] = False,
    resume: Annotated[str | None, option("--resume", "JOB", "Go on with a report, or read it again.", HOW)] = None,
) -> None:
    """Make a table of counters for many items, in few calls.

    The plan is shown before the first call. The gateway goes on by itself, also when this command has ended;
    Ctrl-C prints the command that shows it again. Beside a CSV lies FILE.json: what its columns rest on.

    The key is that in STATS_GATEWAY_KEY. Exit codes: 0; 3 where some items have no number, as the last column
    says; 4 where the report pauses at --max-calls.
    """
    form = target.form
    if resume is not None and not JOB_ID.fullmatch(resume):
        raise ConfigurationError("--resume is the id of a job: 32 hexadecimal digits")
    if resume is not None and dry_run:
        raise ConfigurationError("--dry-run shows the plan of a new report; a job of --resume has its own already")
    with Connection.to(gateway) as connection:
        order = {} if resume else wish.order() | ({} if max_calls is None else {"max_calls": max_calls})
        if dry_run:
            print_json(_posted(connection, order | {"dry_run": True}))
            return
        watched = Watched(connection, f"/-/jobs/{resume}" if resume else "")
        try:
            end = watched.follow(order, max_calls)
            failed = watched.fetch(target, form) if end["state"] == "done" else 0
        except KeyboardInterrupt:
            note(f"{'the gateway goes on; ' if watched.path else ''}{watched.how_to_go_on(target)}")
            raise typer.Exit(130) from None
        if end["state"] == "paused":
            note(f"the report pauses after {end['calls']} calls, with at most {end['left']} to come; more:")
            note(f"{watched.how_to_go_on(target)} --max-calls {end['calls'] + end['left']}")
            raise typer.Exit(PAUSED)
    raise typer.Exit(SOME_FAILED if failed else 0)


def _posted(connection: Connection, order: dict[str, Any]) -> Any:
    return connection.request("POST", "/-/reports", json.dumps(order).encode()).json()


@dataclass
class Watched:
    """A report's job, as this command follows it: at ``path``, once it is ordered."""

    connection: Connection
    path: str = ""

    def follow(self, order: dict[str, Any], max_calls: int | None) -> dict[str, Any]:
        """How the job ends or pauses, wherever its stream breaks. Raises ConfigurationError where it comes to
        nothing."""
        request = self._first(order, max_calls)
        with _progress() as progress:
            shown = Shown(progress)
            for _ in range(RETRIES):
                for event in self._events(*request):
                    if end := shown.take(event):
                        return end
                time.sleep(1.0)
                request = ("GET", self.path, None)
        raise ConfigurationError(f"the stream broke too often. {self.how_to_go_on(Target())}")

    def _first(self, order: dict[str, Any], max_calls: int | None) -> tuple[str, str, bytes | None]:
        """The request that orders the report, continues it where it pauses, or only follows it."""
        if not self.path:
            return "POST", "/-/reports", json.dumps(order).encode()
        standing = self.connection.request("GET", self.path, accept="application/json").json()
        if standing["state"] != "paused":
            return "GET", self.path, None
        return "POST", f"{self.path}/continue" + ("" if max_calls is None else f"?max_calls={max_calls}"), None

    def _events(self, method: str, path: str, content: bytes | None) -> Iterator[dict[str, Any]]:
        """What a stream says, until it ends or breaks. Raises ConfigurationError where nothing is ordered yet."""
        try:
            for job, line in self.connection.lines(method, path, content):
                self.path = job
                yield json.loads(line)
        except httpx.TransportError as error:
            if not self.path:
                raise ConfigurationError(f"no gateway answers: {describe_error(error)}; see --gateway") from None

    def fetch(self, target: Target, form: str) -> int:
        """Write the report; how many of its items failed. Raises ConfigurationError, which says how to go on."""
        try:
            beside, content = self._form("csv.json"), self._form(form)
            if target.output is None:
                sys.stdout.buffer.write(content)
            else:
                if form == "csv":
                    _write(target.output.with_name(target.output.name + ".json"), beside)
                _write(target.output, content)
        except ConfigurationError as error:
            raise ConfigurationError(f"{error.message}; {self.how_to_go_on(target)}") from None
        facts = json.loads(beside)
        failed = int(facts.get("failed", 0))
        note(f"{facts['items']} items, {failed} of them with a problem; {target.output or 'to stdout'}")
        return failed

    def _form(self, name: str) -> bytes:
        return self.connection.request("GET", f"{self.path}/report?format={name}").content

    def how_to_go_on(self, target: Target) -> str:
        """The command that goes on from here."""
        if not self.path:
            return "nothing was ordered yet"
        where = "" if self.connection.url == DEFAULT_GATEWAY else f" --gateway {quote(self.connection.url)}"
        return f"to go on: stats-gateway report --resume {self.path.rpartition('/')[2]}{target.words()}{where}"


class Shown:
    """What a person sees of a job on stderr: its plan in a line, and a bar where that is a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("planning", total=None)
        self._planned = False
        self._began = time.monotonic()

    def take(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """Show an event; how the job ended, if it did. Raises ConfigurationError where it came to nothing."""
        if "error" in event:
            raise ConfigurationError(str(event["error"]["message"]))
        if "end" in event and event["end"]["state"] not in ("done", "paused"):
            raise ConfigurationError(
                f"the job is {event['end']['state']}: {event['end'].get('why', 'by request')}"
            )
        if event.get("plan") and not self._planned:
            self._planned = True
            note(f"{event.get('about', 'report')}: {plan_text(event['plan'])}")
        if standing := event.get("progress") or (event if "plan" in event else None):
            self._show(standing)
        return event.get("end")

    def _show(self, standing: dict[str, Any]) -> None:
        calls, left, spent = standing["calls"], standing["left"], time.monotonic() - self._began
        rate = f", {calls / spent:.1f} a second" if calls and spent > 1 else ""
        text = f"{calls} of {calls + left} calls{rate}, {ago(standing['seconds'])} left"
        self._progress.update(self._task, description=text, completed=calls, total=calls + left or None)


def plan_text(plan: dict[str, Any]) -> str:
    """A plan as a sentence."""
    best = f"{plan['calls']} calls, {ago(plan['seconds'])}"
    if plan.get("worst") is None:
        return f"{best} at best; at worst a call for each item and counter"
    if plan["worst"] == plan["calls"]:
        return best
    return f"{best} at best; {plan['worst']} calls, {ago(plan.get('worst_seconds') or 0)} at worst"


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises ConfigurationError."""
    path = path.resolve()
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
