"""The page of performance is made of its data, and of nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks import report
from benchmarks.goals import Goal
from benchmarks.results import Column, Ratio, Results, Row, Table, as_text, cells, made_by, read, shown
from benchmarks.rig import GATEWAY, NGINX

TABLE = Table(
    "throughput",
    "Hits a second",
    "As many as one core answers.",
    [Column("per_second", "hits/s"), Column("cpu", "CPU, µs", 1)],
    [
        Row("nginx", {"per_second": [60_000.0, 50_000.0, 61_000.0], "cpu": [16.0]}),
        Row("gateway", {"per_second": [66_000.0, 60_000.0, 60_000.0]}, note="a note"),
    ],
)
RATIO = Ratio("gateway ÷ nginx", [1.1, 1.2, 0.98], 1.0)
RESULTS = Results(
    "bench", "Hits", "What is measured.", "make bench", "2026-01-02T03:04+00:00",
    {"processor": "one of some kind"}, {"nginx": "nginx (1.22)"}, [TABLE], [RATIO], {"varnish": "not installed"},
)  # fmt: skip


def test_the_page_is_what_the_data_make() -> None:
    assert report.PAGE.read_text() == report.page(report.kept(report.DATA).values()), (
        "make performance ARGS=--page"
    )


def test_the_page_tells_machine_date_command_contenders_tables_and_goals() -> None:
    page = report.page([RESULTS])
    for told in (
        "`make bench` on 2026-01-02T03:04+00:00",
        "| processor | one of some kind |",
        "| nginx | nginx (1.22) |",
        "| varnish | skipped: not installed |",
        "| nginx | 60,000 (50,000–61,000) | 16.0 |",
        "| gateway | 60,000 (60,000–66,000) | – |",
        "- gateway: a note",
        "| gateway ÷ nginx | 1.10 (0.98–1.20) | ≥ 1 | yes |",
    ):
        assert told in page
    assert page.index("## Goals") < page.index("## Hits")


@pytest.mark.parametrize(
    ("samples", "goal", "at_least", "met"),
    [
        ([0.9, 1.0, 1.2], 1.0, True, True),
        ([0.9, 0.99, 1.2], 1.0, True, False),
        ([1.9, 2.0, 9.0], 2.0, False, True),
        ([2.1], 2.0, False, False),
        ([2.1], None, True, None),
    ],
)
def test_a_goal_is_met_by_the_median(samples: list[float], goal: float | None, at_least: bool, met: bool) -> None:
    assert Ratio("", samples, goal, at_least).met is met


def test_ratios_are_taken_round_by_round() -> None:
    goal = Goal("", "throughput", "per_second", GATEWAY, NGINX, 1.0)
    ratio = goal.ratio([TABLE])
    assert ratio is not None
    assert ratio.samples == [1.1, 1.2, 60 / 61]
    assert goal.ratio([]) is None
    assert Goal("", "throughput", "cpu", GATEWAY, NGINX).ratio([TABLE]) is None


def test_results_travel_as_json(tmp_path: Path) -> None:
    RESULTS.write(tmp_path / "results.json")
    assert read(tmp_path / "results.json") == RESULTS
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(msgspec.ValidationError):
        read(tmp_path / "other.json")


def test_other_results_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    words = [sys.executable, "-m", "benchmarks.report", "--from", str(tmp_path / "other.json")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "missing required field" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_is_told_without_where_its_results_went() -> None:
    assert made_by("bench", ["--json", "/some/place"]) == "make bench"
    assert made_by("bench", ["--rounds", "5", "--json=/some/place"]) == 'make bench ARGS="--rounds 5"'


def test_figures_and_columns_read() -> None:
    assert shown([1_234.5]) == "1,234"
    assert shown([2.0, 1.0, 4.0], 1) == "2.0 (1.0–4.0)"
    assert shown([]) == "–"
    assert as_text(cells(TABLE)).splitlines()[1].startswith("nginx    ")
