"""curl, as a shell script uses it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tests.clients.asking import Answer, Ask, Client, How, Place, program

CURL = ["curl", "--disable", "--silent", "--show-error"]  # without a .curlrc
EACH = ["--noproxy", "*", "--globoff", "--max-time", "40"]
"""Options of each of several requests, which ``--next`` forgets."""
OPTIONS = {
    How.CODED: ["--compressed"],
    How.IN_HTTP_1_0: ["--http1.0"],
    How.UPGRADING: ["--http2"],
    How.BY_HAND: [],
    How.EXPECTING: ["--header", "Expect: 100-continue"],
    How.WITH_EMPTY_CHUNKS: ["--header", "Transfer-Encoding: chunked", "--data-binary", ""],
}


def ask(base: str, asked: Ask) -> list[Answer]:
    together = ["--parallel", "--parallel-immediate"] if asked.how is How.AT_ONCE else []
    with tempfile.TemporaryDirectory() as folder:
        files = [(Path(folder, f"head{n}"), Path(folder, f"body{n}")) for n in range(asked.times)]
        words = [*CURL, *together]
        for number, (head, body) in enumerate(files):
            words += ["--next"] if number else []
            words += [*EACH, *_options(asked), "--dump-header", str(head), "--output", str(body), asked.url(base)]
        done = subprocess.run(words, input=asked.content or b"", capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return [_read(head, None if asked.method == "HEAD" else body) for head, body in files]


def _options(asked: Ask) -> Iterator[str]:
    yield from OPTIONS.get(asked.how, [])
    if asked.method == "HEAD":
        yield "--head"
    elif asked.how is How.WITH_EMPTY_CHUNKS or asked.method not in ("GET", "POST"):
        yield from ("--request", asked.method)
    if asked.content is not None:
        yield from ("--data-binary", "@-")
    for name, value in asked.headers:
        yield from ("--header", f"{name}: {value}" if value else f"{name};")
    for name, value in asked.parameters:
        yield from ("--get", "--data-urlencode", f"{quote(name)}={value}")
    if asked.option is not None:
        yield from ("--user", ":".join(asked.option))
    elif asked.user is not None and asked.place is Place.CHALLENGE:
        yield from ("--anyauth", "--user", ":".join(asked.user))


def _read(head: Path, body: Path | None) -> Answer:
    """The last answer: interim ones and challenges come before it."""
    last = [block for block in head.read_bytes().decode("latin-1").split("\r\n\r\n") if block][-1]
    line, *fields = last.split("\r\n")
    pairs = [tuple(field.split(": ", 1)) for field in fields]
    content = body.read_bytes() if body is not None and body.exists() else b""
    return Answer.of(int(line.split()[1]), [(name, value) for name, value in pairs], content)


CLIENT = Client(
    "curl",
    ask,
    frozenset({*OPTIONS, How.IN_A_SESSION, How.AT_ONCE}),
    frozenset(Place),
    program("curl"),
)
