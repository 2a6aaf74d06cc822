"""``stats-gateway batch`` and ``warm``: many questions to a running gateway, with a key."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from stat import S_ISREG
from typing import IO, Annotated, Any, cast

import httpx2 as httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from gateway.cli.options import Commands, admin_client, describe_error, examples, flag, note, option, print_json
from gateway.errors import ConfigurationError
from gateway.jobs.wanted import body_of
from gateway.setting_values import PREFIX

KEY = PREFIX + "KEY"
DEFAULT_GATEWAY = "http://127.0.0.1:8080"
SILENCE_SECONDS = 30.0
"""After which a stream, which says something every five seconds, counts as broken."""
RETRIES = 30
"""Attempts to go on with a stream that broke, a second apart."""
SOME_FAILED = 3
"""The exit code where some targets have no answer."""
JOB_ID = re.compile("[0-9a-f]{32}")

app = Commands()

File = Annotated[
    Path | None, typer.Argument(metavar="FILE", help="A target a line, or JSON; - reads what is typed.")
]
PLACE = re.compile("([a-z_]+)=(.+)", re.DOTALL)
"""A place of a template, and its values."""
GatewayUrl = Annotated[str, option("--gateway", "URL", "The gateway's public listener.")]


@app.command(
    epilog=examples(
        "stats-gateway batch targets.txt --output answers.ndjson",
        "stats-gateway batch targets.txt --dry-run",
        "stats-gateway batch --job 3f0c… --from 812 --output answers.ndjson",
    )
)
def batch(
    file: File = None,
    gateway: GatewayUrl = DEFAULT_GATEWAY,
    output: Annotated[Path | None, option("--output", "FILE", "Where the answers go, a line each.")] = None,
    dry_run: Annotated[bool, flag("--dry-run", "Only show what it would take.")] = False,
    job: Annotated[str | None, option("--job", "ID", "Go on with a job that runs, or read one again.")] = None,
    first: Annotated[int, option("--from", "N", "The number of the first answer, with --job.")] = 1,
) -> None:
    """Ask many questions at once; write each answer as it comes.

    An answer is a line of JSON. The gateway goes on by itself, whatever becomes of this command. Ctrl-C keeps what
    was written, and prints the command that goes on from there.

    The key is that in STATS_GATEWAY_KEY. Exit codes: 0; 3 where some targets have no answer, as their lines say.
    """
    if (file is None) == (job is None):
        raise ConfigurationError("batch needs either a FILE or --job")
    if job is not None and not JOB_ID.fullmatch(job):
        raise ConfigurationError("--job is the id of a job: 32 hexadecimal digits")
    with Connection.to(gateway) as connection:
        if file is not None and dry_run:
            print_json(connection.plan(_content(file)))
            return
        reading = Reading(connection, f"/-/jobs/{job}" if job else "", first, output)
        content = None if file is None else _content(file)
        with ExitStack() as stack:
            out = sys.stdout if output is None else stack.enter_context(_opened(output))
            try:
                failed = reading.follow(content, out)
            except KeyboardInterrupt:
                note(reading.how_to_go_on())
                raise typer.Exit(130) from None
    raise typer.Exit(SOME_FAILED if failed else 0)


@app.command(
    epilog=examples(
        "stats-gateway warm targets.txt",
        "stats-gateway warm --template '/lboro/total/{counter}/article/{id}' \\\n"
        "    --values counter=views,shares --values id=1001,1002,1003",
    )
)
def warm(
    file: File = None,
    gateway: GatewayUrl = DEFAULT_GATEWAY,
    template: Annotated[str | None, option("--template", "TEXT", "Instead of FILE: with {places}.")] = None,
    values: Annotated[
        list[str] | None, option("--values", "NAME=A,B,…", "The values of one place; once for each place.")
    ] = None,
) -> None:
    """Have the answers to a list of targets ready for later.

    The gateway asks for what is not stored, after all others and within its warm_share of the budget. The key is
    that in STATS_GATEWAY_KEY.
    """
    if (file is None) == (template is None) or (values and template is None):
        raise ConfigurationError("warm needs either a FILE, or --template with --values for each of its places")
    with Connection.to(gateway) as connection:
        content = _templated(template or "", values or []) if file is None else _content(file)
        ordered = connection.request("POST", "/-/warm", content=content).json()
    note(f"warming {ordered['targets']} targets: job {ordered['job']}")


def _opened(output: Path) -> IO[str]:
    """The file for the answers, with what it holds. Raises ConfigurationError."""
    try:
        return cast("IO[str]", output.open("a", encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror}") from None


def _content(file: Path) -> bytes:
    """The body of an order: a JSON document as it is, else a target for each line. Raises ConfigurationError."""
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {type(error).__name__}") from None
    return body_of(text)


def _templated(template: str, values: Sequence[str]) -> bytes:
    """The body that orders every combination of the values of a template's places. Raises ConfigurationError."""
    places: dict[str, list[str]] = {}
    for text in values:
        found = PLACE.fullmatch(text)
        if found is None or found[1] in places:
            raise ConfigurationError("--values is a place of the template and its values, once: id=1001,1002")
        places[found[1]] = [each.strip() for each in found[2].split(",")]
    return json.dumps({**places, "template": template}).encode()


@dataclass
class Connection:
    """Requests to a gateway's public listener with the key of the environment."""

    url: str
    client: httpx.Client
    headers: dict[str, str]

    @classmethod
    def to(cls, url: str) -> Connection:
        """Raises ConfigurationError without a key, or where no header could carry it."""
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError("--gateway must begin with http:// or https://")
        key = os.environ.get(KEY, "").strip()
        if not key or not key.isascii() or not key.isprintable():
            raise ConfigurationError(f"{KEY} must hold a gateway key")
        headers = {"X-API-Key": key, "Content-Type": "application/json"}
        return cls(url.rstrip("/"), admin_client(url, SILENCE_SECONDS), headers)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def request(self, method: str, path: str, content: bytes | None = None, accept: str = "*/*") -> httpx.Response:
        """The answer, read whole. Raises ConfigurationError for a refusal."""
        headers = self.headers | {"Accept": accept}
        try:
            answer = self.client.request(method, self.url + path, headers=headers, content=content)
        except httpx.HTTPError as error:
            raise ConfigurationError(f"no gateway answers there: {describe_error(error)}; see --gateway") from None
        check(answer)
        return answer

    def plan(self, content: bytes) -> Any:
        """What these targets would take."""
        return self.request("POST", "/-/batch?dry_run=true", content).json()

    def lines(self, method: str, path: str, content: bytes | None) -> Iterator[tuple[str, str]]:
        """The path of the job, and each line of its stream. Raises httpx.TransportError where that breaks."""
        with self.client.stream(method, self.url + path, headers=self.headers, content=content) as answer:
            if not answer.is_success:
                answer.read()
            if content is None and answer.status_code >= 500:
                raise httpx.RemoteProtocolError("the gateway cannot answer now")
            check(answer)
            for line in answer.iter_lines():
                yield answer.headers["location"], line


def check(answer: httpx.Response) -> None:
    """Raises ConfigurationError, with the gateway's own words, for a refusal."""
    if answer.is_success:
        return
    try:
        message = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = "this is no gateway's public listener; see --gateway"
    raise ConfigurationError(f"{answer.status_code}: {message}")


def _empty(file: IO[str]) -> None:
    """Let a file begin anew; a device or a pipe has nothing to lose."""
    if S_ISREG(os.fstat(file.fileno()).st_mode):
        file.truncate(0)


@dataclass
class Reading:
    """What was read of a job so far: ``number`` is that of the next answer. From the first one on, what ``output``
    held gives way once the gateway has the job."""

    connection: Connection
    path: str = ""
    number: int = 1
    output: Path | None = None
    failed: int = 0
    _began: bool = field(default=False, init=False)
    _task: TaskID = field(default=TaskID(0), init=False)

    def follow(self, content: bytes | None, out: IO[str]) -> int:
        """Write the job's answers until it ends, wherever its stream breaks; how many failed."""
        with _progress() as progress:
            self._task = progress.add_task("looking up")
            for _ in range(RETRIES):
                try:
                    if self._read(content, out, progress):
                        return self.failed
                except httpx.TransportError as error:
                    if not self.path:
                        raise ConfigurationError(f"no gateway answers: {describe_error(error)}") from None
                time.sleep(1.0)
        raise ConfigurationError(f"the stream broke too often; {self.how_to_go_on()}")

    def _read(self, content: bytes | None, out: IO[str], progress: Progress) -> bool:
        """Read one stream; whether it told the end. Raises ConfigurationError where the job did not get there."""
        method, path = ("GET", f"{self.path}?from={self.number}") if self.path else ("POST", "/-/batch")
        for job, line in self.connection.lines(method, path, None if self.path else content):
            if not self._began and self.output is not None and self.number == 1:
                _empty(out)
            self._began = True
            self.path, event = job, json.loads(line)
            if "n" in event:
                print(line, file=out, flush=True)
                self.number = event["n"] + 1
                self.failed += event["status"] >= 400
                progress.update(self._task, completed=event["n"])
            elif "plan" in event:
                progress.update(self._task, total=event["targets"], description=_described(event["plan"]))
            elif "progress" in event:
                progress.update(self._task, description=_left(event["progress"]))
            elif "end" in event or "error" in event:
                return _ended(event)
        return False

    def how_to_go_on(self) -> str:
        """The command that goes on from here."""
        if not self.path:
            return "nothing was ordered yet"
        where = "" if self.output is None else f" --output {quote(str(self.output))}"
        where += "" if self.connection.url == DEFAULT_GATEWAY else f" --gateway {quote(self.connection.url)}"
        return f"to go on: stats-gateway batch --job {self.path.rpartition('/')[2]} --from {self.number}{where}"


def _progress() -> Progress:
    """A bar on stderr where that is a terminal."""
    console = Console(stderr=True)
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*shown, console=console, disable=not console.is_terminal, transient=True)


def _described(plan: dict[str, Any] | None) -> str:
    return (
        "looking up"
        if plan is None
        else f"{plan['cached']} stored, {plan['calls']} calls, {plan['seconds']:.0f} s"
    )


def _left(progress: dict[str, Any]) -> str:
    return f"{progress['calls']} calls, {progress['left']} to come, {progress['seconds']:.0f} s"


def _ended(event: dict[str, Any]) -> bool:
    """True for a job that is done. Raises ConfigurationError for any other end."""
    if "error" in event:
        raise ConfigurationError(str(event["error"]["message"]))
    if event["end"]["state"] != "done":
        raise ConfigurationError(f"the job is {event['end']['state']}: {event['end'].get('why', 'by request')}")
    return True
