"""What the Dockerfile builds, built and run: its own commands, no privileges, a tree that cannot be written."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway import __version__
from tests.container.box import AS_ROOT, ROOT, Box, Contained, built, can_mount
from tests.container.context import context
from tests.integration.stage import Process, await_answer, get, spawned, until
from tests.redis_server import RedisServer, free_port

PROBE = """
import json, os, pathlib, sys
def refused(path):
    try:
        pathlib.Path(path).write_text("x")
    except OSError as error:
        return type(error).__name__ + str(error.errno)
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
status = dict(line.split(":\\t") for line in lines if ":\\t" in line)
print(json.dumps({
    "user": os.getuid(), "groups": sorted({os.getgid(), *os.getgroups()}), "capabilities": status["CapEff"],
    "privileges": status["NoNewPrivs"], "refused": [refused(path) for path in sys.argv[1:]],
    "writable": refused("probe"),
}))
"""


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with built() as box:
        yield box


@contextmanager
def serving(box: Box, **settings: str) -> Iterator[tuple[Contained, str, dict[str, str]]]:
    """The image's entrypoint and command: what runs, where it answers, and its settings."""
    port = free_port()
    chosen = {"STATS_GATEWAY_PORT": str(port), **settings}
    words = [*box.image.only("ENTRYPOINT").words, *box.image.only("CMD").words]
    with box.running(words, **chosen) as contained:
        url = f"http://127.0.0.1:{port}"
        await_answer(f"{url}/-/health/ready", Process(contained.outer, contained.log, port))
        yield contained, url, chosen


def health(box: Box, settings: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """The image's own health check."""
    command = json.loads(box.image.only("HEALTHCHECK").value.partition(" CMD ")[2])
    return box.run(command, settings)


def test_it_has_what_the_tree_has_and_nothing_that_built_it(box: Box) -> None:
    (packages,) = (box.prefix / "lib").glob("python3*/site-packages")
    there = {
        f"gateway/{path.relative_to(packages / 'gateway').as_posix()}"
        for path in (packages / "gateway").rglob("*.*")
    }
    assert {path for path in there if "__pycache__" not in path and Path(path).suffix} == {
        path for path in context(ROOT) if path.startswith("gateway/")
    }
    names = {path.name.partition("-")[0].lower() for path in packages.glob("*.dist-info")}
    assert {"stats_gateway", "uvicorn", "redis", "opentelemetry_sdk"} <= names
    assert not names & {"pip", "setuptools", "wheel", "hatchling", "editables", "pytest", "mypy"}


def test_what_runs_has_no_privileges_and_writes_nothing_but_its_volumes(box: Box) -> None:
    (packages,) = (box.prefix / "lib").glob("python3*/site-packages")
    places = [packages / "gateway" / "app.py", box.prefix / "bin" / "new", box.place / "new", Path("/new")]
    done = box.run(["python", "-c", PROBE, *map(str, places)])
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["writable"] is None
    assert all(told["refused"][:2]), told
    if not AS_ROOT:
        pytest.skip("the user, and the rest of the tree, need root to be shown")
    user, group = (int(number) for number in box.image.only("USER").value.split(":"))
    assert (told["user"], told["groups"]) == (user, [group])
    assert int(told["capabilities"], 16) == 0
    assert told["privileges"] == "1"
    assert all(told["refused"])
    if not can_mount():
        pytest.skip("permissions alone kept the tree: no mount can be made here")
    assert set(told["refused"]) == {"OSError30"}, "a read-only file system says EROFS"


def test_it_serves_tells_its_health_and_drains_when_it_is_stopped(box: Box) -> None:
    with serving(box, STATS_GATEWAY_DRAIN_SECONDS="60") as (contained, url, settings):
        assert "stats-gateway " + __version__ in contained.output
        assert (health(box, settings).returncode, health(box, settings).stdout) == (0, b"ok\n")
        contained.send(box.image.only("STOPSIGNAL").value)
        until(lambda: get(f"{url}/-/health/ready").status_code == 503)
        assert health(box, settings).returncode == 1


def test_its_end_is_clean(box: Box) -> None:
    with serving(box, STATS_GATEWAY_DRAIN_SECONDS="0") as (contained, _, settings):
        contained.send(box.image.only("STOPSIGNAL").value)
        assert contained.outer.wait(timeout=30) == 0, contained.output
        done = health(box, settings)
        assert done.returncode == 1
        assert b"no gateway answers at http://127.0.0.1:" in done.stderr
        assert "Traceback" not in contained.output


def test_several_workers_share_their_metrics_in_the_volume_and_leave_nothing(
    box: Box, shared_redis: RedisServer, prefix: str
) -> None:
    admin = free_port()
    settings = {
        "STATS_GATEWAY_WORKERS": "2",
        "STATS_GATEWAY_REDIS_URL": shared_redis.url,
        "STATS_GATEWAY_REDIS_PREFIX": prefix,
        "STATS_GATEWAY_ADMIN_PORT": str(admin),
        "STATS_GATEWAY_DRAIN_SECONDS": "0",
    }
    with serving(box, **settings) as (contained, _, _):
        assert "stats_gateway_build_info" in get(f"http://127.0.0.1:{admin}/metrics").text
        assert list(box.writable.glob("stats-gateway-metrics-*/*.db"))
        contained.send(box.image.only("STOPSIGNAL").value)
        assert contained.outer.wait(timeout=30) == 0, contained.output
    assert not list(box.writable.glob("stats-gateway-metrics-*"))


def test_a_tenant_is_added_in_the_volume_and_asks_at_once(box: Box, tmp_path: Path) -> None:
    words = ["sandbox", "--port", str(free_port())]
    with spawned(words, {}, tmp_path / "sandbox.log") as sandbox:
        await_answer(f"{sandbox.url}/-/calls", sandbox)
        with serving(box, STATS_GATEWAY_UPSTREAM=sandbox.url) as (_, url, _):
            pair = ["--institution", "lboro", "--username", "lboro", "--password-stdin"]
            done = box.run(["stats-gateway", "tenant", "add", "reports", *pair], given=b"sandbox-lboro\n")
            assert done.returncode == 0, done.stderr
            key = box.run(["stats-gateway", "key", "add", "reports"]).stdout.decode().strip()
            target = f"{url}/lboro/timeline/total/views/collection/15?start_date=2014-01-02&end_date=2014-03-05"
            assert get(target).status_code == 401
            until(lambda: get(target, headers={"X-API-Key": key}).status_code == 200)
            assert get(target, headers={"X-API-Key": key}).headers["cache-status"].startswith("stats-gateway; hit")


def test_traces_need_no_further_installation(box: Box) -> None:
    with serving(box, STATS_GATEWAY_OTLP_ENDPOINT="http://127.0.0.1:1/v1/traces") as (contained, url, _):
        assert get(f"{url}/-/health/live").status_code == 200
        assert "otlp_endpoint needs the extra" not in contained.output


def test_a_start_has_nothing_to_compile_which_it_could_not_keep(box: Box) -> None:
    (packages,) = (box.prefix / "lib").glob("python3*/site-packages")
    assert list((packages / "gateway" / "__pycache__").glob("app.cpython-*.pyc"))
