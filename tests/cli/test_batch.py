"""The commands that ask many questions: what they write, with which exit code, and how they go on."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Done, clean_environment, command
from tests.forked import Forked
from tests.integration.stage import Stage, get, staged, until

TARGETS = [f"/lboro/total/views/article/{number}" for number in range(400, 405)]
OTHERS = [f"/lboro/total/downloads/article/{number}" for number in range(400, 405)]
"""Asked by one test alone, whatever order they come in."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--no-examples", budget="unlimited") as stage:
        stage.tenant("lib", "lboro")
        stage.serve()
        yield stage


def ask(stage: Stage, *words: str, given: str = "") -> Done:
    place = ("--gateway", stage.gateways[0].url)
    return command(*words, *place, given=given.encode(), STATS_GATEWAY_KEY=stage.keys["lib"])


def test_answers_are_lines_and_some_that_failed_make_another_exit_code(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "targets.txt").write_text("\n".join(TARGETS[:2]) + "\n")
    done = ask(stage, "batch", str(tmp_path / "targets.txt"))
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert (done.code, sorted(line["target"] for line in lines)) == (0, TARGETS[:2])
    assert ask(stage, "batch", "-", given="/monash/timeline/day/views/article/1\n" + TARGETS[0]).code == 3
    document = json.dumps({"template": "/lboro/total/views/article/{id}", "id": [400, 404]})
    plan = json.loads(ask(stage, "batch", "-", "--dry-run", given=document).out)
    assert plan["plan"]["calls"] == 1


def test_ctrl_c_keeps_what_was_written_and_prints_how_to_go_on(stage: Stage, tmp_path: Path) -> None:
    given, out, err = (tmp_path / name for name in ("given", "an out.ndjson", "err"))
    given.write_text("\n".join(OTHERS))
    stage.close_gate()
    words = ["batch", str(given), "--output", str(out), "--gateway", stage.gateways[0].url]
    running = Forked(words, clean_environment() | {"STATS_GATEWAY_KEY": stage.keys["lib"]}, err)
    try:
        until(lambda: not set(OTHERS).isdisjoint(stage.calls()["targets"]))
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
    finally:
        stage.open_gate()
    advice = err.read_text().split("to go on: stats-gateway ")[1].split("\n")[0]
    done = command(*shlex.split(advice), STATS_GATEWAY_KEY=stage.keys["lib"])
    assert done.code == 0
    assert sorted(json.loads(line)["target"] for line in out.read_text().splitlines()) == OTHERS


def test_a_file_keeps_what_it_holds_until_there_are_answers_for_it(stage: Stage, tmp_path: Path) -> None:
    out = tmp_path / "an answer.ndjson"
    out.write_text("before\n")
    for words in (("batch", "-"), ("batch", "--job", "0" * 32), ("batch", "/nowhere/at-all")):
        assert ask(stage, *words, "--output", str(out)).code == 2
    assert command("batch", "-", "--output", str(out), given=b"/a", STATS_GATEWAY_KEY="sgw_x").code == 2
    assert out.read_text() == "before\n"
    assert ask(stage, "batch", "-", "--output", str(out), given=TARGETS[0]).code == 0
    [line] = out.read_text().splitlines()
    assert json.loads(line)["target"] == TARGETS[0]


def test_a_job_read_again_from_its_beginning_is_written_once(stage: Stage, tmp_path: Path) -> None:
    given, out = "\n".join(TARGETS[:3]), tmp_path / "out.ndjson"
    assert ask(stage, "batch", "-", "--output", str(out), given=given).code == 0
    first = out.read_text()
    url = stage.gateways[0].url + "/-/jobs"
    [job, *_] = get(url, headers={"X-API-Key": stage.keys["lib"]}).json()["jobs"]
    assert ask(stage, "batch", "--job", job["job"], "--output", str(out)).code == 0
    again = out.read_text()
    assert ask(stage, "batch", "--job", job["job"], "--from", "3", "--output", str(out)).code == 0
    assert (len(first.splitlines()), again.count("\n"), out.read_text().count("\n")) == (3, 3, 4)
    assert ask(stage, "batch", "--job", job["job"], "--output", "/dev/null").code == 0


def test_warming_says_which_job_it_is(stage: Stage) -> None:
    done = ask(stage, "warm", "-", given=TARGETS[0])
    assert done.code == 0
    assert "warming 1 targets: job " in done.err


def test_warming_takes_a_template(stage: Stage) -> None:
    before = stage.calls()["by_path"]
    words = ("--template", "/lboro/total/{counter}/article/{id}", "--values", "counter=views,shares")
    done = ask(stage, "warm", *words, "--values", "id=498, 499")
    assert (done.code, "warming 4 targets" in done.err) == (0, True)
    asked = {f"/lboro/total/{counter}/article/{id}" for counter in ("views", "shares") for id in (498, 499)}
    until(lambda: stage.calls()["by_path"].keys() - before.keys() == asked)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("warm",), "either a FILE, or --template"),
        (("warm", "-", "--values", "id=1"), "either a FILE, or --template"),
        (("warm", "--template", "/{id}", "--values", "id"), "--values is a place"),
        (("warm", "--template", "/{id}", "--values", "id=1", "--values", "id=2"), "--values is a place"),
        (("warm", "--template", "/{id}"), "id: The template needs a list of values"),
        (("batch",), "either a FILE or --job"),
        (("batch", "/nowhere/at-all"), "cannot be read"),
        (("batch", "-", "--output", "/nowhere/at-all"), "/nowhere/at-all cannot be written: No such file"),
        (("batch", "--job", "x"), "32 hexadecimal digits"),
        (("batch", "--job", "0" * 32), "There is no such job"),
        (("batch", "-"), "These are 0 targets"),
    ],
)
def test_what_cannot_be_done_is_one_line(stage: Stage, words: tuple[str, ...], said: str) -> None:
    done = ask(stage, *words)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_a_key_is_needed_and_never_taken_from_the_command_line(stage: Stage) -> None:
    done = command("batch", "-", "--gateway", stage.gateways[0].url)
    assert (done.code, "STATS_GATEWAY_KEY" in done.err) == (2, True)
