"""``stats-gateway demo``: the sandbox service, the gateway in front of it, and a guided tour."""

from __future__ import annotations

import base64
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import typer

from gateway.cli.options import Commands
from gateway.errors import ConfigurationError

app = Commands()

STARTUP_SECONDS = 30.0
SHOWN = ("content-type", "cache-status", "cache-control", "age", "etag", "proxy-status")
INSTITUTIONS = {"reports": "lboro", "dashboards": "monash"}
"""The demo's tenants, each with the credential of one institution."""
WINDOW = "start_date=2014-01-02&end_date=2014-03-05"
COLLECTION = f"/lboro/timeline/total/views/collection/15?{WINDOW}"


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the tour, with the key of a tenant, and the status, body and Cache-Status that it promises.

    ``key`` may be empty, or ``unknown`` for a key that does not exist; ``basic``: it is sent as a password.
    """

    title: str
    target: str
    key: str
    status: int
    body: str
    cache: str
    basic: bool = False

    def headers(self, keys: dict[str, str]) -> dict[str, str]:
        """The request headers by which the step identifies itself."""
        if not self.key:
            return {}
        if self.basic:
            pair = base64.b64encode(f"any:{keys[self.key]}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {"X-API-Key": keys[self.key]}

    def curl_line(self, base: str, keys: dict[str, str]) -> str:
        """The step as a line to paste into a shell."""
        if self.basic:
            given = f"-u any:{keys[self.key]} "
        else:
            given = "".join(f"-H {shlex.quote(f'{n}: {v}')} " for n, v in self.headers(keys).items())
        return f"curl -i {given}{shlex.quote(base + self.target)}"

    def shortfalls(self, answer: httpx.Response) -> list[str]:
        """The parts of the step's promise that the answer does not keep."""
        missed = []
        if answer.status_code != self.status:
            missed.append(f"status {self.status} was promised, {answer.status_code} came")
        exact = self.key != "unknown"
        if (answer.text != self.body) if exact else (self.body not in answer.text):
            missed.append(f"the body promised was {self.body}")
        if self.cache not in answer.headers.get("cache-status", ""):
            missed.append(f"Cache-Status with {self.cache!r} was promised")
        return missed


FORBIDDEN = '{"data": null, "code": "Forbidden", "message": "Unauthorized request"}'
HUGS = (
    '{"data": {"extra": "Counter type not supported: hugs", "invalid_params": "counter"},'
    ' "code": "InvalidParams", "message": "Invalid or unsupported params: counter"}'
)

STEPS = (
    Step("A miss: the gateway asks the service, and keeps the answer.",
         "/total/views/article/23", "reports", 200, '{"totals": 231}', "fwd=uri-miss; stored"),
    Step("The same again: a hit, from the cache.",
         "/total/views/article/23", "reports", 200, '{"totals": 231}', "hit; ttl="),
    Step("An institution's own numbers: the gateway adds lboro's stored credential.",
         COLLECTION, "reports", 200, '{"timeline": {"total": 10}}', "fwd=uri-miss; stored"),
    Step("The same for a client that only knows basic auth: the key is the password.",
         COLLECTION, "reports", 200, '{"timeline": {"total": 10}}', "hit; ttl=", basic=True),
    Step("Parameters in another order are the same question.",
         f"/lboro/timeline/total/views/collection/15?{'&'.join(reversed(WINDOW.split('&')))}",
         "reports", 200, '{"timeline": {"total": 10}}', "hit; ttl="),
    Step("Another tenant is refused them, cached or not, with the service's own words.",
         COLLECTION, "dashboards", 403, FORBIDDEN, "detail="),
    Step("The service's errors come through unchanged.",
         "/total/hugs/article/215", "reports", 400, HUGS, "fwd="),
    Step("Public numbers without a key, since the demo allows it.",
         "/total/views/article/23", "", 200, '{"totals": 231}', "hit; ttl="),
    Step("A key that does not exist is refused by the gateway itself.",
         "/total/views/article/23", "unknown", 401, '"code": "GatewayUnauthenticated"', "detail="),
)  # fmt: skip


@app.command()
def demo(
    once: bool = typer.Option(
        False, "--once", help="Run the tour, print what came back, and exit: 0 if all was as promised."
    ),
    port: int = typer.Option(
        8080, metavar="PORT", help="Port of the gateway; a free one is taken when it is in use."
    ),
) -> None:
    """See it work: the gateway in front of a sandbox, with a tour.

    Needs nothing set up: no Redis, no credentials, no network. Everything listens on 127.0.0.1, lives in a
    temporary folder, and ends with Ctrl-C.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):  # else what it started would outlive it
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        with staged(port) as stage:
            if once:
                raise typer.Exit(0 if run_tour(stage.base, stage.keys) else 1)
            print_tour(stage)
            signal.pause()
    except KeyboardInterrupt:
        print("\nThe demo has ended.")


@dataclass(frozen=True, slots=True)
class Stage:
    """The gateway's base URL, the keys of the tenants, the console's URL and the token that opens it."""

    base: str
    keys: dict[str, str]
    console: str
    token: str


def print_tour(stage: Stage) -> None:
    """The tour as lines to paste, and where the console is."""
    print(f"\nThe gateway listens on {stage.base}, in front of a sandbox of the statistics service.")
    print("Paste these lines into another terminal, one after another:\n")
    for number, step in enumerate(STEPS, 1):
        print(f"{number}. {step.title}\n\n   {step.curl_line(stage.base, stage.keys)}\n")
    print("Look at Cache-Status, Age and Cache-Control in the answers.\n")
    print(f"The console shows what you did: {stage.console}/\nSign in with this token:        {stage.token}\n")
    print("Ctrl-C ends the demo.", flush=True)


def run_tour(base: str, keys: dict[str, str]) -> bool:
    """Makes the tour's requests and prints what came back; returns whether every promise was kept."""
    kept = 0
    with httpx.Client(base_url=base, timeout=35, trust_env=False) as client:
        for number, step in enumerate(STEPS, 1):
            answer = client.get(step.target, headers=step.headers(keys))
            print(f"{number}. {step.title}\n\n   $ {step.curl_line(base, keys)}")
            print(f"   {answer.status_code} {answer.reason_phrase}")
            for name in SHOWN:
                if name in answer.headers:
                    print(f"   {name}: {answer.headers[name]}")
            print(f"   {answer.text}\n")
            missed = step.shortfalls(answer)
            kept += not missed
            for shortfall in missed:
                print(f"   NOT AS PROMISED: {shortfall}\n")
    print(f"{kept} of {len(STEPS)} steps as promised.", flush=True)
    return kept == len(STEPS)


@contextmanager
def staged(port: int) -> Iterator[Stage]:
    """The sandbox and the gateway as processes of their own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stats-gateway-demo-")))
        environment = clean_environment(folder)
        sandbox_port, gateway_port, admin_port = free_port(9100), free_port(port), free_port(8081)
        print("Starting the sandbox service, two tenants and the gateway …", flush=True)
        sandbox = ["sandbox", "--port", str(sandbox_port)]
        stack.enter_context(process(sandbox, environment, folder / "sandbox.log"))
        await_answer(f"http://127.0.0.1:{sandbox_port}/-/calls", folder / "sandbox.log")
        keys = {tenant: make_tenant(tenant, place, environment) for tenant, place in INSTITUTIONS.items()}
        keys["unknown"] = "sgw_0123456789_" + "0" * 43
        token = secrets.token_hex(16)
        environment["STATS_GATEWAY_UPSTREAM"] = f"http://127.0.0.1:{sandbox_port}"
        environment["STATS_GATEWAY_ADMIN_TOKEN"] = token
        ports = ["--port", str(gateway_port), "--admin-port", str(admin_port)]
        serve = ["serve", *ports, "--drain-seconds", "0"]
        stack.enter_context(process(serve, environment, folder / "gateway.log"))
        base = f"http://127.0.0.1:{gateway_port}"
        await_answer(f"{base}/-/health/ready", folder / "gateway.log")
        yield Stage(base, keys, f"http://127.0.0.1:{admin_port}", token)


def clean_environment(folder: Path) -> dict[str, str]:
    """The environment without any settings of the gateway's, and with the demo's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STATS_GATEWAY_")}
    return kept | {
        "STATS_GATEWAY_REGISTRY": str(folder / "tenants.toml"),
        "STATS_GATEWAY_ALLOW_ANONYMOUS": "true",
    }


def make_tenant(tenant: str, institution: str, environment: dict[str, str]) -> str:
    """Adds a tenant with the sandbox's pair for an institution; answers its new key."""
    add = ["tenant", "add", tenant, "--name", tenant.title(), "--institution", institution]
    command([*add, "--username", institution, "--password-stdin"], environment, f"sandbox-{institution}\n")
    return command(["key", "add", tenant, "--label", "demo"], environment).strip()


def command(words: list[str], environment: dict[str, str], given: str = "") -> str:
    """Runs one of the gateway's own commands; answers its output. Raises ConfigurationError when it fails."""
    done = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-m", "gateway", *words],
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ConfigurationError(f"`stats-gateway {' '.join(words[:3])}` failed: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def process(words: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    """One of the gateway's own commands in the background, in a session of its own; ended with the block."""
    with log.open("wb") as output:
        running = subprocess.Popen(  # noqa: S603 (our own command)
            [sys.executable, "-m", "gateway", *words],
            env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        try:
            yield
        finally:
            running.terminate()
            try:
                running.wait(timeout=10)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def await_answer(url: str, log: Path) -> None:
    """Waits until a URL answers 200. Raises ConfigurationError with the end of its log when it does not."""
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    tail = log.read_text(errors="replace").strip()[-2_000:]
    raise ConfigurationError(f"{url} did not answer; its log ends with:\n{tail}")


def free_port(preferred: int) -> int:
    """The preferred loopback port where nobody listens on it, else a free one."""
    for port in (preferred, 0):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigurationError("no free port on 127.0.0.1")
