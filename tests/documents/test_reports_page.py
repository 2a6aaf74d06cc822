"""What the page about reports has programs do, as it is printed, against a gateway in front of the sandbox."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.jobs.schedule import Schedule, scheduled
from gateway.settings import load_settings
from tests.documents.pages import ROOT, blocks, section
from tests.integration.stage import Stage, get, staged

PAGE = (ROOT / "docs" / "reports.md").read_text()
LANGUAGES = {"curl": "sh", "Python": "python", "R": "r", "JavaScript": "js"}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--no-examples", budget="unlimited", log_level="warning") as stage:
        stage.tenant("reports", "lboro")
        stage.serve()
        yield stage


def recipe(name: str) -> str:
    (found,) = blocks(section(PAGE, name), LANGUAGES[name])
    return found


def run(stage: Stage, folder: Path, *words: str) -> str:
    """What a recipe prints, with the environment that the page names."""
    program = shutil.which(words[0])
    if program is None:
        pytest.skip(f"{words[0]} is missing: its recipe has not been run")
    given = os.environ | {"GATEWAY": stage.gateways[0].url, "SGW_KEY": stage.keys["reports"]}
    done = subprocess.run(
        [program, *words[1:]], env=given, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def totals(stage: Stage, id: int) -> list[int]:
    """An article's views and shares, as the service says."""
    said = get(f"{stage.sandbox.url}/lboro/total/article/{id}", auth=("lboro", "sandbox-lboro")).json()
    return [said["views"], said["shares"]]


def test_every_language_of_the_page_is_run() -> None:
    others = [each for heading in ("With the command", "Warming") for each in blocks(section(PAGE, heading))]
    assert [text for text in blocks(PAGE) if text not in map(recipe, LANGUAGES)] == others


def test_the_settings_of_the_page_warm_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATS_GATEWAY_CONFIG", "")
    (text,) = blocks(section(PAGE, "Warming"), "toml")
    (tmp_path / "gateway.toml").write_text(text)
    months, collections = scheduled(load_settings(tmp_path / "gateway.toml"))
    assert (months.schedule, collections.schedule) == (
        Schedule("30 2 * * *", "Europe/London"),
        Schedule("0 4 * * MON", "Europe/London"),
    )
    assert len(collections.targets()) == 6


def test_curl(stage: Stage, tmp_path: Path) -> None:
    plan, order, read = recipe("curl").splitlines()
    assert json.loads(run(stage, tmp_path, "sh", "-c", plan))["plan"]["methods"] == {"views": "ranking"}
    assert json.loads(run(stage, tmp_path, "sh", "-c", order).splitlines()[-1])["end"]["state"] == "done"
    rows = list(csv.reader(run(stage, tmp_path, "sh", "-c", read).splitlines()))
    assert rows == [["id", "views", "problem"], *[[str(id), str(totals(stage, id)[0]), ""] for id in (1, 2, 3)]]


def test_python(stage: Stage, tmp_path: Path) -> None:
    rows = list(csv.reader(run(stage, tmp_path, sys.executable, "-c", recipe("Python")).strip().splitlines()))
    window = "start_date=2015-01-01&end_date=2015-03-31"
    for row in rows[1:]:
        url = f"{stage.sandbox.url}/lboro/timeline/month/shares/article/{row[0]}?{window}"
        said = get(url, auth=("lboro", "sandbox-lboro")).json()["timeline"] or {}
        assert [int(each) for each in row[4:7]] == [said.get(f"2015-0{month}", 0) for month in (1, 2, 3)]
    assert [row[0] for row in rows] == ["id", "1", "2", "3"]


def test_javascript(stage: Stage, tmp_path: Path) -> None:
    said = run(stage, tmp_path, "node", "--input-type=module", "--eval", recipe("JavaScript"))
    assert json.loads(said) == [{"id": id, "values": totals(stage, id)} for id in (1, 2, 3)]


def test_r(stage: Stage, tmp_path: Path) -> None:
    script = tmp_path / "recipe.R"
    script.write_text(
        "there <- sapply(c('httr2', 'jsonlite'), requireNamespace, quietly = TRUE)\n"
        "if (!all(there)) { cat('lacks'); quit() }\n"
        f"{recipe('R')}\ncat('\\nJSON', jsonlite::toJSON(report[, 1:3], dataframe = 'values'))\n"
    )
    said = run(stage, tmp_path, "Rscript", str(script))
    if said == "lacks":
        pytest.skip("R lacks httr2 or jsonlite: its recipe has not been run")
    assert json.loads(said.rpartition("\nJSON ")[2]) == [[id, *totals(stage, id)] for id in (1, 2, 3)]
