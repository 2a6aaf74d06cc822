"""When a scheduled warming is due, and what it wants."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from gateway.errors import BodyTooLarge, ConfigurationError, InvalidInput
from gateway.jobs.schedule import Schedule, Scheduled, scheduled
from gateway.jobs.wanted import MOST_BYTES
from gateway.setting_values import Warming
from gateway.settings import Settings

LONDON = "Europe/London"


def at(text: str, fold: int = 0, zone: str = LONDON) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def of(**fields: object) -> Scheduled:
    warming = Warming.model_validate({"tenant": "lib", **fields})
    return Scheduled("nightly", warming, Schedule("30 2 * * *", "UTC"))


def test_what_is_due_this_second_is_due() -> None:
    schedule, due = Schedule("30 2 * * *", "UTC"), at("2026-06-01 02:30", zone="UTC")
    assert schedule.last(due) == schedule.last(due + 0.9) == schedule.last(due + 86_399) == due
    assert schedule.last(due - 0.1) == due - 86_400
    assert schedule.following(due) == due + 86_400
    assert schedule.following(due - 0.1) == due


def test_times_are_those_of_the_zone() -> None:
    schedule = Schedule("30 2 * * *", LONDON)
    assert schedule.last(at("2026-01-10 12:00")) == at("2026-01-10 02:30", zone="UTC")
    assert schedule.last(at("2026-07-10 12:00")) == at("2026-07-10 01:30", zone="UTC")


def test_utc_needs_no_data_base_of_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ZoneInfo:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr("gateway.setting_values.ZoneInfo", missing)
    assert Schedule("30 2 * * *", Settings().warm_timezone).last(9_000.5) == 9_000
    with pytest.raises(ValueError, match="is no time zone that is known here"):
        Settings(warm_timezone=LONDON)


def test_an_hour_that_is_left_out_is_due_at_its_end() -> None:
    schedule, end = Schedule("30 1 * * *", LONDON), at("2026-03-29 02:00")
    assert schedule.following(at("2026-03-28 12:00")) == end
    assert schedule.last(end) == schedule.last(at("2026-03-29 02:10")) == schedule.last(end + 3_600) == end
    assert schedule.last(end - 1) == at("2026-03-28 01:30")


def test_an_hour_that_comes_twice_is_due_once() -> None:
    schedule, due = Schedule("30 1 * * *", LONDON), at("2026-10-25 01:30")
    assert schedule.following(at("2026-10-24 12:00")) == due
    assert (
        schedule.last(due) == schedule.last(at("2026-10-25 01:30", fold=1)) == schedule.last(due + 36_000) == due
    )
    assert schedule.last(at("2026-10-25 01:15", fold=1)) == due
    assert schedule.following(at("2026-10-25 01:15", fold=1)) == at("2026-10-26 01:30")


@pytest.mark.parametrize("zone", [LONDON, "America/St_Johns"])
@pytest.mark.parametrize(
    "cron", ["30 1 * * *", "45 1,2 * * *", "15 */2 * * *", "*/20 * * * *", "5 * * * *", "0 2 * * SUN"]
)
def test_what_is_due_goes_on_while_clocks_change(zone: str, cron: str) -> None:
    schedule, before = Schedule(cron, zone), 0.0
    for day in ("2026-03-08", "2026-03-29", "2026-10-25", "2026-11-01"):
        begin = at(f"{day} 00:00", zone=zone)
        for now in (begin + minute * 60 for minute in range(0, 5 * 60, 15)):
            due, following = schedule.last(now), schedule.following(now)
            assert due is not None
            assert following is not None
            assert before <= due <= now < following
            assert schedule.following(due) == following
            before = due


def test_a_run_has_the_same_id_in_every_process_and_each_run_its_own() -> None:
    one, other = of(file="a"), Scheduled("weekly", of(file="a").warming, Schedule("30 2 * * *", "UTC"))
    moved = Scheduled("nightly", one.warming, Schedule("30 3 * * *", "UTC"))
    assert one.job_id(60.0) == of(file="b").job_id(60.0)
    assert len({one.job_id(60.0), one.job_id(120.0), other.job_id(60.0), moved.job_id(60.0)}) == 4
    assert one.about(0.0) == "warming nightly, due 1970-01-01 00:00 UTC"


@pytest.mark.parametrize(
    "text", ["\ufeff/a\r\n\r\n /b \n", '{"targets": ["/a", "/b"]}', '{"template": "/{x}", "x": ["a", "b"]}']
)
def test_a_file_is_what_the_command_takes(tmp_path: Path, text: str) -> None:
    (tmp_path / "list").write_bytes(text.encode())
    assert of(file=str(tmp_path / "list")).targets() == ["/a", "/b"]


def test_a_template_stands_for_all_combinations() -> None:
    values = {"counter": ["views", "shares"], "id": [1, 2]}
    entry = of(template="/lboro/total/{counter}/article/{id}", values=values)
    assert entry.targets()[1:3] == ["/lboro/total/views/article/2", "/lboro/total/shares/article/1"]


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", InvalidInput), (b"\xff", ConfigurationError), (b"/" * (MOST_BYTES + 1), BodyTooLarge)],
    ids=["empty", "no text", "too large"],
)
def test_a_file_that_cannot_be_used_is_an_error(tmp_path: Path, content: bytes, error: type[Exception]) -> None:
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(error):
        of(file=str(tmp_path / "list")).targets()
    with pytest.raises(ConfigurationError, match="missing cannot be read: FileNotFoundError"):
        of(file=str(tmp_path / "missing")).targets()


def test_a_warming_has_the_common_schedule_or_its_own() -> None:
    common, own = {"tenant": "lib", "file": "a"}, {"tenant": "lib", "file": "a", "schedule": "0 4 * * 1"}
    settings = Settings.model_validate(
        {"warm": {"a": common, "b": own}, "warm_schedule": "5 3 * * *", "warm_timezone": LONDON}
    )
    assert [each.schedule for each in scheduled(settings)] == [
        Schedule("5 3 * * *", LONDON),
        Schedule("0 4 * * 1", LONDON),
    ]


def test_a_template_that_stands_for_nothing_is_named() -> None:
    settings = Settings.model_validate({"warm": {"a": {"tenant": "lib", "template": "/{id}"}}})
    with pytest.raises(ConfigurationError, match=r"^warm\.a\.template: id: The template needs a list"):
        scheduled(settings)
