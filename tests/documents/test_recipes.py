"""The recipes for clients, as they are printed, against a gateway in front of the sandbox."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.documents.pages import ROOT, blocks, section
from tests.integration.stage import Process, Stage, get, staged

PAGE = (ROOT / "docs" / "recipes.md").read_text()
INSIDE = "/lboro/timeline/month/views/group/10?start_date=2025-01-01&end_date=2025-12-31"
OUTSIDE = "/total/views/article/23"
BLOCKED = {"status": 429, "headers": {"Retry-After": "1"}}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--no-examples", budget="unlimited", log_level="warning") as stage:
        stage.tenant("reports", "lboro")
        yield stage


@pytest.fixture
def gateway(stage: Stage) -> Iterator[Process]:
    """One that has asked nothing yet."""
    gateway = stage.serve()
    stage.reset_calls()
    yield gateway
    stage.reset_plan()  # a recipe that was skipped asked nothing
    gateway.kill()


def told_by_the_service(stage: Stage, target: str) -> Any:
    return get(stage.sandbox.url + target, auth=("lboro", "sandbox-lboro")).json()


def run(stage: Stage, gateway: Process, *words: str) -> str:
    """What a recipe prints, with the environment that the page names."""
    program = shutil.which(words[0])
    if program is None:
        pytest.skip(f"{words[0]} is missing: its recipe has not been run")
    given = {"GATEWAY": gateway.url, "SGW_KEY": stage.keys["reports"]}
    done = subprocess.run(
        [program, *words[1:]], env=os.environ | given, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def waited(stage: Stage, target: str) -> bool:
    """Whether the one call that was refused was made again, and no other."""
    path = target.partition("?")[0]
    return bool(stage.calls()["by_path"] == {path: 2})


def test_every_language_of_the_page_is_run() -> None:
    assert [block for block in blocks(PAGE) if block not in recipes().values()] == []


def recipes() -> dict[str, str]:
    """The one block of each language, by its section."""
    languages = {"curl": "sh", "Python": "python", "R": "r", "JavaScript": "js"}
    found = {}
    for name, language in languages.items():
        (found[name],) = blocks(section(PAGE, name), language)
    return found


def test_curl(stage: Stage, gateway: Process) -> None:
    inside, basic, counted, status, patient = recipes()["curl"].splitlines()
    assert json.loads(run(stage, gateway, "sh", "-c", inside)) == told_by_the_service(stage, INSIDE)
    outside = told_by_the_service(stage, OUTSIDE)
    assert json.loads(run(stage, gateway, "sh", "-c", basic)) == outside
    assert list(json.loads(run(stage, gateway, "sh", "-c", counted))) == ["327"]
    assert run(stage, gateway, "sh", "-c", status).startswith("cache-status: stats-gateway; hit; ttl=")
    assert json.loads(run(stage, gateway, "sh", "-c", patient)) == outside


def test_curl_waits_for_its_turn(stage: Stage, gateway: Process) -> None:
    stage.plan(**BLOCKED)
    patient = recipes()["curl"].splitlines()[-1]
    assert json.loads(run(stage, gateway, "sh", "-c", patient))
    assert waited(stage, OUTSIDE)


def test_python(stage: Stage, gateway: Process) -> None:
    expected = told_by_the_service(stage, INSIDE)
    stage.reset_calls()
    stage.plan(**BLOCKED)
    assert ast.literal_eval(run(stage, gateway, sys.executable, "-c", recipes()["Python"])) == expected
    assert waited(stage, INSIDE)


def test_javascript(stage: Stage, gateway: Process) -> None:
    expected = told_by_the_service(stage, INSIDE)
    stage.reset_calls()
    stage.plan(**BLOCKED)
    said = run(stage, gateway, "node", "--input-type=module", "--eval", recipes()["JavaScript"])
    assert json.loads(said) == expected
    assert waited(stage, INSIDE)


def test_r(stage: Stage, gateway: Process, tmp_path: Path) -> None:
    expected = told_by_the_service(stage, INSIDE)
    stage.reset_calls()
    stage.plan(**BLOCKED)
    script = tmp_path / "recipe.R"
    script.write_text(
        "there <- sapply(c('httr2', 'jsonlite'), requireNamespace, quietly = TRUE)\n"
        "if (!all(there)) { cat('lacks'); quit() }\n"
        f"{recipes()['R']}\ncat('\\nJSON', jsonlite::toJSON(views, auto_unbox = TRUE))\n"
    )
    said = run(stage, gateway, "Rscript", str(script))
    if said == "lacks":
        pytest.skip("R lacks httr2 or jsonlite: its recipe has not been run")
    assert json.loads(said.rpartition("\nJSON ")[2]) == expected
    assert waited(stage, INSIDE)
