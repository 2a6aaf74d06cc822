"""The command that makes reports: what it writes, with which exit code, and how it goes on."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Done, command
from tests.cli.terminal import on_a_terminal
from tests.integration.stage import Stage, staged, until

WHAT = ("report", "--institution", "lboro", "--counters", "views,shares")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--no-examples", "--items", "120", budget="unlimited", jobs_per_tenant=10) as stage:
        stage.tenant("lib", "lboro")
        stage.serve()
        yield stage


@pytest.fixture(autouse=True)
def _calls(stage: Stage) -> None:
    stage.reset_calls()


def ask(stage: Stage, *words: str, given: str = "") -> Done:
    place = ("--gateway", stage.gateways[0].url)
    return command(*words, *place, given=given.encode(), STATS_GATEWAY_KEY=stage.keys["lib"])


def advised(stage: Stage, shown: str) -> Done:
    """What comes of the command that was shown for going on."""
    words = shlex.split(shown.split("to go on: stats-gateway ")[1].splitlines()[0])
    return command(*words, STATS_GATEWAY_KEY=stage.keys["lib"])


def test_a_report_is_written_with_what_it_rests_on_beside_it(stage: Stage, tmp_path: Path) -> None:
    ids, out = tmp_path / "items.csv", tmp_path / "report.csv"
    ids.write_text("\ufefftitle;Article ID\nA;7\nB;1e1\nC;7\n")
    words = (
        "--ids",
        str(ids),
        "--id-column",
        "article id",
        "--by",
        "month",
        "--from",
        "2015-12",
        "--to",
        "2016-01",
    )
    done = ask(stage, *WHAT, *words, "--output", str(out))
    assert done.code == 0, done.err
    rows = list(csv.reader(out.read_text().splitlines()))
    assert rows[0] == ["id", "views 2015-12", "views 2016-01", "shares 2015-12", "shares 2016-01", "problem"]
    assert [row[0] for row in rows[1:]] == ["7", "10"]
    beside = json.loads((tmp_path / "report.csv.json").read_text())
    assert [column["method"] for column in beside["columns"]] == ["each"] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.csv", "report.csv", "report.csv.json"]
    assert "line 3: 1e1 is read as 10" in done.err
    assert "line 4: 7 is left out" in done.err
    assert "by month, 2015-12-01 to 2016-01-31: 4 calls, 0 s" in done.err


def test_some_without_a_number_make_another_exit_code_and_stand_in_the_last_column(stage: Stage) -> None:
    stage.plan(status=404)
    done = ask(stage, *WHAT, "--counters", "views", "--ids", "-", "--method", "each", given="3\n4\n")
    assert done.code == 3, done.err
    rows = list(csv.reader(done.out.splitlines()))
    assert sorted(row[2] for row in rows) == ["", "problem", "views: answered 404"]


def test_a_report_that_cannot_be_written_is_still_there(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "report.csv.json").mkdir()
    done = ask(stage, *WHAT, "--ids", "-", "--output", str(tmp_path / "report.csv"), given="7\n")
    assert done.code == 2
    assert "report.csv.json cannot be written: Is a directory; to go on: " in done.err
    (tmp_path / "report.csv.json").rmdir()
    assert advised(stage, done.err).code == 0
    assert (tmp_path / "report.csv").read_text().startswith("id,views,shares,problem\n7,")


def test_a_plan_alone_asks_for_nothing(stage: Stage) -> None:
    plan = json.loads(
        ask(stage, *WHAT, "--all", "--by", "year", "--from", "2012", "--to", "2014", "--dry-run").out
    )
    assert plan["plan"]["methods"] == {"views": "ranking", "shares": "ranking"}
    assert stage.calls()["total"] == 0


def test_a_report_that_pauses_says_how_to_go_on(stage: Stage) -> None:
    ids = "\n".join(map(str, range(20, 32)))
    words = ("--ids", "-", "--item", "author", "--method", "each", "--max-calls", "5", "--format", "json")
    done = ask(stage, *WHAT, *words, given=ids)
    assert (done.code, done.out) == (4, "")
    assert stage.calls()["total"] <= 5
    more = advised(stage, done.err)
    assert (more.code, json.loads(more.out)["items"]) == (0, 12)
    assert stage.calls()["total"] == 24


def test_ctrl_c_leaves_the_report_to_the_gateway_and_says_how_to_go_on(stage: Stage, tmp_path: Path) -> None:
    out = tmp_path / "a report.csv"
    stage.close_gate()
    try:
        words = (*WHAT, "--all", "--item", "project", "--output", str(out), "--gateway", stage.gateways[0].url)
        with on_a_terminal(*words, STATS_GATEWAY_KEY=stage.keys["lib"]) as terminal:
            terminal.read_until(b"at worst")
            until(lambda: stage.calls()["in_flight"])
            terminal.interrupt()
            assert terminal.ended() == 130
    finally:
        stage.open_gate()
    assert not out.exists()
    shown = terminal.showed.decode()
    assert stage.keys["lib"] not in shown
    done = advised(stage, shown)
    assert done.code == 0, done.err
    assert out.read_text().startswith("id,views,shares,problem")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("report",), "--ids FILE or --all"),
        ((*WHAT, "--all", "--ids", "-"), "either --ids FILE or --all"),
        ((*WHAT, "--ids", "/nowhere/at-all"), "cannot be read"),
        ((*WHAT, "--ids", "-"), "line 2: 'x' is no id"),
        ((*WHAT, "--all", "--format", "pdf"), "csv, json, xlsx"),
        ((*WHAT, "--all", "--output", "/nowhere/report.csv"), "there is no folder /nowhere"),
        ((*WHAT, "--all", "--output", "/tmp"), "/tmp is a folder"),
        ((*WHAT, "--ids", "/dev/null"), "/dev/null holds no ids"),
        (("report", "--resume", "0" * 32, "--dry-run"), "the plan of a new report"),
        ((*WHAT, "--all", "--format", "xlsx"), "needs --output"),
        ((*WHAT, "--all", "--by", "month"), "a window needs both"),
        (("report", "--resume", "x"), "32 hexadecimal digits"),
        (("report", "--resume", "0" * 32), "There is no such job"),
    ],
)
def test_what_cannot_be_done_is_one_line(stage: Stage, words: tuple[str, ...], said: str) -> None:
    done = ask(stage, *words, given="1\nx\n")
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert stage.calls()["total"] == 0
