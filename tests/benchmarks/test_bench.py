"""``make bench`` runs, counts right, tells what is wrong, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cases import CASES, LETTERS
from benchmarks.goals import GOALS
from benchmarks.load import lacks
from benchmarks.results import Results, Table, read
from benchmarks.rig import ALL
from tests.integration.stage import until

COMMAND = [sys.executable, "-m", "benchmarks.bench"]
CROWD, MISSES, ENTRIES, TARGETS = 100, 20, 200, 50
EACH_KIND = "nginx,varnish,bare-redis,gateway,gateway-shared,asgi-uvicorn"


def needs_load() -> None:
    """Skips where nothing makes load; fails in CI."""
    if missing := lacks():
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)


def smoke(tmp_path: Path, *words: str) -> Results:
    """One short round of what is named."""
    path = tmp_path / "results.json"
    done = subprocess.run(
        [*COMMAND, "--smoke", "--json", str(path), *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = read(path)
    if os.environ.get("CI"):
        assert not found.skipped
    for table in found.tables:
        assert table.title in done.stdout
    return found


def calls(table: Table) -> dict[str, list[float]]:
    return {row.contender: row.samples["calls"] for row in table.rows}


def test_each_contender_answers_hits_without_asking_again(tmp_path: Path) -> None:
    needs_load()
    found = smoke(tmp_path, "--only", "hits", "--cases", "a,h", "--contenders", EACH_KIND)
    tables = {table.name: table for table in found.tables}
    wanted = {name: float(TARGETS) for name in found.versions}
    assert of_case(tables["calls"], "a") == {**wanted, "bare-redis": 0.0}
    assert of_case(tables["calls"], "h") == {name: n for name, n in wanted.items() if name != "bare-redis"}
    for name in found.versions:
        assert tables["hits"].samples(name, "a")[0] > 0
        assert tables["cost"].samples(name, "a")[0] > 0
    assert {row.contender for row in tables["latency"].rows} == set(found.versions)
    for row in tables["latency"].rows:
        assert 0 < row.samples["p50"][0] <= row.samples["p99"][0]
    if "nginx" in found.versions:
        for table, inverse in (("hits", False), ("cost", True)):
            ours, theirs = (tables[table].samples(name, "h")[0] for name in ("gateway", "nginx"))
            beside = tables["shares" if table == "hits" else "cheapness"].samples("gateway", "h")[0]
            assert beside == (theirs / ours if inverse else ours / theirs)
    if not found.skipped:
        named = {f"hits/s {case.heading}: gateway ÷ nginx" for case in CASES if case.letter in "ah"}
        assert named <= {ratio.name for ratio in found.ratios}


def test_a_gateway_answers_hits_of_all_kinds_of_clients(tmp_path: Path) -> None:
    needs_load()
    found = smoke(tmp_path, "--only", "hits", "--cases", "b,c,d,e,f,g", "--contenders", "gateway")
    calls = next(table for table in found.tables if table.name == "calls")
    assert {case: calls.samples("gateway", case) for case in "bcdefg"} == {case: [TARGETS] for case in "bcdefg"}


def test_many_tenants_and_connections_are_measured_with_what_redis_does(tmp_path: Path) -> None:
    needs_load()
    found = smoke(tmp_path, "--only", "tenants,connections", "--contenders", "gateway")
    tenants, connections = found.tables
    [row] = tenants.rows
    assert row.case == "60 tenants"
    # Without leases there would be one for each hit.
    assert 0 < row.samples["scripts"][0] < row.samples["per_second"][0]
    assert {row.case for row in connections.rows} == {LETTERS[letter].heading for letter in "ac"}
    for row in connections.rows:
        assert 0 < row.samples["p50"][0] <= row.samples["p99"][0]


def test_an_older_version_is_measured_beside_this_one(tmp_path: Path) -> None:
    here = str(Path(__file__).parents[2])
    words = ("--only", "hits,misses", "--cases", "a", "--contenders", "gateway", "--against", here)
    found = smoke(tmp_path, *words)
    assert {row.contender for table in found.tables for row in table.rows} == {"gateway", "older-gateway"}
    named = {ratio.name for ratio in found.ratios if ratio.name.endswith("its older version")}
    assert {name.partition(":")[0] for name in named} >= {"CPU of a miss", "a miss through it"}
    assert len(named) == 4


def test_every_ratio_of_hits_says_of_which_case_it_is() -> None:
    headings = {case.heading for case in CASES}
    for goal in GOALS:
        if goal.table in ("hits", "cost", "latency", "connections"):
            assert any(heading in goal.name for heading in headings), goal.name


def of_case(table: Table, case: str) -> dict[str, float]:
    return {row.contender: row.samples[case][0] for row in table.rows if case in row.samples}


def test_a_miss_and_a_stampede_cost_one_call(tmp_path: Path) -> None:
    found = smoke(tmp_path, "--only", "misses,stampede", "--contenders", "nginx,varnish,gateway")
    misses, stampede = found.tables
    assert all(made == [float(MISSES)] for made in calls(misses).values())
    assert all(made == [1.0] for made in calls(stampede).values())
    assert all(row.samples["unserved"] == [0.0] for row in stampede.rows)
    assert all(row.case == f"{CROWD} at once" for row in stampede.rows)


def test_entries_take_memory_and_starting_takes_time(tmp_path: Path) -> None:
    found = smoke(tmp_path, "--only", "memory,startup", "--contenders", "nginx,varnish,gateway")
    memory, startup = found.tables
    assert all(made == [float(ENTRIES)] for made in calls(memory).values())
    # Of so few entries, what connections happen to buffer is as large as what is stored.
    assert len(memory.samples("gateway", "redis")) == 1
    assert all(row.samples["ready"][0] > 0 for row in startup.rows)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_being_told_to_end_ends_everything_that_was_started(number: int, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    words = [*COMMAND, "--only", "stampede", "--contenders", "gateway", "--crowds", "50"]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as running:
        until(lambda: len(of(tmp_path)) >= 2)
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    until(lambda: not of(tmp_path))
    assert not list(tmp_path.iterdir())


def of(folder: Path, benchmark: str = "benchmarks.bench") -> list[str]:
    """The processes whose environment or command names this folder, but for the benchmark itself."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            told = (process / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words + told and benchmark not in words:
            found.append(words)
    return found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "hits,nothing"], "'nothing' is not one of hits, tenants"),
        (["--cases", "a,z"], "'z' is not one of a, b"),
        (["--contenders", "apache"], "'apache' is not one of nginx"),
        (["--rounds", "0"], "must be above 0"),
        (["--crowds", "10,x"], "'10,x' is no list of numbers"),
        (["--seconds", "soon"], "'soon' is no number"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(words: list[str], said: str) -> None:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_contender_that_is_not_installed_is_skipped_with_a_line() -> None:
    done = subprocess.run(
        [*COMMAND, "--smoke", "--only", "startup", "--contenders", "nginx,bare-uvicorn"],
        env={**os.environ, "PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nginx is skipped: nginx is not installed (apt-get install nginx)" in done.stderr
    assert "bare-uvicorn" in done.stdout
    assert "nginx" not in done.stdout


def test_help_names_every_contender_and_case() -> None:
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert all(each.name in done.stdout and each.about in done.stdout for each in ALL)
    assert all(case.name in done.stdout and case.about in done.stdout for case in CASES)
